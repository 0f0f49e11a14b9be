"""The only exceptions the core raises, each saying whose fault it was.

`Mangled` is a byte-level refusal by a reader; `SoapFault` ends the exchange with a SOAP 1.2 fault; `XdsFailure` carries
what the standard has a code for and becomes an ordinary answer with an error list (never a fault).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ihe.names import Code, Severity


def clip(text: str, most: int = 80) -> str:
    """`text`, safe to print: at most `most` characters, no control characters, no line breaks."""
    plain = text[: most + 1]
    if not plain.isprintable():
        plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in plain)
    return plain if len(text) <= most else plain[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


class Mangled(ValueError):
    """Bytes that cannot be read as what they claim to be. `str()` is a reason without any of the content."""


class FaultCode(StrEnum):
    """SOAP 1.2 part 1, table 4."""

    SENDER = "Sender"
    RECEIVER = "Receiver"
    MUST_UNDERSTAND = "MustUnderstand"
    VERSION_MISMATCH = "VersionMismatch"


class Subcode(StrEnum):
    """Fault subcodes as `prefix:local`; the prefix tells the namespace (wsa, wsse)."""

    ACTION_NOT_SUPPORTED = "wsa:ActionNotSupported"
    ACTION_MISMATCH = "wsa:ActionMismatch"
    HEADER_REQUIRED = "wsa:MessageAddressingHeaderRequired"
    INVALID_HEADER = "wsa:InvalidAddressingHeader"
    INVALID_CARDINALITY = "wsa:InvalidCardinality"
    ONLY_ANONYMOUS = "wsa:OnlyAnonymousAddressSupported"
    ENDPOINT_UNAVAILABLE = "wsa:EndpointUnavailable"
    TOKEN_UNAVAILABLE = "wsse:SecurityTokenUnavailable"
    FAILED_CHECK = "wsse:FailedCheck"
    MESSAGE_EXPIRED = "wsse:MessageExpired"
    FAILED_AUTHENTICATION = "wsse:FailedAuthentication"


@dataclass(slots=True)
class SoapFault(Exception):
    """An exchange that ends in a SOAP fault. Repeats nothing of the caller's message but its MessageID.

    `problem` is the QName of a header at fault (`{namespace}local`), shown as wsa:ProblemHeaderQName, as NotUnderstood
    for MUST_UNDERSTAND, or as the unknown action for ACTION_NOT_SUPPORTED. `relates_to` is set by the reader.
    """

    code: FaultCode
    reason: str
    subcode: Subcode | None = None
    problem: str = ""
    relates_to: str = ""

    def __str__(self) -> str:
        return f"{self.code.value} {self.subcode.value if self.subcode else ''} {self.reason}"


@dataclass(frozen=True, slots=True)
class XdsError:
    """One RegistryError (TF-3 4.2.4.1). `context` may repeat values of the caller's message, never of the registry."""

    code: Code
    context: str
    location: str = ""
    severity: Severity = Severity.ERROR
    rule: str = ""
    """Id of the registry's rule that raised it, for counting; no answer shows it by itself."""


@dataclass(slots=True)
class XdsFailure(Exception):
    """A request the standard answers with an error list: all of them at once, in the order they were found."""

    errors: tuple[XdsError, ...] = field(default=())

    @classmethod
    def of(cls, code: Code, context: str, location: str = "") -> XdsFailure:
        """A failure with a single error."""
        return cls((XdsError(code, context, location),))

    def __str__(self) -> str:
        return ", ".join(error.code.value for error in self.errors)

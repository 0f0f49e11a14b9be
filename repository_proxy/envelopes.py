"""Requests to hospitals as zeep writes them: made once per hospital from our own WSDL, with holes for what differs.

To let zeep write every single one costs as much as all the rest of asking (measured); and an assertion that is put
into a hole as bytes cannot lose what its signature covers. Sources: ITI TF-2 3.43.4.1, appendix V.3; 3.40 (XUA).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import zeep
from zeep.wsdl.bindings import Soap12Binding

from ihe import saml, soap, xml
from ihe.envelope import HEADER, MESSAGE_ID
from ihe.names import SAML, Action
from policy.facts import DocumentKey

# The library has no types of its own; these names keep that out of what is checked below.
_client: Any = zeep.Client
_transport: Any = zeep.Transport
_over_soap12: Any = Soap12Binding


def _hand_over(address: str, envelope: xml.Element, headers: dict[str, str]) -> xml.Element:
    """Stands in for the library's POST: with `raw_response` it passes what this returns on untouched."""
    return envelope


class Envelopes:
    """zeep with the WSDL that this node itself publishes; loaded once, shared by all hospitals."""

    def __init__(self, location: Path | None = None) -> None:
        settings = zeep.Settings(raw_response=True, strict=True)
        with resources.as_file(resources.files("wsdl")) as folder:
            path = str(location or folder / "DocumentRepository.wsdl")
            transport = _transport()
            transport.post_xml = _hand_over
            self._client = _client(path, transport=transport, settings=settings)
        self._binding, self._operation = _retrieve(self._client.wsdl)

    def one(self, url: str, asked: Sequence[DocumentKey], assertion: bytes | None, message_id: str) -> xml.Element:
        """One request to this address (its wsa:To), all of it written by zeep."""
        operation = self._client.create_service(self._binding, url)[self._operation]
        envelope: xml.Element = operation(
            DocumentRequest=[
                {"RepositoryUniqueId": key.repository_unique_id, "DocumentUniqueId": key.unique_id} for key in asked
            ]
        )
        soap.complete_headers(envelope)
        if assertion is not None:
            saml.attach(envelope, assertion)
        envelope.find(f"{HEADER}/{MESSAGE_ID}").text = message_id  # type: ignore[union-attr]  # zeep always writes one
        return envelope


def _retrieve(wsdl: Any) -> tuple[str, str]:
    for name, binding in wsdl.bindings.items():
        operations: dict[str, Any] = {} if type(binding) is not _over_soap12 else binding.all()
        for operation in operations.values():
            if operation.abstract.wsa_action == Action.RETRIEVE.value:
                return name, operation.name
    raise ValueError("the WSDL has no SOAP 1.2 operation for ITI-43")


_MESSAGE, _ASSERTION = "hole-message", f'<Assertion xmlns="{SAML}"/>'
# Of two documents: what stands between those stands between any two.
_FIRST = DocumentKey("hole-1-repository", "hole-1-document")
_SECOND = DocumentKey("hole-2-repository", "hole-2-document")


class Template:
    """The requests to one address: what zeep wrote, with holes where MessageID, assertion and ids belong."""

    def __init__(self, envelopes: Envelopes, url: str) -> None:
        """Raises ValueError if zeep writes anything that these holes do not fit."""
        plain = envelopes.one(url, (_FIRST, _SECOND), None, _MESSAGE)
        secured = envelopes.one(url, (_FIRST, _SECOND), _ASSERTION.encode(), _MESSAGE)
        *self._plain, self._inside, self._between, inside, self._end = _cut(plain, _MESSAGE, *_FIRST, *_SECOND)
        *self._secured, _, _, _, end = _cut(secured, _MESSAGE, _ASSERTION, *_FIRST, *_SECOND)
        if (inside, end) != (self._inside, self._end):
            raise ValueError("zeep writes one document otherwise than the next")

    def write(self, message_id: str, asked: Sequence[DocumentKey], assertion: bytes | None = None) -> bytes:
        """The request for these documents. `assertion`, with every namespace it needs, goes along byte for byte."""
        documents = self._between.join(
            xml.escape_text(key.repository_unique_id).encode() + self._inside + xml.escape_text(key.unique_id).encode()
            for key in asked
        )
        if assertion is None:
            head = message_id.encode().join(self._plain)
        else:
            before, middle, after = self._secured
            head = b"".join((before, message_id.encode(), middle, assertion, after))
        return head + documents + self._end


def _cut(envelope: xml.Element, *holes: str) -> list[bytes]:
    """The bytes around the holes, which must stand there once each and in this order."""
    written = xml.write(envelope).decode()
    anything = "|".join(map(re.escape, holes))
    if re.findall(anything, written) != list(holes):
        raise ValueError("zeep writes something else than was expected")
    return [piece.encode() for piece in re.split(anything, written)]

"""What can go wrong with a hospital, in the words of the audit trail, and the one sentence a caller is told of it.

Nothing a hospital says reaches a caller: the sentences are constants around ids the caller sent.
"""

from __future__ import annotations

from audit.event import Ending
from ihe.errors import XdsError, clip
from ihe.names import Code


class UpstreamFailed(Exception):
    """A hospital did not deliver. `note` is for the operator: constants and numbers, never what the hospital wrote."""

    def __init__(self, ending: Ending, note: str = "", *, counts: bool = True, untouched: bool = False) -> None:
        super().__init__(f"{ending.value}: {note}" if note else ending.value)
        self.ending = ending
        self.note = clip(note, 200)
        self.counts = counts
        """Whether the breaker counts it: a hospital that answers, if only with a refusal, is not sick."""
        self.untouched = untouched
        """Nothing was received, so asking once more is harmless."""


class CallerGone(Exception):
    """Raised by the caller's side of a release: nobody listens any more."""


class CallerTooSlow(CallerGone):
    """The caller is still connected and has stopped reading."""


_SENTENCES = {
    Ending.UP_CONNECT: "repository {repository} cannot be reached",
    Ending.UP_TLS: "repository {repository} cannot be reached",
    Ending.UP_NO_HEADERS: "repository {repository} did not answer in time",
    Ending.UP_BAD_HEADERS: "the answer of repository {repository} cannot be used",
    Ending.UP_BAD_ROOT: "the answer of repository {repository} cannot be used",
    Ending.UP_REFUSED: "repository {repository} did not deliver document {document}",
    Ending.UP_STALLED: "repository {repository} did not answer in time",
    Ending.UP_RESET: "repository {repository} broke off its answer",
    Ending.UP_SHORT: "repository {repository} broke off its answer",
    Ending.UP_LONG: "document {document} from repository {repository} is not the one that was registered",
    Ending.UP_HASH: "document {document} from repository {repository} is not the one that was registered",
    Ending.NOT_SENT: "repository {repository} cannot be asked",
    Ending.OVERLOAD: "repository {repository} has too many requests",
    Ending.BLOCKED: "the request could not be decided",
    Ending.INTERNAL: "the request could not be decided",
}


def told(ending: Ending, repository: str, document: str) -> XdsError:
    """The RegistryError for one document that a hospital did not deliver; ids as sent (TF-3 table 4.2.4.1-2)."""
    code = Code.REPOSITORY_BUSY if ending is Ending.OVERLOAD else Code.REPOSITORY_ERROR
    return XdsError(code, _SENTENCES[ending].format(repository=repository, document=document), document)


def unavailable(repository: str, document: str) -> XdsError:
    """The one answer for a document that is unknown, hidden, or no longer held (TF-3: also for 'not allowed')."""
    return XdsError(
        Code.DOCUMENT_UNIQUE_ID, f"document {document} is not available from repository {repository}", document
    )

"""Pure: what is asked, what is known and what is decided become a plan. Filled in below the port it stands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from audit.event import Ending, Object
from ihe.errors import XdsError
from ihe.names import Code, Status
from ihe.retrieval import DocumentRequest
from policy.facts import Decision, DocumentKey, EntryFacts, Reason
from repository_proxy.failures import told, unavailable
from repository_proxy.repositories import Hospital, Route, Routes


class Known(Protocol):
    """What the registry knows of asked documents, all of it one and the same state."""

    @property
    def families(self) -> Mapping[DocumentKey, tuple[EntryFacts, ...]]:
        """Of each asked document; empty for an unknown one."""

    @property
    def replaced_by(self) -> Mapping[str, tuple[tuple[EntryFacts, ...], ...]]:
        """By entryUUID, the families of the documents that replaced each entry; may be empty where not asked for."""

    @property
    def decoys(self) -> Mapping[DocumentKey, EntryFacts]:
        """An entry of nobody for each unknown document: to be judged in its place, and never shown."""


class Lookup(Protocol):
    """The entries behind asked documents, from the registry."""

    def __call__(self, asked: Sequence[DocumentKey], replacements: bool) -> Known:
        """What is known of these keys, with `replacements` also of what replaced them. Whatever exists, the same
        statements run. Raises BlocksUnavailable when the registry cannot be read: nothing is then taken for unknown.
        """

    def known_patient(self, patient_id: str) -> frozenset[str]:
        """The identity set of this patient: every CX that is the same person, at least the one given.

        Raises BlocksUnavailable.
        """


@dataclass(frozen=True, slots=True)
class Asked:
    """One DocumentRequest at its place in the message, and where its repository id leads."""

    place: int
    request: DocumentRequest
    route: Route | None
    key: DocumentKey
    """As the registry writes it; for an unknown repository, as sent."""

    @property
    def hidden(self) -> XdsError:
        """The answer for a document that is unknown or not for this caller."""
        return unavailable(self.request.repository_unique_id, self.request.document_unique_id)

    def failed(self, ending: Ending) -> XdsError:
        """The answer when the hospital did not deliver."""
        return told(ending, self.request.repository_unique_id, self.request.document_unique_id)


@dataclass(frozen=True, slots=True)
class Fetch:
    """One document that will be asked of a hospital, and what its bytes must be."""

    asked: Asked
    hospital: Hospital
    entry: EntryFacts
    decision: Decision

    @property
    def place(self) -> int:
        """Place of the document in the request."""
        return self.asked.place


@dataclass(frozen=True, slots=True)
class Refused:
    """One document that will not be asked for, and the error that says so."""

    asked: Asked
    decision: Decision
    error: XdsError
    ending: Ending = Ending.REFUSED_BY_POLICY
    entry_uuid: str = ""


@dataclass(frozen=True, slots=True)
class Errand:
    """What one message to one hospital asks for."""

    hospital: Hospital
    fetches: tuple[Fetch, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Every asked document exactly once, in request order: fetched or refused."""

    steps: tuple[Fetch | Refused, ...] = ()

    @property
    def fetches(self) -> tuple[Fetch, ...]:
        """The documents that will be asked of hospitals."""
        return tuple(step for step in self.steps if isinstance(step, Fetch))

    @property
    def errors(self) -> tuple[XdsError, ...]:
        """What the caller is told of refused documents, in request order."""
        return tuple(step.error for step in self.steps if isinstance(step, Refused))

    @property
    def refusals(self) -> Mapping[int, Ending]:
        """How refused documents ended, by place."""
        return {step.asked.place: step.ending for step in self.steps if isinstance(step, Refused)}

    @property
    def patient_ids(self) -> tuple[str, ...]:
        """The patients whose documents are released, in the order of the request."""
        return tuple(dict.fromkeys(fetch.entry.patient_id for fetch in self.fetches))

    def errands(self) -> tuple[Errand, ...]:
        """One message per hospital, or per document where a hospital wants it so; no message names a document twice."""
        groups: list[tuple[Hospital, dict[DocumentKey, Fetch]]] = []
        for fetch in self.fetches:
            for hospital, group in groups:
                if (
                    hospital is fetch.hospital
                    and fetch.asked.key not in group
                    and not hospital.one_document_per_request
                ):
                    group[fetch.asked.key] = fetch
                    break
            else:
                groups.append((fetch.hospital, {fetch.asked.key: fetch}))
        return tuple(Errand(hospital, tuple(group.values())) for hospital, group in groups)

    def objects(
        self, endings: Mapping[int, Ending] | None = None, sent: Mapping[int, int] | None = None
    ) -> tuple[Object, ...]:
        """The plan as the audit trail tells it; with `endings` and bytes `sent` per place, as it turned out."""
        return tuple(
            Object(
                decision=step.decision,
                entry_uuid=step.entry.entry_uuid if isinstance(step, Fetch) else step.entry_uuid,
                repository_unique_id=step.asked.key.repository_unique_id,
                unique_id=step.asked.key.unique_id,
                ending=None if endings is None else endings.get(step.asked.place),
                bytes_sent=0 if sent is None else sent.get(step.asked.place, 0),
            )
            for step in self.steps
        )

    def without(self, ending: Callable[[Fetch], Ending | None]) -> Plan:
        """The same plan without fetching what `ending` gives an ending for; each of those gets the error of it."""
        return Plan(
            tuple(
                step
                if isinstance(step, Refused) or (why := ending(step)) is None
                else Refused(step.asked, step.decision, step.asked.failed(why), why, step.entry.entry_uuid)
                for step in self.steps
            )
        )

    def narrowed(self, again: Plan) -> Plan:
        """The same plan after deciding again: what `again` refuses is refused, nothing is added."""
        pairs = zip(self.steps, again.steps, strict=True)
        return Plan(tuple(mine if isinstance(mine, Refused) or isinstance(new, Fetch) else new for mine, new in pairs))


def route(requests: Sequence[DocumentRequest], routes: Routes) -> tuple[Asked, ...]:
    """Each DocumentRequest with the route of its repository id. Depends on nothing but the message and the table."""
    return tuple(_asked(place, request, routes) for place, request in enumerate(requests))


def _asked(place: int, request: DocumentRequest, routes: Routes) -> Asked:
    found = routes.find(request.repository_unique_id)
    repository = request.repository_unique_id if found is None else found.repository_unique_id
    return Asked(place, request, found, DocumentKey(repository, request.document_unique_id))


def make_plan(
    asked: Sequence[Asked],
    families: Mapping[DocumentKey, tuple[EntryFacts, ...]],
    decisions: Mapping[DocumentKey, Decision],
    home: str,
    withheld: Callable[[Hospital], bool],
) -> Plan:
    """Per document: fetch from its hospital, or refuse.

    An unknown repository and a foreign home are told as such, since both depend on configuration alone; every other
    refusal is the same error as for a document that does not exist. `withheld` says for which hospitals the caller's
    assertion cannot be forwarded. Sources: TF-2 3.43.4.1.3, 3.43.5; TF-3 table 4.2.4.1-2.
    """
    return Plan(tuple(_step(one, families, decisions, home, withheld) for one in asked))


def _step(
    asked: Asked,
    families: Mapping[DocumentKey, tuple[EntryFacts, ...]],
    decisions: Mapping[DocumentKey, Decision],
    home: str,
    withheld: Callable[[Hospital], bool],
) -> Fetch | Refused:
    decision = decisions[asked.key]
    family = families.get(asked.key, ())
    if foreign(asked.request.home, home):
        error = XdsError(
            Code.UNKNOWN_COMMUNITY,
            f"community {asked.request.home} is not known here",
            asked.request.document_unique_id,
        )
        return Refused(asked, denied(decision), error)
    if asked.route is None:
        error = XdsError(
            Code.UNKNOWN_REPOSITORY_ID,
            f"repository {asked.request.repository_unique_id} is not known here",
            asked.request.document_unique_id,
        )
        return Refused(asked, denied(decision), error)
    if not decision.permit or not family:
        shown = newest(family).entry_uuid if family else ""
        return Refused(asked, denied(decision), asked.hidden, entry_uuid=shown)
    hospital, entry = asked.route.hospital, newest(family)
    if hospital.switched_off or withheld(hospital):
        return Refused(asked, decision, asked.failed(Ending.NOT_SENT), Ending.NOT_SENT, entry.entry_uuid)
    return Fetch(asked, hospital, entry, decision)


def denied(decision: Decision) -> Decision:
    """`decision` if it denies, else a denial: no permit stands in the trail beside a document never asked for."""
    return decision if not decision.permit else Decision(permit=False, reason=Reason.UNKNOWN_DOC)


def newest(family: Sequence[EntryFacts]) -> EntryFacts:
    """The entry whose hash, size and mimeType the bytes must have: approved before deprecated, then the latest."""
    return max(family, key=lambda entry: (entry.status is Status.APPROVED, entry.version, entry.registered_at))


def foreign(home: str, ours: str) -> bool:
    """Whether a HomeCommunityId names another community. Where none is configured, any is echoed (TF-2 3.43.4.1.2)."""
    return bool(home and ours) and home.removeprefix("urn:oid:") != ours.removeprefix("urn:oid:")


def refuse_all(asked: Sequence[Asked], reason: Reason) -> Plan:
    """A request refused as a whole on rows A10 to A12: each document says why, by the reason code."""
    decision = Decision(permit=False, reason=reason)
    return Plan(
        tuple(
            Refused(one, decision, XdsError(Code.REPOSITORY_ERROR, reason.value, one.request.document_unique_id))
            for one in asked
        )
    )

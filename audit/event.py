"""What happened, in our words: one frozen Event per exchange, holding all its decisions.

Holds ids and codes, never titles, document bytes or the assertion. Everything an ATNA message needs is here
(ITI TF-2 3.20, 3.18.5, 3.42.5, 3.43.6): who, from where, about whom, why, which objects, how it ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from ihe.errors import XdsError, clip
from ihe.soap import Call
from policy.facts import Clock, Decision, Peer, Refusal, Subject


class Kind(StrEnum):
    """What sort of event; intent and outcome of one exchange share its correlation."""

    REFUSED = "refused"
    FAILED = "failed"
    QUERIED = "queried"
    REGISTERING = "registering"
    REGISTERED = "registered"
    RESENT = "resend"
    UPDATING = "updating"
    UPDATED = "updated"
    REMOVING = "removing"
    REMOVED = "removed"
    RELEASING = "releasing"
    RELEASED = "released"
    BLOCK_SET = "block-set"
    BLOCK_LIFTED = "block-lifted"
    FEEDING = "feeding"
    FED = "fed"
    MERGING = "merging"
    MERGED = "merged"
    SEPARATED = "separated"
    NODE = "node"


class Ending(StrEnum):
    """How the delivery of one document ended. One word for audit, metrics and operators."""

    COMPLETE = "complete"
    REFUSED_BY_POLICY = "refused-by-policy"
    CALLER_GONE = "caller-gone"
    CALLER_TOO_SLOW = "caller-too-slow"
    UP_CONNECT = "up-connect"
    UP_TLS = "up-tls"
    UP_NO_HEADERS = "up-no-headers"
    UP_BAD_HEADERS = "up-bad-headers"
    UP_BAD_ROOT = "up-bad-root"
    UP_REFUSED = "up-refused"
    UP_STALLED = "up-stalled"
    UP_RESET = "up-reset"
    UP_SHORT = "up-short"
    UP_LONG = "up-long"
    UP_HASH = "up-hash"
    NOT_SENT = "not-sent"
    OVERLOAD = "overload"
    DRAINING = "draining"
    BLOCKED = "blocked"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Object:
    """One document (or patient-level outcome, with empty ids) and what was decided about it."""

    decision: Decision
    entry_uuid: str = ""
    repository_unique_id: str = ""
    unique_id: str = ""
    ending: Ending | None = None
    bytes_sent: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One record of the audit trail. `subject` is None when nobody was proven."""

    kind: Kind
    transaction: str
    at: datetime
    wall: datetime
    simulated: bool
    correlation: str
    message_id: str
    listener: str
    address: str
    certificate: str
    subject: Subject | None = None
    patient_id: str = ""
    patients: tuple[str, ...] = ()
    """Further patients of whom the answer holds something: machines may ask across patients."""
    policy: str = ""
    """Version and generation of the policy decided on."""
    reason: str = ""
    """Reason code of a refusal or of a request-level decision."""
    query_id: str = ""
    query: str = ""
    """The AdhocQueryRequest as received, for ATNA's ParticipantObjectQuery."""
    submission_set_unique_id: str = ""
    objects: tuple[Object, ...] = ()
    errors: tuple[str, ...] = ()
    note: str = ""


def unasked(
    at: datetime,
    wall: datetime,
    simulated: bool,
    kind: Kind,
    note: str,
    *,
    correlation: str = "",
    patient_id: str = "",
) -> Event:
    """The event of what nobody asked for over a listener: something the node or its operator did."""
    return Event(
        kind=kind,
        transaction="",
        at=at,
        wall=wall,
        simulated=simulated,
        correlation=correlation,
        message_id="",
        listener="",
        address="",
        certificate="",
        patient_id=patient_id,
        note=note,
    )


@dataclass(frozen=True, slots=True)
class Exchange:
    """The constant part of every event of one exchange; its methods make the events."""

    transaction: str
    at: datetime
    wall: datetime
    simulated: bool
    message_id: str
    peer: Peer
    policy: str = field(default="")

    @classmethod
    def begin(cls, call: Call, peer: Peer, clock: Clock) -> Exchange:
        """Starts the exchange: the one `now` of the request is `exchange.at`."""
        return cls(
            transaction=call.action.transaction,
            at=clock.now(),
            wall=clock.wall(),
            simulated=clock.simulated,
            message_id=clip(call.message_id, 256),
            peer=peer,
        )

    def under(self, policy: str) -> Exchange:
        """The same exchange, deciding under this policy version and generation."""
        return replace(self, policy=policy)

    def event(self, kind: Kind, subject: Subject | None, patient_id: str = "") -> Event:
        """A bare event of this exchange; callers add what they know with dataclasses.replace."""
        return Event(
            kind=kind,
            transaction=self.transaction,
            at=self.at,
            wall=self.wall,
            simulated=self.simulated,
            correlation=self.peer.correlation,
            message_id=self.message_id,
            listener=self.peer.listener,
            address=self.peer.address,
            certificate=self.peer.certificate,
            subject=subject,
            patient_id=patient_id,
            policy=self.policy,
        )

    def _about(self, kind: Kind, subject: Subject, patient_ids: Sequence[str]) -> Event:
        first, *others = patient_ids or ("",)
        return replace(self.event(kind, subject, first), patients=tuple(others))

    def refused(self, refusal: Refusal) -> Event:
        """Rows A1-A9: a fault is about to be sent."""
        return replace(self.event(Kind.REFUSED, refusal.subject), reason=refusal.reason.value, note=refusal.note)

    def failed(self, subject: Subject, errors: Sequence[XdsError], reason: str = "", patient_id: str = "") -> Event:
        """The request is answered with errors only."""
        codes = tuple(error.code.value for error in errors)
        return replace(self.event(Kind.FAILED, subject, patient_id), errors=codes, reason=reason)

    def queried(self, subject: Subject, patient_id: str, query_id: str, query: str, objects: Sequence[Object]) -> Event:
        """ITI-18: what was found, shown and hidden."""
        bare = self.event(Kind.QUERIED, subject, patient_id)
        return replace(bare, query_id=query_id, query=query, objects=tuple(objects))

    def releasing(self, subject: Subject, patient_ids: Sequence[str], objects: Sequence[Object]) -> Event:
        """ITI-43, before the first byte leaves. Machines may ask across patients: all of them are told."""
        return replace(self._about(Kind.RELEASING, subject, patient_ids), objects=tuple(objects))

    def released(
        self, subject: Subject, patient_ids: Sequence[str], objects: Sequence[Object], note: str = ""
    ) -> Event:
        """ITI-43, how each delivery ended."""
        return replace(self.releasing(subject, patient_ids, objects), kind=Kind.RELEASED, note=note)

    def registering(self, subject: Subject, patient_id: str, submission: str, objects: Sequence[Object]) -> Event:
        """ITI-42, durable before the commit."""
        bare = self.event(Kind.REGISTERING, subject, patient_id)
        return replace(bare, submission_set_unique_id=submission, objects=tuple(objects))

    def registered(self, subject: Subject, patient_id: str, submission: str, resent: bool = False) -> Event:
        """ITI-42, after the commit."""
        bare = self.event(Kind.RESENT if resent else Kind.REGISTERED, subject, patient_id)
        return replace(bare, submission_set_unique_id=submission)

    def updating(
        self, subject: Subject, patient_ids: Sequence[str], submission: str, objects: Sequence[Object]
    ) -> Event:
        """ITI-57 and ITI-92, durable before the commit: new versions, and what they or their operations change."""
        bare = self._about(Kind.UPDATING, subject, patient_ids)
        return replace(bare, submission_set_unique_id=submission, objects=tuple(objects))

    def updated(self, subject: Subject, patient_ids: Sequence[str], submission: str, resent: bool = False) -> Event:
        """ITI-57 and ITI-92, after the commit."""
        intent = self.updating(subject, patient_ids, submission, ())
        return replace(intent, kind=Kind.RESENT if resent else Kind.UPDATED)

    def removing(self, subject: Subject, patient_ids: Sequence[str], objects: Sequence[Object]) -> Event:
        """ITI-62, durable before the commit: everything the message names."""
        return replace(self._about(Kind.REMOVING, subject, patient_ids), objects=tuple(objects))

    def removed(self, subject: Subject, patient_ids: Sequence[str]) -> Event:
        """ITI-62, after the commit."""
        return replace(self.removing(subject, patient_ids, ()), kind=Kind.REMOVED)

    def feeding(self, subject: Subject, patient_ids: Sequence[str], subsumed: str = "") -> Event:
        """ITI-8 and ITI-44, durable before the commit: patients become known, or one of them lives on under another."""
        if subsumed:
            return self._about(Kind.MERGING, subject, (*patient_ids, subsumed))
        return self._about(Kind.FEEDING, subject, patient_ids)

    def fed(self, subject: Subject, patient_ids: Sequence[str], subsumed: str = "", note: str = "") -> Event:
        """ITI-8 and ITI-44, after the commit; or alone, where the message changed nothing."""
        intent = self.feeding(subject, patient_ids, subsumed)
        return replace(intent, kind=Kind.MERGED if subsumed else Kind.FED, note=note)


class Recorder(Protocol):
    """The audit trail as transactions see it."""

    def record(self, event: Event) -> None:
        """Returns only when the event is durable. Raises RecordLost otherwise; then nothing may leave."""


class RecordLost(Exception):
    """The spool cannot be written: fail closed, before the first byte."""

"""How every transaction of the registry refuses: a caller who may not write, and a node that cannot answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Protocol

from audit.event import Exchange, Kind, Recorder, RecordLost
from ihe.errors import FaultCode, SoapFault, Subcode
from ihe.names import Action
from ihe.soap import Call
from policy.facts import CallerUnknown, Channel, Reason, Refusal, RulesUnknown, Subject


def machine(call: Call, caller: Subject | Refusal) -> Subject | Refusal:
    """The machine identity that sends, or a refusal: people and patients do not write metadata (row A4)."""
    if isinstance(caller, Refusal) or caller.channel is Channel.MACHINE:
        return caller
    return _not_allowed(call, caller, f"{call.action.transaction} is for machines")


def administrator(call: Call, caller: Subject | Refusal) -> Subject | Refusal:
    """The machine identity that sends, if it may change what is registered anywhere at all; else a refusal."""
    sender = machine(call, caller)
    if isinstance(sender, Refusal):
        return sender
    allowed = sender.may_remove if call.action is Action.REMOVE else sender.may_update
    if allowed:
        return sender
    return _not_allowed(call, sender, f"{sender.machine} has no repositories for {call.action.transaction}")


def _not_allowed(call: Call, caller: Subject, note: str) -> Refusal:
    reason = Reason.CHANNEL_NOT_ALLOWED
    fault = SoapFault(FaultCode.SENDER, reason.value, Subcode.FAILED_AUTHENTICATION, relates_to=call.message_id)
    return Refusal(reason, fault, caller, note)


class Recording(Protocol):
    """Whatever has a trail."""

    @property
    def audit(self) -> Recorder:
        """The trail."""


def admitted(caller: Subject | Refusal, exchange: Exchange, desk: Recording) -> Subject:
    """The one who asks. Raises the fault of a refusal, once it is on record; RecordLost."""
    if isinstance(caller, Refusal):
        desk.audit.record(exchange.refused(caller))
        raise caller.fault
    return caller


@contextmanager
def answering(call: Call, exchange: Exchange, desk: Recording, who: str = "sender") -> Iterator[None]:
    """Around a whole transaction: what keeps this node from answering becomes a Receiver fault, on record if it can be.

    `who` is the one the sentences speak of.
    """
    correlation = exchange.peer.correlation
    try:
        yield
    except RulesUnknown:
        record_unanswered(desk, exchange, "RULES_UNKNOWN")
        raise receiver(call, "No policy is in force") from None
    except CallerUnknown as unknown:
        record_unanswered(desk, exchange, str(unknown))
        raise receiver(call, f"The {who} could not be identified; quote {correlation}") from unknown
    except RecordLost as lost:
        raise receiver(call, f"The exchange could not be recorded; quote {correlation}") from lost


def record_unanswered(desk: Recording, exchange: Exchange, reason: str, subject: Subject | None = None) -> None:
    """Records that nobody was answered because this node could not; a lost record changes nothing about that."""
    with suppress(RecordLost):
        desk.audit.record(replace(exchange.event(Kind.FAILED, subject), reason=reason))


def receiver(call: Call, reason: str) -> SoapFault:
    """The fault for what is this node's trouble, not the caller's mistake."""
    return SoapFault(FaultCode.RECEIVER, reason, relates_to=call.message_id)

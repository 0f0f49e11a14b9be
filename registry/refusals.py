"""How every transaction of the registry refuses: a caller who may not write, and a node that cannot answer."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from audit.event import Exchange, Kind, RecordLost
from ihe.errors import FaultCode, SoapFault, Subcode
from ihe.soap import Call
from policy.facts import Channel, Reason, Refusal, Subject
from registry.desk import Desk


def machine(call: Call, caller: Subject | Refusal) -> Subject | Refusal:
    """The machine identity that sends, or a refusal: people and patients do not write metadata (row A4)."""
    if isinstance(caller, Refusal) or caller.channel is Channel.MACHINE:
        return caller
    reason = Reason.CHANNEL_NOT_ALLOWED
    fault = SoapFault(FaultCode.SENDER, reason.value, Subcode.FAILED_AUTHENTICATION, relates_to=call.message_id)
    return Refusal(reason, fault, caller, f"{call.action.transaction} is for machines")


def record_unanswered(desk: Desk, exchange: Exchange, reason: str) -> None:
    """Records that nobody was answered because this node could not; a lost record changes nothing about that."""
    with suppress(RecordLost):
        desk.audit.record(replace(exchange.event(Kind.FAILED, None), reason=reason))


def receiver(call: Call, reason: str) -> SoapFault:
    """The fault for what is this node's trouble, not the caller's mistake."""
    return SoapFault(FaultCode.RECEIVER, reason, relates_to=call.message_id)

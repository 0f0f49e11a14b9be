"""ITI-43: decide, record, then stream. A failure after the first byte ends the connection, never the truth.

What happens to a request, and where it can be refused, in order. In `prepare`, in a thread that may wait:

1. identify        rows A1-A9: a SOAP fault, recorded
2. read, route     a malformed request, or too many documents: Failure with every error, recorded
3. judge           no policy: a SOAP fault. Rows A10-A12: Failure with the reason code. The rest, document by document:
                   an unknown repository or community is told; hidden and unknown get one and the same error
4. record          the intent is durable, or nothing is sent; a request of which nothing is left ends here

In `send`, on the event loop. From here on there is no SOAP fault, only errors per document:

5. gather          the hospitals at the same time, under deadlines: who fails, is late or sends what was not registered
6. confirm         a block or policy that changed meanwhile: back to 3, three times at most
7. commit          our root part is composed, and the release starts: what fails later can only cut the answer
8. stream          bytes checked as they pass; cut when a block comes into force, a hash is wrong or the caller is gone
9. record          how each document ended, whatever happened

Sources: ITI TF-2 3.43, TF-3 4.2.4; rows A10-F2 of the decision table (docs/policy-guide.md).
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog

from audit.event import Ending, Exchange, Kind, RecordLost
from ihe import retrieval
from ihe.errors import FaultCode, SoapFault, XdsError, XdsFailure
from ihe.names import Code
from ihe.soap import Call
from policy.facts import BlocksUnavailable, CallerUnknown, Peer, Refusal, RulesUnknown, Subject
from repository_proxy.answer import Answer, new_answer
from repository_proxy.delivery import DRAINING, Delivery, Write
from repository_proxy.desk import Desk
from repository_proxy.failures import CallerGone, CallerTooSlow, UpstreamFailed
from repository_proxy.judgement import Judgement, Token, judge
from repository_proxy.plan import Asked, Plan, route
from repository_proxy.watch import Basis, basis

__all__ = ["DRAINING", "Aborted", "CallerGone", "CallerTooSlow", "Release", "prepare", "send"]

log = structlog.get_logger()

DECIDED_AGAIN = 3
"""Times that a request is decided again because blocks or policy changed under it, before it is given up."""
UNDECIDABLE = (BlocksUnavailable, RulesUnknown)


class Aborted(Exception):
    """The answer cannot be completed: the connection must be cut, without last chunk, so that nothing looks whole."""


@dataclass(frozen=True, slots=True)
class Release:
    """An answer that is decided and recorded, and of which no byte has left. Its HTTP status is 200."""

    desk: Desk
    exchange: Exchange
    subject: Subject
    answer: Answer
    errors: tuple[XdsError, ...] = ()
    """Of a request that could not be read; then there is no plan."""
    asked: tuple[Asked, ...] = ()
    token: Token = field(default_factory=lambda: Token(None))
    plan: Plan = field(default_factory=Plan)
    basis: Basis | None = None
    """What the plan was decided on; None for an answer that delivers nothing and is recorded in full."""

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """HTTP headers of the answer, for the edge that starts it."""
        content_type = (b"content-type", self.answer.content_type.encode("ascii"))
        if self.answer.content_type.startswith("multipart/"):
            return (content_type, (b"mime-version", b"1.0"))
        return (content_type,)

    @property
    def patient_ids(self) -> tuple[str, ...]:
        """Whose documents these are."""
        return (self.subject.patient_id,) if self.subject.patient_id else self.plan.patient_ids

    def judged(self, at: datetime) -> Judgement:
        """The request decided as things stand at `at`. Raises RulesUnknown; may wait for the registry."""
        return judge(self.desk, self.subject, self.asked, self.token, at)


def prepare(call: Call, peer: Peer, desk: Desk) -> Release:
    """Reads, decides, plans and records one retrieve. Nothing has left when it returns, and nothing more can fault.

    Raises: SoapFault for a caller refused on rows A1-A9 or not to be told, and when no policy is in force; RecordLost.
    """
    exchange = Exchange.begin(call, peer, desk.clock)
    subject = _identified(call, peer, desk, exchange)
    if isinstance(subject, Refusal):
        desk.audit.record(exchange.refused(subject))
        raise _related(subject.fault, call)
    answer, token = new_answer(call.packaging, desk.unique(), call.message_id), Token(call.security)
    try:
        asked = route(_read(call, desk.limits.documents), desk.routes)
    except XdsFailure as failure:
        desk.audit.record(exchange.failed(subject, failure.errors, patient_id=subject.patient_id))
        return Release(desk, exchange, subject, answer, failure.errors)
    try:
        judgement = judge(desk, subject, asked, token, exchange.at)
    except RulesUnknown:
        desk.audit.record(exchange.failed(subject, (), "RULES_UNKNOWN", subject.patient_id))
        raise _related(SoapFault(FaultCode.RECEIVER, "No policy is in force"), call) from None
    plan, standing = judgement.plan, judgement.basis
    if standing is not None:
        exchange = exchange.under(standing.policy.edition)
    patient_ids = (subject.patient_id,) if subject.patient_id else plan.patient_ids
    if plan.fetches:
        # Before any byte leaves: a document nobody can account for is worse than one delivered a moment later.
        desk.audit.record(exchange.releasing(subject, patient_ids, plan.objects()))
        return Release(desk, exchange, subject, answer, (), asked, token, plan, standing)
    # Nothing will be delivered, so this is all there is to say, and there is nothing to watch.
    failed = exchange.failed(subject, plan.errors, judgement.reason, next(iter(patient_ids), ""))
    desk.audit.record(replace(failed, objects=plan.objects(plan.refusals)))
    return Release(desk, exchange, subject, answer, (), asked, token, plan)


def _identified(call: Call, peer: Peer, desk: Desk, exchange: Exchange) -> Subject | Refusal:
    try:
        return desk.identify(call, peer, exchange.at)
    except CallerUnknown as unknown:
        desk.audit.record(replace(exchange.event(Kind.FAILED, None), reason=str(unknown)))
        reason = f"The caller could not be identified; quote {peer.correlation}"
        raise _related(SoapFault(FaultCode.RECEIVER, reason), call) from unknown
    except RulesUnknown:
        desk.audit.record(replace(exchange.event(Kind.FAILED, None), reason="RULES_UNKNOWN"))
        raise _related(SoapFault(FaultCode.RECEIVER, "No policy is in force"), call) from None


def _read(call: Call, most: int) -> tuple[retrieval.DocumentRequest, ...]:
    requests = retrieval.read(call.body)
    if len(requests) > most:
        raise XdsFailure.of(Code.TOO_MANY_RESULTS, f"at most {most} documents in one request")
    return requests


def _related(fault: SoapFault, call: Call) -> SoapFault:
    return replace(fault, relates_to=fault.relates_to or call.message_id)


async def send(release: Release, write: Write) -> None:
    """Writes the whole body of the answer: hospitals asked in parallel, their documents checked and passed on.

    Returns only when every promised document left whole. Raises: Aborted when the connection must be cut; whatever
    `write` raises, which should be CallerGone or CallerTooSlow. May be cancelled at any point: the caller is gone, or
    with the message DRAINING the node stops. Every document's ending is recorded in all cases.
    """
    desk = release.desk
    forwarded = any(fetch.hospital.assertion == "forward" for fetch in release.plan.fetches)
    assertion = release.token.raw if forwarded else None
    delivery = Delivery(release.plan, release.answer, desk.upstreams, assertion, desk.limits, write)
    try:
        await delivery.gather()
        standing = await _confirm(release, delivery)
        delivery.commit(release.errors)
        await _stream(release, delivery, standing)
    except UpstreamFailed as late:
        raise Aborted(late.ending.value) from late
    finally:
        delivery.conclude(sys.exception())
        if release.basis is not None:
            await _record_outcome(release, delivery)


async def _confirm(release: Release, delivery: Delivery) -> Basis | None:
    """The check at which the release starts: if blocks or policy changed since the decision, it is taken again."""
    standing = release.basis
    if standing is None or not delivery.plan.fetches:
        return standing
    try:
        for _ in range(DECIDED_AGAIN):
            if release.desk.glance() == standing.sequence and release.desk.rules() is standing.policy:
                return standing
            again = await asyncio.to_thread(_decided_again, release, standing)
            if again is None:
                return standing
            delivery.narrow(delivery.plan.narrowed(again.plan))
            if again.basis is None:
                return standing
            standing = again.basis
        log.warning("blocks or policy kept changing", correlation=release.exchange.peer.correlation)
    except (*UNDECIDABLE, RecordLost) as wrong:
        log.error("release not confirmed", what=type(wrong).__name__, correlation=release.exchange.peer.correlation)
    delivery.refuse_all(Ending.INTERNAL)
    return standing


def _decided_again(release: Release, standing: Basis) -> Judgement | None:
    """The request decided anew and recorded, if `standing` no longer stands."""
    desk = release.desk
    if basis(desk.rules, desk.blocks).same(standing):
        return None
    again = release.judged(desk.clock.now())
    exchange = release.exchange if again.basis is None else release.exchange.under(again.basis.policy.edition)
    desk.audit.record(exchange.releasing(release.subject, release.patient_ids, again.plan.objects()))
    return again


async def _stream(release: Release, delivery: Delivery, standing: Basis | None) -> None:
    """Streams, and cuts the stream when a block or a policy comes into force that forbids what is on its way."""
    limits, loop = release.desk.limits, asyncio.get_running_loop()
    mine, watching = asyncio.current_task(), [False]
    assert mine is not None
    watches: list[asyncio.Task[None]] = []

    async def watch() -> None:
        cut = True
        try:
            cut = await _withdrawn(release, delivery, standing)
        finally:
            # Also if watching itself fails: a release that nobody watches must not go on.
            if cut and watching[0]:
                watching[0] = False
                mine.cancel()

    # Most releases are over before the first look is due: only a timer is spent on them.
    first = loop.call_later(limits.watch_every, lambda: watches.append(loop.create_task(watch())))
    watching[0] = standing is not None
    try:
        await delivery.stream()
    except asyncio.CancelledError:
        if watching[0] or standing is None:
            raise
        mine.uncancel()
        raise Aborted(Ending.BLOCKED.value) from None
    finally:
        watching[0] = False
        first.cancel()
        for task in watches:
            task.cancel()


async def _withdrawn(release: Release, delivery: Delivery, standing: Basis | None) -> bool:
    """Returns true once documents still on their way may no longer be delivered; looks once a second."""
    desk, limits = release.desk, release.desk.limits
    loop = asyncio.get_running_loop()
    seen = loop.time()
    while True:
        try:
            latest = await desk.watch.latest(desk.rules, desk.blocks, limits.watch_every)
            seen = loop.time()
            if standing is not None and not latest.same(standing):
                again = await asyncio.to_thread(release.judged, desk.clock.now())
                standing = again.basis or latest
                denied = {step.asked.key for step in again.plan.steps} - {f.asked.key for f in again.plan.fetches}
                if delivery.withdraw(denied, Ending.BLOCKED):
                    return True
        except UNDECIDABLE as wrong:
            if loop.time() - seen > limits.blind:
                log.error("release cut", what=type(wrong).__name__, correlation=release.exchange.peer.correlation)
                return delivery.withdraw({fetch.asked.key for fetch in delivery.due.values()}, Ending.INTERNAL)
        await asyncio.sleep(limits.watch_every)


async def _record_outcome(release: Release, delivery: Delivery) -> None:
    tally = delivery.tally
    objects = delivery.plan.objects(tally.endings, tally.sent)
    event = release.exchange.released(release.subject, release.patient_ids, objects, "; ".join(tally.notes))
    if codes := tuple(error.code.value for error in delivery.told):
        event = replace(event, errors=codes)
    try:
        await asyncio.to_thread(release.desk.audit.record, event)
    except RecordLost:
        # The intent is on disk, and recovery takes an intent without outcome for a release: nothing is unaccounted for.
        log.error("outcome not recorded", correlation=release.exchange.peer.correlation)

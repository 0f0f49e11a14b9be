"""Tells every transaction who calls, or gives it the refusal to send: rows A1-A9 of the decision table, in their order.

A token, if present, decides; a broken one is refused and never treated as none. Whoever sends none is the machine
that the client certificate, or else the listener, was configured to be. ITI-42 knows machines only.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from ihe import saml, signature, xml
from ihe.errors import FaultCode, Mangled, SoapFault, Subcode, clip
from ihe.names import MACHINES_ONLY
from ihe.soap import SECURITY_REFUSED, Call
from policy import subject as profile
from policy.facts import CallerUnknown, Channel, Peer, Reason, Refusal, Rules, Subject
from policy.subject import AdmissionRules, Defaults, IssuerProfile
from registry.database.engine import StoreTrouble

MOST_TOKENS = 10_000
"""Verified assertions kept per worker, some 5 KiB each: every clinician of a region at work, in 50 MiB at most."""
LONGEST_KEPT = timedelta(minutes=5)
"""How long the verification of one assertion may stand for the next use of the same bytes."""

TOKEN_NEEDED = "A security token is needed"
EXPIRED = "The security token is not valid at this time"
ATTEST_EXPIRED = "attestation_has_expired"


class Bindings(Protocol):
    """Remembers which client certificate first used an assertion, across workers."""

    def bind(self, assertion_id: str, certificate: str, until: datetime, /) -> bool:
        """True if the assertion now belongs, or belonged already, to this certificate; False if to another."""


class BindingsInMemory:
    """Bindings of one process: enough for a node with one worker, and for tests."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._bound: dict[str, tuple[str, datetime]] = {}
        self._forget_at = 1000
        self._lock = threading.Lock()

    def bind(self, assertion_id: str, certificate: str, until: datetime, /) -> bool:
        """See Bindings. Bindings are forgotten after their `until`."""
        with self._lock:
            now = self._now()
            if len(self._bound) >= self._forget_at:
                self._bound = {key: kept for key, kept in self._bound.items() if kept[1] > now}
                self._forget_at = max(1000, 2 * len(self._bound))
            bound = self._bound.get(assertion_id)
            if bound is None or bound[1] <= now:
                bound = self._bound[assertion_id] = (certificate, until)
            return bound[0] == certificate


@dataclass(frozen=True, slots=True)
class IssuerTrust:
    """A token service and the keys its signatures are checked with: several during a roll-over."""

    profile: IssuerProfile
    keys: tuple[signature.VerifyKey, ...]


@dataclass(frozen=True, slots=True)
class MachineIdentity:
    """A system that calls without a user's token, known by its client certificates."""

    name: str
    certificates: frozenset[str]
    """SHA-256 of each certificate's DER in lower-case hex; empty for a listener's identity."""
    may_register: tuple[str, ...] = ()
    """repositoryUniqueIds it may register for; empty means none."""
    may_update: tuple[str, ...] = ()
    """repositoryUniqueIds whose metadata it may update (ITI-57, ITI-92)."""
    may_remove: tuple[str, ...] = ()
    """repositoryUniqueIds whose metadata it may remove (ITI-62)."""
    may_feed: bool = False
    """Whether it may tell which patients there are (ITI-8, ITI-44)."""
    organisation: str = ""
    """Whose machine it is, by organisation number: a patient's block of that organisation is one of this machine."""

    def subject(self) -> Subject:
        """The machine as the one who asks."""
        return Subject(
            channel=Channel.MACHINE,
            name=self.name,
            machine=self.name,
            legal_entity=self.organisation,
            may_register=self.may_register,
            may_update=self.may_update,
            may_remove=self.may_remove,
            may_feed=self.may_feed,
        )


@dataclass(slots=True)
class _Verified:
    assertion: saml.Assertion
    subject: Subject
    issuer: IssuerProfile
    attested: datetime | None
    bound_to: str | None = None
    """The certificate it is known to be bound to: a binding never changes while the assertion lives, so asked once."""


class _Kept:
    """Verified assertions by digest, the least recently used forgotten first. Failures are never kept."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[datetime, datetime, _Verified]] = OrderedDict()
        self._lock = threading.Lock()
        self.generation = 0

    def get(self, key: bytes, now: datetime) -> _Verified | None:
        with self._lock:
            found = self._kept.get(key)
            # Not before it was kept either: a simulated clock may be set back.
            if found is None or not found[0] <= now < found[1]:
                return None
            self._kept.move_to_end(key)
            return found[2]

    def put(self, key: bytes, verified: _Verified, now: datetime, generation: int) -> None:
        with self._lock:
            if generation != self.generation:
                # Verified by keys that have been taken away meanwhile.
                return
            self._kept[key] = (now, min(verified.assertion.not_on_or_after, now + LONGEST_KEPT), verified)
            self._kept.move_to_end(key)
            while len(self._kept) > MOST_TOKENS:
                self._kept.popitem(last=False)

    def flush(self) -> None:
        with self._lock:
            self.generation += 1
            self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)


class _Refused(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class Gatekeeper:
    """Who calls (policy.facts.Identify). Shared by all threads of a worker."""

    def __init__(
        self,
        issuers: Mapping[str, IssuerTrust],
        machines: Sequence[MachineIdentity],
        listener_identity: Mapping[str, str],
        rules: Rules,
        bindings: Bindings,
    ) -> None:
        """`listener_identity`: listener name -> machine name. Raises ValueError where this contradicts itself."""
        self._issuers = _by_entity_id(issuers)
        self._machines = {machine.name: machine for machine in machines}
        self._by_certificate = {key: machine for machine in machines for key in machine.certificates}
        if odd := [key for key in self._by_certificate if len(key) != 64 or set(key) - set("0123456789abcdef")]:
            raise ValueError(f"not a SHA-256 in lower-case hex: {clip(odd[0])}")
        if len(self._machines) != len(machines):
            raise ValueError("two machine identities have the same name")
        if len(self._by_certificate) != sum(len(machine.certificates) for machine in machines):
            raise ValueError("a certificate belongs to two machine identities")
        if unknown := sorted(set(listener_identity.values()) - set(self._machines)):
            raise ValueError(f"no machine identity is called {unknown[0]}")
        self._listener_identity = dict(listener_identity)
        self._rules = rules
        self._bindings = bindings
        self._kept = _Kept()

    def __call__(self, call: Call, peer: Peer, now: datetime) -> Subject | Refusal:
        """The caller, or why not. Raises RulesUnknown, CallerUnknown, and nothing for what the caller sends."""
        try:
            return self._identify(call, peer, now)
        except _Refused as refused:
            return refused.refusal

    def trust(self, issuers: Mapping[str, IssuerTrust]) -> None:
        """Puts these token services in the place of all earlier ones, from the next call on."""
        self._issuers = _by_entity_id(issuers)
        self.flush()

    def flush(self) -> None:
        """Forgets every verification made so far; assertions are verified again when they are next used."""
        self._kept.flush()

    def _identify(self, call: Call, peer: Peer, now: datetime) -> Subject:
        sent = self._sent(call, now)
        machine = self._machine(peer)
        if sent is None:
            if machine is None:
                raise _refused(call, Reason.TOKEN_MISSING)
            return machine.subject()
        rules: AdmissionRules = self._rules()
        verified = self._accepted(sent, call, peer, rules.defaults, now)
        subject = verified.subject
        if call.action in MACHINES_ONLY:
            if machine is None:
                note = f"{call.action.transaction} is for machines"
                raise _refused(call, Reason.CHANNEL_NOT_ALLOWED, note, subject)
            return machine.subject()
        if not self._bound(verified, peer.certificate, rules.defaults.token_skew):
            raise _refused(call, Reason.TOKEN_REPLAY, "used from another client certificate before", subject)
        reason = profile.admit(subject, rules)
        if reason is not None:
            raise _refused(call, reason, "", subject)
        return subject

    def _machine(self, peer: Peer) -> MachineIdentity | None:
        known = self._by_certificate.get(peer.certificate)
        return known or self._machines.get(self._listener_identity.get(peer.listener, ""))

    def _bound(self, verified: _Verified, certificate: str, skew: timedelta) -> bool:
        if verified.bound_to is None:
            assertion = verified.assertion
            # An id is unique within its issuer; the digest of both has one length, whatever an issuer calls things.
            key = hashlib.sha256(f"{assertion.issuer}\n{assertion.id}".encode()).hexdigest()
            try:
                if not self._bindings.bind(key, certificate, assertion.not_on_or_after + skew):
                    return False
            except StoreTrouble as trouble:
                raise CallerUnknown(trouble.code.value) from trouble
            verified.bound_to = certificate
        return verified.bound_to == certificate

    def _sent(self, call: Call, now: datetime) -> xml.Element | None:
        """Row A1: the token as sent, or None where none was sent."""
        try:
            if call.security is not None and saml.stale_message(call.security, now):
                raise _refused(call, Reason.TOKEN_INVALID, "the message's timestamp is out of time")
            sent = saml.find(call.security)
        except Mangled as mangled:
            raise _refused(call, Reason.TOKEN_MALFORMED, str(mangled)) from None
        if sent is None and saml.astray(call.body):
            raise _refused(call, Reason.TOKEN_MALFORMED, "a token stands where none is looked for")
        return sent

    def _accepted(self, sent: xml.Element, call: Call, peer: Peer, defaults: Defaults, now: datetime) -> _Verified:
        """Rows A2 and A3, but for the binding."""
        try:
            verified = self._verified(sent, call, now)
        except Mangled as mangled:
            raise _refused(call, Reason.TOKEN_INVALID, str(mangled)) from None
        skew = defaults.token_skew
        if wrong := _unfit(verified, peer, now, skew):
            raise _refused(call, Reason.TOKEN_INVALID, wrong, verified.subject)
        if verified.attested is not None and now - verified.attested > defaults.attest_age:
            raise _refused(call, Reason.ATTEST_EXPIRED, "", verified.subject)
        if saml.out_of_time(verified.assertion, now, skew):
            raise _refused(call, Reason.TOKEN_EXPIRED, "", verified.subject)
        return verified

    def _verified(self, sent: xml.Element, call: Call, now: datetime) -> _Verified:
        """Verified now, or these very bytes a moment ago. The message around them is looked at every time."""
        message = (call.body,)
        key, generation = saml.digest(sent), self._kept.generation
        if (known := self._kept.get(key, now)) is not None:
            signature.sole(sent, message)
            return known
        trust = self._issuers.get(saml.issuer(sent))
        if trust is None:
            raise Mangled("the issuer is not known")
        assertion = saml.read(signature.check(sent, trust.keys, message))
        if assertion.issuer != trust.profile.entity_id:
            raise Mangled("the issuer is not the one whose keys were used")
        verified = _Verified(
            assertion,
            profile.subject_of(assertion, trust.profile),
            trust.profile,
            profile.attested_at(assertion, trust.profile),
        )
        self._kept.put(key, verified, now, generation)
        return verified


def _unfit(verified: _Verified, peer: Peer, now: datetime, skew: timedelta) -> str:
    """Why a verified token is not for us, here and on this connection; empty if it is."""
    assertion, issuer = verified.assertion, verified.issuer
    if issuer.holder_of_key and assertion.confirmation_method != saml.HOLDER_OF_KEY:
        return "bearer, where the issuer is to name the holder of a key"
    if verified.attested is not None and verified.attested - now > skew:
        return "attested in the future"
    return saml.unfit(assertion, issuer.audiences, peer.certificate, now, skew)


def _by_entity_id(issuers: Mapping[str, IssuerTrust]) -> dict[str, IssuerTrust]:
    for entity_id, trust in issuers.items():
        if entity_id != trust.profile.entity_id or not trust.keys:
            raise ValueError(f"issuer {clip(entity_id)}: its entity id and at least one key are needed")
    return dict(issuers)


_FAULTS: dict[Reason, tuple[Subcode, str]] = {
    Reason.TOKEN_MISSING: (Subcode.TOKEN_UNAVAILABLE, TOKEN_NEEDED),
    Reason.TOKEN_MALFORMED: (Subcode.FAILED_CHECK, SECURITY_REFUSED),
    Reason.TOKEN_INVALID: (Subcode.FAILED_CHECK, SECURITY_REFUSED),
    Reason.TOKEN_REPLAY: (Subcode.FAILED_CHECK, SECURITY_REFUSED),
    Reason.ATTEST_EXPIRED: (Subcode.MESSAGE_EXPIRED, ATTEST_EXPIRED),
    Reason.TOKEN_EXPIRED: (Subcode.MESSAGE_EXPIRED, EXPIRED),
}


def _refused(call: Call, reason: Reason, note: str = "", subject: Subject | None = None) -> _Refused:
    """Rows A1-A3 tell the caller their subcode only, rows A4-A9 the reason code, to help the integrator."""
    subcode, text = _FAULTS.get(reason, (Subcode.FAILED_AUTHENTICATION, reason.value))
    fault = SoapFault(FaultCode.SENDER, text, subcode, relates_to=call.message_id)
    return _Refused(Refusal(reason, fault, subject, note))

"""Who calls: tokens, machines, and which of them decides."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from ihe import saml, signature, soap, xml
from ihe.errors import FaultCode, Subcode
from ihe.names import WSU, Action
from policy.agreements import Policy
from policy.facts import Channel, Reason, Refusal, RulesUnknown, Subject
from server import identity
from server.identity import BindingsInMemory, Gatekeeper, MachineIdentity
from simulators import sts
from tests.tools import tokens
from tests.tools.tokens import CERTIFICATE, NOW, OTHER_CERTIFICATE, OUS

MINUTE = timedelta(minutes=1)
OUS_CERTIFICATE = next(iter(OUS.certificates))


def refused(answer: Subject | Refusal) -> Refusal:
    assert isinstance(answer, Refusal)
    return answer


def admitted(answer: Subject | Refusal) -> Subject:
    assert isinstance(answer, Subject), answer
    return answer


class Counted:
    """Counts the verifications made with a real key."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times = 0
        real = signature.VerifyKey.verifies

        def verifies(key: signature.VerifyKey, *elements: xml.Element) -> bool:
            self.times += 1
            return real(key, *elements)

        monkeypatch.setattr(signature.VerifyKey, "verifies", verifies)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


@pytest.mark.parametrize("action", [Action.QUERY, Action.RETRIEVE])
def test_a_good_token_admits_the_clinician(action: Action) -> None:
    subject = admitted(tokens.gatekeeper()(tokens.asking(tokens.good(), action), tokens.peer(), NOW))
    assert (subject.channel, subject.name_id, subject.hpr) == (Channel.CLINICIAN, "01826520074", "9144900")
    assert subject.may_register == ()


@pytest.mark.parametrize("action", list(Action))
def test_nobody_is_asked_for_a_token(action: Action) -> None:
    refusal = refused(tokens.gatekeeper()(tokens.call(tokens.message(action=action)), tokens.peer(), NOW))
    assert refusal.reason is Reason.TOKEN_MISSING
    assert (refusal.fault.code, refusal.fault.subcode) == (FaultCode.SENDER, Subcode.TOKEN_UNAVAILABLE)
    assert refusal.fault.relates_to == "urn:uuid:1"
    assert refusal.subject is None


@pytest.mark.parametrize("action", list(Action))
def test_a_machine_is_known_by_its_certificate(action: Action) -> None:
    call = tokens.call(tokens.message(action=action))
    subject = admitted(tokens.gatekeeper()(call, tokens.peer(OUS_CERTIFICATE), NOW))
    assert subject == Subject(
        Channel.MACHINE, "ous", machine="ous", legal_entity="993467049", may_register=("2.999.1",)
    )


def test_a_machine_is_known_by_its_listener_and_its_certificate_goes_first() -> None:
    loopback = MachineIdentity("loopback", frozenset(), ("2.999.2",))
    gatekeeper = tokens.gatekeeper(machines=(OUS, loopback), listener_identity={"local": "loopback"})
    call = tokens.call(tokens.message(action=Action.REGISTER))
    assert admitted(gatekeeper(call, tokens.peer("", "local"), NOW)).machine == "loopback"
    assert admitted(gatekeeper(call, tokens.peer(CERTIFICATE, "local"), NOW)).machine == "loopback"
    assert admitted(gatekeeper(call, tokens.peer(OUS_CERTIFICATE, "local"), NOW)).machine == "ous"
    assert refused(gatekeeper(call, tokens.peer("", "clinicians"), NOW)).reason is Reason.TOKEN_MISSING


def test_a_token_decides_even_on_a_machines_connection() -> None:
    gatekeeper = tokens.gatekeeper()
    subject = admitted(gatekeeper(tokens.asking(tokens.good()), tokens.peer(OUS_CERTIFICATE), NOW))
    assert subject.channel is Channel.CLINICIAN


@pytest.mark.parametrize("action", list(Action))
def test_a_broken_token_is_never_treated_as_none(action: Action) -> None:
    broken = tokens.good().replace(tokens.P1.encode(), b"02911160008")
    refusal = refused(tokens.gatekeeper()(tokens.asking(broken, action), tokens.peer(OUS_CERTIFICATE), NOW))
    assert (refusal.reason, refusal.fault.subcode) == (Reason.TOKEN_INVALID, Subcode.FAILED_CHECK)
    assert refusal.subject is None


def test_registering_is_for_machines_whatever_the_token_says() -> None:
    gatekeeper = tokens.gatekeeper()
    call = tokens.asking(tokens.good(), Action.REGISTER)
    assert admitted(gatekeeper(call, tokens.peer(OUS_CERTIFICATE), NOW)).machine == "ous"
    refusal = refused(gatekeeper(call, tokens.peer(), NOW))
    assert (refusal.reason, refusal.fault.subcode) == (Reason.CHANNEL_NOT_ALLOWED, Subcode.FAILED_AUTHENTICATION)


def test_registering_with_an_expired_token_is_refused() -> None:
    call = tokens.asking(tokens.good(), Action.REGISTER)
    answer = tokens.gatekeeper()(call, tokens.peer(OUS_CERTIFICATE), NOW + timedelta(minutes=59, hours=1))
    assert refused(answer).fault.subcode is Subcode.MESSAGE_EXPIRED


def test_a_refusal_by_the_lists_tells_the_caller_its_code_and_the_trail_who_it_was() -> None:
    token = tokens.good(who=replace(tokens.ANNE, role="HF"))
    refusal = refused(tokens.gatekeeper()(tokens.asking(token), tokens.peer(), NOW))
    assert refusal.reason is Reason.ROLE_NOT_ALLOWED
    assert refusal.fault.subcode is Subcode.FAILED_AUTHENTICATION
    assert refusal.fault.reason == "ROLE_NOT_ALLOWED"
    assert refusal.subject is not None
    assert refusal.subject.name_id == tokens.ANNE.number


def test_an_attest_dies_after_an_hour_to_the_second() -> None:
    token = tokens.good(need=sts.Need(attested=NOW - 10 * MINUTE))
    gatekeeper = tokens.gatekeeper()
    admitted(gatekeeper(tokens.asking(token), tokens.peer(), NOW + 50 * MINUTE))
    refusal = refused(gatekeeper(tokens.asking(token), tokens.peer(), NOW + 50 * MINUTE + timedelta(seconds=1)))
    assert (refusal.reason, refusal.fault.reason) == (Reason.ATTEST_EXPIRED, "attestation_has_expired")
    assert refusal.fault.subcode is Subcode.MESSAGE_EXPIRED


def test_an_attest_from_the_future_is_refused() -> None:
    token = tokens.good(need=sts.Need(attested=NOW + 2 * MINUTE))
    refusal = refused(tokens.gatekeeper()(tokens.asking(token), tokens.peer(), NOW))
    assert (refusal.reason, refusal.fault.subcode) == (Reason.TOKEN_INVALID, Subcode.FAILED_CHECK)


def test_without_a_policy_nobody_with_a_token_gets_in() -> None:
    def none() -> Policy:
        raise RulesUnknown("no policy is in force")

    gatekeeper = Gatekeeper(tokens.trust(), (), {}, none, BindingsInMemory(lambda: NOW))
    with pytest.raises(RulesUnknown):
        gatekeeper(tokens.asking(tokens.good()), tokens.peer(), NOW)


def test_the_same_token_is_verified_once(counted: Counted) -> None:
    gatekeeper, token = tokens.gatekeeper(), tokens.good()
    for second in range(50):
        admitted(gatekeeper(tokens.asking(token), tokens.peer(), NOW + timedelta(seconds=second)))
    assert counted.times == 1


def test_a_verification_stands_for_five_minutes(counted: Counted) -> None:
    gatekeeper, token = tokens.gatekeeper(), tokens.good()
    for at, times in ((NOW, 1), (NOW + 5 * MINUTE - timedelta(seconds=1), 1), (NOW + 5 * MINUTE, 2)):
        admitted(gatekeeper(tokens.asking(token), tokens.peer(), at))
        assert counted.times == times


def test_a_clock_set_back_finds_no_verification_from_its_future(counted: Counted) -> None:
    gatekeeper, token = tokens.gatekeeper(), tokens.good()
    admitted(gatekeeper(tokens.asking(token), tokens.peer(), NOW + MINUTE))
    admitted(gatekeeper(tokens.asking(token), tokens.peer(), NOW))
    assert counted.times == 2


def test_one_changed_byte_is_another_token(counted: Counted) -> None:
    gatekeeper, token = tokens.gatekeeper(), tokens.good()
    admitted(gatekeeper(tokens.asking(token), tokens.peer(), NOW))
    changed = token.replace(tokens.P1.encode(), b"02911160008")
    assert refused(gatekeeper(tokens.asking(changed), tokens.peer(), NOW)).reason is Reason.TOKEN_INVALID
    assert counted.times == 2


def test_failures_are_not_kept(counted: Counted) -> None:
    gatekeeper = tokens.gatekeeper(tokens.trust(tokens.key("other")))
    for times in (1, 2):
        refused(gatekeeper(tokens.asking(token := tokens.good(token_id="_a1")), tokens.peer(), NOW))
        assert counted.times == times
        assert token


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda call: tokens.call(tokens.message(b'<x xmlns="urn:x">' + tokens.good() + b"</x>", wrap(call))),
            Reason.TOKEN_INVALID,
        ),
        (lambda call: tokens.call(tokens.message(wrap(call, b"<x/>"))), Reason.TOKEN_MALFORMED),
        (lambda call: tokens.call(tokens.message(wrap(call, stamp("2021-02-15T08:00:00Z")))), Reason.TOKEN_INVALID),
    ],
)
def test_a_kept_verification_excuses_nothing_around_it(spoil: Callable[[bytes], soap.Call], reason: Reason) -> None:
    gatekeeper, token = tokens.gatekeeper(), tokens.good()
    admitted(gatekeeper(tokens.asking(token), tokens.peer(), NOW))
    assert refused(gatekeeper(spoil(token), tokens.peer(), NOW)).reason is reason


def wrap(token: bytes, *more: bytes) -> bytes:
    return tokens.security(token, *more)


def stamp(expires: str) -> bytes:
    return f'<u:Timestamp xmlns:u="{WSU}"><u:Expires>{expires}</u:Expires></u:Timestamp>'.encode()


def test_a_kept_verification_ends_with_the_token() -> None:
    gatekeeper, token = tokens.gatekeeper(), tokens.good()
    late = NOW + 59 * MINUTE
    admitted(gatekeeper(tokens.asking(token), tokens.peer(), late))
    refusal = refused(gatekeeper(tokens.asking(token), tokens.peer(), late + 3 * MINUTE))
    assert refusal.reason is Reason.ATTEST_EXPIRED


def test_the_cache_is_bounded_and_forgets_the_least_used(monkeypatch: pytest.MonkeyPatch, counted: Counted) -> None:
    monkeypatch.setattr(identity, "MOST_TOKENS", 2)
    gatekeeper = tokens.gatekeeper()
    first, second, third = tokens.good(), tokens.good(), tokens.good()
    for token in (first, second, first, third):
        admitted(gatekeeper(tokens.asking(token), tokens.peer(), NOW))
    assert counted.times == 3
    admitted(gatekeeper(tokens.asking(first), tokens.peer(), NOW))
    assert counted.times == 3
    admitted(gatekeeper(tokens.asking(second), tokens.peer(), NOW))
    assert counted.times == 4


def test_a_key_taken_away_is_refused_from_the_next_call_on() -> None:
    old, new = tokens.key(), tokens.key("new")
    gatekeeper, token = tokens.gatekeeper(tokens.trust(old, new)), tokens.good()
    admitted(gatekeeper(tokens.asking(token), tokens.peer(), NOW))
    gatekeeper.trust(tokens.trust(new))
    assert refused(gatekeeper(tokens.asking(token), tokens.peer(), NOW)).reason is Reason.TOKEN_INVALID


def test_what_was_verified_with_keys_since_taken_away_is_not_kept() -> None:
    gatekeeper, token = tokens.gatekeeper(), tokens.good()
    real = signature.VerifyKey.verifies

    def verifies(key: signature.VerifyKey, *elements: xml.Element) -> bool:
        gatekeeper.trust(tokens.trust(tokens.key("new")))
        return real(key, *elements)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signature.VerifyKey, "verifies", verifies)
        admitted(gatekeeper(tokens.asking(token), tokens.peer(), NOW))
    assert refused(gatekeeper(tokens.asking(token), tokens.peer(), NOW)).reason is Reason.TOKEN_INVALID


def test_an_assertion_belongs_to_the_certificate_that_used_it_first() -> None:
    gatekeeper, token = tokens.gatekeeper(), tokens.good()
    for certificate, fine in ((CERTIFICATE, True), (OTHER_CERTIFICATE, False), ("", False), (CERTIFICATE, True)):
        answer = gatekeeper(tokens.asking(token), tokens.peer(certificate), NOW)
        if fine:
            admitted(answer)
        else:
            refusal = refused(answer)
            assert (refusal.reason, refusal.fault.subcode) == (Reason.TOKEN_REPLAY, Subcode.FAILED_CHECK)


def test_another_worker_knows_the_binding() -> None:
    bindings = BindingsInMemory(lambda: NOW)
    workers = [Gatekeeper(tokens.trust(), (), {}, tokens.rules, bindings) for _ in range(2)]
    token = tokens.good()
    admitted(workers[0](tokens.asking(token), tokens.peer(), NOW))
    answer = workers[1](tokens.asking(token), tokens.peer(OTHER_CERTIFICATE), NOW)
    assert refused(answer).reason is Reason.TOKEN_REPLAY


def test_two_issuers_may_call_two_assertions_the_same() -> None:
    other = "https://other.example"
    gatekeeper = tokens.gatekeeper({**tokens.trust(), **tokens.trust(entity_id=other)})
    for issuer, certificate in ((tokens.ISSUER, CERTIFICATE), (other, OTHER_CERTIFICATE)):
        token = tokens.service(issuer=issuer).clinician(tokens.ANNE, tokens.P1, NOW, token_id="_a1")
        admitted(gatekeeper(tokens.asking(token), tokens.peer(certificate), NOW))


def test_the_verified_issuer_is_the_one_whose_keys_and_channel_were_used(monkeypatch: pytest.MonkeyPatch) -> None:
    # Should serialising ever give another document than the one sent, a citizen must not become a clinician.
    gatekeeper = tokens.gatekeeper({**tokens.trust(), **tokens.trust(entity_id="https://other.example")})
    call = tokens.asking(tokens.service(issuer="https://other.example").clinician(tokens.ANNE, tokens.P1, NOW))
    admitted(gatekeeper(call, tokens.peer(), NOW))
    gatekeeper.flush()
    sent = call.security
    real = saml.issuer
    monkeypatch.setattr(saml, "issuer", lambda a: tokens.ISSUER if sent is not None and a is sent[0] else real(a))
    assert refused(gatekeeper(call, tokens.peer(), NOW)).reason is Reason.TOKEN_INVALID


def test_a_submission_does_not_take_a_clinicians_token_away() -> None:
    gatekeeper, token = tokens.gatekeeper(), tokens.good()
    admitted(gatekeeper(tokens.asking(token, Action.REGISTER), tokens.peer(OUS_CERTIFICATE), NOW))
    admitted(gatekeeper(tokens.asking(token), tokens.peer(), NOW))


def test_bindings_are_forgotten_after_their_end() -> None:
    clock = [NOW]
    bindings = BindingsInMemory(lambda: clock[0])
    assert bindings.bind("a", "1", NOW + MINUTE)
    assert not bindings.bind("a", "2", NOW + MINUTE)
    clock[0] = NOW + MINUTE
    assert bindings.bind("a", "2", NOW + 2 * MINUTE)
    for n in range(3000):
        bindings.bind(f"b{n}", "1", NOW + 2 * MINUTE)
        clock[0] += timedelta(seconds=1)
    assert len(bindings._bound) < 1100


def test_many_threads_neither_accept_a_bad_token_nor_refuse_a_good_one() -> None:
    gatekeeper = tokens.gatekeeper()
    good, bad = tokens.good(), tokens.good().replace(tokens.P1.encode(), b"02911160008")
    wrong: list[object] = []

    def ask() -> None:
        for n in range(60):
            answer = gatekeeper(tokens.asking(bad if n % 2 else good), tokens.peer(), NOW)
            if isinstance(answer, Subject) is bool(n % 2):
                wrong.append(answer)
            if n % 20 == 0:
                gatekeeper.flush()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong


def test_a_configuration_that_contradicts_itself_does_not_load() -> None:
    with pytest.raises(ValueError, match="same name"):
        tokens.gatekeeper(machines=(OUS, OUS))
    with pytest.raises(ValueError, match="two machine identities"):
        tokens.gatekeeper(machines=(OUS, replace(OUS, name="other")))
    for certificate in ("", "AA" * 32, "aa"):
        with pytest.raises(ValueError, match="SHA-256"):
            tokens.gatekeeper(machines=(replace(OUS, certificates=frozenset({certificate})),))
    with pytest.raises(ValueError, match="no machine identity"):
        tokens.gatekeeper(listener_identity={"local": "nobody"})
    with pytest.raises(ValueError, match="entity id"):
        tokens.gatekeeper({"x": next(iter(tokens.trust().values()))})


def test_a_fault_is_made_anew_for_every_call() -> None:
    # A fault is an exception: one shared by two threads would carry the other's MessageID.
    gatekeeper, call = tokens.gatekeeper(), tokens.call(tokens.message())
    first, second = (refused(gatekeeper(call, tokens.peer(), NOW)).fault for _ in range(2))
    assert first is not second


def test_now_is_the_argument_and_nothing_else() -> None:
    then = datetime.fromisoformat("2031-05-01T08:00:00+00:00")
    admitted(tokens.gatekeeper()(tokens.asking(tokens.good(then)), tokens.peer(), then))

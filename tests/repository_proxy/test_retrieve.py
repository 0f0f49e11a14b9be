"""ITI-43 from the caller's side: what is answered, what is recorded, and in which order."""

from __future__ import annotations

import re
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from audit.event import Ending, Kind, RecordLost
from ihe import retrieval, soap
from ihe.errors import FaultCode, SoapFault
from ihe.names import Action
from ihe.retrieval import DocumentRequest
from policy.blocks import Block, BlockKind, Setter
from policy.facts import BlocksUnavailable, Channel, Peer, Reason, Refusal, RulesUnknown, Subject
from repository_proxy.retrieve import Release, prepare, send
from simulators.hospital import Script, Variant
from tests.repository_proxy.ports import NOW, PATIENT, make_policy
from tests.repository_proxy.stage import Got, Stage, collected, play, request

SMALL = {"1.1": b"\r\nfirst\r\n", "1.2": b"%PDF second"}
LARGE = {"2.1": bytes(range(256)) * 6000}
PACKAGINGS = list(soap.Packaging)
PEER = Peer("test", "127.0.0.1", "", "c" * 32)


def a_call(*asked: tuple[str, str]) -> soap.Call:
    content_type, raw = request([DocumentRequest("", *one) for one in asked], soap.Packaging.MTOM)
    return soap.read_call(raw, content_type, frozenset(Action))


def block(unique_id: str) -> Block:
    return Block("b1", BlockKind.DOCUMENT, PATIENT, Setter.PATIENT, NOW, documents=frozenset({unique_id}))


async def with_two_hospitals(scene: Callable[[Stage], Awaitable[Got]], home: str = "") -> tuple[Stage, Got]:
    async with Stage(home=home) as stage:
        await stage.hospital("ous", "2.999.1", SMALL)
        await stage.hospital("ahus", "2.999.2", LARGE)
        await stage.open()
        got = await scene(stage)
        await stage.trail.concluded()
        return stage, got


@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_documents_of_several_hospitals_come_in_one_answer_exact_to_the_byte(packaging: soap.Packaging) -> None:
    stage, got = play(
        with_two_hospitals(
            lambda stage: stage.retrieve(
                ("2.999.2", "2.1"), ("2.999.1", "1.1"), ("2.999.1", "1.2"), packaging=packaging
            )
        )
    )
    assert got.status_word == "Success"
    assert got.documents == {**SMALL, **LARGE}
    assert [event.kind for event in stage.trail.events] == [Kind.RELEASING, Kind.RELEASED]
    assert stage.trail.endings == [Ending.COMPLETE] * 3
    assert [each.bytes_sent for each in stage.trail.outcome().objects] == [len(LARGE["2.1"]), 9, 11]
    assert got.content_type.startswith("multipart/" if packaging is soap.Packaging.MTOM else "application/soap+xml")


def test_mtom_lists_documents_in_request_order_whatever_order_the_hospitals_answer_in() -> None:
    _, got = play(
        with_two_hospitals(lambda stage: stage.retrieve(("2.999.1", "1.2"), ("2.999.2", "2.1"), ("2.999.1", "1.1")))
    )
    assert got.answer is not None
    assert [each.document for each in got.answer.documents] == ["1.2", "2.1", "1.1"]
    # Complete hospitals are sent first, so the parts stand in another order than the list.
    assert got.raw.index(SMALL["1.1"]) < got.raw.index(LARGE["2.1"][:5000])
    assert got.headers["mime-version"] == "1.0"


@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_what_cannot_be_had_is_told_per_document_and_the_rest_is_delivered(packaging: soap.Packaging) -> None:
    asked = (("2.999.1", "1.1"), ("2.999.1", "none"), ("2.9", "x"), ("2.999.2", "2.1", "urn:oid:2.9"))
    stage, got = play(
        with_two_hospitals(lambda stage: stage.retrieve(*asked, packaging=packaging), home="urn:oid:2.999.100")
    )
    assert got.status_word == "PartialSuccess"
    assert got.codes == [
        ("XDSDocumentUniqueIdError", "none"),
        ("XDSUnknownRepositoryId", "x"),
        ("XDSUnknownCommunity", "2.1"),
    ]
    assert got.documents == {"1.1": SMALL["1.1"]}
    assert stage.trail.endings == [Ending.COMPLETE, *[Ending.REFUSED_BY_POLICY] * 3]


def test_the_home_community_is_echoed_if_and_only_if_it_was_sent() -> None:
    home = "urn:oid:2.999.100"
    _, got = play(
        with_two_hospitals(lambda stage: stage.retrieve(("2.999.1", "1.1", home), ("2.999.1", "1.2")), home=home)
    )
    assert got.answer is not None
    assert [each.home for each in got.answer.documents] == [home, ""]


def test_one_document_asked_for_with_and_without_home_comes_twice() -> None:
    _, got = play(
        with_two_hospitals(lambda stage: stage.retrieve(("2.999.1", "1.1", "urn:oid:2.1"), ("2.999.1", "1.1")))
    )
    assert got.answer is not None
    assert len(got.answer.documents) == 2
    assert list(got.parts.values()).count(SMALL["1.1"]) == 2


def test_a_hidden_document_gets_the_answer_of_an_unknown_one_and_no_hospital_is_asked() -> None:
    async def scene(stage: Stage) -> Got:
        stage.book.add(block("1.1"))
        return await stage.retrieve(("2.999.1", "1.1"))

    stage, hidden = play(with_two_hospitals(scene))
    stage2, unknown = play(with_two_hospitals(lambda stage: stage.retrieve(("2.999.1", "9.9"))))
    assert without_ids(hidden.raw) == without_ids(unknown.raw.replace(b"9.9", b"1.1"))
    assert not stage.hospitals["ous"].received
    assert (
        [event.kind for event in stage.trail.events] == [event.kind for event in stage2.trail.events] == [Kind.FAILED]
    )
    assert stage.trail.outcome().objects[0].decision.reason is Reason.BLOCK_DOC
    assert stage.entries.asked == stage2.entries.asked == 1


def without_ids(raw: bytes) -> bytes:
    return re.sub(rb"[0-9a-f]{32}", b"", raw)


def test_nothing_a_hospital_says_reaches_the_caller() -> None:
    async def scene() -> list[Got]:
        async with Stage() as stage:
            hospital = await stage.hospital("ous", "2.999.1", SMALL, mime_type="text/html")
            stage.register("2.999.1", {"gone": b"x"})
            await stage.open()
            found = [await stage.retrieve(("2.999.1", "gone"), ("2.999.1", "1.1"))]
            for variant in (Variant.FAULT_500, Variant.FAULT_200, Variant.HTML_503, Variant.HTML_200):
                hospital.script = Script.of(variant)
                found.append(await stage.retrieve(("2.999.1", "1.1")))
            return found

    partial, *failures = play(scene())
    assert partial.codes == [("XDSDocumentUniqueIdError", "gone")]
    assert b"text/html" not in partial.raw
    assert b"application/pdf" in partial.raw
    for got in [partial, *failures]:
        assert b"own words" not in got.raw
    for got in failures:
        assert (got.status_word, got.codes) == ("Failure", [("XDSRepositoryError", "1.1")])


def test_what_a_hospital_adds_or_calls_by_another_type_is_dropped_and_told_to_the_trail() -> None:
    async def scene() -> tuple[Stage, Got]:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", SMALL, Script.of(Variant.EXTRA_DOCUMENT), mime_type="text/html")
            await stage.open()
            got = await stage.retrieve(("2.999.1", "1.1"), ("2.999.1", "1.2"))
            await stage.trail.concluded()
            return stage, got

    stage, got = play(scene())
    assert got.documents == SMALL
    assert b"nobody asked for this" not in got.raw
    assert stage.trail.outcome().note == "ous sent 1 unasked; ous sent 2 under another mimeType"


def test_a_registered_document_of_no_bytes_is_delivered() -> None:
    async def scene() -> list[Got]:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", {"0": b"", "1": b"x"})
            await stage.open()
            return [await stage.retrieve(("2.999.1", "0"), ("2.999.1", "1"), packaging=each) for each in PACKAGINGS]

    for got in play(scene()):
        assert got.status_word == "Success"
        assert got.documents == {"0": b"", "1": b"x"}


def test_a_body_that_breaks_the_schema_is_answered_with_errors_and_recorded() -> None:
    async def scene() -> tuple[Stage, bytes]:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", SMALL)
            await stage.open()
            return stage, await collected(stage.desk, a_call())

    stage, raw = play(scene())
    assert b"ResponseStatusType:Failure" in raw
    assert b"XDSRepositoryError" in raw
    assert [event.kind for event in stage.trail.events] == [Kind.FAILED]


def test_more_documents_than_one_answer_can_hold_are_refused_at_once() -> None:
    async def scene() -> bytes:
        async with Stage() as stage:
            await stage.open()
            return await collected(stage.desk, a_call(*(("2.999.1", f"1.{n}") for n in range(501))))

    assert b"XDSTooManyResults" in play(scene())


def test_a_refused_caller_gets_the_fault_and_the_trail_the_reason() -> None:
    async def scene() -> Stage:
        async with Stage() as stage:
            await stage.open()
            fault = SoapFault(FaultCode.SENDER, "no")
            stage.subject = Refusal(Reason.TOKEN_INVALID, fault)
            with pytest.raises(SoapFault) as raised:
                prepare(a_call(("2.999.1", "1")), PEER, stage.desk)
            assert raised.value.relates_to == "urn:uuid:1b7c2f0e-4f57-4d1b-9d0e-2f6a51c9e8a4"
            assert not fault.relates_to
            return stage

    assert [(event.kind, event.reason) for event in play(scene()).trail.events] == [(Kind.REFUSED, "TOKEN_INVALID")]


def test_without_a_policy_nothing_is_released() -> None:
    async def scene() -> None:
        async with Stage() as stage:
            await stage.open()

            def rules() -> None:
                raise RulesUnknown

            desk = replace(stage.desk, rules=rules)  # type: ignore[arg-type]
            with pytest.raises(SoapFault) as raised:
                prepare(a_call(("2.999.1", "1")), PEER, desk)
            assert raised.value.code is FaultCode.RECEIVER

    play(scene())


CLINICIAN = Subject(Channel.CLINICIAN, "issuer", name_id="02911160008", place_of_care="974588951")


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        (CLINICIAN, "PATIENT_MISSING"),
        (replace(CLINICIAN, patient_id="x", patient_ids=2), "PATIENT_INVALID"),
        (replace(CLINICIAN, patient_id="15038510047^^^&2.16.578.1.12.4.1.4.1&ISO", patient_ids=1), "PATIENT_INVALID"),
    ],
)
def test_a_request_refused_as_a_whole_is_looked_up_all_the_same(subject: Subject, reason: str) -> None:
    async def scene(stage: Stage) -> Got:
        stage.subject = subject
        return await stage.retrieve(("2.999.1", "1.1"), ("2.9", "x"))

    stage, got = play(with_two_hospitals(scene))
    assert got.codes == [("XDSRepositoryError", "1.1"), ("XDSRepositoryError", "x")]
    assert got.contexts == [reason] * 2
    assert stage.entries.asked == 2
    assert [(event.kind, event.reason) for event in stage.trail.events] == [(Kind.FAILED, reason)]


def test_unreadable_blocks_give_every_id_the_same_error_unknown_ones_included() -> None:
    async def scene(stage: Stage) -> Got:
        stage.book.readable = False
        return await stage.retrieve(("2.999.1", "1.1"), ("2.999.1", "none"), ("2.9", "x"))

    stage, got = play(with_two_hospitals(scene))
    assert got.contexts == ["BLOCKS_UNAVAILABLE"] * 3
    assert got.status_word == "Failure"
    assert not stage.hospitals["ous"].received


def test_an_unreadable_registry_is_an_error_and_never_an_unknown_document() -> None:
    async def scene() -> bytes:
        async with Stage() as stage:
            await stage.open()

            class Down:
                def __call__(self, asked: object, replacements: bool) -> None:
                    raise BlocksUnavailable

            desk = replace(stage.desk, lookup=Down())  # type: ignore[arg-type]
            return await collected(desk, a_call(("2.999.1", "1")))

    raw = play(scene())
    assert b"XDSRepositoryError" in raw
    assert b"XDSDocumentUniqueIdError" not in raw


def test_nothing_leaves_if_the_intent_cannot_be_recorded() -> None:
    async def scene() -> Stage:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", SMALL)
            await stage.open()
            stage.trail.losing.add(Kind.RELEASING)
            with pytest.raises(RecordLost):
                prepare(a_call(("2.999.1", "1.1")), PEER, stage.desk)
            return stage

    assert not play(scene()).hospitals["ous"].received


def test_an_outcome_that_cannot_be_recorded_does_not_spoil_an_answer_that_has_left() -> None:
    async def scene(stage: Stage) -> Got:
        stage.trail.losing.add(Kind.RELEASED)
        got = await stage.retrieve(("2.999.1", "1.1"))
        stage.trail.losing.clear()
        await stage.retrieve(("2.9", "end of scene"))
        return got

    _, got = play(with_two_hospitals(scene))
    assert got.documents == {"1.1": SMALL["1.1"]}


def test_the_registered_media_type_is_what_the_consumer_was_told_to_expect() -> None:
    _, got = play(with_two_hospitals(lambda stage: stage.retrieve(("2.999.1", "1.1"))))
    assert got.answer is not None
    assert got.answer.documents[0].mime_type == "application/pdf"
    assert retrieval.status_of(1, 0).value == got.answer.status


def test_the_record_names_the_policy_in_force() -> None:
    async def scene(stage: Stage) -> Got:
        stage.policy = make_policy(["2.999.1"], "test 2")
        return await stage.retrieve(("2.999.1", "1.1"))

    stage, got = play(with_two_hospitals(scene))
    assert stage.trail.outcome().policy == "test 2 generation 0"
    assert got.status_word == "Success"


async def sent(release: Release) -> bytes:
    chunks: list[bytes] = []

    async def write(chunk: bytes) -> None:
        chunks.append(chunk)

    await send(release, write)
    return b"".join(chunks)


@pytest.mark.parametrize("glance", [True, False])
def test_a_release_that_stands_is_confirmed_at_a_glance_and_by_a_thread_only_where_that_cannot_be(glance: bool) -> None:
    async def scene() -> tuple[bytes, bool]:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", SMALL)
            await stage.open()
            loop, threads = threading.get_ident(), set()

            class Noting:
                of = staticmethod(stage.book.of)

                @staticmethod
                def sequence() -> int:
                    threads.add(threading.get_ident())
                    return stage.book.number

            release = prepare(a_call(("2.999.1", "1.1")), PEER, stage.desk)
            desk = replace(stage.desk, blocks=Noting(), glance=lambda: stage.book.number if glance else None)
            return await sent(replace(release, desk=desk)), bool(threads - {loop})

    raw, asked_elsewhere = play(scene())
    assert SMALL["1.1"] in raw
    assert asked_elsewhere is not glance


def test_a_glance_that_shows_a_change_has_the_release_decided_again() -> None:
    async def scene() -> bytes:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", SMALL)
            await stage.open()
            stage.desk = replace(stage.desk, glance=lambda: stage.book.number)
            release = prepare(a_call(("2.999.1", "1.1"), ("2.999.1", "1.2")), PEER, stage.desk)
            stage.book.add(block("1.1"))
            return await sent(release)

    raw = play(scene())
    assert SMALL["1.1"] not in raw
    assert SMALL["1.2"] in raw


def test_a_hospital_that_is_asked_too_much_is_told_as_busy_and_others_still_answer() -> None:
    async def scene() -> Got:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", SMALL, limit=1)
            await stage.hospital("ahus", "2.999.2", LARGE)
            await stage.open()
            taken = await stage.upstreams["ous"].guard.enter()
            got = await stage.retrieve(("2.999.1", "1.1"), ("2.999.2", "2.1"))
            taken.give_back()
            return got

    got = play(scene())
    assert got.codes == [("XDSRepositoryBusy", "1.1")]
    assert got.documents == LARGE

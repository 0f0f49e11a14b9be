"""Hospitals and callers that fail, on real sockets: rows F01 to F12 of the fault catalogue (docs/threat-model.md).

One promise holds in every row: what the caller gets is either whole and true, or visibly broken.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from audit.event import Ending
from repository_proxy.repositories import Deadlines
from simulators.hospital import Document, Script, Variant, server_tls
from simulators.hospital import Hospital as Simulated
from tests.repository_proxy.stage import QUICK, Got, Stage, play

GOOD = {"2.1": b"%PDF good"}
BIG = bytes(range(256)) * 4096
"""1 MiB: four times what is read ahead, so that its end comes after the commit."""


async def beside_a_good_one(
    documents: dict[str, bytes], script: Script, deadlines: Deadlines = QUICK
) -> tuple[Stage, Got, float]:
    """Asks a hospital with this script and a good one for everything they have; also how long the answer took."""
    async with Stage(deadlines=deadlines) as stage:
        await stage.hospital("bad", "2.999.1", documents, script)
        await stage.hospital("good", "2.999.2", GOOD)
        await stage.open()
        begun = time.monotonic()
        got = await stage.retrieve(*(("2.999.1", each) for each in documents), ("2.999.2", "2.1"))
        took = time.monotonic() - begun
        await stage.trail.concluded()
        return stage, got, took


def partial(got: Got, *lost: str) -> bool:
    """The good hospital's document, and an error for each lost one."""
    return (
        got.whole
        and got.status_word == "PartialSuccess"
        and got.documents == GOOD
        and got.codes == [("XDSRepositoryError", each) for each in lost]
    )


def test_f01_a_hospital_that_refuses_connections_costs_its_documents_and_no_time() -> None:
    async def scene() -> tuple[Stage, Got, float]:
        async with Stage() as stage:
            with socket.socket() as closed:
                closed.bind(("127.0.0.1", 0))
                stage.configure("dead", "2.999.1", f"http://127.0.0.1:{closed.getsockname()[1]}/")
            stage.register("2.999.1", {"1": b"x"})
            await stage.hospital("good", "2.999.2", GOOD)
            await stage.open()
            await stage.retrieve(("2.999.2", "2.1"))
            begun = time.monotonic()
            got = await stage.retrieve(("2.999.1", "1"), ("2.999.2", "2.1"))
            return stage, got, time.monotonic() - begun

    stage, got, took = play(scene())
    assert partial(got, "1")
    assert took < 0.3
    assert stage.trail.endings == [Ending.UP_CONNECT, Ending.COMPLETE]


def test_f02_a_black_hole_is_given_up_at_the_connect_deadline_and_not_tried_again() -> None:
    async def scene() -> tuple[Stage, Got, float]:
        async with Stage() as stage:
            with socket.socket() as listening:
                # Nobody accepts and the backlog is full, so further connections get no answer at all.
                listening.bind(("127.0.0.1", 0))
                listening.listen(0)
                address = listening.getsockname()
                fillers = [socket.socket()]
                with suppress(TimeoutError):
                    while True:
                        fillers[-1].settimeout(0.2)
                        fillers[-1].connect(address)
                        fillers.append(socket.socket())
                stage.configure("hole", "2.999.1", f"http://127.0.0.1:{address[1]}/")
                stage.register("2.999.1", {"1": b"x"})
                await stage.hospital("good", "2.999.2", GOOD)
                await stage.open()
                begun = time.monotonic()
                got = await stage.retrieve(("2.999.1", "1"), ("2.999.2", "2.1"))
                took = time.monotonic() - begun
                for filler in fillers:
                    filler.close()
            return stage, got, took

    stage, got, took = play(scene())
    assert partial(got, "1")
    assert QUICK.connect <= took + 0.01 < 2 * QUICK.connect
    assert stage.trail.endings == [Ending.UP_CONNECT, Ending.COMPLETE]


def test_f03_a_hospital_that_says_nothing_is_given_up_at_the_root_deadline_and_leaves_nothing_behind() -> None:
    async def scene() -> tuple[Stage, Got, float]:
        tasks = len(asyncio.all_tasks())
        stage, got, took = await beside_a_good_one({"1": b"x"}, Script.of(Variant.STALL_HEAD))
        await asyncio.sleep(0.1)
        assert len(asyncio.all_tasks()) == tasks
        return stage, got, took

    stage, got, took = play(scene())
    assert partial(got, "1")
    assert QUICK.root <= took + 0.01 < QUICK.root + 0.5
    assert stage.trail.endings == [Ending.UP_NO_HEADERS, Ending.COMPLETE]


class Certificates:
    """A hospital's CA, another one, and ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.other = trustme.CA(), trustme.CA()
        self.authority.cert_pem.write_to_path(folder / "ca.pem")

    def issued(self, name: str, authority: trustme.CA, host: str = "127.0.0.1", **more: Any) -> dict[str, Path]:
        """Certificate and key as files."""
        made = authority.issue_cert(host, **more)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(key)
        return {"certificate": certificate, "key": key}


@pytest.mark.parametrize("fault", ["none", "expired", "wrong name", "unknown CA", "old TLS", "our certificate refused"])
def test_f04_tls_that_cannot_be_trusted_is_never_used(fault: str, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    authority = certificates.other if fault == "unknown CA" else certificates.authority
    expired = {"not_after": datetime.now(UTC) - timedelta(days=1)} if fault == "expired" else {}
    host = "hospital.example" if fault == "wrong name" else "127.0.0.1"
    theirs = certificates.issued("server", authority, host, **expired)
    ours = certificates.issued(
        "client", certificates.other if fault == "our certificate refused" else certificates.authority
    )

    async def scene() -> tuple[Stage, Got]:
        async with Stage() as stage:
            tls = server_tls(theirs["certificate"], theirs["key"], tmp_path / "ca.pem")
            if fault == "old TLS":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", DeprecationWarning)
                    tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_1
            simulated = Simulated({("2.999.1", "1"): Document("text/plain", b"x")}, tls=tls)
            await stage.stack.enter_async_context(simulated)
            stage.hospitals["tls"] = simulated
            stage.configure("tls", "2.999.1", simulated.url, ca=tmp_path / "ca.pem", **ours)
            stage.register("2.999.1", {"1": b"x"})
            await stage.hospital("good", "2.999.2", GOOD)
            await stage.open()
            return stage, await stage.retrieve(("2.999.1", "1"), ("2.999.2", "2.1"))

    stage, got = play(scene())
    if fault == "none":
        assert got.documents == {"1": b"x", **GOOD}
        assert stage.hospitals["tls"].received[0].certificate
        return
    assert partial(got, "1")
    assert not stage.hospitals["tls"].received
    # A refused client certificate is told after the handshake, where a reset may come first.
    allowed = {Ending.UP_TLS, Ending.UP_NO_HEADERS} if fault == "our certificate refused" else {Ending.UP_TLS}
    assert stage.trail.endings[0] in allowed


def test_f05_a_name_that_does_not_resolve_costs_its_documents(tmp_path: Path) -> None:
    Certificates(tmp_path)

    async def scene() -> tuple[Stage, Got]:
        async with Stage() as stage:
            stage.configure("lost", "2.999.1", "https://hospital.invalid/", ca=tmp_path / "ca.pem")
            stage.register("2.999.1", {"1": b"x"})
            await stage.hospital("good", "2.999.2", GOOD)
            await stage.open()
            return stage, await stage.retrieve(("2.999.1", "1"), ("2.999.2", "2.1"))

    stage, got = play(scene())
    assert partial(got, "1")
    assert stage.trail.endings == [Ending.UP_CONNECT, Ending.COMPLETE]


@pytest.mark.parametrize("variant", [Variant.STALL_ROOT, Variant.STALL_HEAD])
def test_f06_a_hang_before_our_first_byte_is_a_clean_soap_answer(variant: Variant) -> None:
    _, got, _ = play(beside_a_good_one({"1": b"x"}, Script.of(variant)))
    assert partial(got, "1")


def test_f06_a_hang_right_after_the_root_is_a_clean_soap_answer_too() -> None:
    stage, got, _ = play(beside_a_good_one({"1": BIG}, Script.of(Variant.STALL_AFTER_ROOT)))
    # The root part is known to be complete only by the boundary after it, which has not come.
    assert partial(got, "1")
    assert stage.trail.endings == [Ending.UP_STALLED, Ending.COMPLETE]


@pytest.mark.parametrize("size", [len(BIG), 1000])
def test_f07_a_hang_in_the_second_of_three_documents_is_cut(size: int) -> None:
    documents = {"1": b"first" * 10, "2": BIG[:size], "3": b"third"}

    async def scene() -> tuple[Stage, Got]:
        async with Stage() as stage:
            await stage.hospital("bad", "2.999.1", documents, Script.of(Variant.STALL_MIDDLE, document=1))
            await stage.open()
            got = await stage.retrieve(*(("2.999.1", each) for each in documents))
            await stage.trail.concluded()
            return stage, got

    stage, got = play(scene())
    assert not got.whole
    assert stage.trail.endings == [Ending.COMPLETE, Ending.UP_STALLED, Ending.NOT_SENT]
    assert [each.bytes_sent for each in stage.trail.outcome().objects] == [50, size // 2, 0]


@pytest.mark.parametrize(
    ("variant", "endings"),
    [
        (Variant.CUT_FIN, {Ending.UP_SHORT}),
        (Variant.CUT_RESET, {Ending.UP_RESET, Ending.UP_SHORT}),
        (Variant.CUT_LAST_CHUNK, {Ending.UP_SHORT}),
    ],
)
def test_f08_a_large_document_that_breaks_off_is_cut_and_a_small_one_is_an_error(
    variant: Variant, endings: set[Ending]
) -> None:
    stage, got, _ = play(beside_a_good_one({"1": BIG}, Script.of(variant)))
    assert not got.whole
    assert stage.trail.endings[0] in endings
    assert stage.trail.endings[1] is Ending.COMPLETE
    stage, got, _ = play(beside_a_good_one({"1": b"small"}, Script.of(variant)))
    assert partial(got, "1")
    assert stage.trail.endings[0] in endings


def test_f08_a_length_that_is_not_kept_is_found_out() -> None:
    stage, got, _ = play(beside_a_good_one({"1": BIG}, Script.of(Variant.CUT_FIN, Variant.LENGTH)))
    assert not got.whole
    assert stage.trail.endings == [Ending.UP_SHORT, Ending.COMPLETE]


def test_f09_a_hospital_that_drips_is_cut_at_the_floor() -> None:
    deadlines = replace(QUICK, root=5.0)
    stage, got, took = play(beside_a_good_one({"1": BIG}, Script(rate=4096), replace(deadlines, floor=8192)))
    assert not got.whole or partial(got, "1")
    assert stage.trail.endings[0] is Ending.UP_STALLED
    assert took < 3


@pytest.mark.parametrize("variant", [Variant.SLICES_OF_1, Variant.SLICES_OF_7])
def test_f10_slices_change_nothing(variant: Variant) -> None:
    content = bytes(range(256)) * 8
    stage, got, _ = play(beside_a_good_one({"1": content}, Script.of(variant)))
    assert got.documents == {"1": content, **GOOD}
    assert stage.trail.endings == [Ending.COMPLETE] * 2


@pytest.mark.parametrize("variant", [Variant.GARBAGE, Variant.HTML_200, Variant.HTML_503, Variant.SMUGGLED_HEADER])
def test_f11_garbage_is_an_error(variant: Variant) -> None:
    _, got, _ = play(beside_a_good_one({"1": b"x"}, Script.of(variant)))
    assert partial(got, "1")


@pytest.mark.parametrize("variant", [Variant.FLIPPED_BYTE, Variant.SHORT_DOCUMENT, Variant.LONG_DOCUMENT])
def test_f11_a_document_that_is_not_the_registered_one_never_looks_whole(variant: Variant) -> None:
    _, got, _ = play(beside_a_good_one({"1": b"small"}, Script.of(variant)))
    assert partial(got, "1")
    stage, got, _ = play(beside_a_good_one({"1": BIG}, Script.of(variant)))
    assert not got.whole
    assert stage.trail.endings == [
        {
            Variant.FLIPPED_BYTE: Ending.UP_HASH,
            Variant.SHORT_DOCUMENT: Ending.UP_SHORT,
            Variant.LONG_DOCUMENT: Ending.UP_LONG,
        }[variant],
        Ending.COMPLETE,
    ]
    assert got.raw.count(b"\r\n--uuid-") == 2


@pytest.mark.parametrize("variant", [Variant.STALL_MIDDLE, Variant.STALL_HEAD, Variant.LENGTH])
def test_f12_a_caller_that_leaves_frees_the_hospital_within_a_second(variant: Variant) -> None:
    async def scene() -> Stage:
        deadlines = replace(QUICK, root=10.0, idle=10.0)
        async with Stage(deadlines=deadlines) as stage:
            hospital = await stage.hospital("bad", "2.999.1", {"1": BIG * 16}, Script.of(variant))
            url = await stage.open()
            reading = asyncio.create_task(leave_after_a_moment(stage, url))
            await reading
            await stage.trail.concluded()
            await asyncio.sleep(0.2)
            assert hospital.connections == 0
            assert hospital.bytes_sent < len(BIG) * 12
            return stage

    stage = play(scene())
    assert stage.trail.endings == [Ending.CALLER_GONE]
    sent = stage.trail.outcome().objects[0].bytes_sent
    assert sent > 0 or variant is Variant.STALL_HEAD


async def leave_after_a_moment(stage: Stage, url: str) -> None:
    """Sends a request, reads a little and closes the connection."""
    from ihe import soap
    from ihe.retrieval import DocumentRequest
    from tests.repository_proxy.stage import request

    content_type, body = request([DocumentRequest("", "2.999.1", "1")], soap.Packaging.MTOM)
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=4096)
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    await reader.read(1000)
    await asyncio.sleep(0.3)
    writer.transport.abort()

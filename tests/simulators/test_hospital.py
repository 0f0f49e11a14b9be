"""The simulated hospital: a good repository until its script says otherwise, usable with any ITI-43 client."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from ihe import mtom, retrieval, soap
from ihe.retrieval import DocumentRequest
from simulators.hospital import Document, Hospital, Script, Variant, read_folder
from tests.repository_proxy.stage import play, request

CONTENT = bytes(range(256)) * 5000


def kept(content: bytes | Path = CONTENT) -> dict[tuple[str, str], Document]:
    return {("2.999.1", "1"): Document("application/pdf", content)}


async def asked(hospital: Hospital, *unique_ids: str) -> tuple[int, str, bytes]:
    content_type, body = request([DocumentRequest("", "2.999.1", one) for one in unique_ids], soap.Packaging.MTOM)
    async with (
        aiohttp.ClientSession() as session,
        session.post(hospital.url, data=body, headers={"Content-Type": content_type}) as response,
    ):
        return response.status, response.headers["Content-Type"], await response.read()


@pytest.mark.parametrize("variants", [(), (Variant.LENGTH,), (Variant.GZIP,), (Variant.BASE64_PARTS,)])
def test_it_serves_what_it_keeps(variants: tuple[Variant, ...], tmp_path: Path) -> None:
    (tmp_path / "1.pdf").write_bytes(CONTENT)

    async def scene() -> tuple[int, str, bytes]:
        async with Hospital(kept(tmp_path / "1.pdf"), Script.of(*variants)) as hospital:
            return await asked(hospital, "1")

    status, content_type, raw = play(scene())
    assert status == 200
    package = mtom.read_package(raw, content_type)
    assert [part.body for part in package.parts.values()] == [CONTENT]


def test_it_tells_what_it_does_not_keep_and_what_it_was_asked() -> None:
    async def scene() -> tuple[bytes, Hospital]:
        async with Hospital(kept()) as hospital:
            _, content_type, raw = await asked(hospital, "1", "2")
            return mtom.read_package(raw, content_type).root, hospital

    root, hospital = play(scene())
    answer = soap.read_answer(root)
    assert answer.body is not None
    assert [error.code for error in retrieval.read_response(answer.body).errors] == ["XDSDocumentUniqueIdError"]
    assert [one.document_unique_id for one in hospital.received[0].asked] == ["1", "2"]
    assert answer.relates_to == hospital.received[0].message_id


def test_the_same_connection_serves_many_requests() -> None:
    async def scene() -> int:
        async with Hospital(kept()) as hospital:
            content_type, body = request([DocumentRequest("", "2.999.1", "1")], soap.Packaging.SIMPLE)
            async with aiohttp.ClientSession() as session:
                for _ in range(3):
                    async with session.post(
                        hospital.url, data=body, headers={"Content-Type": content_type}
                    ) as response:
                        await response.read()
            return len(hospital.received)

    assert play(scene()) == 3


def test_nonsense_is_answered_with_a_fault() -> None:
    async def scene() -> int:
        async with Hospital(kept()) as hospital, aiohttp.ClientSession() as session:
            headers = {"Content-Type": soap.SIMPLE_TYPE}
            async with session.post(hospital.url, data=b"<x/>", headers=headers) as response:
                return response.status

    assert play(scene()) == 500


@pytest.mark.parametrize("variant", [Variant.CUT_FIN, Variant.CUT_RESET])
def test_a_cut_shows_in_http(variant: Variant) -> None:
    async def scene() -> None:
        async with Hospital(kept(), Script.of(variant)) as hospital:
            with pytest.raises(aiohttp.ClientError):
                await asked(hospital, "1")

    play(scene())


def test_a_cut_with_a_last_chunk_shows_in_mime_only() -> None:
    async def scene() -> tuple[int, str, bytes]:
        async with Hospital(kept(), Script.of(Variant.CUT_LAST_CHUNK)) as hospital:
            return await asked(hospital, "1")

    _, content_type, raw = play(scene())
    reader = mtom.Reader(content_type, mtom.ANSWER)
    reader.feed(raw)
    with pytest.raises(ValueError, match="cut short"):
        reader.close()


def test_a_stalled_answer_ends_when_the_caller_leaves() -> None:
    async def scene() -> int:
        async with Hospital(kept(), Script.of(Variant.STALL_HEAD)) as hospital:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await asked(hospital, "1")
            await asyncio.sleep(0.1)
            return hospital.connections

    assert play(scene()) == 0


def test_a_rate_is_kept() -> None:
    async def scene() -> float:
        loop = asyncio.get_running_loop()
        async with Hospital(kept(b"x" * 50_000), Script(rate=100_000)) as hospital:
            begun = loop.time()
            await asked(hospital, "1")
            return loop.time() - begun

    assert 0.4 < play(scene()) < 1.5


def test_a_folder_lists_its_documents_and_says_which_entry_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a")
    listed = (
        '[[document]]\nrepository_unique_id = "2.999.1"\nunique_id = "1"\nmime_type = "text/plain"\nfile = "a.txt"\n'
    )
    (tmp_path / "documents.toml").write_text(listed)
    assert read_folder(tmp_path) == {("2.999.1", "1"): Document("text/plain", tmp_path / "a.txt")}
    (tmp_path / "documents.toml").write_text(listed + '[[document]]\nunique_id = "2"\nfile = "b.txt"\n')
    with pytest.raises(ValueError, match="document 2"):
        read_folder(tmp_path)

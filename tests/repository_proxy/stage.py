"""A stage for retrieves: real hospitals, a real HTTP server around prepare and send, a trail that can be read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import aiohttp
import uvicorn

from ihe import mtom, retrieval, soap
from ihe.names import Action
from ihe.retrieval import DocumentRequest, RetrieveAnswer
from policy.facts import Peer, Refusal, Subject
from repository_proxy.delivery import Write
from repository_proxy.desk import Desk, Limits
from repository_proxy.envelopes import Envelopes
from repository_proxy.repositories import Deadlines, Hospital, Routes
from repository_proxy.retrieve import Aborted, CallerTooSlow, prepare, send
from repository_proxy.upstream import open_upstreams
from simulators.hospital import Document, Script
from simulators.hospital import Hospital as Simulated
from tests.repository_proxy.ports import MACHINE, Book, Clock, Entries, Trail, entry, make_policy

QUICK = Deadlines(admit=0.2, connect=0.5, root=0.6, settle=0.2, idle=0.6, floor=1000, floor_window=0.5)
LIMITS = Limits(gather=1.5, caller=1.0, sip_every=0.1, watch_every=0.05, blind=0.3)
ENVELOPES = Envelopes()
T = TypeVar("T")


def play(scene: Coroutine[Any, Any, T], seconds: float = 20.0) -> T:
    """Runs one scene to its end, bounded."""

    async def bounded() -> T:
        async with asyncio.timeout(seconds):
            return await scene

    return asyncio.run(bounded())


@dataclass
class Got:
    """One answer as a careful client sees it."""

    status: int
    content_type: str
    raw: bytes
    whole: bool
    """The HTTP message ended where it should."""
    answer: RetrieveAnswer | None = None
    parts: dict[str, bytes] = field(default_factory=dict)
    fault: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def codes(self) -> list[tuple[str, str]]:
        """(errorCode, location) of every error."""
        assert self.answer is not None
        return [(error.code, error.location) for error in self.answer.errors]

    @property
    def contexts(self) -> list[str]:
        assert self.answer is not None
        return [error.context for error in self.answer.errors]

    @property
    def status_word(self) -> str:
        assert self.answer is not None
        return self.answer.status.rpartition(":")[2]

    @property
    def documents(self) -> dict[str, bytes]:
        """Content by uniqueId."""
        assert self.answer is not None
        found = {}
        for document in self.answer.documents:
            if document.inline is not None:
                found[document.document] = document.inline
            else:
                found[document.document] = self.parts[mtom.cid_of(document.href or "") or ""]
        return found


def understood(status: int, content_type: str, raw: bytes, whole: bool, headers: Mapping[str, str]) -> Got:
    """Reads an answer; one that is cut stays raw."""
    got = Got(status, content_type, raw, whole, headers=headers)
    if not whole:
        return got
    root = raw
    if content_type.startswith("multipart/"):
        package = mtom.read_package(raw, content_type, replace(mtom.REQUEST, parts=1100))
        root = package.root
        got.parts = {cid: part.body for cid, part in package.parts.items()}
    answer = soap.read_answer(root)
    got.fault = answer.fault
    if answer.body is not None:
        got.answer = retrieval.read_response(answer.body)
    return got


class Stage:
    """`async with Stage(...) as stage`, then `await stage.retrieve(...)`."""

    def __init__(self, *, limits: Limits = LIMITS, home: str = "", deadlines: Deadlines = QUICK) -> None:
        self.trail, self.book, self.entries = Trail(), Book(), Entries()
        self.hospitals: dict[str, Simulated] = {}
        self.subject: Subject | Refusal = MACHINE
        self.policy = make_policy(["2.999.1", "2.999.2", "2.999.3", "2.999.4"])
        self.configured: list[Hospital] = []
        self.limits, self.home, self.deadlines = limits, home, deadlines
        self.desk: Desk
        self.tasks: set[asyncio.Task[None]] = set()
        self.cut = 0
        self.unstarted = 0

    async def hospital(
        self,
        name: str,
        repository: str,
        documents: Mapping[str, bytes],
        script: Script | None = None,
        registered: bool = True,
        mime_type: str = "application/pdf",
        **configured: Any,
    ) -> Simulated:
        """Starts a simulated hospital whose documents are registered as they are."""
        kept = {(repository, unique_id): Document(mime_type, content) for unique_id, content in documents.items()}
        simulated = Simulated(kept, script)
        await self.stack.enter_async_context(simulated)
        self.hospitals[name] = simulated
        self.configure(name, repository, simulated.url, **configured)
        if registered:
            self.register(repository, documents)
        return simulated

    def register(self, repository: str, documents: Mapping[str, bytes], **more: Any) -> None:
        """Registers documents as the source would have."""
        for unique_id, content in documents.items():
            made = entry(repository, unique_id, content, **more)
            self.entries.families[made.key] = (*self.entries.families.get(made.key, ()), made)

    def configure(self, name: str, repository: str, url: str, **more: Any) -> None:
        """Routes a repository id to an address."""
        settings: dict[str, Any] = {"assertion": "none", "deadlines": self.deadlines, **more}
        self.configured.append(Hospital(name, (repository,), url, **settings))

    async def __aenter__(self) -> Stage:
        self.stack = AsyncExitStack()
        await self.stack.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for upstream in getattr(self, "upstreams", {}).values():
            await upstream.close()
        await self.stack.aclose()

    async def open(self) -> str:
        """Starts the node around what was configured so far; returns its URL."""
        routes = Routes(self.configured)
        self.upstreams = open_upstreams(routes, ENVELOPES)
        self.desk = Desk(
            clock=Clock(),
            identify=lambda call, peer, now: self.subject,
            rules=lambda: self.policy,
            blocks=self.book,
            lookup=self.entries,
            audit=self.trail,
            routes=routes,
            upstreams=self.upstreams,
            home=self.home,
            limits=self.limits,
        )
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        listening.listen(512)
        config = uvicorn.Config(self._app, log_config=None, lifespan="off", access_log=False, interface="asgi3")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server._serve(sockets=[listening]))

        async def stop() -> None:
            server.should_exit = server.force_exit = True
            await asyncio.wait({serving}, timeout=5)

        self.stack.push_async_callback(stop)
        while not server.started:
            await asyncio.sleep(0.005)
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        return self.url

    async def _app(self, scope: Any, receive: Any, send_event: Any) -> None:
        """The least an edge has to do."""
        raw = b""
        while (message := await receive()).get("more_body"):
            raw += message["body"]
        raw += message["body"]
        content_type = next(value for name, value in scope["headers"] if name == b"content-type").decode()
        call = soap.read_call(raw, content_type, frozenset(Action))
        peer = Peer("test", "127.0.0.1", "", "c" * 32)
        release = await asyncio.to_thread(prepare, call, peer, self.desk)
        await send_event({"type": "http.response.start", "status": 200, "headers": list(release.headers)})

        async def write(chunk: bytes) -> None:
            await send_event({"type": "http.response.body", "body": chunk, "more_body": True})

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        delivery = asyncio.create_task(send(release, write))
        gone = asyncio.create_task(watch())
        self.tasks.add(delivery)
        await asyncio.wait({delivery, gone}, return_when=asyncio.FIRST_COMPLETED)
        delivery.cancel()
        gone.cancel()
        try:
            await delivery
        except (Aborted, CallerTooSlow, asyncio.CancelledError):
            self.cut += 1
            raise ConnectionAbortedError from None
        await send_event({"type": "http.response.body", "body": b"", "more_body": False})

    async def retrieve(
        self, *asked: tuple[str, str] | tuple[str, str, str], packaging: soap.Packaging = soap.Packaging.MTOM
    ) -> Got:
        """Asks for (repository, uniqueId[, home]) as a consumer does."""
        content_type, body = request(
            [DocumentRequest(one[2] if len(one) > 2 else "", *one[:2]) for one in asked], packaging
        )
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=15)) as session:
            async with session.post(self.url, data=body, headers={"Content-Type": content_type}) as response:
                chunks, whole = [], True
                try:
                    async for chunk in response.content.iter_any():
                        chunks.append(chunk)
                except aiohttp.ClientError:
                    whole = False
        media = response.headers.get("Content-Type", "")
        return understood(
            response.status,
            media,
            b"".join(chunks),
            whole,
            {name.lower(): value for name, value in response.headers.items()},
        )


def request(asked: Sequence[DocumentRequest], packaging: soap.Packaging) -> tuple[str, bytes]:
    """A consumer's request as media type and bytes."""
    listed = "".join(
        "<x:DocumentRequest>"
        + (f"<x:HomeCommunityId>{one.home}</x:HomeCommunityId>" if one.home else "")
        + f"<x:RepositoryUniqueId>{one.repository_unique_id}</x:RepositoryUniqueId>"
        + f"<x:DocumentUniqueId>{one.document_unique_id}</x:DocumentUniqueId></x:DocumentRequest>"
        for one in asked
    )
    body = f'<x:RetrieveDocumentSetRequest xmlns:x="urn:ihe:iti:xds-b:2007">{listed}</x:RetrieveDocumentSetRequest>'
    headers = b"<wsa:MessageID>urn:uuid:1b7c2f0e-4f57-4d1b-9d0e-2f6a51c9e8a4</wsa:MessageID>"
    whole = soap.envelope(Action.RETRIEVE, "", [body.encode()], headers)
    if packaging is soap.Packaging.SIMPLE:
        return soap.SIMPLE_TYPE, whole
    writer = mtom.new_writer("0" * 32)
    return writer.content_type, writer.root(whole) + writer.end()


async def collected(desk: Desk, call: soap.Call) -> bytes:
    """One release written into memory."""
    chunks: list[bytes] = []

    async def write(chunk: bytes) -> None:
        chunks.append(chunk)

    writing: Write = write
    release = await asyncio.to_thread(prepare, call, Peer("test", "127.0.0.1", "", "c" * 32), desk)
    await send(release, writing)
    return b"".join(chunks)

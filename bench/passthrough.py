"""The reference of P5: uvicorn and aiohttp with nothing between them. `python -m bench.passthrough FILE`."""

from __future__ import annotations

import sys
from typing import Any

import aiohttp
import uvicorn

from bench.processes import settings_of


class PassThrough:
    """Sends every request on to one hospital and its answer back, chunk by chunk."""

    def __init__(self, hospital: str) -> None:
        self._hospital = hospital
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raw = b""
        while (message := await receive()).get("more_body"):
            raw += message["body"]
        raw += message["body"]
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=False, read_bufsize=64 * 1024
            )
        content_type = next(value for name, value in scope["headers"] if name == b"content-type").decode()
        headers = {"Content-Type": content_type}
        async with self._session.post(f"{self._hospital}/repository", data=raw, headers=headers) as answer:
            told = [(b"content-type", answer.headers["Content-Type"].encode())]
            await send({"type": "http.response.start", "status": answer.status, "headers": told})
            while chunk := await answer.content.readany():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def main() -> None:
    settings = settings_of(sys.argv)
    uvicorn.run(
        PassThrough(settings["hospital"]),
        host="127.0.0.1",
        port=settings["port"],
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
    )


if __name__ == "__main__":
    main()

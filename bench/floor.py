"""The floor of P1: bare uvicorn that parses the same request and runs the same SQL, and nothing that is ours.

It inflates the same bodies and sends the same bytes. Started by bench.p1_query as `python -m bench.floor FILE`.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import zlib
from pathlib import Path
from typing import Any

import psycopg
import uvicorn
from lxml import etree

from bench.processes import settings_of

_PATIENT = etree.XPath("string(//*[local-name()='Slot'][@name='$XDSDocumentEntryPatientId']//*[local-name()='Value'])")


class Floor:
    """The application; `settings` names the database, the statement, its values per patient and the answers."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._sql: str = settings["sql"]
        self._values: dict[str, Any] = settings["values"]
        folder = Path(settings["answers"])
        names: dict[str, str] = json.loads((folder / "names.json").read_text())
        self._answers = {patient: (folder / name).read_bytes() for patient, name in names.items()}
        self._type = settings["content_type"].encode()
        self._database = _sqlite(settings["database"]) if settings["sqlite"] else _postgresql(settings["database"])
        self._words = dict(self._database.execute("SELECT id, dictionary FROM body_dict").fetchall())
        self._parser = etree.XMLParser(resolve_entities=False, no_network=True)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raw = b""
        while (message := await receive()).get("more_body"):
            raw += message["body"]
        raw += message["body"]
        patient = _PATIENT(etree.fromstring(raw, self._parser)).strip("'")
        for *_, codec, body in self._database.execute(self._sql, self._values[patient]).fetchall():
            zlib.decompressobj(zdict=self._words[codec]).decompress(body)
        answer = self._answers[patient]
        headers = [(b"content-type", self._type), (b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def _sqlite(path: str) -> Any:
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
    for pragma in ("mmap_size=1073741824", "cache_size=-65536", "case_sensitive_like=on"):
        database.execute(f"PRAGMA {pragma}")
    return database


def _postgresql(url: str) -> Any:
    return psycopg.connect(url, autocommit=True)


def main() -> None:
    settings = settings_of(sys.argv)
    uvicorn.run(
        Floor(settings),
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

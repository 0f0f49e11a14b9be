"""What a listener serves on GET: WSDL and schemas with the configured address, and the node's health.

Everything but health is made once: nothing in a request can change what is served (trust by construction, not by
checking the Host header).
"""

from __future__ import annotations

from collections.abc import Callable

import schemas
import wsdl
from server.gate import Page, Pages

REGISTRY = "/xds/registry"
REPOSITORY = "/xds/repository"
FEED = "/pix/feed"
SCHEMAS = "/xds/schemas/"
_WSDL = {REGISTRY: "DocumentRegistry", REPOSITORY: "DocumentRepository", FEED: "PatientIdentityFeed"}
_XML = "text/xml; charset=UTF-8"
_TEXT = "text/plain; charset=UTF-8"
_LIVE = Page(200, _TEXT, b"live\n")
_READY = Page(200, _TEXT, b"ready\n")


def pages(public_url: str, trouble: Callable[[], str]) -> Pages:
    """The pages of one listener. `trouble()` is empty, or one sentence on what keeps the node from being ready."""
    described = {
        path: Page(200, _XML, wsdl.serve(name, public_url + path, public_url + SCHEMAS)) for path, name in _WSDL.items()
    }
    fixed = {SCHEMAS + name: Page(200, _XML, schemas.read(name)) for name in schemas.SHA256}
    fixed["/health/live"] = _LIVE

    def page(path: str, query: bytes) -> Page | None:
        if path == "/health/ready":
            return Page(503, _TEXT, f"{sentence}\n".encode()) if (sentence := trouble()) else _READY
        return described.get(path) if query.lower() == b"wsdl" else fixed.get(path)

    return page

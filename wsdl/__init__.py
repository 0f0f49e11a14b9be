"""A partner's toolkit learns from here how to call the registry and the repository: their services as WSDL 1.1.

Written for this project with the names of IHE ITI TF-2 appendix V.2.4. The files import ../schemas, so that a checkout
is a complete description; a running node serves them with its own address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from types import MappingProxyType

EDITION = "1"
"""Goes up when a client made from an older edition would no longer fit."""

SHA256: Mapping[str, str] = MappingProxyType(
    {
        "DocumentRegistry.wsdl": "e136e2e56a0070bd553bf36444045cb93f66c4b67cd8dcc71efb0889201b5ad5",
        "DocumentRepository.wsdl": "aa48b353c2e4dd4daa99a0f21598f6a2dd5a798311eff33238e6df2f7c27d1b4",
        "PatientIdentityFeed.wsdl": "b0a7cf857586cad804456c703a5d5dc6d1043c48d64aa3312321c4436dce21b1",
    }
)
"""Every service description with its digest."""

SCHEMAS = "../schemas/"
"""How the files here begin the location of a schema."""


def serve(name: str, address: str, schema_base: str) -> bytes:
    """The description of one service as a partner downloads it, pointing at the node that serves it.

    `name` is a file of SHA256 without its ending (anything else is a `LookupError`). `address` is the
    URL of the endpoint, `schema_base` the URL under which the files of `schemas` are served; both come from the
    configuration, never from the request's Host header, and are escaped. `ValueError` if one cannot stand in XML.
    """
    file_name = f"{name}.wsdl"
    if file_name not in SHA256:
        raise LookupError("no such service")
    for value in (address, schema_base):
        if not value.isprintable():
            raise ValueError("an address has characters that cannot be printed")
    text = files("wsdl").joinpath(file_name).read_text(encoding="utf-8")
    base = schema_base.rstrip("/") + "/"
    text = text.replace(f'schemaLocation="{SCHEMAS}', f'schemaLocation="{escape(base)}')
    located = f'<soap12:address location="{escape(address)}"/>'
    return re.sub('<soap12:address location="[^"]*"/>', lambda _: located, text).encode()

"""Every message is judged by the same files that a partner can download: the XML schemas of XDS.b.

Written for this project from OASIS ebRIM and ebRS 3.0, IHE ITI TF-2 3.41, 3.43 and 3.44, W3C SOAP 1.2 and WS-Addressing
1.0, and the checked parts of OASIS SAML 2.0 and W3C XML Signature. rim, rs, lcm, query and xds accept and refuse what
the official schemas accept and refuse; the one exception is the length of rim:Value, which is any length here. Imports
are acyclic and stay inside this folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

EDITION = "1"
"""Goes up when a message that was accepted would be refused, or the other way round."""

SCHEMAS: Mapping[str, str] = MappingProxyType(
    {
        "rim": "ebrs/rim.xsd",
        "rs": "ebrs/rs.xsd",
        "lcm": "ebrs/lcm.xsd",
        "query": "ebrs/query.xsd",
        "xds": "ihe/XDS.b_DocumentRepository.xsd",
        "saml": "saml/assertion.xsd",
        "feed": "hl7/PatientIdentityFeed.xsd",
        "soap": "soap/envelope.xsd",
        "addressing": "soap/addressing.xsd",
    }
)
"""The schemas one may ask for by name, each as a path below this folder."""

SHA256: Mapping[str, str] = MappingProxyType(
    {
        "ebrs/lcm.xsd": "151d8935e4d1153eb725fa7222eb93d161cb721fb2cd6f6bdc428b8899b761b9",
        "ebrs/query.xsd": "97775b386dfe181edf82f61a8e0c71bf52c29d52a40a1a3f34fd0775b4c8d331",
        "ebrs/rim.xsd": "1775ad0b534f35125b2387db4093841974f748d5397b9723106b69f7e84ecb34",
        "ebrs/rs.xsd": "64cd5ad2c95faf49041dfb45913201c35d3990ee8a22a1062aee10aa340b2706",
        "hl7/PatientIdentityFeed.xsd": "d4ebc7096d6b9d2f6d1923fe9cd43f3756733d696a818b6ac99cdfad03edbd4b",
        "ihe/XDS.b_DocumentRepository.xsd": "6c791477fe7978ec4bfba71824eed10571e85babdead5f88a2e90c296a079d0c",
        "saml/assertion.xsd": "86aeb285c733020d0257841b8689d59748137e548fd5a188582c752d65ba9314",
        "saml/dsig.xsd": "3a31c7a2b9a721881cfa3ac746a95b706ce987ad116eeb9c34aff11df45fe907",
        "soap/addressing.xsd": "395c40382285aa0b8f534eb09a40afcbef5dbfb9e5851ce36de80157b09f7363",
        "soap/envelope.xsd": "642ce4e1bc8f103f975edd72447aff5a8f9951dcc5b11a74557d8b95bb7d7919",
        "xml.xsd": "022707891cea62e7dd0f2d0948cc0b8a3e018a3f474f6362c69fc72b40326cc8",
    }
)
"""Every schema file with its digest: the whole of what can be read or served, and proof that nobody changed it."""


def read(relative_path: str) -> bytes:
    """The bytes of one schema, for compiling or for serving to a partner.

    `relative_path` is written as in `SHA256`, with forward slashes. Anything that is not exactly one of its keys is a
    `LookupError`: no path reaches a file by being clever.
    """
    if relative_path not in SHA256:
        raise LookupError("no such schema")
    return files("schemas").joinpath(relative_path).read_bytes()

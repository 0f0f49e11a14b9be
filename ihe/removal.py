"""Reads what a Remove Metadata request (ITI-62) names: entryUUIDs of registry objects, and nothing else.

Sources: OASIS ebRS 3.0 5.4 (RemoveObjectsRequest), IHE ITI supplement Remove Metadata and Documents 3.62.
"""

from __future__ import annotations

from ihe import xml
from ihe.errors import XdsError, XdsFailure
from ihe.names import Code
from ihe.spelling import IN_RIM

DELETE_ALL = "urn:oasis:names:tc:ebxml-regrep:DeletionScopeType:DeleteAll"
"""What the schema says for a deletionScope that is absent."""


def read(body: xml.Element) -> tuple[str, ...]:
    """The ids to remove, each once, in the order sent.

    Raises: XdsFailure (XDSRegistryError) for a message that is not valid, names objects by a query, or names none.
    """
    if findings := xml.schema("lcm").findings(body):
        raise XdsFailure(
            tuple(XdsError(Code.REGISTRY_ERROR, f"{each.path}: {each.message}", each.path) for each in findings)
        )
    if body.find(f"{IN_RIM}AdhocQuery") is not None:
        raise XdsFailure.of(Code.REGISTRY_ERROR, "objects are removed by id, not by query", "AdhocQuery")
    if body.get("deletionScope", DELETE_ALL) != DELETE_ALL:
        raise XdsFailure.of(Code.REGISTRY_ERROR, "a removal removes everything it names", "@deletionScope")
    ids = tuple(
        dict.fromkeys(found.get("id", "") for found in body.iterfind(f"{IN_RIM}ObjectRefList/{IN_RIM}ObjectRef"))
    )
    if not ids:
        raise XdsFailure.of(Code.REGISTRY_ERROR, "an ObjectRefList with at least one ObjectRef", "ObjectRefList")
    return ids

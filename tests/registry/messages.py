"""Messages with one mistake each, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

from ihe.names import QUERY, RIM, SOAP12, WSA, WSA_ANONYMOUS, Action, QueryId, Status
from registry.explain.explanation import Explanation, Given, Problem, explain

SUBMISSION = resources.files("registry.rules.samples").joinpath("submission.xml").read_text("utf-8")
"""An ITI-42 body without a mistake, an element a line."""
PERSON = "15837510047"

FIND = f"""<query:AdhocQueryRequest xmlns:query="{QUERY}" xmlns:rim="{RIM}">
  <query:ResponseOption returnType="LeafClass" returnComposedObjects="true"/>
  <rim:AdhocQuery id="{QueryId.FIND_DOCUMENTS.value}">
    <rim:Slot name="$XDSDocumentEntryPatientId">
      <rim:ValueList><rim:Value>'{PERSON}^^^&amp;2.16.578.1.12.4.1.4.1&amp;ISO'</rim:Value></rim:ValueList>
    </rim:Slot>
    <rim:Slot name="$XDSDocumentEntryStatus">
      <rim:ValueList><rim:Value>('{Status.APPROVED.value}')</rim:Value></rim:ValueList>
    </rim:Slot>
    <rim:Slot name="$XDSDocumentEntryClassCode">
      <rim:ValueList><rim:Value>('A00-1^^2.16.578.1.12.4.1.1.9602')</rim:Value></rim:ValueList>
    </rim:Slot>
  </rim:AdhocQuery>
</query:AdhocQueryRequest>
"""


def envelope(body: str, action: Action) -> str:
    """A message as a sender's stack writes it, a header a line."""
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<soap12:Envelope xmlns:soap12="{SOAP12}" xmlns:wsa="{WSA}">
  <soap12:Header>
    <wsa:Action soap12:mustUnderstand="1">{action.value}</wsa:Action>
    <wsa:MessageID>urn:uuid:0b7c2f0e-4f57-4d1b-9d0e-2f6a51c9e8a4</wsa:MessageID>
    <wsa:ReplyTo><wsa:Address>{WSA_ANONYMOUS}</wsa:Address></wsa:ReplyTo>
  </soap12:Header>
  <soap12:Body>
{body}  </soap12:Body>
</soap12:Envelope>
"""


REGISTER = envelope(SUBMISSION, Action.REGISTER)
ASK = envelope(FIND, Action.QUERY)


@dataclass(frozen=True)
class Mistake:
    """One change to a good message, what is said of it, and the correction that is offered."""

    old: str
    new: str
    rule: str
    fix: str = ""
    at: str = ""
    """Text on the line that is named; what was written instead if empty."""
    more: tuple[str, ...] = ()
    """Rules that follow from it."""

    def of(self, message: str) -> str:
        assert message.count(self.old) >= 1, self.old
        return message.replace(self.old, self.new, 1)


def line_of(message: str, text: str) -> int:
    """The number of the first line that holds `text`."""
    return next(number for number, line in enumerate(message.splitlines(), 1) if text in line)


def told(message: str | bytes, **given: object) -> Explanation:
    return explain(message.encode() if isinstance(message, str) else message, Given(**given))  # type: ignore[arg-type]


def refusing(found: Explanation) -> list[Problem]:
    return [each for each in found.problems if each.refuses]


_FIRST, _AFTER = (SUBMISSION.index(f'    <RegistryPackage id="{each}">') for each in ("Set1", "Folder1"))
SET = SUBMISSION[_FIRST:_AFTER]
DOCUMENT = "urn:uuid:aaaaaaaa-0000-4000-8000-000000000001"
_STATUS_TYPE = "urn:oasis:names:tc:ebxml-regrep:StatusType"


def _slot(name: str, value: str) -> str:
    return f'      <Slot name="{name}"><ValueList><Value>{value}</Value></ValueList></Slot>\n'


DEPRECATE = (
    '<lcm:SubmitObjectsRequest xmlns:lcm="urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"\n'
    f'    xmlns="{RIM}">\n  <RegistryObjectList>\n{SET}    <Association id="As1" sourceObject="Set1"\n'
    f'        targetObject="{DOCUMENT}"\n'
    '        associationType="urn:ihe:iti:2010:AssociationType:UpdateAvailabilityStatus">\n'
    f"{_slot('OriginalStatus', f'{_STATUS_TYPE}:Approved')}{_slot('NewStatus', f'{_STATUS_TYPE}:Deprecated')}"
    "    </Association>\n  </RegistryObjectList>\n</lcm:SubmitObjectsRequest>\n"
)
"""An ITI-57 body that deprecates a document."""
REMOVE = f"""<lcm:RemoveObjectsRequest xmlns:lcm="urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0" xmlns:rim="{RIM}">
  <rim:ObjectRefList>
    <rim:ObjectRef id="{DOCUMENT}"/>
  </rim:ObjectRefList>
</lcm:RemoveObjectsRequest>
"""
RETRIEVE = """<xds:RetrieveDocumentSetRequest xmlns:xds="urn:ihe:iti:xds-b:2007">
  <xds:DocumentRequest>
    <xds:RepositoryUniqueId>2.999.10.20.1</xds:RepositoryUniqueId>
    <xds:DocumentUniqueId>2.999.40.7.1</xds:DocumentUniqueId>
  </xds:DocumentRequest>
</xds:RetrieveDocumentSetRequest>
"""

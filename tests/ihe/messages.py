"""Messages as callers write them, and the small changes an attack makes to them."""

from __future__ import annotations

from ihe import mtom, soap, xml
from ihe.errors import SoapFault
from ihe.names import LCM, QUERY, RIM, SAML, SOAP12, WSA, WSA_ANONYMOUS, WSSE, XDS, Action

SERVED = frozenset(Action)
SIMPLE = "application/soap+xml; charset=UTF-8"
MESSAGE_ID = "urn:uuid:0b7c2f0e-4f57-4d1b-9d0e-2f6a51c9e8a4"

QUERY_BODY = (
    f'<query:AdhocQueryRequest xmlns:query="{QUERY}" xmlns:rim="{RIM}">'
    '<query:ResponseOption returnType="LeafClass" returnComposedObjects="true"/>'
    '<rim:AdhocQuery id="urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"><rim:Slot name="$XDSDocumentEntryPatientId">'
    "<rim:ValueList><rim:Value>'15837510047^^^&amp;2.16.578.1.12.4.1.4.1&amp;ISO'</rim:Value></rim:ValueList>"
    "</rim:Slot></rim:AdhocQuery></query:AdhocQueryRequest>"
)
SUBMIT_BODY = (
    f'<lcm:SubmitObjectsRequest xmlns:lcm="{LCM}" xmlns:rim="{RIM}"><rim:RegistryObjectList/>'
    "</lcm:SubmitObjectsRequest>"
)
RETRIEVE_BODY = (
    f'<xds:RetrieveDocumentSetRequest xmlns:xds="{XDS}"><xds:DocumentRequest>'
    "<xds:RepositoryUniqueId>2.999.10.20.1</xds:RepositoryUniqueId>"
    "<xds:DocumentUniqueId>2.999.40.7.1</xds:DocumentUniqueId>"
    "</xds:DocumentRequest></xds:RetrieveDocumentSetRequest>"
)
BODIES = {Action.QUERY: QUERY_BODY, Action.REGISTER: SUBMIT_BODY, Action.RETRIEVE: RETRIEVE_BODY}

ACTION = f'<wsa:Action soap12:mustUnderstand="1">{Action.QUERY}</wsa:Action>'
ID = f"<wsa:MessageID>{MESSAGE_ID}</wsa:MessageID>"
REPLY_TO = f"<wsa:ReplyTo><wsa:Address>{WSA_ANONYMOUS}</wsa:Address></wsa:ReplyTo>"
HEADERS = ACTION + ID + REPLY_TO


def security(inside: str = "") -> str:
    return (
        f'<wsse:Security xmlns:wsse="{WSSE}" soap12:mustUnderstand="true">'
        f'<saml:Assertion xmlns:saml="{SAML}" ID="_1"/>{inside}</wsse:Security>'
    )


def envelope(headers: str = HEADERS, body: str = QUERY_BODY, *, before: str = "", inner: str | None = None) -> bytes:
    """A message; `inner` replaces everything inside the envelope, `before` stands in front of it."""
    inside = f"<soap12:Header>{headers}</soap12:Header><soap12:Body>{body}</soap12:Body>" if inner is None else inner
    return f'{before}<soap12:Envelope xmlns:soap12="{SOAP12}" xmlns:wsa="{WSA}">{inside}</soap12:Envelope>'.encode()


def of(action: Action) -> bytes:
    namespace, _, local = action.body[1:].partition("}")
    return envelope(HEADERS.replace(Action.QUERY, action), BODIES.get(action, f'<{local} xmlns="{namespace}"/>'))


def package(root: bytes, *parts: bytes, boundary: str = "b1", start: str = "<root@x>") -> bytes:
    """A package with the given root; each part is its headers, an empty line and its bytes."""
    head = (
        f'Content-Type: application/xop+xml; charset=UTF-8; type="application/soap+xml"\r\nContent-ID: {start}\r\n\r\n'
    )
    written = [head.encode() + root, *parts]
    line = b"--" + boundary.encode()
    return b"".join(line + b"\r\n" + part + b"\r\n" for part in written) + line + b"--\r\n"


def package_type(boundary: str = "b1", start: str = "<root@x>") -> str:
    return (
        f'multipart/related; type="application/xop+xml"; boundary="{boundary}"; start="{start}"; '
        'start-info="application/soap+xml"'
    )


def fault_of(raw: bytes, content_type: str = SIMPLE, served: frozenset[Action] = SERVED) -> SoapFault | None:
    """The fault that `raw` ends in, or None if it is read. Anything else it ends in is the test's failure."""
    try:
        soap.read_call(raw, content_type, served)
    except SoapFault as fault:
        return fault
    return None


def told(fault: SoapFault) -> xml.Element:
    """What the peer sees of a fault, read back."""
    return xml.read(soap.write_fault(fault, soap.Packaging.SIMPLE).body)


def flat(events: list[mtom.Event]) -> list[tuple[dict[str, str], bytes]]:
    """Events as (headers, content) of each part, however the content was cut."""
    found: list[tuple[dict[str, str], bytes]] = []
    for event in events:
        if isinstance(event, mtom.PartBegins):
            found.append((dict(event.headers), b""))
        elif isinstance(event, mtom.Content):
            headers, content = found.pop()
            found.append((headers, content + event.chunk))
    return found

"""A partner's toolkit can be pointed at the services: from a checkout, and from a running node."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import zeep
from lxml import etree

import schemas
import wsdl
from ihe import names, removal, xml

ROOT = Path(__file__).resolve().parents[2]
WSDL = "{http://schemas.xmlsoap.org/wsdl/}"
SOAP12 = "{http://schemas.xmlsoap.org/wsdl/soap12/}"
WSAW = "{http://www.w3.org/2006/05/addressing/wsdl}"
SERVICES = ("DocumentRegistry", "DocumentRepository")


@contextmanager
def node() -> Iterator[str]:
    """A loopback server that offers the services and the schemas as a node does; gives its base address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            base = f"http://{self.headers['Host']}"
            folder, _, name = self.path.lstrip("/").partition("/")
            try:
                if folder == "schemas":
                    body = schemas.read(name)
                else:
                    body = wsdl.serve(folder, f"{base}/here?a=1&b=2", f"{base}/schemas")
            except LookupError:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    with node() as base:
        yield base


@pytest.fixture(params=["file", "served"])
def place(request: pytest.FixtureRequest, served: str) -> str:
    return f"{ROOT}/wsdl/{{}}.wsdl" if request.param == "file" else f"{served}/{{}}"


def client_of(location: str) -> Any:
    """A client as an independent toolkit makes it from a description."""
    return zeep.Client(location)


def body(envelope: etree._Element) -> etree._Element:
    found = envelope.find(f"{{{names.SOAP12}}}Body")
    assert found is not None
    return etree.fromstring(etree.tostring(found[0]))


def judged(message: etree._Element) -> bool:
    schema = etree.XMLSchema(etree.parse(ROOT / "schemas" / schemas.SCHEMAS["xds"]))
    valid: bool = schema.validate(message)
    return valid


def test_a_client_made_from_the_description_sends_a_query(place: str) -> None:
    client = client_of(place.format("DocumentRegistry"))
    envelope = client.create_message(
        client.service,
        "DocumentRegistry_RegistryStoredQuery",
        ResponseOption={"returnType": "LeafClass", "returnComposedObjects": True},
        AdhocQuery={
            "id": names.QueryId.FIND_DOCUMENTS.value,
            "Slot": [{"name": "$XDSDocumentEntryPatientId", "ValueList": {"Value": ["'1^^^&1.2&ISO'"]}}],
        },
    )
    message = body(envelope)
    assert message.tag == names.Action.QUERY.body
    assert judged(message)
    assert message.findtext(f".//{{{names.RIM}}}Value") == "'1^^^&1.2&ISO'"
    assert envelope.findtext(f".//{{{names.WSA}}}Action") == names.Action.QUERY


def test_a_client_made_from_the_description_sends_a_retrieve(place: str) -> None:
    client = client_of(place.format("DocumentRepository"))
    asked = {"RepositoryUniqueId": "2.999.578.1.1", "DocumentUniqueId": "2.999.1"}
    envelope = client.create_message(client.service, "DocumentRepository_RetrieveDocumentSet", DocumentRequest=[asked])
    message = body(envelope)
    assert message.tag == names.Action.RETRIEVE.body
    assert judged(message)
    assert [child.text for child in message[0]] == ["2.999.578.1.1", "2.999.1"]
    assert envelope.findtext(f".//{{{names.WSA}}}Action") == names.Action.RETRIEVE


def test_a_client_made_from_the_description_knows_how_to_register(place: str) -> None:
    client = client_of(place.format("DocumentRegistry"))
    envelope = client.create_message(client.service, "DocumentRegistry_RegisterDocumentSet-b", RegistryObjectList={})
    assert body(envelope).tag == names.Action.REGISTER.body
    assert envelope.findtext(f".//{{{names.WSA}}}Action") == names.Action.REGISTER


def test_a_client_made_from_the_description_knows_how_to_remove(place: str) -> None:
    client = client_of(place.format("DocumentRegistry"))
    target = "urn:uuid:8f0d6a3e-6a5e-4a2b-9c1e-0d6b4b0a7f10"
    envelope = client.create_message(
        client.service, "DocumentRegistry_DeleteDocumentSet", ObjectRefList={"ObjectRef": [{"id": target}]}
    )
    message = body(envelope)
    assert message.tag == names.Action.REMOVE.body
    assert removal.read(xml.read(etree.tostring(message))) == (target,)
    assert envelope.findtext(f".//{{{names.WSA}}}Action") == names.Action.REMOVE


@pytest.mark.parametrize("action", [names.Action.UPDATE, names.Action.RESTRICTED_UPDATE])
def test_a_client_made_from_the_description_knows_how_to_update(place: str, action: names.Action) -> None:
    client = client_of(place.format("DocumentRegistry"))
    operation = f"DocumentRegistry_{action.rpartition(':')[2]}"
    envelope = client.create_message(client.service, operation, RegistryObjectList={})
    assert (body(envelope).tag, envelope.findtext(f".//{{{names.WSA}}}Action")) == (action.body, action)


def test_a_client_made_from_a_node_calls_that_node(served: str) -> None:
    client = client_of(f"{served}/DocumentRegistry")
    ports = client.wsdl.services["DocumentRegistry_Service"].ports
    assert ports["DocumentRegistry_Port_Soap12"].binding_options == {"address": f"{served}/here?a=1&b=2"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_name_follows_the_technical_framework(name: str) -> None:
    root = etree.parse(ROOT / "wsdl" / f"{name}.wsdl").getroot()
    assert root.get("name") == name
    assert root.get("targetNamespace") == names.XDS
    port_type, binding = root.find(f"{WSDL}portType"), root.find(f"{WSDL}binding")
    assert port_type is not None
    assert binding is not None
    assert port_type.get("name") == f"{name}_PortType"
    assert binding.get("name") == f"{name}_Binding_Soap12"
    assert [port.get("name") for port in root.iter(f"{WSDL}port")] == [f"{name}_Port_Soap12"]
    for operation in port_type.iter(f"{WSDL}operation"):
        transaction = operation.get("name", "").removeprefix(f"{name}_")
        action = next(each for each in names.Action if each.endswith(f":{transaction}"))
        given, answered = operation.find(f"{WSDL}input"), operation.find(f"{WSDL}output")
        assert given is not None
        assert answered is not None
        assert given.attrib == {"message": f"ihe:{transaction}_Message", f"{WSAW}Action": action.value}
        assert answered.attrib == {"message": f"ihe:{transaction}Response_Message", f"{WSAW}Action": action.reply}


def test_every_action_served_is_described_once() -> None:
    described = [
        operation.get("soapAction", "")
        for name in wsdl.SHA256
        for operation in etree.parse(ROOT / "wsdl" / name).iter(f"{SOAP12}operation")
        if operation.get("soapActionRequired") == "false"
    ]
    assert sorted(described) == sorted(action.value for action in names.Action)


def test_the_digests_are_those_of_the_files() -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (ROOT / "wsdl").rglob("*.wsdl")}
    assert dict(wsdl.SHA256) == found


@pytest.mark.parametrize("name", SERVICES)
def test_a_served_description_points_only_at_the_addresses_given(name: str) -> None:
    address = 'https://node.example.no/x?a="b"&c=<d>'
    text = wsdl.serve(name, address, "https://node.example.no/schemas/")
    root = etree.fromstring(text)
    assert [node.get("location") for node in root.iter(f"{SOAP12}address")] == [address]
    located = [node.get("schemaLocation", "") for node in root.iter("{*}import")]
    assert located
    for location in located:
        assert schemas.read(location.removeprefix("https://node.example.no/schemas/"))
    assert b"example.org" not in text


def test_an_address_is_put_in_as_it_is_and_never_read_as_a_pattern() -> None:
    root = etree.fromstring(wsdl.serve("DocumentRegistry", r"https://node.example.no/\1\g<0>", "schemas"))
    assert [node.get("location") for node in root.iter(f"{SOAP12}address")] == [r"https://node.example.no/\1\g<0>"]


@pytest.mark.parametrize("name", ["", "DocumentRegistry.wsdl", "../setup", "documentregistry", "__init__"])
def test_no_other_service_is_described(name: str) -> None:
    with pytest.raises(LookupError):
        wsdl.serve(name, "https://node.example.no", "https://node.example.no/schemas")


@pytest.mark.parametrize("address", ["https://node\0", "https://node\n.example.no", "\ud800"])
def test_an_address_that_cannot_stand_in_a_document_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="printed"):
        wsdl.serve("DocumentRegistry", address, "https://node.example.no/schemas")

"""What a curious user gets when the demo is left running: ready messages, and the commands that send them."""

from __future__ import annotations

import threading
from pathlib import Path

from rich.console import Console

from ihe.names import WSSE, Action
from simulators.consumer import envelope, find_documents
from simulators.people import Person
from simulators.personae import ANNE
from simulators.town import Town

_ZEEP = '''\
"""Asks the demo's node for a patient's documents with zeep: python {script}"""

import requests
import zeep
from lxml import etree

session = requests.Session()
session.trust_env = False
session.verify = "{ca}"
session.cert = ("{certificate}", "{key}")


class Token:
    """Puts the assertion into the message as it is."""

    def apply(self, message, headers):
        security = etree.SubElement(message[0], "{{{wsse}}}Security")
        security.append(etree.parse("{token}").getroot())
        return message, headers


client = zeep.Client(
    "{url}/xds/registry?wsdl",
    transport=zeep.Transport(session=session),
    settings=zeep.Settings(raw_response=True),
    wsse=Token(),
)
slot = client.get_type("{{urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0}}SlotType1")
values = client.get_type("{{urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0}}ValueListType")
answer = client.service.DocumentRegistry_RegistryStoredQuery(
    ResponseOption={{"returnType": "LeafClass", "returnComposedObjects": True}},
    AdhocQuery={{
        "id": "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d",
        "Slot": [
            slot(name="$XDSDocumentEntryPatientId", ValueList=values(Value=["'{patient}'"])),
            slot(
                name="$XDSDocumentEntryStatus",
                ValueList=values(Value=["('urn:oasis:names:tc:ebxml-regrep:StatusType:Approved')"]),
            ),
        ],
    }},
)
print(answer.status_code, answer.text)
'''


def running(town: Town, console: Console, patient: Person) -> None:
    """Writes the messages, prints how to send them, and waits for Ctrl-C."""
    token = town.token(ANNE, patient.number)
    query = town.folder / "find.xml"
    query.write_bytes(envelope(Action.QUERY, find_documents(patient.patient_id), token))
    (town.folder / "token.xml").write_bytes(token)
    script = town.folder / "find.py"
    script.write_text(_script(town, script, patient), "utf-8")
    certificates = town.folder / "certificates"
    console.print(
        f"\n[bold]The node stays at {town.url}[/bold] until Ctrl-C. The token in these messages lives for an hour.\n\n"
        f"With curl:\n\n"
        f"  curl --cacert {certificates}/ca.pem --cert {certificates}/caller.pem --key {certificates}/caller.key \\\n"
        f"    -H 'Content-Type: application/soap+xml; charset=UTF-8' --data-binary @{query} {town.url}/xds/registry\n\n"
        f"With zeep:\n\n  .venv/bin/python {script}\n\n"
        f"The command line of the node:\n\n  .venv/bin/innsyn audit who {patient.number} --config {town.config}\n",
        markup=True,
        soft_wrap=True,
    )
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        console.print("stopping")


def _script(town: Town, script: Path, patient: Person) -> str:
    certificates = town.folder / "certificates"
    return _ZEEP.format(
        script=script,
        ca=certificates / "ca.pem",
        certificate=certificates / "caller.pem",
        key=certificates / "caller.key",
        wsse=WSSE,
        token=town.folder / "token.xml",
        url=town.url,
        patient=patient.patient_id,
    )

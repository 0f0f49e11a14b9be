"""What the trail holds of a retrieve beyond its documents: all the patients, and callers nobody could identify."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audit.event import Kind
from ihe import soap
from ihe.errors import FaultCode, SoapFault
from ihe.names import Action
from ihe.retrieval import DocumentRequest
from policy.facts import CallerUnknown, Peer, Subject
from repository_proxy.retrieve import prepare
from tests.repository_proxy.ports import PATIENT
from tests.repository_proxy.stage import Stage, play, request

PEER = Peer("test", "127.0.0.1", "", "c" * 32)


def test_a_machine_that_opens_documents_of_several_patients_leaves_all_of_them_in_the_trail() -> None:
    other = PATIENT.replace("15837510047", "02911160008")

    async def scene() -> None:
        async with Stage() as stage:
            await stage.hospital("ous", "2.999.1", {"1.1": b"first"})
            await stage.hospital("ahus", "2.999.2", {"2.1": b"second"}, registered=False)
            stage.register("2.999.2", {"2.1": b"second"}, patient_id=other)
            await stage.open()
            got = await stage.retrieve(("2.999.1", "1.1"), ("2.999.2", "2.1"))
            await stage.trail.concluded()
            assert got.documents == {"1.1": b"first", "2.1": b"second"}
            assert [event.kind for event in stage.trail.events] == [Kind.RELEASING, Kind.RELEASED]
            for event in stage.trail.events:
                assert (event.patient_id, *event.patients) == (PATIENT, other), event.kind

    play(scene())


def test_a_caller_whose_identity_cannot_be_looked_up_gets_a_fault_that_is_on_record() -> None:
    def unknown(*_: object) -> Subject:
        raise CallerUnknown("XDSRegistryBusy")

    async def scene() -> None:
        async with Stage() as stage:
            await stage.open()
            content_type, raw = request([DocumentRequest("", "2.999.1", "1.1")], soap.Packaging.MTOM)
            call = soap.read_call(raw, content_type, frozenset(Action))
            with pytest.raises(SoapFault) as fault:
                prepare(call, PEER, replace(stage.desk, identify=unknown))
            assert fault.value.code is FaultCode.RECEIVER
            assert [(event.kind, event.reason) for event in stage.trail.events] == [(Kind.FAILED, "XDSRegistryBusy")]

    play(scene())

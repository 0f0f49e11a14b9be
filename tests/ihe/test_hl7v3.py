"""HL7 v3 messages of the patient feed: read for whom they name, whatever else senders put in; acknowledged."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ihe import hl7v3, xml
from ihe.hl7v3 import Answer, Fault, InstanceId, Unacceptable
from ihe.names import HL7, Action
from tests.ihe.feeds import instance, prior, v3

OID = "2.16.578.1.12.4.1.4.1"
ONE, OTHER = instance(OID, "15837510047"), instance(OID, "01826520074")
AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
OWN = InstanceId("2.25.1", "")
EVENT = "/controlActProcess/subject/registrationEvent"


def read(action: Action, message: str) -> hl7v3.Notice:
    return hl7v3.read(action, xml.read(message.encode()))


def refused(action: Action, message: str) -> Unacceptable:
    with pytest.raises(Unacceptable) as wrong:
        read(action, message)
    return wrong.value


@pytest.mark.parametrize("action", [Action.FEED_ADD, Action.FEED_REVISE])
def test_a_registration_names_its_patient_and_nobody_else(action: Action) -> None:
    notice = read(action, v3(action, '<id nullFlavor="UNK"/>', ONE, instance("2.999.7", "A-17")))
    assert notice.patients == (InstanceId(OID, "15837510047"), InstanceId("2.999.7", "A-17"))
    assert notice.subsumed == ()
    assert notice.header == hl7v3.Header(InstanceId("2.999.50.1", "m-1"), "2.999.60.2", "2.999.60.1")


def test_a_merge_names_both() -> None:
    notice = read(Action.FEED_MERGE, v3(Action.FEED_MERGE, ONE, replaced=prior(OTHER)))
    assert notice.patients == (InstanceId(OID, "15837510047"),)
    assert notice.subsumed == (InstanceId(OID, "01826520074"),)


@pytest.mark.parametrize(
    ("action", "message", "answer", "fault", "location"),
    [
        (
            Action.FEED_ADD,
            v3(Action.FEED_ADD, ONE).replace('extension="PRPA_IN201301UV02"', 'extension="PRPA_IN201302UV02"'),
            Answer.REJECT,
            Fault.INTERACTION,
            "/interactionId",
        ),
        (
            Action.FEED_ADD,
            v3(Action.FEED_ADD, ONE).replace('interactionId root="2.16.840.1.113883.1.6"', 'interactionId root="2.1"'),
            Answer.REJECT,
            Fault.INTERACTION,
            "/interactionId",
        ),
        (
            Action.FEED_ADD,
            v3(Action.FEED_ADD, ONE).replace('<id root="2.999.50.1" extension="m-1"/>', ""),
            Answer.REJECT,
            Fault.MISSING,
            "/id",
        ),
        (Action.FEED_ADD, v3(Action.FEED_ADD), Answer.ERROR, Fault.MISSING, f"{EVENT}/subject1/patient/id"),
        (
            Action.FEED_ADD,
            v3(Action.FEED_ADD, f'<id root="{OID}"/>'),
            Answer.ERROR,
            Fault.DATA_TYPE,
            f"{EVENT}/subject1/patient/id",
        ),
        (
            Action.FEED_ADD,
            v3(Action.FEED_ADD, instance("hospital.example", "1")),
            Answer.ERROR,
            Fault.DATA_TYPE,
            f"{EVENT}/subject1/patient/id",
        ),
        (
            Action.FEED_REVISE,
            v3(Action.FEED_REVISE, ONE, replaced=prior(OTHER)),
            Answer.ERROR,
            Fault.TOO_MANY,
            f"{EVENT}/replacementOf",
        ),
        (Action.FEED_MERGE, v3(Action.FEED_MERGE, ONE), Answer.ERROR, Fault.MISSING, f"{EVENT}/replacementOf"),
        (
            Action.FEED_MERGE,
            v3(Action.FEED_MERGE, ONE, replaced=prior(OTHER) * 2),
            Answer.ERROR,
            Fault.TOO_MANY,
            f"{EVENT}/replacementOf",
        ),
        (
            Action.FEED_MERGE,
            v3(Action.FEED_MERGE, ONE, replaced=prior(OTHER, instance(OID, "1"))),
            Answer.ERROR,
            Fault.TOO_MANY,
            f"{EVENT}/replacementOf",
        ),
        (
            Action.FEED_ADD,
            v3(Action.FEED_ADD, ONE).replace("registrationEvent", "observationEvent"),
            Answer.ERROR,
            Fault.MISSING,
            EVENT,
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    action: Action, message: str, answer: Answer, fault: Fault, location: str
) -> None:
    wrong = refused(action, message)
    name = action.body.rpartition("}")[2]
    assert (wrong.answer, wrong.fault, wrong.location) == (answer, fault, f"/{name}{location}")
    assert "15837510047" not in str(wrong)


def test_an_acknowledgement_is_of_the_published_form() -> None:
    header = read(Action.FEED_ADD, v3(Action.FEED_ADD, ONE)).header
    wrong = Unacceptable(header, Answer.ERROR, Fault.UNKNOWN_KEY, "a < b", "/x")
    for answer, refusal in ((Answer.ACCEPT, None), (Answer.ERROR, wrong)):
        written = xml.read(hl7v3.write_ack(header, answer, AT, OWN, refusal))
        assert xml.schema("feed").findings(written) == ()
        names = {"h": HL7}
        part = written.find("h:acknowledgement", names)
        assert part is not None
        typed, target = part.find("h:typeCode", names), part.find("h:targetMessage/h:id", names)
        assert typed is not None
        assert target is not None
        assert (typed.get("code"), dict(target.attrib)) == (answer.value, {"root": "2.999.50.1", "extension": "m-1"})
        assert (part.findtext("h:acknowledgementDetail/h:text", "", names) == "a < b") is (refusal is not None)
        parties = [written.find(f"h:{each}/h:device/h:id", names) for each in ("receiver", "sender")]
        assert [None if each is None else each.get("root") for each in parties] == ["2.999.60.2", "2.999.60.1"]


def test_a_message_without_an_id_is_answered_all_the_same() -> None:
    written = hl7v3.write_ack(hl7v3.Header(), Answer.REJECT, AT, OWN)
    assert xml.schema("feed").findings(xml.read(written)) == ()
    assert b'<targetMessage><id nullFlavor="UNK"/>' in written


@pytest.mark.parametrize("action", [Action.FEED_ADD, Action.FEED_REVISE, Action.FEED_MERGE])
def test_the_messages_here_are_of_the_described_form(action: Action) -> None:
    replaced = prior(OTHER) if action is Action.FEED_MERGE else ""
    assert xml.schema("feed").findings(xml.read(v3(action, ONE, replaced=replaced).encode())) == ()

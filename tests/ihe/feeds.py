"""Patient feed messages as their senders write them, of both versions; people are synthetic."""

from __future__ import annotations

from ihe import xml
from ihe.names import HL7, Action
from ihe.soap import Call, Packaging


def adt(event: str, patients: str, *, version: str = "2.3.1", charset: str = "", more: str = "") -> bytes:
    """An ADT message; `patients` is PID-3 as sent."""
    return (
        f"MSH|^~\\&|ADT|HOSPITAL|INNSYN|NODE|20260302090000||ADT^{event}|m-1|P|{version}||||||{charset}\r"
        f"EVN|{event[:3]}|20260302090000\rPID|||{patients}||EKSEMPEL^KARI||19750315|F\r{more}PV1||I\r"
    ).encode()


def a40(survivor: str, subsumed: str) -> bytes:
    """A merge; both are a CX as sent."""
    return adt("A40", survivor, more=f"MRG|{subsumed}\r")


def instance(root: str, extension: str) -> str:
    return f'<id root="{root}" extension="{extension}"/>'


def prior(*ids: str) -> str:
    """What a merge says of the identifier that is no longer used."""
    return (
        '<replacementOf typeCode="RPLC"><priorRegistration classCode="REG" moodCode="EVN"><statusCode code="obsolete"/>'
        f'<subject1 typeCode="SBJ"><priorRegisteredRole classCode="PAT">{"".join(ids)}</priorRegisteredRole></subject1>'
        "</priorRegistration></replacementOf>"
    )


def v3(action: Action, *patients: str, replaced: str = "") -> str:
    """A message of ITI-44 with what real senders add; `patients` are the patient's id elements."""
    name = action.body.rpartition("}")[2]
    return f"""<{name} xmlns="{HL7}" ITSVersion="XML_1.0">
  <id root="2.999.50.1" extension="m-1"/><creationTime value="20260302090000"/>
  <interactionId root="2.16.840.1.113883.1.6" extension="{name}"/>
  <processingCode code="P"/><processingModeCode code="T"/><acceptAckCode code="AL"/>
  <receiver typeCode="RCV"><device classCode="DEV" determinerCode="INSTANCE"><id root="2.999.60.1"/>
    <asAgent classCode="AGNT"><representedOrganization classCode="ORG" determinerCode="INSTANCE">
      <id root="2.999.60.9"/></representedOrganization></asAgent></device></receiver>
  <sender typeCode="SND"><device classCode="DEV" determinerCode="INSTANCE"><id root="2.999.60.2"/></device></sender>
  <controlActProcess classCode="CACT" moodCode="EVN"><code code="PRPA_TE201301UV02"/>
    <subject typeCode="SUBJ" contextConductionInd="false"><registrationEvent classCode="REG" moodCode="EVN">
      <id nullFlavor="NA"/><statusCode code="active"/>
      <subject1 typeCode="SBJ"><patient classCode="PAT">
        {"".join(patients)}<addr/><statusCode code="active"/>
        <patientPerson classCode="PSN" determinerCode="INSTANCE"><name><family>Eksempel</family></name><addr/>
          <asOtherIDs classCode="PAT"><id root="2.16.578.1.12.4.1.4.1" extension="02911160008"/>
            <scopingOrganization classCode="ORG" determinerCode="INSTANCE"><id root="2.999.9"/></scopingOrganization>
          </asOtherIDs></patientPerson>
        <providerOrganization classCode="ORG" determinerCode="INSTANCE"><id root="2.999.9"/></providerOrganization>
      </patient></subject1>
      <custodian typeCode="CST"><assignedEntity classCode="ASSIGNED"><id root="2.999.9"/></assignedEntity></custodian>
      {replaced}
    </registrationEvent></subject></controlActProcess></{name}>"""


def feed_call(action: Action, message: str) -> Call:
    """The message as a transaction receives it."""
    return Call(action, xml.read(message.encode()), None, "urn:uuid:message", Packaging.SIMPLE)

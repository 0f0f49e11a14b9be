"""Sets, folders, associations and identity over the wire: what is hidden leaves no trace. Numbers: those of the
acceptance list."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from ihe.names import WITHDRAWN, Action, AssociationType, QueryId, Status
from simulators.consumer import Answered
from simulators.folders import Drawer, with_folders
from simulators.papers import Paper
from simulators.people import Person
from simulators.personae import ANNE, BERIT
from simulators.source import envelope, submission
from tests.journeys.pilot import SUCCESS, USUAL, Pilot, ids, plain, reasons
from tests.journeys.test_sources import send

DE, FD, SS = "$XDSDocumentEntry", "$XDSFolder", "$XDSSubmissionSet"
BOTH = f"('{Status.APPROVED}','{Status.DEPRECATED}')"
TYPES = "(" + ",".join(f"'{each}'" for each in AssociationType) + ")"
NOBODY = "urn:uuid:00000000-0000-4000-8000-00000000dead"
NO_UID = "2.999.404.1"
Question = tuple[QueryId, list[tuple[str, str]]]


@dataclass(frozen=True)
class Filed:
    """A paper in a folder of its own, and the set they came with."""

    paper: Paper
    drawer: Drawer
    set_unique_id: str

    @property
    def names(self) -> tuple[str, ...]:
        """Everything by which it could be known."""
        entry, drawer = self.paper, self.drawer
        return entry.entry_uuid, entry.unique_id, drawer.entry_uuid, drawer.unique_id, self.set_unique_id


def file(pilot: Pilot, person: Person, paper: Paper, replaces: str = "") -> Filed:
    """Registers a paper with a folder that holds it."""
    pilot.hold([paper])
    drawer = Drawer(f"urn:uuid:{uuid.uuid4()}", f"{paper.unique_id}.7")
    old = {paper.unique_id: replaces} if replaces else {}
    sent = submission([paper], tell_signing=True, replaces=old)
    sent = with_folders(sent, person, [drawer], [(drawer.entry_uuid, paper.entry_uuid)])
    outcome = send(pilot, sent)
    assert outcome.status == SUCCESS, outcome
    return Filed(paper, drawer, sent.unique_id)


def of_patient(person: Person) -> Iterator[Question]:
    """Every query that names a patient."""
    named = f"'{person.patient_id}'"
    yield QueryId.FIND_DOCUMENTS, [(f"{DE}PatientId", named), (f"{DE}Status", BOTH)]
    yield QueryId.FIND_SUBMISSION_SETS, [(f"{SS}PatientId", named), (f"{SS}Status", BOTH)]
    yield QueryId.FIND_FOLDERS, [(f"{FD}PatientId", named), (f"{FD}Status", BOTH)]
    yield QueryId.GET_ALL, [("$patientId", named), *((f"{kind}Status", BOTH) for kind in (DE, SS, FD))]
    reference = (f"{DE}ReferenceIdList", "('x^^^^y')")
    yield QueryId.FIND_DOCUMENTS_BY_REFERENCE_ID, [(f"{DE}PatientId", named), (f"{DE}Status", BOTH), reference]
    out = (f"{DE}FormatCodeExclude", "('x^^y')")
    yield QueryId.FIND_DOCUMENTS_EXCLUDE, [(f"{DE}PatientId", named), (f"{DE}Status", BOTH), out]


def of_ids(entry: str, unique_id: str, folder: str, folder_id: str, set_id: str) -> Iterator[Question]:
    """Every query by id."""
    linked = ("$XDSAssociationStatus", BOTH)
    for by, each in (("EntryUUID", entry), ("UniqueId", unique_id)):
        yield QueryId.GET_DOCUMENTS, [(f"{DE}{by}", f"('{each}')"), ("$MetadataLevel", "2")]
        yield QueryId.GET_DOCUMENTS_AND_ASSOCIATIONS, [(f"{DE}{by}", f"('{each}')"), linked]
        yield QueryId.GET_FOLDERS_FOR_DOCUMENT, [(f"{DE}{by}", f"'{each}'")]
        yield QueryId.GET_RELATED_DOCUMENTS, [(f"{DE}{by}", f"'{each}'"), ("$AssociationTypes", TYPES), linked]
    for by, each in (("EntryUUID", folder), ("UniqueId", folder_id)):
        yield QueryId.GET_FOLDERS, [(f"{FD}{by}", f"('{each}')")]
        yield QueryId.GET_FOLDER_AND_CONTENTS, [(f"{FD}{by}", f"'{each}'"), linked]
    for each in (entry, folder):
        yield QueryId.GET_ASSOCIATIONS, [("$uuid", f"('{each}')"), linked]
        yield QueryId.GET_SUBMISSION_SETS, [("$uuid", f"('{each}')"), linked]
    yield QueryId.GET_SUBMISSION_SET_AND_CONTENTS, [(f"{SS}UniqueId", f"'{set_id}'"), linked]


def ask(pilot: Pilot, token: bytes, question: Question, returns: str) -> Answered:
    return pilot.consumer().query(*question, token, returns)


def withdraw(pilot: Pilot, paper: Paper) -> None:
    """Its hospital marks the document as withdrawn, with a new version of its metadata (ITI-57)."""
    sent = submission([paper], tell_signing=True, submitted=paper.created + timedelta(days=1))
    body = sent.body.decode().replace(paper.entry_uuid, "Later01")
    slot = "<rim:Slot name='{0}'><rim:ValueList><rim:Value>{1}</rim:Value></rim:ValueList></rim:Slot>"
    body = body.replace('id="Later01"', f'id="Later01" lid="{paper.entry_uuid}"', 1)
    body = body.replace(
        '<rim:Slot name="creationTime">', slot.format(WITHDRAWN, "true") + '<rim:Slot name="creationTime">'
    )
    original = '<rim:Slot name="SubmissionSetStatus">'
    body = body.replace(original, slot.format("PreviousVersion", "1") + original)
    message = envelope(body.encode(), pilot.url, f"urn:uuid:{uuid.uuid4()}")
    message = message.replace(Action.REGISTER.encode(), Action.UPDATE.encode())
    answer = pilot.consumer("ous").post("/xds/registry", message)
    assert answer.status == SUCCESS, (answer.fault, answer.errors)


def test_38_a_withdrawn_document_is_gone_from_the_next_question_on(pilot: Pilot, patient: Person) -> None:
    """It was listed and opened; its hospital withdraws it, and its id is answered like one that nobody has."""
    (paper,) = pilot.shared(patient)
    pilot.at(USUAL)
    listed = pilot.sees(ANNE, patient, [paper])
    withdraw(pilot, paper)
    pilot.absent(ANNE, patient, paper, "WITHDRAWN")
    token = pilot.token(ANNE, patient.number)
    by_id = pilot.consumer().get([paper.unique_id], token)
    assert (by_id.status, by_id.entries) == (SUCCESS, ())
    (before,) = listed.entries
    older = pilot.consumer().query(QueryId.GET_DOCUMENTS, [(f"{DE}EntryUUID", f"('{before.entry_uuid}')")], token)
    assert (older.status, older.entries) == (SUCCESS, ())
    assert pilot.consumer().query(*next(of_patient(patient)), token).entries == ()


def test_58_a_hidden_document_leaves_no_trace_in_any_question(pilot: Pilot, patient: Person) -> None:
    """Two versions of a document that is kept back, in sets and folders of their own: nothing speaks of any of it."""
    shown = file(pilot, patient, pilot.paper(patient, "ous"))
    first = file(pilot, patient, pilot.paper(patient, "ous", access_codes=("NORS",)))
    second = file(pilot, patient, pilot.paper(patient, "ous", access_codes=("NORS",)), first.paper.entry_uuid)
    pilot.at(USUAL)
    pilot.absent(ANNE, patient, second.paper, "BLOCK_DOC", shown=[shown.paper])
    token = pilot.token(ANNE, patient.number)
    hidden = [name.encode() for each in (first, second) for name in each.names]
    for returns in ("LeafClass", "ObjectRef"):
        for question in (*of_patient(patient), *of_ids(*shown.names)):
            answer = ask(pilot, token, question, returns)
            assert (answer.status, answer.errors) == (SUCCESS, ()), question
            assert not [name for name in hidden if name in answer.raw], question
        for each in (first, second):
            for question, unknown in zip(
                of_ids(*each.names), of_ids(NOBODY, NO_UID, NOBODY, NO_UID, NO_UID), strict=True
            ):
                asked, nobody = (ask(pilot, token, one, returns) for one in (question, unknown))
                assert plain(asked) == plain(nobody), question
    whole = ask(
        pilot, token, next(question for question in of_patient(patient) if question[0] is QueryId.GET_ALL), "LeafClass"
    )
    assert shown.set_unique_id.encode() in whole.raw
    assert shown.drawer.unique_id.encode() in whole.raw
    assert ids(whole) == {shown.paper.unique_id}
    assert reasons(pilot.view(patient, whole)["withheld"]) == {"BLOCK_DOC", "DEPRECATED"}


def test_59_every_question_knows_a_person_by_either_number_and_the_block_with_it(pilot: Pilot, patient: Person) -> None:
    """Folders and sets of the D-number's time are the person's too; a block set by that number closes all of it."""
    before = replace(patient, number=_d_number(patient))
    old = file(pilot, before, pilot.paper(before, "ous"))
    new = file(pilot, patient, pilot.paper(patient, "ous"))
    pilot.at(USUAL)
    pilot.innsyn("patient", "link", patient.number, before.number, "--by", "patient services")

    def shows(returns: str = "LeafClass") -> list[tuple[bool, ...]]:
        found = []
        for who in (patient, before):
            token = pilot.token(ANNE, who.number)
            answers = [ask(pilot, token, each, returns) for each in (*of_patient(who), *of_ids(*old.names))]
            assert {each.status for each in answers} == {SUCCESS}
            raw = b"".join(each.raw for each in answers)
            assert returns == "ObjectRef" or before.patient_id.encode() not in raw
            found.append(tuple(name.encode() in raw for each in (old, new) for name in each.names[::2][:2]))
        return found

    assert shows() == shows("ObjectRef") == [(True,) * 4] * 2
    pilot.innsyn("block", "set", before.number, "--kind", "visit_history")
    assert shows() == shows("ObjectRef") == [(False,) * 4] * 2


def _d_number(person: Person) -> str:
    from simulators.people import synthetic_number

    return synthetic_number(person.born, 0, d_number=True)


def test_62_a_number_of_the_rule_of_2032_counts_where_the_policy_says_so(pilot: Pilot) -> None:
    """Its control digits are right under the new rule alone: a patient like any other with it, nobody without."""
    patient = Person("15837510055", "Prøve", "Ny", pilot.patient().born, "F")
    (paper,) = pilot.shared(patient)
    pilot.at(USUAL)
    pilot.sees(BERIT, patient, [paper])
    questions = [*of_patient(patient)]
    with pilot.policy("policy.toml", ("rule_2032 = true", "rule_2032 = false")):
        token = pilot.token(BERIT, patient.number)
        for question in questions:
            answer = ask(pilot, token, question, "LeafClass")
            assert [context for _, context, _ in answer.errors] == ["PATIENT_INVALID"], question
            assert answer.entries == ()
    pilot.sees(BERIT, patient, [paper])


def test_a_source_checks_what_it_registered_and_sees_nothing_of_others(pilot: Pilot, patient: Person) -> None:
    """With an agreement for its own, a hospital finds its drafts, sets and folders, and of another's documents none."""
    draft = file(pilot, patient, pilot.paper(patient, "ous", signed=False))
    theirs = pilot.shared(patient, "unn")
    pilot.at(USUAL)
    with pilot.policy("agreements.toml", ("", OWN)):
        found = own(pilot, of_patient(patient))
        for name in draft.names:
            assert name.encode() in found
        assert not [each for each in theirs if each.unique_id.encode() in found]
        assert draft.set_unique_id.encode() in own(pilot, of_ids(*draft.names))
    answer = pilot.consumer("ous").query(*next(of_patient(patient)), None)
    assert [context for _, context, _ in answer.errors] == ["NO_AGREEMENT"]


OWN = """
[agreement.own-registrations]
channel = "machine"
sources = "own"
machines = "any"
kinds = "any"
valid_from = 2020-01-01T00:00:00+01:00
valid_to = "open"
availability = ["Approved", "Deprecated"]
signing = "any"
max_age = "none"
precision = "day"
"""


def own(pilot: Pilot, questions: Iterator[Question]) -> bytes:
    """What the hospital's own system is answered, all together."""
    answers = [pilot.consumer("ous").query(*each, None) for each in questions]
    assert {each.status for each in answers} == {SUCCESS}, [each.errors for each in answers]
    return b"".join(each.raw for each in answers)


def test_a_query_across_patients_is_no_transaction_here(pilot: Pilot, patient: Person) -> None:
    """Off unless configured: the endpoint does not know the action."""
    from simulators.consumer import adhoc_query
    from simulators.consumer import envelope as asked

    slots: Sequence[tuple[str, str]] = [(f"{DE}PatientId", f"('{patient.patient_id}')"), (f"{DE}Status", BOTH)]
    body = adhoc_query(QueryId.FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS, slots)
    token = pilot.token(ANNE, patient.number)
    answer = pilot.consumer().post("/xds/registry", asked(Action.MULTI_PATIENT_QUERY, body, token))
    assert (answer.http_status, "ActionNotSupported" in answer.raw.decode()) == (500, True)

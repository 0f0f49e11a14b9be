from __future__ import annotations

import random
import re
import string
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ihe import canonical, ebrim, xml
from ihe.errors import XdsFailure
from ihe.metadata import Association, Author, Coded, DocumentEntry
from ihe.names import IS_SUBMISSION_SET, LCM, OBJECT_TYPE, RIM, AssociationType, EntryScheme, IdScheme, Status
from ihe.submittal import Kind
from registry.rules import judge as rules
from tests.ihe import submissions as s
from tests.ihe.submissions import Node

R = f"{{{RIM}}}"
REGISTRYS_OWN = {"id", "lid", "home", "status", "objectType"}
REFERENCES = {"classifiedObject", "registryObject", "sourceObject", "targetObject"}


def find(root: Node, path: str) -> Node:
    found = root.find(".//" + "/".join(R + step for step in path.split("/")))
    assert found is not None
    return found


def said(node: Node) -> object:
    """What an element says, whoever wrote it: without ids, labels of the registry, and spelling."""
    attributes = {
        key: value for key, value in node.attrib.items() if key not in REGISTRYS_OWN | REFERENCES | {"charset"}
    }
    if node.tag == f"{R}ExtrinsicObject":
        attributes.setdefault("mimeType", "application/octet-stream")
    children = [said(child) for child in node if child.tag != f"{R}VersionInfo"]
    if node.tag != f"{R}Value":
        # Order between different names is the schema's, among one name the sender's.
        children.sort(key=lambda child: str(child[0]) if isinstance(child, tuple) else "")
    return (node.tag, attributes, node.text or "" if node.tag == f"{R}Value" else "", children)


def test_a_submission_becomes_typed_metadata() -> None:
    sent = s.submission(s.with_folder())
    (entry,) = sent.entries
    assert entry.unique_id == "2.999.40.7.1"
    assert entry.patient_id == s.PATIENT
    assert entry.class_code == Coded("A00-1", "2.999.30.1")
    assert entry.confidentiality_codes == (Coded("N", "2.16.840.1.113883.5.25"),)
    assert entry.authors == (
        Author(
            "02911160008^Legesen^Kari^^^^^^&2.16.578.1.12.4.1.4.1&ISO",
            ("Testsykehuset^^^^^&2.16.578.1.12.4.1.4.101&ISO^^^^974633574",),
            telecoms=("^^Internet^post@example.org",),
        ),
    )
    assert (entry.size, entry.hash, entry.mime_type) == (51342, s.SHA1, "application/pdf")
    assert sent.submission_set.source_id == "2.999.50.1"
    assert sent.folders[0].codes == (Coded("X1", "2.999.30.1"),)
    assert [association.original for association in sent.associations] == [True, None, None, None]


def test_symbolic_ids_become_one_uuid_each_and_uuids_are_kept() -> None:
    given_uuid = "urn:uuid:cccccccc-0000-4000-8000-000000000009"
    root = s.request(
        s.entry(of=given_uuid),
        s.submission_set(),
        s.member("As1", "Set1", given_uuid, "Original"),
        s.association("As2", AssociationType.RPLC, given_uuid, s.ABSENT_UUID),
    )
    sent = s.submission(root)
    assert sent.entries[0].entry_uuid == given_uuid
    assert sent.associations[0].source == sent.submission_set.entry_uuid
    assert sent.associations[1].target == s.ABSENT_UUID
    allocated = [sent.submission_set.entry_uuid, *(found.entry_uuid for found in sent.associations)]
    assert len(set(allocated)) == 3
    assert all(uuid.startswith("urn:uuid:bbbbbbbb") for uuid in allocated)


def test_what_is_written_is_valid_in_schema_and_has_every_id_the_registry_promises() -> None:
    sent = s.submission(s.with_folder())
    raw = s.answer(s.written(sent))
    assert xml.schema("query").findings(xml.read(raw)) == ()
    ids = [element.get("id") for element in ElementTree.fromstring(raw).iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found or "") for found in ids)
    for found in s.objects_in(raw):
        assert found.get("status") == Status.APPROVED
        assert found.get("lid") == found.get("id")
        assert found.find(f"{R}VersionInfo") is not None
        for part in [*found.iter(f"{R}Classification"), *found.iter(f"{R}ExternalIdentifier")]:
            assert part.get("objectType") == OBJECT_TYPE + part.tag.removeprefix(R)
            assert found.get("id") in (part.get("classifiedObject"), part.get("registryObject"))


def test_the_registry_fills_in_status_version_home_and_the_surviving_patient() -> None:
    (entry,) = s.submission(s.one_document()).entries
    head = s.head(entry.entry_uuid, patient="02911160008^^^&2.16.578.1.12.4.1.4.1&ISO", home='urn:oid:1"&<', version=12)
    (found,) = s.objects_in(s.answer([ebrim.write_entry(head, entry.body)]))
    assert found.get("home") == 'urn:oid:1"&<'
    version = found.find(f"{R}VersionInfo")
    assert version is not None
    assert version.get("versionName") == "12"
    assert "02911160008^^^&2.16.578.1.12.4.1.4.1&ISO" in [e.get("value") for e in found.iter(f"{R}ExternalIdentifier")]
    assert s.PATIENT not in [e.get("value") for e in found.iter(f"{R}ExternalIdentifier")]
    (homeless,) = s.objects_in(s.answer([ebrim.write_entry(s.head(entry.entry_uuid, home=""), entry.body)]))
    assert homeless.get("home") is None


def test_what_the_sender_claims_of_status_home_lid_and_version_is_not_kept() -> None:
    root = s.one_document()
    entry = find(root, "ExtrinsicObject")
    entry.attrib.update({"status": "urn:x:Deprecated", "home": "urn:oid:2.999.66", "lid": "urn:uuid:" + "9" * 36})
    entry.insert(11, s.rim("VersionInfo", {"versionName": "77"}))
    (stored,) = s.submission(root).entries
    for claimed in (b"Deprecated", b"2.999.66", b"999999999999", b'"77"'):
        assert claimed not in stored.body


def spelled(root: Node, how: int) -> bytes:
    """The same submission in another spelling."""
    raw = ElementTree.tostring(root, encoding="unicode")
    match how:
        case 1:
            raw = raw.replace("xmlns:ns1=", "xmlns:z=").replace("<ns1:", "<z:").replace("</ns1:", "</z:")
        case 2:
            raw = raw.replace("><", ">\n\t <!-- x --><")
        case 3:
            raw = re.sub(r">([^<>&]+)</(ns\d):Value>", r"><![CDATA[\1]]></\2:Value>", raw)
            raw = raw.replace("&amp;", "&#38;").replace("&lt;", "&#x3c;")
        case 4:
            raw = raw.replace("xmlns:ns1=", "xmlns=").replace("<ns1:", "<").replace("</ns1:", "</")
    return raw.encode()


def test_every_spelling_of_a_submission_is_stored_and_digested_the_same() -> None:
    root = s.with_folder()
    stored = [ebrim.metadata(ebrim.read_submission(xml.read(spelled(root, how))), s.uuids()) for how in range(5)]
    assert all(found == stored[0] for found in stored)


def test_a_body_holds_no_prefix_and_no_namespace() -> None:
    (entry,) = s.submission(s.one_document()).entries
    assert b"xmlns" not in entry.body
    assert b"<ns" not in entry.body


def test_ids_of_parts_follow_from_the_object_and_cannot_meet_ids_in_sequence() -> None:
    first = [canonical.part_prefix(f"urn:uuid:cccccccc-0000-4000-8000-{number:012x}") for number in range(100)]
    assert len(set(first)) == 100
    assert first[0] == canonical.part_prefix("urn:uuid:cccccccc-0000-4000-8000-000000000000")


def test_real_uuids_of_parts_are_kept() -> None:
    root = s.one_document()
    find(root, "ExtrinsicObject/Classification").set("id", "urn:uuid:dddddddd-0000-4000-8000-000000000001")
    assert b'id="urn:uuid:dddddddd-0000-4000-8000-000000000001"' in s.submission(root).entries[0].body


def test_deviations_that_the_framework_itself_shows_are_repaired_on_a_copy() -> None:
    root = s.with_folder()
    for node in root.iter():
        if node.tag in (f"{R}Classification", f"{R}ExternalIdentifier"):
            node[:] = list(reversed(list(node)))
            del node.attrib["id"]
    entry = find(root, "ExtrinsicObject")
    entry[:] = list(reversed(list(entry)))
    del find(root, "Association").attrib["id"]
    body = s.body(root)
    before = xml.write(body)
    assert xml.schema("lcm").findings(body)
    repaired = ebrim.repair(body)
    assert xml.schema("lcm").findings(repaired) == ()
    assert xml.write(body) == before
    assert xml.write(ebrim.repair(body)) == xml.write(repaired)
    assert rules.check(ebrim.read_submission(body)) == ()
    assert len(s.submission(root).entries) == 1


def test_repair_hides_no_other_deviation() -> None:
    root = s.one_document()
    del find(root, "ExtrinsicObject/ExternalIdentifier").attrib["value"]
    find(root, "ExtrinsicObject").append(s.rim("Address"))
    assert len(xml.schema("lcm").findings(ebrim.repair(s.body(root)))) == 2


def test_a_label_beside_its_package_is_read_and_stored_as_inside() -> None:
    inside, beside = s.one_document(), s.one_document()
    package = find(beside, "RegistryPackage")
    label = next(part for part in package if part.get("classificationNode") == IS_SUBMISSION_SET)
    package.remove(label)
    find(beside, "RegistryObjectList").append(label)
    assert s.submittal(beside).of(Kind.SET)
    shown = s.objects_in(s.answer(s.written(s.submission(beside))))
    (found,) = [element for element in shown if element.tag == f"{R}RegistryPackage"]
    assert said(found) == said(find(inside, "RegistryPackage"))


def test_object_refs_say_nothing_new() -> None:
    root = s.one_document()
    find(root, "RegistryObjectList").insert(0, s.rim("ObjectRef", {"id": IS_SUBMISSION_SET}))
    assert rules.check(s.submittal(root)) == ()


def test_an_old_uri_in_pieces_is_stored_whole() -> None:
    root = s.one_document()
    find(root, "ExtrinsicObject").insert(0, s.slot("URI", "2|example.org/", "1|http://", "10|d", "3|abc"))
    assert b"<Value>http://example.org/abcd</Value>" in s.submission(root).entries[0].body
    assert rules.check(s.submittal(root)) == ()


def test_a_hash_is_shown_in_lower_case() -> None:
    root = s.one_document()
    for slot in find(root, "ExtrinsicObject").iter(f"{R}Value"):
        slot.text = s.SHA1.upper() if slot.text == s.SHA1 else slot.text
    (entry,) = s.submission(root).entries
    assert entry.hash == s.SHA1
    assert s.SHA1.encode() in entry.body


def test_what_readers_depend_on_is_written_out_where_the_sender_left_it_to_the_schema() -> None:
    root = s.one_document()
    entry = find(root, "ExtrinsicObject")
    del entry.attrib["mimeType"]
    find(root, "ExtrinsicObject/Name/LocalizedString").set("charset", "utf8")
    (stored,) = s.submission(root).entries
    assert stored.mime_type == "application/octet-stream"
    assert b'mimeType="application/octet-stream"' in stored.body
    assert b'<LocalizedString charset="UTF-8" value="Epikrise"/>' in stored.body


def test_an_association_is_stored_only_if_it_says_more_than_the_registry_can() -> None:
    root = s.with_folder()
    talking = s.association("As9", AssociationType.APND, "Doc1", s.ABSENT_UUID)
    talking.append(s.name("hvorfor"))
    by_reference = s.member("As8", "Set1", s.ABSENT_UUID, "Reference")
    find(root, "RegistryObjectList").extend([by_reference, talking])
    sent = s.submission(root)
    assert [bool(found.body) for found in sent.associations] == [False] * 5 + [True]
    assert sent.associations[4].original is False
    found = s.objects_in(s.answer(s.written(sent)))[-1]
    assert found.get("targetObject") == s.ABSENT_UUID
    assert "hvorfor" in [string.get("value") for string in found.iter(f"{R}LocalizedString")]


@pytest.mark.parametrize(("original", "status"), [(True, "Original"), (False, "Reference"), (None, None)])
def test_an_association_the_registry_makes_is_valid(original: bool | None, status: str | None) -> None:
    made = Association("urn:uuid:" + "1" * 8, AssociationType.HAS_MEMBER, "urn:uuid:a", "urn:uuid:b", original, b"")
    raw = s.answer([ebrim.write_association(s.head(made.entry_uuid), made)])
    assert xml.schema("query").findings(xml.read(raw)) == ()
    value = s.objects_in(raw)[0].find(f".//{R}Value")
    assert (None if value is None else value.text) == status


def test_a_folder_shows_when_it_last_changed_and_not_what_was_claimed() -> None:
    root = s.with_folder()
    package = next(p for p in root.iter(f"{R}RegistryPackage") if p.get("id") == "Folder1")
    package.insert(0, s.slot("lastUpdateTime", "19990101000000"))
    (folder,) = s.submission(root).folders
    shown = ebrim.write_folder(s.head(folder.entry_uuid), folder.body, "20260102030405")
    assert b"<Value>20260102030405</Value>" in shown
    assert b"1999" not in shown


def test_an_object_ref_is_valid_with_and_without_home() -> None:
    refs = [ebrim.object_ref("urn:uuid:a", ""), ebrim.object_ref("urn:uuid:b", s.HOME)]
    assert xml.schema("query").findings(xml.read(s.answer(refs))) == ()
    assert [ref.get("home") for ref in s.objects_in(s.answer(refs))] == [None, s.HOME]


def test_the_same_submission_has_the_same_digest_whatever_its_symbolic_ids() -> None:
    first = s.with_folder()
    second = ElementTree.fromstring(ElementTree.tostring(first))
    for element in second.iter():
        for name in ("id", "classifiedObject", "registryObject", "sourceObject", "targetObject"):
            if element.get(name):
                element.set(name, "other-" + str(element.get(name)))
    assert canonical.digest(s.submittal(first)) == canonical.digest(s.submittal(second))


def test_a_submission_of_years_ago_is_still_known_by_the_digest_it_was_stored_with() -> None:
    stored = {
        "c009221212c9453060ff3793606b176cd468bf3733c9309bd6f434c49e53da98": s.one_document(),
        "1d131c4e70147c4f781d3ea58fd93ee83f1a92ee58bc3eb4b5b2a0db65904876": s.with_folder(),
    }
    assert [canonical.digest(s.submittal(root)).hex() for root in stored.values()] == list(stored)


def test_any_other_content_has_another_digest() -> None:
    base = canonical.digest(s.submittal(s.with_folder()))
    for tag, attribute in [("Value", ""), ("LocalizedString", "value"), ("Classification", "nodeRepresentation")]:
        other = s.with_folder()
        element = find(other, tag)
        if attribute:
            element.set(attribute, str(element.get(attribute)) + "x")
        else:
            element.text = str(element.text) + " "
        assert canonical.digest(s.submittal(other)) != base
    swapped = s.with_folder()
    swapped[0].append(swapped[0][3])
    assert canonical.digest(s.submittal(swapped)) != base
    pointed = s.with_folder()
    find(pointed, "Association").set("targetObject", "Folder1")
    assert canonical.digest(s.submittal(pointed)) != base


def test_a_random_uuid_made_for_each_sending_makes_another_submission() -> None:
    roots = [s.request(s.entry(of=f"urn:uuid:cccccccc-0000-4000-8000-00000000000{n}")) for n in (1, 2)]
    digests = {canonical.digest(s.submittal(root)) for root in roots}
    assert len(digests) == 2


def test_no_object_list_is_no_submission() -> None:
    with pytest.raises(XdsFailure):
        ebrim.read_submission(xml.read(f'<SubmitObjectsRequest xmlns="{LCM}"/>'.encode()))


def test_metadata_of_an_incomplete_submission_is_refused_and_not_made_up() -> None:
    root = s.one_document()
    entry = find(root, "ExtrinsicObject")
    entry.remove(next(part for part in entry if part.get("identificationScheme") == IdScheme.ENTRY_UNIQUE_ID))
    with pytest.raises(XdsFailure):
        s.submission(root)


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n\r"), max_size=30)
WORDS = st.text(string.ascii_letters + string.digits + "&<>'\"æøå ", min_size=1, max_size=20)
CODES = WORDS.filter(lambda text: text == text.strip())
"""White space at the ends of a code is refused: a code with it would be another one."""
SPOKEN = st.tuples(TEXT, st.sampled_from(["", "nb-NO", "nn", "se"]))


@st.composite
def anything_legal(draw: st.DrawFn) -> Node:
    """A submission with everything a sender may say, in any order and spelling of the children."""
    entry = s.entry(unique_id=draw(st.from_regex(r"\A2\.999\.[1-9][0-9]{0,8}\Z")))
    names = draw(st.lists(st.from_regex(r"\Aurn:oid:2\.9[0-9]{1,6}\Z"), unique=True, max_size=4))
    extra = [s.slot(found, *draw(st.lists(TEXT, max_size=4))) for found in names if found != "urn:oid:2.999.77"]
    codes = [
        s.code(EntryScheme.EVENT_CODE, draw(CODES), "Doc1", draw(CODES), draw(CODES))
        for _ in range(draw(st.integers(0, 3)))
    ]
    authors = [
        s.author(
            EntryScheme.AUTHOR, "Doc1", s.slot("authorInstitution", draw(WORDS)), s.slot("urn:oid:2.1", draw(TEXT))
        )
        for _ in range(draw(st.integers(0, 2)))
    ]
    entry[:] = [child for child in entry if child.tag != f"{R}Name"]
    for tag in draw(st.sets(st.sampled_from(["Name", "Description"]))):
        spoken = s.rim(tag)
        for value, lang in draw(st.lists(SPOKEN, max_size=3)):
            language = {"{http://www.w3.org/XML/1998/namespace}lang": lang} if lang else {}
            spoken.append(s.rim("LocalizedString", {"value": value} | language))
        entry.append(spoken)
    entry.extend([*extra, *codes, *authors])
    children = list(entry)
    random.Random(draw(st.integers())).shuffle(children)
    entry[:] = children
    if draw(st.booleans()):
        entry.set("isOpaque", "false")
    if draw(st.booleans()):
        del entry.attrib["mimeType"]
    return s.request(entry, s.submission_set(), s.member("As1", "Set1", "Doc1", "Original"))


@settings(max_examples=100, deadline=None)
@given(anything_legal())
def test_what_is_submitted_is_what_is_answered(built: Node) -> None:
    # What was sent is what stands in the message: a carriage return left bare in it is a line feed to every reader.
    root = ElementTree.fromstring(ElementTree.tostring(built))
    submittal = s.submittal(root)
    assert rules.check(submittal) == ()
    sent = ebrim.metadata(submittal, s.uuids())
    raw = s.answer(s.written(sent))
    assert xml.schema("query").findings(xml.read(raw)) == ()
    shown = s.objects_in(raw)
    by_tag = {found.tag: found for found in shown}
    for tag in ("ExtrinsicObject", "RegistryPackage", "Association"):
        assert said(by_tag[R + tag]) == said(find(root, tag))
    again = ebrim.metadata(s.submittal(s.request(*shown)), s.uuids())
    assert typed(again.entries[0]) == typed(sent.entries[0])


def typed(entry: DocumentEntry) -> DocumentEntry:
    return replace(entry, entry_uuid="", body=b"")

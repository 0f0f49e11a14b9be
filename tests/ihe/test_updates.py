"""ihe.updates: an update is sorted by what it asks for, and typed without losing what its memberships say."""

from __future__ import annotations

from ihe import updates
from ihe.ebrim import write_association, write_entry
from ihe.names import WITHDRAWN, AssociationType, Status
from tests.ihe import submissions as written
from tests.ihe.submissions import Node
from tests.registry.revisions import APPROVED, DEPRECATED, a_folder, entry, follows, joins, put, status, submits, uuid

LID = uuid(1)


def typed(*objects: Node) -> updates.Update:
    submittal = written.submittal(written.request(*objects))
    return updates.typed(submittal, updates.operations(submittal), written.uuids())


def test_objects_are_sorted_by_what_they_ask_for() -> None:
    submittal = written.submittal(
        written.request(
            entry("Doc1", "2.999.1", LID),
            a_folder("F", "2.999.2", uuid(2)),
            written.submission_set(),
            follows("Doc1", of="m1"),
            follows("F", of="m2", status=""),
            status("Doc1"),
            submits("as"),
            joins("as", AssociationType.APND, uuid(3), uuid(4)),
            submits("nothing"),
            joins("loose", AssociationType.APND, uuid(3), uuid(4)),
        )
    )
    asked = updates.operations(submittal)
    assert [(each.found.id, [m.id for m in each.memberships]) for each in asked.versions] == [
        ("Doc1", ["m1"]),
        ("F", ["m2"]),
    ]
    assert [each.target for each in asked.statuses] == ["Doc1"]
    assert [each.found.id if each.found else None for each in asked.submitted] == ["as", None]
    assert [each.id for each in asked.others] == ["loose"]
    assert [found.id for found in updates.plain(submittal, asked).objects] == ["Doc1", "F", "Set1", "m1", "m2"]


def test_one_name_means_one_object_in_every_operation() -> None:
    update = typed(
        entry("Doc1", "2.999.1", LID),
        written.submission_set(),
        follows("Doc1", "4", "no"),
        status("Doc1"),
        status("as", APPROVED, DEPRECATED),
        submits("as"),
        joins("as", AssociationType.APND, "Doc1", uuid(4)),
    )
    (new,) = update.submission.entries
    assert update.versions == {new.entry_uuid: updates.NewVersion(new.entry_uuid, LID, 4, False, "")}
    (joined,) = update.submitted
    assert (joined.source, joined.target) == (new.entry_uuid, uuid(4))
    assert [each.target for each in update.statuses] == [new.entry_uuid, joined.entry_uuid]
    assert update.statuses[0] == updates.StatusChange(new.entry_uuid, Status.APPROVED, Status.DEPRECATED)
    member, hub = update.submission.associations
    its_set = update.submission.submission_set.entry_uuid
    assert (member.source, member.target, hub.source, hub.target) == (
        its_set,
        new.entry_uuid,
        its_set,
        joined.entry_uuid,
    )


def test_a_membership_keeps_the_slots_it_was_sent_with() -> None:
    update = typed(entry("Doc1", "2.999.1", LID), written.submission_set(), follows("Doc1", "1"))
    (member,) = update.submission.associations
    shown = write_association(written.head(member.entry_uuid), member)
    assert b'name="PreviousVersion"' in shown
    assert b'name="SubmissionSetStatus"' in shown


def test_a_withdrawal_is_read_and_shown_as_it_was_sent() -> None:
    made = put(entry("Doc1", "2.999.1", LID), WITHDRAWN, "true")
    (new,) = typed(made, written.submission_set(), follows("Doc1")).submission.entries
    assert new.withdrawn
    shown = write_entry(written.head(new.entry_uuid), new.body)
    assert updates.slot_values(shown, WITHDRAWN) == ("true",)
    assert updates.slot_values(shown, "urn:oid:2.999.77") == ("eget", "innhold & <mer>")
    assert updates.slot_values(shown, "absent") == ()


def test_the_digest_is_of_all_that_was_sent() -> None:
    objects = [entry("Doc1", "2.999.1", LID), written.submission_set(), follows("Doc1", of="m")]
    first = typed(*objects).submission.digest
    assert typed(*objects).submission.digest == first
    objects.append(status(uuid(9)))
    assert typed(*objects).submission.digest != first

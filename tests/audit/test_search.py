"""audit.search: the patient gets a whole answer, and no change to the trail goes unnoticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from audit.event import Ending, Kind
from audit.search import exchange, verify, who
from audit.segment import Broken
from audit.spool import Spool
from policy.facts import Decision, Reason
from tests.audit.trail import BLOCKED, CHILD, PATIENT, document, event, only_segment


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path, "w1", reserve=0)


def lines_of(folder: Path) -> list[bytes]:
    return only_segment(folder).read_bytes().splitlines(keepends=True)


def tampered(folder: Path, change: Callable[[list[bytes]], list[bytes]]) -> str:
    path = only_segment(folder)
    path.write_bytes(b"".join(change(lines_of(folder))))
    (finding,) = verify(folder).findings
    assert finding.file == path
    return str(finding)


@pytest.fixture
def trail(tmp_path: Path, spool: Spool) -> Path:
    for n in range(6):
        spool.record(event(Kind.QUERIED, f"c{n}"))
    spool.close()
    return tmp_path


def test_an_untouched_trail_is_whole(trail: Path) -> None:
    verdict = verify(trail)
    assert (verdict.lines, verdict.segments, verdict.findings) == (6, 1, ())


def test_an_edited_line_is_named(trail: Path) -> None:
    def edit(lines: list[bytes]) -> list[bytes]:
        return [*lines[:3], lines[3].replace(b"Anne", b"Anna"), *lines[4:]]

    assert "line 4: the event does not match its hash" in tampered(trail, edit)


def test_an_edited_line_with_a_fresh_leaf_is_named(trail: Path) -> None:
    from audit.segment import event_of, leaf_of

    def edit(lines: list[bytes]) -> list[bytes]:
        old = event_of(lines[3].rstrip())
        new = old.replace(b"Anne", b"Anna")
        swapped = lines[3].replace(old, new).replace(leaf_of(old).encode(), leaf_of(new).encode())
        return [*lines[:3], swapped, *lines[4:]]

    assert "line 4: the line does not continue the chain" in tampered(trail, edit)


def test_a_history_rewritten_with_fresh_hashes_is_named_by_the_head(trail: Path) -> None:
    from audit.segment import append, event_of, start_of

    def rewrite(lines: list[bytes]) -> list[bytes]:
        chain, out = start_of(lines[0].rstrip()), [lines[0]]
        for n, line in enumerate(lines[1:], start=1):
            made, chain = append(chain, n, event_of(line.rstrip()).replace(b"Anne", b"Anna"))
            out.append(made)
        return out

    assert "line 7: the line is not the one that was acknowledged" in tampered(trail, rewrite)


def test_a_removed_line_is_named(trail: Path) -> None:
    assert "line 4: sequence 4 follows 2" in tampered(trail, lambda lines: lines[:3] + lines[4:])


def test_swapped_lines_are_named(trail: Path) -> None:
    assert "line 3: sequence 3 follows 1" in tampered(trail, lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]])


def test_a_line_written_twice_is_named(trail: Path) -> None:
    assert "line 4: sequence 2 follows 2" in tampered(trail, lambda lines: [*lines[:3], lines[2], *lines[3:]])


def test_lines_cut_off_the_end_are_noticed(trail: Path) -> None:
    assert "line 6: 2 acknowledged lines are missing at the end" in tampered(trail, lambda lines: lines[:-2])


def test_half_a_line_cut_off_the_end_is_noticed(trail: Path) -> None:
    assert "line 7: 1 acknowledged lines are missing at the end" in tampered(
        trail, lambda lines: [*lines[:-1], lines[-1][:40]]
    )


def test_an_edited_header_is_named(trail: Path) -> None:
    assert "line 2: the line does not continue the chain" in tampered(
        trail, lambda lines: [lines[0].replace(b'"open":{}', b'"open":{"x":[1,1]}'), *lines[1:]]
    )


def test_an_emptied_segment_is_noticed(trail: Path) -> None:
    assert "6 acknowledged lines are missing" in tampered(trail, lambda lines: [])


def test_a_missing_segment_is_named(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "w1", reserve=0, segment_bytes=1000)
    for n in range(9):
        spool.record(event(Kind.QUERIED, f"c{n}"))
    spool.close()
    files = sorted(tmp_path.glob("*.jsonl"))
    assert len(files) >= 4
    files[1].unlink()
    (finding,) = verify(tmp_path).findings
    assert str(finding) == f"{files[2].name}: segment 2 is missing before this one"
    for each in files[2:]:
        each.unlink()
    (finding,) = verify(tmp_path).findings
    assert "missing at the end" in finding.why


def test_a_segment_of_another_trail_is_named(tmp_path: Path) -> None:
    for folder, who_asked in (("mine", "c"), ("other", "d")):
        spool = Spool(tmp_path / folder, "w1", reserve=0, segment_bytes=1)
        for n in range(3):
            spool.record(event(Kind.QUERIED, f"{who_asked}{n}"))
        spool.close()
    name = "w1.00000002.20210215.jsonl"
    (tmp_path / "mine" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    (finding,) = verify(tmp_path / "mine").findings
    assert str(finding) == f"{name} line 1: the segment does not continue sequence 1 of the segment before"


def test_a_missing_head_is_a_finding(trail: Path) -> None:
    (trail / "w1.head").unlink()
    (finding,) = verify(trail).findings
    assert finding.file.name == "w1.head"


def test_one_bad_worker_does_not_hide_the_others(trail: Path) -> None:
    for worker in ("w0", "w2"):
        spool = Spool(trail, worker, reserve=0)
        spool.record(event(Kind.QUERIED))
        spool.close()
    path = next(trail.glob("w1.*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b"Anne", b"Anna"))
    verdict = verify(trail)
    assert [each.file.name.split(".")[0] for each in verdict.findings] == ["w1"]
    assert verdict.lines == 2


def test_verification_runs_beside_a_writing_node(tmp_path: Path, spool: Spool) -> None:
    spool.record(event(Kind.QUERIED))
    with only_segment(tmp_path).open("ab") as file:
        file.write(b'{"n":2,"leaf":"')
    assert not verify(tmp_path).findings


# Who has seen me -----------------------------------------------------------------------------------------------------


def test_a_query_hit_counts_as_seen_only_if_it_was_in_the_answer(tmp_path: Path, spool: Spool) -> None:
    spool.record(event(Kind.QUERIED, objects=(document(1), document(2, BLOCKED))))
    (view,) = who(tmp_path, [PATIENT]).views
    assert [each.unique_id for each in view.shown] == ["1.2.3.1"]
    assert [(each.unique_id, each.decision.reason) for each in view.withheld] == [("1.2.3.2", Reason.BLOCK_DOC)]
    assert (view.name, view.role, view.organisation, view.purpose) == ("Anne", "LE", "Oslo legevakt", "TREAT")
    assert view.saw_anything


def test_a_search_without_hits_saw_nothing(tmp_path: Path, spool: Spool) -> None:
    spool.record(event(Kind.QUERIED))
    (view,) = who(tmp_path, [PATIENT]).views
    assert not view.saw_anything


def test_a_retrieve_that_got_nothing_tells_what_was_withheld_and_why(tmp_path: Path, spool: Spool) -> None:
    spool.record(event(Kind.FAILED, objects=(document(1, BLOCKED),), errors=("XDSDocumentUniqueIdError",)))
    (view,) = who(tmp_path, [PATIENT]).views
    assert [(each.unique_id, each.decision.reason) for each in view.withheld] == [("1.2.3.1", Reason.BLOCK_DOC)]
    assert not view.saw_anything


def test_intent_and_outcome_are_one_view(tmp_path: Path, spool: Spool) -> None:
    spool.record(event(Kind.RELEASING, objects=(document(1), document(2), document(3, BLOCKED))))
    ended = (document(1, ending=Ending.COMPLETE, sent=900), document(2, ending=Ending.UP_CONNECT))
    spool.record(event(Kind.RELEASED, objects=ended))
    (view,) = who(tmp_path, [PATIENT]).views
    assert [(each.unique_id, each.bytes_sent) for each in view.opened] == [("1.2.3.1", 900)]
    assert [each.unique_id for each in view.withheld] == ["1.2.3.2", "1.2.3.3"]


def test_a_release_with_unknown_outcome_counts_as_opened(tmp_path: Path, spool: Spool) -> None:
    spool.record(event(Kind.RELEASING, objects=(document(1),)))
    assert [each.unique_id for each in who(tmp_path, [PATIENT]).views[0].opened] == ["1.2.3.1"]
    spool.close()
    Spool(tmp_path, "w1", reserve=0).close()
    (view,) = who(tmp_path, [PATIENT]).views
    assert [each.unique_id for each in view.opened] == ["1.2.3.1"]
    assert view.note == "outcome unknown, treat as released"


def test_a_cut_delivery_counts_as_opened(tmp_path: Path, spool: Spool) -> None:
    spool.record(event(Kind.RELEASING, objects=(document(1),)))
    spool.record(event(Kind.RELEASED, objects=(document(1, ending=Ending.CALLER_GONE, sent=1),)))
    assert who(tmp_path, [PATIENT]).views[0].opened


def test_what_was_decided_last_counts(tmp_path: Path, spool: Spool) -> None:
    spool.record(event(Kind.QUERIED, objects=(document(1),)))
    spool.record(event(Kind.QUERIED, objects=(document(1, BLOCKED),)))
    spool.record(event(Kind.QUERIED, "other", minutes=1, objects=(document(2),)))
    first, second = who(tmp_path, [PATIENT]).views
    assert (len(first.shown), len(first.withheld)) == (0, 1)
    assert second.shown


def test_a_change_of_metadata_is_found_by_every_patient_it_is_about(tmp_path: Path, spool: Spool) -> None:
    about = {"patients": (CHILD,), "subject": None}
    for correlation, kind, outcome, more in (
        ("done", Kind.UPDATING, Kind.UPDATED, {}),
        ("gone", Kind.REMOVING, Kind.REMOVED, {}),
        ("open", Kind.REMOVING, None, {}),
        ("again", Kind.UPDATING, Kind.RESENT, {}),
        ("failed", Kind.UPDATING, Kind.FAILED, {"errors": ("XDSMetadataVersionError",)}),
    ):
        spool.record(event(kind, correlation, objects=(document(1),), **about))
        if outcome is not None:
            spool.record(event(outcome, correlation, **about, **more))
    for patient in (PATIENT, CHILD):
        views = {view.correlation: view for view in who(tmp_path, [patient]).views}
        assert {name: len(view.changed) for name, view in views.items()} == {
            "done": 1,
            "gone": 1,
            "open": 1,
            "again": 0,
            "failed": 0,
        }
        assert views["failed"].refused == "XDSMetadataVersionError"
        assert not any(view.saw_anything for view in views.values())


def test_other_patients_do_not_appear(tmp_path: Path, spool: Spool) -> None:
    spool.record(event(Kind.QUERIED, "mine"))
    spool.record(event(Kind.QUERIED, "hers", patient_id=CHILD, note=f"mentions {PATIENT}"))
    assert [view.correlation for view in who(tmp_path, [PATIENT]).views] == ["mine"]
    assert [view.correlation for view in who(tmp_path, [PATIENT, CHILD]).views] == ["hers", "mine"]


def test_a_refused_attempt_is_found_by_the_patient_of_its_token(tmp_path: Path, spool: Spool) -> None:
    spool.record(event(Kind.REFUSED, patient_id="", reason="LOA_LOW"))
    (view,) = who(tmp_path, [PATIENT]).views
    assert (view.refused, view.patient_id, view.saw_anything) == ("LOA_LOW", PATIENT, False)


def test_views_of_several_workers_come_in_time_order(tmp_path: Path, spool: Spool) -> None:
    second = Spool(tmp_path, "w2", reserve=0)
    spool.record(event(Kind.QUERIED, "late", minutes=9))
    second.record(event(Kind.QUERIED, "early", minutes=3))
    assert [view.correlation for view in who(tmp_path, [PATIENT]).views] == ["early", "late"]


def test_no_patient_is_not_every_patient(tmp_path: Path, spool: Spool) -> None:
    with pytest.raises(ValueError, match="no patient id"):
        who(tmp_path, [])


def test_what_cannot_be_read_is_named_beside_the_answer(tmp_path: Path, spool: Spool) -> None:
    spool.record(event(Kind.QUERIED, "good"))
    with only_segment(tmp_path).open("ab") as file:
        file.write(b"rubbish\n")
    found = who(tmp_path, [PATIENT])
    assert [view.correlation for view in found.views] == ["good"]
    assert [(gap.line, gap.why) for gap in found.gaps] == [(3, "not a line of the spool")]
    with pytest.raises(Broken):
        exchange(tmp_path, "good")


def test_all_events_of_an_exchange_are_found_by_its_correlation(tmp_path: Path, spool: Spool) -> None:
    spool.record(event(Kind.RELEASING, "x1", objects=(document(1, Decision(True, Reason.OK_BTG)),)))
    spool.record(event(Kind.QUERIED, "x2"))
    spool.record(event(Kind.RELEASED, "x1"))
    assert [each.kind for each in exchange(tmp_path, "x1")] == [Kind.RELEASING, Kind.RELEASED]
    assert json.loads((tmp_path / "w1.head").read_bytes())["sequence"] == 3

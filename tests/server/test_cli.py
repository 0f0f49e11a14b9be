"""server.cli: what an operator types does what it says, and says so when it does not."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from audit.event import Ending, Kind
from audit.spool import Spool
from policy.facts import Reason
from registry.blocks import BlockBook
from registry.database.engine import Database, open_database
from server.cli import app
from server.commands.reasons import SENTENCES
from tests.audit.trail import PATIENT, document, event
from tests.server.place import OUS, ROOT, SIMPLE, innsyn, place

NUMBER = "15837510047"


@pytest.fixture
def node(tmp_path: Path) -> Path:
    path = place(tmp_path)
    assert innsyn(path, "migrate").exit_code == 0
    return path


@pytest.fixture
def database(node: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{node.parent}/state/innsyn.db")
    yield opened
    opened.close()


def spool(node: Path) -> Spool:
    return Spool(node.parent / "state" / "audit", "w1", reserve=0)


def block_of(node: Path, *words: str) -> str:
    told = innsyn(node, "block", "set", NUMBER, *words)
    assert told.exit_code == 0, told.output
    return told.stdout.split()[1]


def test_the_command_starts_without_loading_the_product() -> None:
    script = (
        "import sys, server.cli; print([m for m in ('sqlalchemy', 'lxml', 'spyne', 'pydantic') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_every_command_explains_itself(node: Path) -> None:
    for words in ("", "serve", "block set", "audit who", "clock set", "policy explain", "simulate sts"):
        assert innsyn(node, *words.split(), "--help").exit_code == 0 if words else True
    assert SENTENCES.keys() == set(Reason)


def test_check_config_says_yes_or_names_every_mistake(node: Path) -> None:
    assert "can be served, policy no-pilot-2020" in innsyn(node, "check-config").stdout
    node.write_text(SIMPLE.replace('name = "test"', "nam = 3").replace("reserve_mib = 1", 'reserve_mib = "1"'))
    told = innsyn(node, "check-config")
    assert told.exit_code == 2
    assert {line.split(": ")[1] for line in told.stderr.splitlines()} == {"node.name", "node.nam", "audit.reserve_mib"}


def test_serve_refuses_what_check_config_refuses(node: Path) -> None:
    node.write_text(SIMPLE + "\n[query]\nmax_results = 0\n")
    told = innsyn(node, "serve")
    assert told.exit_code == 2
    assert "mistake: query.max_results" in told.stderr


def test_the_schema_is_json(node: Path) -> None:
    assert json.loads(innsyn(node, "check-config", "--schema").stdout)["title"] == "Config"


def test_migrate_makes_closed_folders_and_may_run_again(node: Path) -> None:
    assert stat.S_IMODE((node.parent / "state").stat().st_mode) == 0o700
    assert innsyn(node, "migrate").exit_code == 0


def test_a_lost_registry_is_not_replaced_by_an_empty_one(node: Path) -> None:
    block_of(node, "--kind", "visit_history")
    (node.parent / "state" / "innsyn.db").unlink()
    told = innsyn(node, "migrate")
    assert told.exit_code == 1
    assert "restore it from a backup" in told.stderr
    assert not (node.parent / "state" / "innsyn.db").exists()
    assert innsyn(node, "migrate", "--create").exit_code == 0


# Blocks --------------------------------------------------------------------------------------------------------------


def test_a_block_is_in_the_database_and_in_the_trail_when_the_command_returns(node: Path, database: Database) -> None:
    number = block_of(node, "--kind", "visit_history", "--by", "Kari", "--reason", "asked by phone")
    (held,) = BlockBook(database).list(PATIENT)
    assert (held.block_id, held.kind.value, held.set_by.value) == (number, "visit_history", "patient")
    shown = innsyn(node, "block", "list", NUMBER).stdout
    assert number in shown
    assert "yes" in shown
    trail = (node.parent / "state" / "audit").glob("cli.*.jsonl")
    assert "visit_history by Kari: asked by phone" in next(trail).read_text()
    assert innsyn(node, "audit", "verify").exit_code == 0


def test_lifting_a_block_ends_it_and_leaves_a_line(node: Path, database: Database) -> None:
    number = block_of(node, "--kind", "reservation")
    assert innsyn(node, "block", "lift", NUMBER, number, "--by", "Kari").exit_code == 0
    (held,) = BlockBook(database).list(PATIENT)
    assert held.valid_to is not None
    assert '"block-lifted"' in next((node.parent / "state" / "audit").glob("cli.*.jsonl")).read_text()
    assert "no block" in innsyn(node, "block", "lift", NUMBER, number).stderr


def test_a_block_takes_every_target_of_its_kind(node: Path, database: Database) -> None:
    block_of(node, "--kind", "named_person", "--person", "9144900")
    block_of(node, "--kind", "organisation", "--organisation", "958935420", "--source", "ous")
    block_of(node, "--kind", "department", "--organisation", "958935420", "--department", "705592")
    block_of(node, "--kind", "source_total", "--source", "ous")
    block_of(node, "--kind", "openable", "--overridable-by", "consent,emergency", "--from", "2021-01-01")
    block_of(node, "--kind", "document", "--ahead", "--repository", OUS, "--document", "1.2", "--document", "1.3")
    held = {each.kind.value: each for each in BlockBook(database).list(PATIENT)}
    assert len(held) == 6
    assert held["document"].documents == {"1.2", "1.3"}
    assert held["document"].set_by.value == "source"
    assert held["openable"].overridable_by == {"consent", "emergency"}
    assert held["openable"].valid_from.isoformat() == "2020-12-31T23:00:00+00:00"


@pytest.mark.parametrize(
    "words",
    [
        ("15837510046", "--kind", "visit_history"),
        ("Kari", "--kind", "visit_history"),
        (NUMBER, "--kind", "everything"),
        (NUMBER, "--kind", "named_person"),
        (NUMBER, "--kind", "visit_history", "--overridable-by", "emergency"),
        (NUMBER, "--kind", "openable", "--overridable-by", "anybody"),
        (NUMBER, "--kind", "visit_history", "--from", "2021-01-01T10:00"),
        (NUMBER, "--kind", "visit_history", "--from", "2021-01-02", "--to", "2021-01-01"),
        (NUMBER, "--kind", "visit_history", "--to", "9999-12-31T23:59:59-12:00"),
        (f"{NUMBER}^^^&1.2.3&ISO", "--kind", "visit_history"),
        (NUMBER, "--kind", "named_person", "--person", "9144900 "),
        (NUMBER, "--kind", "organisation", "--organisation", "958 935 420"),
        (NUMBER, "--kind", "department", "--organisation", "958935420", "--department", "705592 "),
        (NUMBER, "--kind", "source_total", "--source", "OUS"),
        (NUMBER, "--kind", "document", "--document", "1.2"),
        (NUMBER, "--kind", "document", "--ahead", "--document", ""),
    ],
)
def test_a_block_that_means_nothing_is_refused_and_leaves_nothing(
    node: Path, database: Database, words: tuple[str, ...]
) -> None:
    assert innsyn(node, "block", "set", *words).exit_code == 2
    assert not BlockBook(database).list(PATIENT)
    assert not list((node.parent / "state" / "audit").glob("*.jsonl"))


def test_a_block_that_may_hold_for_nobody_is_set_and_said_to_be_so(node: Path) -> None:
    told = innsyn(node, "block", "set", NUMBER, "--kind", "organisation", "--organisation", "974760673")
    assert told.exit_code == 0
    assert "nothing is registered under this number" in told.stderr
    assert "no place of care in the policy is, or belongs to, 974760673" in told.stderr
    (node.parent / "policy" / "policy.toml").unlink()
    told = innsyn(node, "block", "set", NUMBER, "--kind", "source_total", "--source", "ous")
    assert told.exit_code == 0
    assert "was not checked" in told.stderr


def test_a_patient_is_read_from_standard_input_where_no_list_of_processes_shows_it(node: Path) -> None:
    words = ["block", "set", "-", "--kind", "reservation", "--config", str(node)]
    assert CliRunner().invoke(app, words, input=f"{NUMBER}\n").exit_code == 0
    assert "reservation" in innsyn(node, "block", "list", PATIENT).stdout


def test_a_d_number_and_a_whole_id_name_the_same_patient(node: Path) -> None:
    block_of(node, "--kind", "reservation")
    assert "reservation" in innsyn(node, "block", "list", PATIENT).stdout
    assert "reservation" in innsyn(node, "block", "list", f"{NUMBER}^^^&urn:oid:2.16.578.1.12.4.1.4.1&ISO").stdout
    assert innsyn(node, "block", "set", "41826520068", "--kind", "reservation").exit_code == 0
    assert "reservation" in innsyn(node, "block", "list", "41826520068^^^&2.16.578.1.12.4.1.4.2&ISO").stdout


def test_a_block_holds_although_the_audit_disk_is_full_and_a_lift_does_not(node: Path, database: Database) -> None:
    number = block_of(node, "--kind", "reservation")
    node.write_text(SIMPLE.replace("reserve_mib = 1", "reserve_mib = 999999999"))
    assert innsyn(node, "block", "set", NUMBER, "--kind", "visit_history").exit_code == 0
    told = innsyn(node, "block", "lift", NUMBER, number)
    assert told.exit_code == 1
    assert "reserve" in told.stderr
    assert all(each.valid_to is None for each in BlockBook(database).list(PATIENT))


# The trail -----------------------------------------------------------------------------------------------------------


def test_who_shows_views_and_hides_ids_of_what_was_withheld(node: Path) -> None:
    trail = spool(node)
    hidden = document(2)
    trail.record(event(Kind.RELEASING, "x1", objects=(document(1), hidden)))
    ended = (document(1, ending=Ending.COMPLETE, sent=9), document(2, ending=Ending.UP_CONNECT))
    trail.record(event(Kind.RELEASED, "x1", objects=ended))
    shown = innsyn(node, "audit", "who", NUMBER).stdout
    assert "Anne (HPR 9144900)" in shown
    assert "1.2.3.1 complete" in shown
    assert "1.2.3.2" not in shown
    assert "1 x up-connect" in shown
    line = json.loads(innsyn(node, "audit", "who", NUMBER, "--json").stdout)
    assert (line["name"], line["organisation"]) == ("Anne", "Oslo legevakt")


def test_who_is_nobody_until_somebody_saw_something(node: Path) -> None:
    spool(node).record(event(Kind.REFUSED, "x1", patient_id="", reason="LOA_LOW"))
    assert innsyn(node, "audit", "who", NUMBER).stdout.strip() == "nobody"
    assert "LOA_LOW" in innsyn(node, "audit", "who", NUMBER, "--all").stdout


def test_verify_names_the_bad_line_beside_a_running_writer(node: Path) -> None:
    trail = spool(node)
    trail.record(event(Kind.QUERIED))
    assert innsyn(node, "audit", "verify").exit_code == 0
    path = next((node.parent / "state" / "audit").glob("w1.*.jsonl"))
    path.write_bytes(path.read_bytes().replace(b"Anne", b"Anna"))
    told = innsyn(node, "audit", "verify")
    assert told.exit_code == 1
    assert told.stderr.strip() == f"{path.name} line 2: the event does not match its hash"


def test_explain_gives_every_decision_its_sentence(node: Path) -> None:
    trail = spool(node)
    trail.record(event(Kind.QUERIED, "x1", objects=(document(1),), policy="no-pilot-2020/1"))
    shown = innsyn(node, "policy", "explain", "x1").stdout
    assert "OK: shared under the agreement" in shown
    assert "ous-regional" in shown
    assert innsyn(node, "policy", "explain", "x2").exit_code == 1


# Clock, policy, certificates -----------------------------------------------------------------------------------------


def test_the_clock_is_set_on_a_simulated_node_only(node: Path) -> None:
    assert innsyn(node, "clock", "set", "2021-03-01").exit_code == 1
    node.write_text(SIMPLE + "\n[clock]\nsimulated = 2021-02-15T10:00:00+01:00\n")
    assert innsyn(node, "clock", "show").stdout.startswith("2021-02-15 10:00")
    assert innsyn(node, "clock", "set", "2021-03-01").exit_code == 0
    assert innsyn(node, "clock", "show").stdout.startswith("2021-03-01 00:00")
    assert innsyn(node, "clock", "set", "soon").exit_code == 2


def test_the_policy_is_checked_with_or_without_a_configuration(node: Path) -> None:
    assert "4 agreements" in innsyn(node, "policy", "check").stdout
    (node.parent / "policy" / "agreements.toml").write_text("[agreement.x]\nchannel = 'clinician'\n")
    told = innsyn(node, "policy", "check", str(node.parent / "policy"))
    assert told.exit_code == 2
    assert "agreement.x" in told.stderr


def test_a_reload_without_a_running_node_says_so(node: Path) -> None:
    told = innsyn(node, "policy", "reload")
    assert told.exit_code == 1
    assert "no node is running" in told.stderr


def test_demo_certificates_are_good_and_their_keys_closed(node: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from server.certificates import key_troubles
    from server.cli import app

    folder = tmp_path / "tls"
    words = ["certificates", "demo", str(folder), "--client", "ous"]
    assert CliRunner().invoke(app, words).exit_code == 0
    for name in ("node", "caller", "source", "hospital", "ous"):
        assert not list(key_troubles(folder / f"{name}.key", folder / f"{name}.pem"))
    again = CliRunner().invoke(app, words)
    assert again.exit_code == 1
    assert "is there already" in again.stderr

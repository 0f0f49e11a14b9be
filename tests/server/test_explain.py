"""innsyn explain and innsyn validation report: what an engineer and an operator type, and what they are told."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from registry.database.engine import open_database
from registry.rules.findings import count
from registry.rules.strictness import Verdict
from server.cli import app
from tests.registry.messages import ASK, PERSON, REGISTER, line_of
from tests.registry.test_explain_others import MANY
from tests.server.place import ROOT, SIMPLE, innsyn, place

WRONG = REGISTER.replace("<Value>20200114083000<", "<Value>2020-01-14T09:30:00+01:00<")
LOWERED = """
[identity.ous]
may_register = ["2.999.10.20.1"]

[validation]
codes = "codes.toml"

[validation.rules]
display-name = "warn"

[validation.sender.ous]
data-type = "log"
"""
NOW = datetime(2021, 2, 15, 9, tzinfo=UTC)


def run(*words: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["explain", *map(str, words)], input=stdin)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in {"good.xml": REGISTER, "wrong.xml": WRONG, "ask.xml": ASK}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "page.html").write_text("<!DOCTYPE html><html></html>")
    return tmp_path


def test_the_exit_status_tells_what_the_worst_file_is(files: Path) -> None:
    assert run(files / "good.xml", files / "ask.xml").exit_code == 0
    assert run(files / "good.xml", files / "wrong.xml").exit_code == 1
    assert run(files / "page.html", files / "good.xml").exit_code == 2
    missing = run(files / "nothing.xml")
    assert (missing.exit_code, missing.stderr.strip().endswith("No such file or directory")) == (2, True)
    assert run().exit_code == 2


def test_a_problem_is_shown_with_place_rule_reason_and_correction(files: Path) -> None:
    told = run(files / "wrong.xml").stdout
    assert "ITI-42 with 1 entry, 1 folder, 4 associations: a node would refuse it, for 1 problem." in told
    assert "1. data-type (reject), line 13, column 44" in told
    for line in (
        "where     /SubmitObjectsRequest/RegistryObjectList/ExtrinsicObject[1]/Slot[1]/ValueList/Value[1]",
        "expected  a time in UTC as YYYY[MM[DD[hh[mm[ss]]]]]",
        "found     2020-01-14T09:30:00+01:00",
        "answer    XDSRegistryMetadataError",
        "write instead:\n      <Value>20200114083000</Value>",
    ):
        assert line in told
    assert "not checked here, because it takes the registry's content" in told
    assert "known-patient" in told
    assert PERSON not in told
    assert PERSON in run(files / "wrong.xml", "--show-patients").stdout


def test_a_message_may_come_by_standard_input() -> None:
    told = run("-", stdin=ASK.encode())
    assert told.exit_code == 0
    assert told.stdout.startswith("standard input: ITI-18 with FindDocuments: a node would accept it.")


def test_machines_read_one_object_a_file(files: Path) -> None:
    told = run(files / "good.xml", files / "wrong.xml", files / "page.html", "--json")
    good, wrong, page = map(json.loads, told.stdout.splitlines())
    assert (good["outcome"], wrong["outcome"], page["outcome"]) == ("accepted", "refused", "unreadable")
    (problem,) = wrong["problems"]
    assert (problem["rule"], problem["level"], problem["line"], problem["column"]) == ("data-type", "reject", 13, 44)
    assert problem["fix"] == {"how": "write instead", "text": "<Value>20200114083000</Value>", "path": ""}
    assert PERSON not in told.stdout


def test_nothing_in_a_message_moves_the_cursor_of_whoever_reads_it(files: Path) -> None:
    for number, character in enumerate("\u009b\u202e\u2028"):
        (files / f"{number}.xml").write_text(REGISTER.replace("<Value>nb-NO<", f"<Value>nb{character}31m NO<"))
        told = run(files / f"{number}.xml")
        assert told.exit_code == 1
        assert character not in told.stdout
        assert character not in run(files / f"{number}.xml", "--json").stdout


def test_a_transaction_can_be_told(files: Path) -> None:
    told = run(files / "good.xml", "--as", "ITI-61", "--json")
    assert json.loads(told.stdout)["transaction"] == "ITI-61"
    assert "on-demand-entry" in {each["rule"] for each in json.loads(told.stdout)["problems"]}
    unknown = run(files / "good.xml", "--as", "FHIR")
    assert (unknown.exit_code, "is no transaction that is explained" in unknown.stderr) == (2, True)


@pytest.fixture
def node(tmp_path: Path) -> Path:
    path = place(tmp_path, SIMPLE + LOWERED)
    (tmp_path / "codes.toml").write_text('[typeCode]\n"2.16.578.1.12.4.1.1.9602" = ["A03-2"]\n')
    return path


def test_with_a_configuration_it_judges_as_that_node_does(files: Path, node: Path) -> None:
    (files / "bare.xml").write_text(REGISTER.replace('<Name><LocalizedString value="Indremedisin"/></Name>', ""))
    assert run(files / "bare.xml").exit_code == 1
    warned = run(files / "bare.xml", "--config", node)
    assert warned.exit_code == 0
    assert "display-name (warn)" in warned.stdout
    assert run(files / "wrong.xml", "--config", node).exit_code == 1
    logged = run(files / "wrong.xml", "--config", node, "--sender", "ous")
    assert (logged.exit_code, "data-type (log)" in logged.stdout) == (0, True)
    elsewhere = REGISTER.replace("<Value>2.999.10.20.1<", "<Value>2.999.10.20.9<")
    (files / "elsewhere.xml").write_text(elsewhere)
    assert run(files / "elsewhere.xml", "--config", node).exit_code == 0
    told = run(files / "elsewhere.xml", "--config", node, "--sender", "ous").stdout
    assert f"own-repository (reject), line {line_of(elsewhere, '2.999.10.20.9')}," in told
    (files / "coded.xml").write_text(REGISTER.replace('"A03-2"', '"Z99-2"'))
    assert "allowed-codes (reject)" in run(files / "coded.xml", "--config", node).stdout
    (files / "many.xml").write_text(MANY)
    assert run(files / "many.xml").exit_code == 0
    assert "query-known (reject)" in run(files / "many.xml", "--config", node).stdout
    unknown = run(files / "good.xml", "--config", node, "--sender", "nobody")
    assert (unknown.exit_code, "there are: ous" in unknown.stderr) == (2, True)
    assert run(files / "good.xml", "--sender", "ous").exit_code == 2


def test_a_rule_is_looked_up_with_a_sample_of_it() -> None:
    told = run("--rule", "data-type")
    assert told.exit_code == 0
    assert "TF-3 table 4.2.3.1.7-2" in told.stdout
    assert "reject, or as configured" in told.stdout
    assert re.search(r"-.*2020-01-14T08:30<", told.stdout)
    assert re.search(r"\+.*202001140830<", told.stdout)
    assert "by the registry's content" in run("--rule", "same-hash").stdout
    told = json.loads(run("--rule", "data-type", "--json").stdout)
    assert "2020-01-14T08:30<" in told["failing"]
    assert "202001140830<" in told["passing"]
    slip = run("--rule", "data-typ")
    assert (slip.exit_code, "did you mean data-type?" in slip.stderr) == (2, True)
    listed = run("--rules").stdout
    for rule in ("data-type", "query-value", "header-action", "xop-part", "update-once", "remove-by-id"):
        assert rule in listed
    assert len(run("--rules", "--json").stdout.splitlines()) > 100


def test_every_command_line_of_its_page_says_what_the_page_says(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "explain.md").read_text()
    blocks = re.findall(r"```console\n\$ innsyn explain (.*)\n((?:.*\n)*?)```", page)
    assert len(blocks) >= 3
    for name, text in re.findall(r"<!-- ([\w.-]+) -->\n\n```xml\n((?:.*\n)*?)```", page):
        (files / name).write_text(text)
    monkeypatch.chdir(files)
    for words, expected in blocks:
        told = run(*shlex.split(words))
        shown = told.stdout.splitlines()
        for line in (line for line in expected.splitlines() if line and line != "..."):
            assert line.rstrip() in [each.rstrip() for each in shown], (words, line, told.stdout)


def verdict(sender: str, rule: str, rejected: bool, exchange: str) -> Verdict:
    return Verdict(sender=sender, transaction="ITI-42", correlation=exchange, broken={rule: rejected})


def counted(node: Path, *verdicts: tuple[Verdict, datetime]) -> None:
    assert innsyn(node, "migrate").exit_code == 0
    database = open_database(f"sqlite:///{node.parent}/state/innsyn.db")
    for each, at in verdicts:
        with database.engine.begin() as connection:
            count(connection, each, at)
    database.close()


def test_the_report_says_whom_raising_a_rule_would_refuse(node: Path) -> None:
    later = NOW + timedelta(days=3)
    counted(
        node,
        *((verdict("ous", "display-name", False, f"e{number}"), NOW) for number in range(3)),
        (verdict("unn", "display-name", False, "e9"), later),
        (verdict("unn", "data-type", True, "e10"), later),
    )
    told = innsyn(node, "validation", "report")
    assert told.exit_code == 0
    assert "raising display-name to reject would refuse 4 messages of these senders: ous (3), unn (1)" in told.stdout
    assert re.search(r"unn +ITI-42 +data-type +reject +1 +1 +2021-02-18 10:00:00\+01:00 +e10", told.stdout)
    since = innsyn(node, "validation", "report", "--since", "2021-02-17")
    assert "would refuse 1 message of these senders since 2021-02-17: unn (1)" in since.stdout
    assert "ous" not in since.stdout
    first = json.loads(innsyn(node, "validation", "report", "--json").stdout.splitlines()[0])
    assert [first[each] for each in ("sender", "rule", "level", "tolerated")] == ["ous", "display-name", "warn", 3]


def test_a_report_of_nothing_says_so(node: Path) -> None:
    counted(node)
    assert innsyn(node, "validation", "report").stdout.strip() == "no sender has broken a rule"
    assert innsyn(node, "validation", "report", "--since", "soon").exit_code == 2

"""server.config and server.settings: a configuration is whole and right, or every mistake in it is named."""

from __future__ import annotations

import pickle
import tomllib
from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from server.config import Config
from server.settings import MANY, ONE, ConfigRefused, load, read

WHOLE = """
[node]
name = "innsyn-test"
home_community_id = "urn:oid:2.16.578.1.12.4.1.7.1.1"
state = "state"
policy = "policy"
workers = 2

[listener.clinicians]
bind = "0.0.0.0:8443"
public_url = "https://xds.example.no"
certificate = "tls/node.pem"
key = "tls/node.key"
client_ca = "tls/clients.pem"

[listener.machines]
bind = "127.0.0.1:8080"
machine_identity = "conformance"

[issuer.sts]
entity_id = "https://sts.example.no"
channel = "clinician"
profile = "2.1"
audiences = ["nhn:dokumentdeling-saml"]
certificates = ["sts.pem"]

[identity.ous]
certificates = [
  "AB:CD:EF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC",
  "ous.pem",
]
may_register = ["2.16.578.1.12.4.5.1"]

[identity.conformance]
may_register = ["1.3.6.1.4.1.21367.1"]

[hospital.ous]
repository_unique_ids = ["2.16.578.1.12.4.5.1"]
url = "https://ous.example.no/xds"
ca = "ous-ca.pem"
assertion = "forward"
audience = "https://ous.example.no"
"""

FOLDER = Path("/etc/innsyn")


def whole() -> dict[str, Any]:
    return tomllib.loads(WHOLE)


def refused(change: Callable[[dict[str, Any]], object]) -> dict[str, str]:
    raw = deepcopy(whole())
    change(raw)
    with pytest.raises(ConfigRefused) as problem:
        read(raw, FOLDER)
    return {mistake.path: mistake.sentence for mistake in problem.value.mistakes}


def test_a_whole_configuration_loads_with_its_defaults() -> None:
    config = read(whole(), FOLDER)
    assert (config.query.max_results, config.retrieve.overall_root_seconds) == (5000, 12.0)
    assert config.listener["machines"].max_request == 2 * 1024 * 1024
    hospital = config.hospital["ous"]
    assert (hospital.max_parallel, hospital.connect_seconds, hospital.head_seconds, hospital.idle_seconds) == (
        16,
        3,
        10,
        20,
    )
    assert config.audit.reserve_mib == 512


def test_paths_are_relative_to_the_file() -> None:
    config = read(whole(), FOLDER)
    assert config.node.policy == FOLDER / "policy"
    assert config.listener["clinicians"].key == FOLDER / "tls/node.key"
    assert config.issuer["sts"].certificates == (FOLDER / "sts.pem",)
    assert config.audit_folder == FOLDER / "state/audit"
    assert config.database_url == "sqlite:////etc/innsyn/state/innsyn.db"


def test_an_absolute_path_and_a_server_url_stay_as_they_are() -> None:
    raw = whole() | {"database": {"url": "postgresql://innsyn@db/innsyn"}, "audit": {"folder": "/var/audit"}}
    config = read(raw, FOLDER)
    assert config.database_url == "postgresql://innsyn@db/innsyn"
    assert config.audit_folder == Path("/var/audit")


def test_fingerprints_are_compared_in_one_form() -> None:
    assert read(whole(), FOLDER).identity["ous"].certificates == (
        "abcdef00112233445566778899aabbccddeeff00112233445566778899aabbcc",
        "/etc/innsyn/ous.pem",
    )


def test_a_listener_tells_its_address() -> None:
    listeners = read(whole(), FOLDER).listener
    assert listeners["clinicians"].url == "https://xds.example.no"
    assert listeners["machines"].url == "http://127.0.0.1:8080"


def test_a_configuration_travels_to_a_worker_process() -> None:
    config = read(whole(), FOLDER)
    assert pickle.loads(pickle.dumps(config)) == config


def test_levels_are_given_by_rule_and_by_sender() -> None:
    levels = {
        "rules": {"title-length": "warn"},
        "sender": {"ous": {"service-times": "log", "one-patient": "reject"}},
        "codes": "codes.toml",
    }
    validation = read(whole() | {"validation": levels}, FOLDER).validation
    assert validation.rules == {"title-length": "warn"}
    assert validation.sender["ous"]["service-times"] == "log"
    assert (validation.codes, validation.extra_metadata) == (FOLDER / "codes.toml", "keep")


def test_levels_that_cannot_be_are_told_all_at_once_with_what_was_meant() -> None:
    levels = {
        "rules": {
            "title-lenght": "warn",
            "one-submission-set": "warn",
            "folder-title": "loud",
            "extra-metadata": "off",
        },
        "sender": {"ouss": {"titel-length": "log", "same-hash": "off"}, "ous": {"known-scheme": "off"}},
    }
    told = refused(lambda raw: raw.update(validation=levels))
    assert told == {
        "validation.rules.title-lenght": "is no rule; did you mean title-length?",
        "validation.rules.one-submission-set": "cannot be lowered: what breaks it could not be stored, found again or "
        "protected",
        "validation.rules.folder-title": "must be off, log, warn or reject, not loud",
        "validation.rules.extra-metadata": "has no level of its own: set validation.extra_metadata",
        "validation.sender.ouss": "names no [identity] section; did you mean ous?",
        "validation.sender.ouss.titel-length": "is no rule; did you mean title-length?",
        "validation.sender.ouss.same-hash": "cannot be lowered: what breaks it could not be stored, found again or "
        "protected",
    }


def test_every_mistake_is_told_at_once_with_its_path() -> None:
    def change(raw: dict[str, Any]) -> None:
        del raw["node"]["state"]
        raw["node"]["workers"] = "2"
        raw["node"]["colour"] = "red"
        raw["listener"]["clinicians"]["max_conections"] = 3
        del raw["listener"]["clinicians"]["key"]
        raw["listener"]["machines"]["bind"] = "somewhere"
        raw["hospital"]["ous"]["assertion"] = "maybe"
        del raw["issuer"]["sts"]["audiences"]
        raw["issuer"]["sts"]["channel"] = "machine"
        raw["patients"] = {"known": "feed"}
        raw["quary"] = {}

    assert refused(change).keys() == {
        "node.state",
        "node.workers",
        "node.colour",
        "listener.clinicians.max_conections",
        "listener.clinicians.key",
        "listener.machines.bind",
        "hospital.ous.assertion",
        "issuer.sts.audiences",
        "issuer.sts.channel",
        "patients.known",
        "quary",
    }


def test_a_mistake_in_one_section_does_not_hide_a_rule_between_others() -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["node"]["workers"] = 0
        raw["identity"]["ous"]["may_register"] = [7]
        raw["listener"]["machines"]["bind"] = "0.0.0.0:8080"
        raw["hospital"]["other"] = raw["hospital"]["ous"] | {"url": "http://other.example.no/"}

    found = refused(change)
    assert found.keys() == {
        "node.workers",
        "identity.ous.may_register.0",
        "listener.machines.bind",
        "listener.machines.machine_identity",
        "hospital.other.repository_unique_ids.0",
        "hospital.other.url",
    }
    assert "client certificates" in found["listener.machines.machine_identity"]


def test_a_misspelt_key_is_answered_with_the_right_one() -> None:
    found = refused(lambda raw: raw["node"].update(worker=1))
    assert found == {"node.worker": "is not a known key; did you mean workers?"}


RULES: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("node", lambda raw: raw.pop("node")),
    ("listener", lambda raw: raw.pop("listener")),
    ("listener", lambda raw: raw.update(listener=[])),
    ("listener.my key", lambda raw: raw["listener"].update({"my key": raw["listener"].pop("clinicians")})),
    ("listener.machines.bind", lambda raw: raw["listener"]["machines"].update(bind="0.0.0.0:8443")),
    ("listener.machines.bind", lambda raw: raw["listener"]["machines"].update(bind="127.0.0.1:70000")),
    ("listener.machines.bind", lambda raw: raw["listener"]["machines"].update(bind="myhost:80")),
    ("listener.machines.machine_identity", lambda raw: raw["identity"].pop("conformance")),
    ("listener.clinicians.client_ca", lambda raw: raw["listener"]["clinicians"].pop("client_ca")),
    ("listener.clinicians.public_url", lambda raw: raw["listener"]["clinicians"].update(public_url="ftp://x")),
    ("hospital.ous.ca", lambda raw: raw["hospital"]["ous"].pop("ca")),
    ("hospital.ous.assertion", lambda raw: raw["hospital"]["ous"].pop("assertion")),
    ("hospital.ous.audience", lambda raw: raw["hospital"]["ous"].pop("audience")),
    ("hospital.ous.audience", lambda raw: raw["hospital"]["ous"].update(assertion="none")),
    ("hospital.ous.key", lambda raw: raw["hospital"]["ous"].update(certificate="c.pem")),
    ("hospital.ous.url", lambda raw: raw["hospital"]["ous"].update(url="https://user:pw@ous.example.no")),
    ("hospital.ous.connect_seconds", lambda raw: raw["hospital"]["ous"].update(connect_seconds=0)),
    ("hospital.ous.repository_unique_ids", lambda raw: raw["hospital"]["ous"].update(repository_unique_ids=[])),
    (
        "hospital.ous.repository_unique_ids.0",
        lambda raw: raw["hospital"]["ous"].update(repository_unique_ids=["urn:x"]),
    ),
    (
        "hospital.ous.repository_unique_ids.1",
        lambda raw: raw["hospital"]["ous"].update(repository_unique_ids=["1.2", "1.2"]),
    ),
    ("issuer.second.entity_id", lambda raw: raw["issuer"].update(second=raw["issuer"]["sts"])),
    ("issuer.sts.audiences", lambda raw: raw["issuer"]["sts"].update(audiences=[""])),
    ("issuer.sts.certificates", lambda raw: raw["issuer"]["sts"].update(certificates=[])),
    ("issuer.sts.profile", lambda raw: raw["issuer"]["sts"].update(profile="2.0")),
    ("issuer.sts.simulated", lambda raw: raw["issuer"]["sts"].update(simulated=True)),
    ("listener.clinicians.machine_identity", lambda raw: raw["listener"]["clinicians"].update(machine_identity="ous")),
    (
        "listener.clinicians.machine_identity",
        lambda raw: (raw.pop("issuer"), raw["listener"]["clinicians"].update(machine_identity="ous")),
    ),
    (
        "listener.clinicians.machine_identity",
        lambda raw: (
            raw["identity"]["conformance"].pop("may_register"),
            raw["listener"]["clinicians"].update(machine_identity="conformance"),
        ),
    ),
    ("identity.two.certificates", lambda raw: raw["identity"].update(two={"certificates": ["ous.pem"]})),
    ("clock.simulated", lambda raw: raw.update(clock={"simulated": datetime(2021, 1, 1)})),
    ("database.url", lambda raw: raw.update(database={"url": "mysql://db"})),
    ("audit.reserve_mib", lambda raw: raw.update(audit={"reserve_mib": True})),
    ("query.max_results", lambda raw: raw.update(query={"max_results": 0})),
    ("retrieve.read_ahead_kib", lambda raw: raw.update(retrieve={"read_ahead_kib": 1 << 40})),
    ("node.home_community_id", lambda raw: raw["node"].update(home_community_id="2.16.578")),
    ("node.name", lambda raw: raw["node"].update(name="two words")),
    ("log.level", lambda raw: raw.update(log={"level": "trace"})),
]


@pytest.mark.parametrize(("path", "change"), RULES)
def test_each_rule_names_the_key_at_fault(path: str, change: Callable[[dict[str, Any]], object]) -> None:
    assert path in refused(change)


def test_simulated_time_is_only_for_a_node_that_lives_on_one_machine() -> None:
    def change(raw: dict[str, Any]) -> None:
        raw["clock"] = {"simulated": datetime(2021, 2, 15, 9, tzinfo=UTC)}

    raw = deepcopy(whole())
    change(raw)
    with pytest.raises(ConfigRefused) as problem:
        read(raw, FOLDER)
    assert sorted(mistake.sentence.rpartition("but ")[2] for mistake in problem.value.mistakes) == [
        "hospital.ous is not on loopback",
        "issuer.sts is not marked simulated",
        "listener.clinicians is not on loopback",
    ]
    del raw["listener"]["clinicians"]
    raw["hospital"]["ous"].update(url="http://127.0.0.1:9001/xds")
    raw["issuer"]["sts"]["simulated"] = True
    assert read(raw, FOLDER).simulated == datetime(2021, 2, 15, 9, tzinfo=UTC)


def test_no_message_repeats_a_value() -> None:
    secret = "postgres://innsyn:hunter2@db/innsyn"
    found = refused(lambda raw: raw.update(database={"url": secret}, node=secret))
    assert found.keys() >= {"database.url", "node"}
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("[node", "is not TOML"), ("\udcff", "is not UTF-8"), (None, "cannot be read"), ("#" * (1 << 21), "is larger")],
)
def test_a_file_that_is_no_configuration_is_one_sentence(tmp_path: Path, text: str | None, sentence: str) -> None:
    path = tmp_path / "innsyn.toml"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigRefused, match=sentence):
        load(path)


def test_a_file_is_read_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "innsyn.toml").write_text(WHOLE)
    assert load(tmp_path / "innsyn.toml").node.state == tmp_path / "state"


def test_the_json_schema_refuses_unknown_keys_and_describes_the_known() -> None:
    schema = Config.model_json_schema()
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Hospital"]["required"] == ["repository_unique_ids", "url", "assertion"]
    for section in schema["$defs"].values():
        for key, field in section.get("properties", {}).items():
            assert field.get("description") or "$ref" in field, key


def test_no_mutation_of_a_configuration_loads_unnoticed() -> None:
    """Every key renamed and every value swapped for a number, a list and a text, one at a time."""
    for section in whole():
        raw = whole()
        names = [None] if section == "node" else list(raw[section])
        for name in names:
            place = section if name is None else f"{section}.{name}"
            for key in list(raw[section] if name is None else raw[section][name]):
                for wrong in (3.5, [[]], {"x": 1}):
                    changed = whole()
                    (changed[section] if name is None else changed[section][name])[key] = wrong
                    with pytest.raises(ConfigRefused) as problem:
                        read(changed, FOLDER)
                    assert any(each.path.startswith(f"{place}.{key}") for each in problem.value.mistakes)
                changed = whole()
                inner = changed[section] if name is None else changed[section][name]
                inner[key + "_"] = inner.pop(key)
                with pytest.raises(ConfigRefused) as problem:
                    read(changed, FOLDER)
                assert f"{place}.{key}_" in {each.path for each in problem.value.mistakes}


def test_the_operations_guide_lists_every_key_with_its_default() -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()
    rows = {cells[1].strip(" `"): cells for line in guide.splitlines() if len(cells := line.split("|")) == 5}
    for section, kind in {**ONE, **MANY}.items():
        for key, field in kind.model_fields.items():
            row = rows[f"{section}{'.NAME' if section in MANY else ''}.{key}"]
            shown = row[2].strip().strip("`")
            if field.is_required():
                assert shown == "required", row
            elif field.default is None:
                assert shown == "absent", row
            else:
                written = field.default if not isinstance(field.default, tuple) else []
                assert tomllib.loads(f"x = {shown}")["x"] == written, row
            assert row[3].strip() == field.description

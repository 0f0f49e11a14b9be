"""The list of known patients: taken whole or not at all, and read again with the policy."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.numbers import D_NUMBER, F_NUMBER
from policy.reading import read
from registry.people.identities import Admission
from server.check import policy_texts
from server.config import Config
from server.known_patients import known_patients
from server.policies import read_policy
from server.settings import ConfigRefused, load
from server.wiring import Node
from tests.server.place import SIMPLE, innsyn, place

F, D = "15837510047", "41826520068"
P_F, P_D = f"{F}^^^&{F_NUMBER}&ISO", f"{D}^^^&{D_NUMBER}&ISO"


def node(folder: Path, text: str, more: str = "") -> Config:
    path = place(folder, SIMPLE + f'\n[patients]\nknown = "file:known.txt"\n{more}')
    (folder / "known.txt").write_text(text)
    assert innsyn(path, "migrate").exit_code == 0
    return load(path)


def listed(config: Config) -> tuple[frozenset[str] | None, list[str]]:
    return known_patients(config, read(policy_texts(config.node.policy), (), 1))


def test_numbers_stand_alone_or_with_their_authority(tmp_path: Path) -> None:
    config = node(tmp_path, f"# two people\n{F}  # by number\n\n{D}^^^&urn:oid:{D_NUMBER}&ISO\n")
    assert listed(config) == (frozenset({P_F, P_D}), [])


def test_with_one_authority_any_number_is_its(tmp_path: Path) -> None:
    config = node(tmp_path, "A-17\n", 'authorities = ["2.999.7"]\n')
    assert listed(config) == (frozenset({"A-17^^^&2.999.7&ISO"}), [])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("15837510048\n", "known.txt line 1 is no identifier of a patient here"),
        (f"{F}\nA-17^^^&2.999.7&ISO\n", "known.txt line 2 is no identifier of a patient here"),
        (f"{F}\n{F}^^^&{F_NUMBER}&ISO\n", "known.txt line 2 says what line 1 says"),
        ("A-17\n", "known.txt line 1 is no identifier of a patient here"),
        (f"{F}^^^&{D_NUMBER}&ISO\n", "known.txt line 1 is no identifier of a patient here"),
        ("# nobody\n", "names nobody"),
    ],
)
def test_one_wrong_line_and_none_is_taken(tmp_path: Path, text: str, sentence: str) -> None:
    config = node(tmp_path, text)
    found, wrong = listed(config)
    assert found is None
    assert [each for each in wrong if sentence in each]
    assert not [each for each in wrong if "15837510048" in each]
    told = innsyn(tmp_path / "innsyn.toml", "check-config")
    assert (told.exit_code, "patients.known" in told.stderr) == (2, True)


def test_a_list_of_mistakes_is_told_in_part(tmp_path: Path) -> None:
    assert listed(node(tmp_path, "wrong\n" * 100))[1][-1] == "and 80 more"


def test_a_list_that_is_not_there_or_not_text_is_a_mistake(tmp_path: Path) -> None:
    config = node(tmp_path, F)
    (tmp_path / "known.txt").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in listed(config)[1][0]
    (tmp_path / "known.txt").unlink()
    assert "cannot be read" in listed(config)[1][0]


def test_a_reload_reads_the_list_again_or_leaves_everything(tmp_path: Path) -> None:
    config = node(tmp_path, F)
    first, _ = read_policy(config, 1)
    assert first is not None
    here = Node(config, 1, first.load(), first.patients)
    assert here.store.admission == Admission(False, frozenset({P_F}))
    (tmp_path / "known.txt").write_text(f"{F}\n{D}\n")
    second, _ = read_policy(config, 2)
    assert second is not None
    here.swap(second.load(), second.patients)
    assert here.store.admission.admits(P_D, known=False)
    (tmp_path / "known.txt").write_text("wrong\n")
    third, mistakes = read_policy(config, 3)
    assert third is None
    assert [each.path for each in mistakes] == ["patients.known"]
    here.database.close()
    here.audit.close()


def test_a_node_that_was_given_no_list_knows_nobody(tmp_path: Path) -> None:
    config = node(tmp_path, F)
    here = Node(config, 1, read(policy_texts(config.node.policy), (), 1))
    assert not here.store.admission.admits(P_F, known=True)
    here.database.close()
    here.audit.close()


FEEDER = '[identity.register]\nmay_feed = true\ncertificates = ["{}"]\n'.format("0" * 64)
OPEN = '[feed.x]\nbind = "0.0.0.0:2575"\nidentity = "register"\n'
LOCAL = '[feed.x]\nbind = "127.0.0.1:2575"\nidentity = "register"\n'
TLS = 'certificate = "a"\nkey = "b"\nclient_ca = "c"\n'


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('[patients]\nknown = "feed"\n', "patients.known"),
        ('[patients]\nknown = "file:x"\n' + FEEDER, "patients.known"),
        ('[patients]\nknown = "file:"\n', "patients.known"),
        ('[patients]\nknown = "all"\n', "patients.known"),
        ('[patients]\nauthorities = ["x"]\n', "patients.authorities.0"),
        ('[patients]\nnamespaces = { NS = "x" }\n', "patients.namespaces.NS"),
        (OPEN + FEEDER, "feed.x.bind"),
        (LOCAL.replace("2575", "8080") + FEEDER, "feed.x.bind"),
        (LOCAL, "feed.x.identity"),
        (LOCAL + "[identity.register]\n", "feed.x.identity"),
        (OPEN + TLS + "[identity.register]\nmay_feed = true\n", "feed.x.identity"),
        (LOCAL + 'certificate = "a"\n' + FEEDER, "feed.x.key"),
        (LOCAL + 'charset = "KLINGON"\n' + FEEDER, "feed.x.charset"),
        (OPEN + TLS + FEEDER + "[clock]\nsimulated = 2021-01-01T00:00:00Z\n", "clock.simulated"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, path: str) -> None:
    with pytest.raises(ConfigRefused) as refused:
        load(place(tmp_path, SIMPLE + "\n" + text))
    assert path in {each.path for each in refused.value.mistakes}


@pytest.mark.parametrize("text", [LOCAL + FEEDER, OPEN + TLS + FEEDER, '[patients]\nknown = "feed"\n' + FEEDER])
def test_a_configuration_that_can_be_meant_loads(tmp_path: Path, text: str) -> None:
    load(place(tmp_path, SIMPLE + "\n" + text))

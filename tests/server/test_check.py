"""server.check: what would keep a node from serving is found before it starts, all of it at once."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from server.check import Examined, PolicyUnreadable, examine, policy_texts
from tests.server.place import OUS, SIMPLE, innsyn, place

TLS = (
    SIMPLE
    + """
[listener.tls]
bind = "0.0.0.0:8443"
certificate = "node.pem"
key = "node.key"
client_ca = "ca.pem"

[identity.ous]
certificates = ["caller.pem"]
may_register = ["2.999.578.1.1"]
"""
)


class At:
    """A real clock somewhere else in time."""

    simulated = False

    def __init__(self, when: datetime.datetime) -> None:
        self.when = when

    def now(self) -> datetime.datetime:
        return self.when

    def wall(self) -> datetime.datetime:
        return self.when


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = place(tmp_path)
    assert innsyn(path, "migrate").exit_code == 0
    return path


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    path = place(tmp_path, TLS)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("node", "caller"):
        made = authority.issue_cert("localhost", common_name=name)
        made.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        made.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        (tmp_path / f"{name}.key").chmod(0o600)
    assert innsyn(path, "migrate").exit_code == 0
    return path


def mistakes(examined: Examined) -> dict[str, str]:
    return {each.path: each.sentence for each in examined.mistakes}


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_migrated_node_has_no_mistakes(plain: Path) -> None:
    examined = examine(plain)
    assert not examined.mistakes
    assert examined.policy is not None
    assert examined.config is not None


def test_a_new_node_is_told_everything_it_lacks(tmp_path: Path) -> None:
    path = place(tmp_path, TLS)
    (tmp_path / "policy" / "kinds.toml").write_text("[kind.x]\ncolour = 'red'\n")
    found = mistakes(examine(path))
    assert found.keys() >= {
        "node.state",
        "audit.folder",
        "database.url",
        "listener.tls.certificate",
        "listener.tls.client_ca",
        "listener.tls.key",
        "identity.ous.certificates.0",
        "policy",
    }


def test_checking_creates_nothing(tmp_path: Path) -> None:
    path = place(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    examine(path)
    assert sorted(tmp_path.rglob("*")) == before


def test_mutual_tls_with_good_certificates_has_no_mistakes(tls: Path) -> None:
    assert not mistakes(examine(tls))


def test_an_expired_certificate_and_one_of_tomorrow_are_mistakes(tls: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    late = mistakes(examine(tls, At(now + datetime.timedelta(days=1500 * 365))))
    assert late.keys() >= {"listener.tls.certificate", "listener.tls.client_ca", "identity.ous.certificates.0"}
    assert "expired on" in late["listener.tls.certificate"]
    early = mistakes(examine(tls, At(now - datetime.timedelta(days=1500 * 365))))
    assert "is not valid before" in early["listener.tls.certificate"]
    assert "set its time" in early["clock"]


def test_a_certificate_near_its_end_is_a_warning(tls: Path, tmp_path: Path) -> None:
    from server.certificates import read_certificates

    end = read_certificates(tmp_path / "node.pem")[0].not_valid_after_utc
    examined = examine(tls, At(end - datetime.timedelta(days=10)))
    assert any("in 10 days" in each.sentence for each in examined.warnings)


BROKEN: list[tuple[str, str, Callable[[Path], object]]] = [
    (
        "listener.tls.key",
        "is not the key of",
        lambda at: (at / "node.key").write_bytes((at / "caller.key").read_bytes()),
    ),
    ("listener.tls.key", "is open to others (mode 0640)", lambda at: (at / "node.key").chmod(0o640)),
    ("listener.tls.key", "no readable private key", lambda at: (at / "node.key").write_text("-----BEGIN")),
    ("listener.tls.key", "cannot be read", lambda at: (at / "node.key").unlink()),
    ("listener.tls.certificate", "no readable certificate", lambda at: (at / "node.pem").write_text("rubbish")),
    (
        "listener.tls.client_ca",
        "is not a certificate authority's",
        lambda at: (at / "ca.pem").write_bytes((at / "caller.pem").read_bytes()),
    ),
    ("node.state", "can be changed by others", lambda at: (at / "state").chmod(0o770)),
    ("database.url", "there is no registry", lambda at: (at / "state" / "innsyn.db").unlink()),
    ("database.url", "", lambda at: (at / "state" / "innsyn.db").write_bytes(b"x" * 8192)),
    ("node.policy", "is not a folder", lambda at: (at / "policy").rename(at / "elsewhere")),
    ("policy", "colour", lambda at: (at / "policy" / "kinds.toml").write_text("colour = 1")),
]


@pytest.mark.parametrize(("path", "sentence", "broken"), BROKEN)
def test_each_broken_file_is_named_with_what_is_wrong(
    tls: Path, tmp_path: Path, path: str, sentence: str, broken: Callable[[Path], object]
) -> None:
    broken(tmp_path)
    found = examine(tls).mistakes
    assert any(each.path == path and sentence in each.sentence for each in found), found


def test_an_encrypted_key_is_refused_because_nobody_types_at_start(tls: Path, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    key = load_pem_private_key((tmp_path / "node.key").read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (tmp_path / "node.key").write_bytes(locked)
    assert "is encrypted" in mistakes(examine(tls))["listener.tls.key"]


def test_one_certificate_is_one_machine(tls: Path, tmp_path: Path) -> None:
    from server.certificates import fingerprint, read_certificates

    mark = fingerprint(read_certificates(tmp_path / "caller.pem")[0])
    change(tls, "[identity.ous]", f'[identity.other]\ncertificates = ["{mark}"]\n\n[identity.ous]')
    assert "identity.other" in mistakes(examine(tls))["identity.ous.certificates"]


def test_a_hospital_that_no_source_owns_is_a_mistake(plain: Path) -> None:
    change(plain, f'["{OUS}"]', f'["{OUS}", "1.2.3"]')
    found = mistakes(examine(plain))
    assert "belongs to no source" in found["hospital.ous.repository_unique_ids.1"]


def test_a_source_that_no_hospital_answers_for_is_a_warning(plain: Path) -> None:
    sentences = [each.sentence for each in examine(plain).warnings if each.path == "hospital"]
    assert any("2.999.578.2.1" in each for each in sentences)
    assert not any(f" {OUS} " in each for each in sentences)


def test_unknown_patients_are_told_to_machines_only(plain: Path) -> None:
    plain.write_text(plain.read_text() + "\n[query]\nunknown_patient_is_error = true\n")
    assert "query.unknown_patient_is_error" in mistakes(examine(plain))


def test_too_little_space_for_the_audit_trail_is_said_before_the_first_caller(plain: Path) -> None:
    change(plain, "reserve_mib = 1", "reserve_mib = 999999999")
    assert "MiB are free" in mistakes(examine(plain))["audit.reserve_mib"]


def test_a_clock_behind_the_trail_is_a_warning(plain: Path, tmp_path: Path) -> None:
    line = tmp_path / "state" / "audit" / "w1.00000001.20210101.jsonl"
    line.write_text("")
    os.utime(line, (time.time() + 3600, time.time() + 3600))
    assert any("behind the newest line" in each.sentence for each in examine(plain).warnings)


def test_a_registry_that_others_read_is_a_mistake(plain: Path) -> None:
    database = plain.parent / "state" / "innsyn.db"
    assert database.stat().st_mode & 0o077 == 0
    database.chmod(0o640)
    (found,) = examine(plain).mistakes
    assert str(found) == f"database.url: {database} is open to others (mode 0640): chmod 600"


def test_a_password_in_a_file_that_others_read_is_a_mistake(plain: Path) -> None:
    plain.write_text(plain.read_text() + '\n[database]\nurl = "postgresql://innsyn:hunter2@127.0.0.1:1/innsyn"\n')
    plain.chmod(0o644)
    examined = examine(plain)
    found = [each.sentence for each in examined.mistakes if each.path == "database.url"]
    assert any("chmod 600" in each for each in found)
    assert "hunter2" not in str(examined.found)
    plain.chmod(0o600)
    assert not any("chmod 600" in each.sentence for each in examine(plain).mistakes)


def test_policy_files_are_found_by_their_path_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "enrolled").mkdir()
    for name in ("policy.toml", "enrolled/ahus.toml", ".policy.toml", "policy.toml~", "notes.txt"):
        (tmp_path / name).write_text("x")
    assert sorted(policy_texts(tmp_path)) == ["enrolled/ahus.toml", "policy.toml"]


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_folder_that_holds_no_policy_is_one_sentence(tmp_path: Path, content: bytes | None) -> None:
    if content:
        (tmp_path / "policy.toml").write_bytes(content)
    with pytest.raises(PolicyUnreadable):
        policy_texts(tmp_path)


def test_a_file_of_codes_is_read_and_every_mistake_in_it_is_told(plain: Path) -> None:
    plain.write_text(plain.read_text() + '\n[validation]\ncodes = "codes.toml"\n')
    assert "cannot be read" in mistakes(examine(plain))["validation.codes"]
    codes = plain.with_name("codes.toml")
    codes.write_text('typecode = {x = "any"}\nmimeType = ["pdf"]\n')
    told = [str(each) for each in examine(plain).mistakes]
    assert told == [
        "validation.codes: codes.toml: typecode: is no attribute that carries codes; did you mean typeCode?",
        "validation.codes: codes.toml: mimeType: pdf is not a media type as type/subtype, without parameters",
    ]
    codes.write_text('typeCode = {"2.999" = "any"}\n')
    assert not examine(plain).mistakes

"""server.commands.simulate: partners of a node start from the shipped command line, on this machine only."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from server.cli import app
from tests.nodes import free_port
from tests.server.place import ROOT


@contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-u", "-m", "server.cli", "simulate", *words]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 0, err


def ask(port: int, method: str, content: str = "") -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, "/", content)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_a_token_service_issues_tokens_with_the_key_it_made(tmp_path: Path) -> None:
    port = free_port()
    order = {"who": {"name": "Anne", "number": "01826520074", "hpr": "9144900"}, "patient": "15837510047"}
    with running("sts", str(tmp_path / "sts"), "--bind", f"127.0.0.1:{port}"):
        status, token = ask(port, "POST", json.dumps(order))
    assert status == 200
    assert b"Assertion" in token
    assert (tmp_path / "sts" / "sts.key").stat().st_mode & 0o077 == 0


def test_a_hospital_serves_the_documents_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("letter")
    (tmp_path / "documents.toml").write_text(
        '[[document]]\nrepository_unique_id = "1.2"\nunique_id = "1.2.3"\nmime_type = "text/plain"\n'
        'file = "letter.txt"\n'
    )
    port = free_port()
    with running("hospital", str(tmp_path), "--bind", f"127.0.0.1:{port}", "--variant", "html-503"):
        assert ask(port, "POST", "<x/>")[0] >= 400


def test_a_source_prepares_the_documents_that_a_hospital_then_serves(tmp_path: Path) -> None:
    from simulators.hospital import read_folder

    port = free_port()
    words = ["simulate", "source", f"http://127.0.0.1:{port}/xds/registry", "--documents", str(tmp_path / "papers")]
    told = CliRunner().invoke(app, words)
    assert told.exit_code == 2
    assert "refused" in told.stderr
    assert len(read_folder(tmp_path / "papers")) == 4
    told = CliRunner().invoke(app, ["simulate", "source", "http://127.0.0.1:1/", "--patient", "15837510046"])
    assert told.stderr.strip() == "nobody here has that number"


@pytest.mark.parametrize(
    "words",
    [
        ("sts", "keys", "--bind", "0.0.0.0:9300"),
        ("hospital", "folder", "--bind", "192.0.2.1:9200"),
        ("hospital", "folder", "--variant", "polite"),
        ("hospital", "folder"),
    ],
)
def test_a_partner_that_cannot_be_run_is_refused_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, ["simulate", *words])
    assert told.exit_code == 2
    assert told.stderr
    assert not list(tmp_path.iterdir())

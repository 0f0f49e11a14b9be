"""A node's folder for tests: configuration, policy of the pilot, certificates where asked for."""

from __future__ import annotations

import shutil
from pathlib import Path

from typer.testing import CliRunner, Result

from server.cli import app

ROOT = Path(__file__).resolve().parents[2]
PILOT = ROOT / "docs" / "examples" / "pilot" / "policy"
OUS = "2.999.578.1.1"

SIMPLE = f"""
[node]
name = "test"
state = "state"
policy = "policy"

[listener.main]
bind = "127.0.0.1:8080"

[audit]
reserve_mib = 1

[hospital.ous]
repository_unique_ids = ["{OUS}"]
url = "http://127.0.0.1:9001/xds"
assertion = "none"
"""


def place(folder: Path, text: str = SIMPLE) -> Path:
    """Writes a configuration beside the pilot's policy and returns its path; nothing is migrated yet."""
    shutil.copytree(PILOT, folder / "policy")
    path = folder / "innsyn.toml"
    path.write_text(text)
    return path


def innsyn(path: Path, *words: str) -> Result:
    """Runs one command of the shipped command line in this process."""
    return CliRunner().invoke(app, [*words, "--config", str(path)])

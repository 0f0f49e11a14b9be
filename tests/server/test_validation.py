"""[validation] is what the registry judges by: a node tolerates, warns and refuses as its operator wrote."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from ihe.names import Action
from registry.rules.findings import Findings
from registry.rules.samples import REPOSITORY, Message, sample
from simulators.source import envelope
from tests.nodes import Here, configured, node_here

LENIENT = {
    'codes = "codes.toml"\n': 'codes = "codes.toml"\nextra_metadata = "warn"\n\n[validation.rules]\n'
    'title-length = "warn"\nservice-times = "warn"\n\n'
    '[validation.sender.toolkit]\nservice-times = "reject"\nallowed-codes = "log"\n'
}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Here]:
    with node_here(configured(tmp_path, LENIENT)) as here:
        yield here


def sent(node: Here, message: Message) -> tuple[str, list[str]]:
    """Status of the answer, and its errors as `Severity rule`."""
    body = message.body.replace(REPOSITORY.encode(), b"1.1.1.1")
    whole = envelope(body, node.url, "urn:uuid:m").replace(Action.REGISTER.encode(), message.action.encode())
    connection = http.client.HTTPConnection(*node.address, timeout=10)
    connection.request("POST", "/xds/registry", whole, {"Content-Type": "application/soap+xml; charset=utf-8"})
    answer = connection.getresponse().read().decode()
    connection.close()
    (status,) = re.findall(r'status="[^"]*:(\w+)"', answer)
    found = re.findall(r'codeContext="([\w-]+) .*?severity="[^"]*:(\w+)"', answer)
    return status, [f"{severity} {rule}" for rule, severity in found]


def test_a_rule_is_as_strict_as_it_is_configured(node: Here) -> None:
    assert sent(node, sample("title-length").failing) == ("Success", ["Warning title-length"])


def test_a_sender_has_levels_of_its_own(node: Here) -> None:
    assert sent(node, sample("service-times").failing) == ("Failure", ["Error service-times"])
    counted = {each.rule: (each.seen, each.rejected) for each in Findings.read(node.node.database, date(2000, 1, 1))}
    # None of the codes is among those agreed on, which is merely counted for this sender.
    assert counted == {"service-times": (1, 1), "allowed-codes": (1, 0)}


def test_extra_metadata_is_warned_about_where_it_is_not_kept(node: Here) -> None:
    assert sent(node, sample("extra-metadata").failing) == ("Success", ["Warning extra-metadata"])


def test_on_demand_entries_have_their_transaction(node: Here) -> None:
    assert sent(node, sample("on-demand-content").passing) == ("Success", [])
    assert sent(node, sample("on-demand-content").failing) == ("Failure", ["Error on-demand-content"])
    assert sent(node, sample("stable-entry").failing) == ("Failure", ["Error stable-entry"])

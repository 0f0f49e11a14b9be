"""server.soap: every fault passes one funnel, a defect becomes one fault without content, and nothing is kept."""

from __future__ import annotations

import gc
import logging
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import structlog

from ihe import soap, xml
from ihe.errors import FaultCode, SoapFault, Subcode
from ihe.names import SOAP12, Action
from ihe.soap import Call, Packaging, Reply
from policy.facts import Peer
from server import log
from server.soap import SoapServer, Transaction
from tests.ihe import messages
from tests.server.edge import echo

PEER = Peer("front", "192.0.2.1", "", "c" * 32)
CANARY = "Kanarifugl"
FAULTS = [
    SoapFault(FaultCode.SENDER, "You did it"),
    SoapFault(FaultCode.RECEIVER, "We did it", relates_to=messages.MESSAGE_ID),
    SoapFault(FaultCode.SENDER, "Who are you", Subcode.TOKEN_UNAVAILABLE, relates_to=messages.MESSAGE_ID),
    SoapFault(FaultCode.SENDER, "LOA_LOW", Subcode.FAILED_AUTHENTICATION),
    SoapFault(FaultCode.MUST_UNDERSTAND, "What is this", problem="{urn:v}Odd"),
    SoapFault(FaultCode.VERSION_MISMATCH, "Too old"),
    *(SoapFault(FaultCode.SENDER, "No", each) for each in Subcode),
]


def raising(problem: Exception) -> Transaction:
    """Raises it anew each time: one that is raised twice remembers both."""

    def transaction(call: Call, peer: Peer) -> Reply:
        raise replace(problem) if isinstance(problem, SoapFault) else type(problem)(*problem.args)

    return transaction


def asked(server: SoapServer, raw: bytes, content_type: str = messages.SIMPLE) -> Reply:
    answer = server.answer(raw, content_type, PEER)
    assert isinstance(answer, Reply)
    return answer


def code(reply: Reply) -> str:
    found = xml.read(reply.body).find(f".//{{{SOAP12}}}Code/{{{SOAP12}}}Value")
    return xml.text(found).rpartition(":")[2]


@pytest.mark.parametrize("packaging", Packaging)
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_the_fault_of_a_transaction_leaves_exactly_as_it_would_be_written(
    fault: SoapFault, packaging: Packaging
) -> None:
    server = SoapServer({Action.QUERY: raising(fault)})
    raw, media = messages.of(Action.QUERY), messages.SIMPLE
    if packaging is Packaging.MTOM:
        raw, media = messages.package(raw), messages.package_type()
    assert asked(server, raw, media) == soap.write_fault(fault, packaging)


def test_each_action_reaches_its_own_transaction_with_the_call_and_the_peer() -> None:
    seen: list[tuple[Action, Action, Peer]] = []

    def transaction(action: Action) -> Transaction:
        def note(call: Call, peer: Peer) -> Reply:
            seen.append((action, call.action, peer))
            return echo(call, peer)

        return note

    server = SoapServer({each: transaction(each) for each in Action})
    for each in Action:
        assert asked(server, messages.of(each)).status == 200
    assert seen == [(each, each, PEER) for each in Action]


def test_what_cannot_be_read_is_a_senders_fault_and_no_transaction_runs() -> None:
    server = SoapServer({Action.QUERY: raising(AssertionError("nobody calls this"))})
    unread = [b"", b"<", b"<a/>", messages.envelope(body=""), messages.of(Action.REGISTER), b"\xff" * 100]
    for raw in unread:
        assert asked(server, raw).status == 500
    assert code(asked(server, messages.of(Action.REGISTER))) == "Sender"
    assert b"ActionNotSupported" in asked(server, messages.of(Action.REGISTER)).body


@pytest.mark.parametrize(
    "defect",
    [ValueError(CANARY), KeyError(CANARY), RecursionError(CANARY), MemoryError(CANARY), UnicodeError(CANARY)],
    ids=lambda defect: type(defect).__name__,
)
def test_a_defect_is_a_receivers_fault_with_the_id_and_no_word_of_it_anywhere(defect: Exception) -> None:
    server = SoapServer({Action.QUERY: raising(defect)})
    raw = messages.envelope(body=messages.QUERY_BODY.replace("LeafClass", CANARY))
    with structlog.testing.capture_logs() as lines:
        answer = asked(server, raw)
    assert (answer.status, code(answer)) == (500, "Receiver")
    assert PEER.correlation.encode() in answer.body
    assert CANARY.encode() not in answer.body
    (line,) = lines
    assert (line["event"], line["correlation"]) == ("defect", PEER.correlation)
    assert type(defect).__name__ in line["error"]
    assert "test_soap.py" in line["where"]
    assert CANARY not in str(lines)


def test_a_transaction_that_returns_nothing_is_a_defect_too() -> None:
    def nothing(call: Call, peer: Peer) -> Reply:
        return None  # type: ignore[return-value]

    with structlog.testing.capture_logs():
        assert code(asked(SoapServer({Action.QUERY: nothing}), messages.of(Action.QUERY))) == "Receiver"


def test_spyne_logs_nothing_of_a_request_at_any_level() -> None:
    out = StringIO()
    raw = messages.envelope(body=messages.QUERY_BODY.replace("LeafClass", CANARY))
    listening = logging.StreamHandler(out)
    logging.getLogger().addHandler(listening)
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        for transaction in (echo, raising(ValueError(CANARY)), raising(SoapFault(FaultCode.SENDER, CANARY))):
            with structlog.testing.capture_logs():
                asked(SoapServer({Action.QUERY: transaction}), raw)
                asked(SoapServer({Action.QUERY: transaction}), raw.replace(b"</", CANARY.encode()))
    finally:
        logging.getLogger().removeHandler(listening)
        logging.getLogger().setLevel(logging.WARNING)
    assert CANARY not in out.getvalue()
    assert log.KEYS >= {"correlation", "error", "where"}


def test_one_server_serves_many_threads_and_mixes_nothing_up() -> None:
    server = SoapServer({Action.QUERY: echo, Action.REGISTER: raising(SoapFault(FaultCode.SENDER, "no"))})
    wrong: list[str] = []

    def caller(number: int) -> None:
        mine = messages.MESSAGE_ID[:-2] + f"{number:02}"
        for _ in range(60):
            for action, status in ((Action.QUERY, 200), (Action.REGISTER, 500)):
                answer = asked(server, messages.of(action).replace(messages.MESSAGE_ID.encode(), mine.encode()))
                related = re.findall(rb"<wsa:RelatesTo>([^<]*)<", answer.body)
                if answer.status != status or related not in ([mine.encode()], [] if status == 500 else None):
                    wrong.append(f"{number} {action}")

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_nothing_of_a_request_outlives_its_answer() -> None:
    """Without a single garbage collection: contexts and exceptions are reference cycles, and hold whole requests."""
    value = "x" * 1_500_000
    large = messages.envelope(body=messages.QUERY_BODY.replace("</rim:Value>", f"{value}</rim:Value>"))
    defect = raising(ValueError("no"))
    servers = [SoapServer({Action.QUERY: each}) for each in (echo, raising(SoapFault(FaultCode.SENDER, "no")), defect)]
    messages_sent = [large, large.replace(b"</soap12:Body>", b"</soap12:Bod>"), large.replace(b"StoredQuery", b"X")]

    def flood(times: int) -> None:
        with structlog.testing.capture_logs():
            for _ in range(times):
                for server in servers:
                    for raw in messages_sent:
                        asked(server, raw)

    flood(4)
    gc.collect()
    gc.disable()
    try:
        before = resident()
        flood(25)
        assert resident() - before < 24 * 1024 * 1024
    finally:
        gc.enable()


def test_the_importer_of_the_vendored_six_is_only_mended_where_it_is_broken() -> None:
    script = (
        "import sys, warnings; warnings.simplefilter('ignore'); import server.soap, spyne.util.six.moves as moves; "
        "from spyne.util.six.moves.urllib.parse import quote; print(moves.__name__, quote(' '))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["spyne.util.six.moves", "%20"]

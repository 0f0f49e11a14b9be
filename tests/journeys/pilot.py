"""The town as journeys use it: commands in this process, a fresh patient for everyone, and canaries in what is planted.

Everything goes through the node's endpoints and its command line. The one exception is what no command shows: whether
an exchange raised an alert.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from audit import search
from audit.event import Event
from ihe.names import ResponseStatus
from server.cli import app
from simulators.consumer import Answered
from simulators.hospital import Document
from simulators.papers import Paper, paper
from simulators.people import Person, source, synthetic_number
from simulators.source import dtm
from simulators.sts import Clinician, Need
from simulators.town import Town, TownFailed

USUAL = "2021-02-15T10:00:00+01:00"
"""Now, unless a scenario has a date."""
WRITTEN = "2020-06-01T09:00:00+02:00"
"""When documents were written, signed and registered, unless a scenario says so."""
TREATMENT = Need()
EMERGENCY = Need(purpose="ETREAT", acp="7")

SUCCESS, FAILURE, PARTIAL = ResponseStatus.SUCCESS.value, ResponseStatus.FAILURE.value, ResponseStatus.PARTIAL.value
UNKNOWN_DOCUMENT = "XDSDocumentUniqueIdError"
_RELATES_TO = re.compile(rb"(<wsa:RelatesTo[^>]*>)[^<]*")
_BOUNDARY = re.compile(r"uuid-([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class Canary:
    """A string that stands in one place of a document and nowhere else in the world."""

    where: str
    text: bytes

    def found_in(self, content: bytes) -> bool:
        """Whether it stands there, as it is or as a piece of something in base64."""
        return self.text in content or any(each in content for each in _in_base64(self.text))


@lru_cache(maxsize=4096)
def _in_base64(text: bytes) -> tuple[bytes, ...]:
    """How the text looks inside base64 at each of the three places where it may begin, without its edges."""
    return tuple(base64.b64encode(b"\0" * before + text)[4:-4] for before in range(3))


class Pilot(Town):
    """The town, with what journeys ask of it over and over."""

    def __init__(self, folder: Path, replaced: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, replaced)
        self.canaries: list[Canary] = []
        self._serial = count()
        self._planted = count()

    def innsyn(self, *words: str) -> str:
        """The shipped command line, in this process: starting another one costs half a second."""
        done = CliRunner().invoke(app, [*words, "--config", str(self.config)])
        if done.exit_code != 0:
            raise TownFailed(f"innsyn {' '.join(words)} failed: {done.output} {done.exception!r}")
        return done.stdout

    # Patients and their documents -------------------------------------------------------------------------------------

    def patient(self) -> Person:
        """Somebody of whom nobody has registered anything yet."""
        born = date(1980, 1, 1) + timedelta(days=next(self._serial))
        name = f"Kanarina{born:%Y%m%d}"
        self.canaries.append(Canary("patient", name.encode()))
        return Person(synthetic_number(born, 0), "Prøve", name, born, "F")

    def paper(self, person: Person, key: str, kind: str = "A03-2", **said: Any) -> Paper:
        """A document with a canary in its title, its author's name and its bytes; `said` goes to papers.paper."""
        number = next(self._planted)
        said.setdefault("created", datetime.fromisoformat(WRITTEN))
        made = paper(person, source(key), kind, number, **said)
        # Few digits in a row: the log masks what may be a person's number, and would hide a leak from the search.
        about = f"{number:05}av{person.number[:6]}"
        family, title, inside = (f"Kanari{where}{about}" for where in ("navn", "tittel", "bytes"))
        self.canaries += [
            Canary("author", family.encode()),
            Canary("title", title.encode()),
            Canary("content", inside.encode()),
        ]
        content = made.content + b"\n%" + inside.encode() * 3 + b"\n"
        return replace(made, title=title, author=replace(made.author, family=family), content=content)

    def shared(self, person: Person, key: str = "ous", *kinds: str, **said: Any) -> tuple[Paper, ...]:
        """Documents of these kinds (one summary if none is named) that a hospital wrote, signed and registered."""
        papers = tuple(self.paper(person, key, kind, **said) for kind in kinds or ("A03-2",))
        self.at(WRITTEN)
        self.register(papers)
        return papers

    def register(self, papers: Sequence[Paper], **said: Any) -> None:
        """As `publish`, and the registry took it."""
        outcome = self.publish(papers, **{"tell_signing": True, **said})
        assert outcome.status == SUCCESS, outcome

    def hold(self, papers: Sequence[Paper]) -> None:
        """A hospital keeps these papers, and has not told the registry."""
        for each in papers:
            key = (each.source.repository_unique_id, each.unique_id)
            self._shelves[each.source.key][key] = Document(each.mime_type, each.content)

    # What a reader meets ----------------------------------------------------------------------------------------------

    def sees(self, who: Clinician, person: Person, papers: Sequence[Paper], need: Need = TREATMENT) -> Answered:
        """Visible: exactly these are listed, and each is streamed with the very bytes its hospital holds."""
        listed = self.find(who, person.number, need)
        assert (listed.status, listed.errors, listed.fault) == (SUCCESS, (), "")
        assert ids(listed) == {each.unique_id for each in papers}
        opened = self.open(who, person.number, papers, need)
        assert (opened.status, opened.errors, opened.fault) == (SUCCESS, (), "")
        assert [each.content for each in opened.documents] == [each.content for each in papers]
        return listed

    def sees_nothing(
        self, who: Clinician, person: Person, papers: Sequence[Paper], reason: str, need: Need = TREATMENT
    ) -> Answered:
        """Empty success and unknown ids, both to the byte those of a patient without documents; the trail knows why."""
        listed = self.find(who, person.number, need)
        assert (listed.status, listed.errors, listed.entries) == (SUCCESS, (), ())
        assert plain(listed) == plain(self.find(who, self.patient().number, need))
        assert reasons(self.view(person, listed)["withheld"]) == {reason}
        for each in papers:
            self.cannot_open(who, person, each, reason, need)
        return listed

    def absent(
        self, who: Clinician, person: Person, hidden: Paper, reason: str, shown: Sequence[Paper] = ()
    ) -> Answered:
        """One document is neither listed nor delivered, and the trail knows why; exactly the others are listed."""
        listed = self.find(who, person.number)
        assert (listed.status, listed.errors) == (SUCCESS, ())
        assert ids(listed) == {each.unique_id for each in shown}
        assert self.why(person, listed, hidden) == reason
        self.cannot_open(who, person, hidden, reason)
        return listed

    def cannot_open(
        self, who: Clinician, person: Person, hidden: Paper, reason: str, need: Need = TREATMENT
    ) -> Answered:
        """The unknown-id answer, equal to the byte to that for an id that nobody has ever used."""
        opened = self.open(who, person.number, [hidden], need)
        context = f"document {hidden.unique_id} is not available from repository {hidden.source.repository_unique_id}"
        assert (opened.http_status, opened.status, opened.documents) == (200, FAILURE, ())
        assert opened.errors == ((UNKNOWN_DOCUMENT, context, hidden.unique_id),)
        nobody = invented(hidden.unique_id)
        token = self.token(who, person.number, need)
        unknown = self.consumer().open([(hidden.source.repository_unique_id, nobody)], token)
        assert plain(opened, hidden.unique_id) == plain(unknown, nobody)
        assert self.why(person, opened, hidden) == reason
        return opened

    # What the trail knows ---------------------------------------------------------------------------------------------

    def views(self, person: Person, *, everything: bool = True) -> list[dict[str, Any]]:
        """`innsyn audit who` about this patient; without `everything` it is what the patient is shown."""
        more = ("--all",) if everything else ()
        lines = self.innsyn("audit", "who", person.number, *more, "--json").splitlines()
        return [json.loads(line) for line in lines]

    def view(self, person: Person, answer: Answered) -> dict[str, Any]:
        """The one view of one exchange."""
        return self.view_of(person, answer.headers["x-correlation-id"])

    def view_of(self, person: Person, correlation: str) -> dict[str, Any]:
        """The one view of the exchange with this id."""
        (found,) = [each for each in self.views(person) if each["correlation"] == correlation]
        return found

    def why(self, person: Person, answer: Answered, about: Paper) -> str:
        """The recorded reason for which an exchange withheld one document, or the patient as a whole."""
        withheld = self.view(person, answer)["withheld"]
        (found,) = {each["decision"]["reason"] for each in withheld if each["unique_id"] in ("", about.unique_id)}
        return str(found)

    @property
    def trail(self) -> Path:
        """Where the audit trail lies."""
        return self.folder / "state" / "audit"

    def events(self, answer: Answered) -> tuple[Event, ...]:
        """Every event of one exchange, as the trail holds it."""
        return search.exchange(self.trail, answer.headers["x-correlation-id"])

    def registrations(self, submission_set: str) -> list[str]:
        """What was recorded of a submission, in order: the kinds of its events."""
        lines = [json.loads(line) for file in self.trail.glob("*.jsonl") for line in file.read_bytes().splitlines()[1:]]
        events = [each["event"] for each in lines if each["event"].get("submission_set_unique_id") == submission_set]
        return [each["kind"] for each in sorted(events, key=lambda each: str(each["wall"]))]

    def explained(self, answer: Answered) -> str:
        """`innsyn policy explain` of one exchange."""
        return self.innsyn("policy", "explain", answer.headers["x-correlation-id"])

    # Policy -----------------------------------------------------------------------------------------------------------

    @contextmanager
    def policy(self, file: str, *edits: tuple[str, str]) -> Iterator[None]:
        """Another policy in force: each edit replaces a text of one file, or, for an empty text, is added."""
        path = self.folder / "policy" / file
        before = text = path.read_text("utf-8")
        for old, new in edits:
            assert old in text
            text = text.replace(old, new) if old else text + new
        path.write_text(text, "utf-8")
        try:
            self.innsyn("policy", "reload")
            yield
        finally:
            path.write_text(before, "utf-8")
            self.innsyn("policy", "reload")


def ids(listed: Answered) -> set[str]:
    """The uniqueIds of a list, of which none stands in it twice."""
    found = [each.unique_id for each in listed.entries]
    assert len(found) == len(set(found))
    return set(found)


def reasons(withheld: Sequence[Mapping[str, Any]]) -> set[str]:
    """Every primary reason of what was withheld."""
    return {each["decision"]["reason"] for each in withheld}


def plain(answer: Answered, *sent: str) -> tuple[int, dict[str, str], bytes]:
    """The whole HTTP answer without what belongs to one message: MessageID, boundary, correlation, ids as sent."""
    headers = {name: value for name, value in answer.headers.items() if name not in ("x-correlation-id", "date")}
    body = _RELATES_TO.sub(rb"\1", answer.raw)
    if boundary := _BOUNDARY.search(headers.get("content-type", "")):
        headers["content-type"] = headers["content-type"].replace(boundary[1], "unique")
        body = body.replace(boundary[1].encode(), b"unique")
    for each in sent:
        body = body.replace(each.encode(), b"id")
    return answer.http_status, headers, body


def invented(unique_id: str) -> str:
    """An id of the same length that names no document."""
    head, _, last = unique_id.rpartition(".")
    return f"{head}.{'9' * len(last)}"


def shares(
    agreement: str, source_key: str, consumer: str, kinds: str = "pilot", since: str = "2020-12-01T00:00:00+01:00"
) -> str:
    """One more agreement, as its table in agreements.toml."""
    return f"""
[agreement.{agreement}]
channel = "clinician"
sources = ["{source_key}"]
consumers = ["{consumer}"]
panels = []
kinds = ["{kinds}"]
roles = ["LE", "SP"]
purposes = ["TREAT", "ETREAT"]
region_rule = "any"
valid_from = {since}
valid_to = "open"
availability = ["Approved"]
signing = "signed"
max_age = "none"
precision = "day"
"""


def stamp(when: datetime) -> str:
    """A time as XDS writes it."""
    return dtm(when.astimezone(UTC))

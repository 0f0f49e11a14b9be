"""From the text of the policy files to the policy in force, or to every mistake in them at once.

Pure: whoever has the files passes their text. Files: policy.toml, organisations.toml, kinds.toml, agreements.toml,
enrolled/CONSUMER.toml, and authorisations.toml where a feed is connected.
"""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from policy import checks, files, possible
from policy.agreements import Finding, Policy
from policy.building import build
from policy.checks import AGREEMENTS, AUTHORISATIONS, KINDS, ORGANISATIONS, POLICY, Files

M = TypeVar("M", bound=BaseModel)
_REQUIRED: dict[str, type[BaseModel]] = {
    POLICY: files.PolicyFile,
    ORGANISATIONS: files.OrganisationsFile,
    KINDS: files.KindsFile,
    AGREEMENTS: files.AgreementsFile,
}
_ENROLLED = "enrolled/"


class PolicyRefused(ValueError):
    """Files that make no policy. `findings` are all mistakes, each with file, dotted path and what to do about it.

    Positions in arrays count from 1. The policy in force before stays in force.
    """

    def __init__(self, findings: Collection[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(str(finding) for finding in self.findings))


def read(texts: Mapping[str, str], confirmed: Collection[str] = (), generation: int = 0) -> Policy:
    """The policy that these files (name -> text) make. Raises PolicyRefused.

    `confirmed` names the agreements that may be open to any reader, any kind and any source together; `generation`
    is the number under which a node puts it in force.
    """
    found, mistakes = _gather(texts, frozenset(confirmed))
    for check in (*checks.CHECKS, *possible.CHECKS):
        mistakes.extend(check(found))
    if mistakes or found.policy is None:
        raise PolicyRefused(sorted(set(mistakes), key=lambda each: (each.file, each.path, each.sentence)))
    return build(found, digest(texts), generation, tuple(checks.warnings(found)))


def digest(texts: Mapping[str, str]) -> str:
    """The first 12 hex digits of the SHA-256 over all names and texts, whatever order they come in."""
    whole = hashlib.sha256()
    for name in sorted(texts):
        for part in (name.encode(), texts[name].encode("utf-8", "surrogatepass")):
            whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()[:12]


class _Reader:
    """Collects what can be read and every mistake met on the way."""

    def __init__(self) -> None:
        self.mistakes: list[Finding] = []
        self.unreadable: set[tuple[str, str]] = set()
        self.unread: set[str] = set()

    def file(self, model: type[M], name: str, text: str | None) -> M | None:
        if text is None:
            self.mistakes.append(Finding(name, "", "this file is missing; write it"))
            self.unread.add(name)
            return None
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as wrong:
            self.mistakes.append(Finding(name, "", f"is not TOML: {wrong}"))
            self.unread.add(name)
            return None
        try:
            return model.model_validate(table)
        except ValidationError as wrong:
            details = wrong.errors()
        self.mistakes.extend(_finding(name, model, detail) for detail in details)
        self._leave_out(table, {_place(detail) for detail in details})
        try:
            return model.model_validate(table)
        except ValidationError:
            self.unread.add(name)
            return None

    def _leave_out(self, table: dict[str, Any], places: Collection[tuple[str, str | int | None]]) -> None:
        for section, key in places:
            part = table.get(section)
            if isinstance(part, dict) and isinstance(key, str):
                part.pop(key, None)
                self.unreadable.add((section, key))
            elif not isinstance(part, list) or not isinstance(key, int):
                table.pop(section, None)
        for section, part in table.items():
            if isinstance(part, list):
                table[section] = [each for index, each in enumerate(part) if (section, index) not in places]


def _gather(texts: Mapping[str, str], confirmed: frozenset[str]) -> tuple[Files, list[Finding]]:
    reader = _Reader()
    policy = reader.file(files.PolicyFile, POLICY, texts.get(POLICY))
    organisations = reader.file(files.OrganisationsFile, ORGANISATIONS, texts.get(ORGANISATIONS))
    kinds = reader.file(files.KindsFile, KINDS, texts.get(KINDS))
    agreements = reader.file(files.AgreementsFile, AGREEMENTS, texts.get(AGREEMENTS))
    enrolled: dict[str, files.EnrolmentFile] = {}
    authorisations = None
    for name in sorted(texts.keys() - _REQUIRED.keys()):
        if name == AUTHORISATIONS:
            authorisations = reader.file(files.AuthorisationsFile, name, texts[name])
        elif name.startswith(_ENROLLED) and name.endswith(".toml"):
            consumer = name.removeprefix(_ENROLLED).removesuffix(".toml")
            enrolled[consumer] = reader.file(files.EnrolmentFile, name, texts[name]) or files.EnrolmentFile()
        else:
            sentence = f"is no policy file; remove it, or name it {', '.join(_REQUIRED)} or {_ENROLLED}CONSUMER.toml"
            reader.mistakes.append(Finding(name, "", sentence))
    found = Files(
        policy=policy,
        organisations=organisations or files.OrganisationsFile(),
        kinds=kinds or files.KindsFile(),
        agreements=agreements or files.AgreementsFile(),
        enrolled=enrolled,
        authorisations=authorisations,
        unreadable=frozenset(reader.unreadable),
        unread=frozenset(reader.unread),
        confirmed=confirmed,
    )
    return found, reader.mistakes


def _place(detail: ErrorDetails) -> tuple[str, str | int | None]:
    location = detail["loc"]
    return str(location[0]) if location else "", location[1] if len(location) > 1 else None


def _finding(file: str, model: type[BaseModel], detail: ErrorDetails) -> Finding:
    path = ""
    for step in _steps(detail):
        path += f"[{step + 1}]" if isinstance(step, int) else f".{step}" if path else step
    return Finding(file, path, _sentence(model, detail))


def _steps(detail: ErrorDetails) -> Iterator[str | int]:
    for index, step in enumerate(detail["loc"]):
        # The model of an agreement, and pydantic's mark for "the key itself", are no part of the file.
        tag = index == 2 and detail["loc"][0] == "agreement" and step in ("clinician", "machine")
        if step != "[key]" and not tag:
            yield step


_SENTENCES = {
    "missing": "write this key; what is left out is not implied",
    "string_type": "write text in quotes",
    "string_too_short": "write some text",
    "int_type": "write a whole number without quotes",
    "bool_type": "write true or false without quotes",
    "list_type": "write a list, as in [ ... ]",
    "dict_type": "write a table",
    "model_type": "write a table",
    "too_short": "name at least one",
    "union_tag_invalid": 'write channel = "clinician" or channel = "machine"',
    "union_tag_not_found": 'write channel = "clinician" or channel = "machine"',
}


def _sentence(model: type[BaseModel], detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        known = sorted(_keys(model))
        close = difflib.get_close_matches(str(detail["loc"][-1]), known, 1)
        return "there is no such key here; remove it" + (f", or write {close[0]}" if close else "")
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"write {context['expected']}"
    if kind == "string_pattern_mismatch":
        if detail["loc"][-1] == "[key]":
            return "an id is lower-case letters, digits, - and _, and begins with a letter"
        return f"write text of the form {context['pattern']}"
    return _SENTENCES.get(kind, detail["msg"][:1].lower() + detail["msg"][1:])


def _keys(model: type[BaseModel]) -> set[str]:
    schema = model.model_json_schema()
    tables = [schema, *schema.get("$defs", {}).values()]
    return {key for table in tables for key in table.get("properties", {})}

"""Explains any request of document sharing to whoever wrote it: every problem at its place, with its cure, at once.

Nothing here decides anything: a message is read by ihe and judged by the rules of the transaction it is for, the very
ones that a node runs, so what is accepted here is refused there only for what the registry's content alone can tell.
It needs no node and no database. Source: ITI TF-2 3.18, 3.42, 3.43, 3.51, 3.57, 3.61, 3.62, 3.92.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from ihe import mtom, xml
from ihe.envelope import INCLUDE, inline
from ihe.errors import Mangled, clip
from ihe.names import RS, Action
from ihe.places import Places, local, path_of
from registry.explain import queries as explain_queries
from registry.explain import requests as explain_requests
from registry.explain import submissions as explain_submissions
from registry.explain import updates as explain_updates
from registry.explain.envelope import open_message
from registry.explain.found import MOST_PROBLEMS, Explanation, Fix, Given, How, Judgement, Outcome, Problem
from registry.explain.masking import Mask
from registry.explain.reading import Message, Unreadable, open_file
from registry.explain.recognition import ANSWERS, PROVIDE, body_named, body_within, described, meant, served_within
from registry.explain.unread import start_of, unread
from registry.rules.strictness import Level
from registry.rules.table import NEEDED_ATTRIBUTE

__all__ = ["Explanation", "Given", "Outcome", "Problem", "explain"]

JUDGES: Mapping[Action, Callable[[xml.Element, Places, Action, Given], Judgement]] = {
    Action.QUERY: explain_queries.judge,
    Action.MULTI_PATIENT_QUERY: explain_queries.judge,
    Action.REGISTER: explain_submissions.judge,
    Action.REGISTER_ON_DEMAND: explain_submissions.judge,
    Action.UPDATE: explain_updates.judge,
    Action.RESTRICTED_UPDATE: explain_updates.judge,
    Action.REMOVE: explain_requests.judge_remove,
    Action.RETRIEVE: explain_requests.judge_retrieve,
}
"""Transactions that can be explained; the patient feed (ITI-44) is not among them."""
_NOTHING = Judgement((), "")
REPOSITORYS = ("hash", "size", "repositoryUniqueId")
"""Attributes of an entry that ITI-41 may leave to the repository (TF-3 table 4.3.1.1-3)."""
_NO_ENVELOPE = "how it travels was not looked at, because there is no envelope around it"


@dataclass(frozen=True, slots=True)
class _Case:
    """One message on its way to an explanation."""

    message: Message
    places: Places
    given: Given
    problems: tuple[Problem, ...] = ()
    """What is wrong around the body."""
    notes: tuple[str, ...] = ()

    def told(self, judgement: Judgement, action: Action | None, how: str) -> Explanation:
        """The explanation: what is around the body first, then the body."""
        # As somebody reads who goes through the message: from above, and what has no place first.
        whole = sorted((*self.problems, *judgement.problems), key=lambda each: (each.line or 0, each.column or 0))
        problems = tuple(whole)
        more = judgement.more + max(0, len(problems) - MOST_PROBLEMS)
        transaction = "" if action is None else action.transaction
        refused = sum(each.refuses for each in problems)
        return Explanation(
            outcome=Outcome.REFUSED if refused else Outcome.ACCEPTED,
            sentence=_sentence(transaction, judgement, refused, more),
            transaction=transaction,
            recognised=how,
            problems=problems[:MOST_PROBLEMS],
            more=more,
            notes=(*self.message.notes, *self.notes, *judgement.notes),
            understood=judgement.understood,
            unchecked=judgement.unchecked,
        )


def _sentence(transaction: str, judgement: Judgement, refused: int, more: int) -> str:
    what = transaction or "A message"
    what += f" with {judgement.summary}" if judgement.summary and transaction else ""
    if not refused:
        return f"{what}: a node would accept it{judgement.condition}."
    count = f"at least {refused + more}" if more else str(refused)
    return f"{what}: a node would refuse it, for {count} problem{'' if count == '1' else 's'}."


def explain(raw: bytes, given: Given | None = None) -> Explanation:
    """Everything about the message in `raw`, whatever the bytes are; raises nothing.

    Patients are masked unless `given` says otherwise; there are at most MOST_PROBLEMS problems.
    """
    given = given or Given()
    try:
        message = open_file(raw)
    except Unreadable as wrong:
        return Explanation(Outcome.UNREADABLE, f"The file {wrong}.")
    try:
        if message.broken:
            raise Mangled(message.broken)
        start = start_of(message)
        places = Places(message.envelope, start.line, start.column)
    except Mangled as wrong:
        problem = unread(str(wrong), message, None)
        sentence = f"The message cannot be read, so nothing in it was judged: {problem.explanation}."
        whole = Explanation(Outcome.UNREADABLE, sentence, problems=(problem,), notes=message.notes)
        return whole if given.show_patients else whole.told(Mask(None))
    # The mask first: what a mend cuts out of the tree later is in it now.
    mask = Mask(places.root)
    found = _enveloped(message, places, given) if local(places.root) == "Envelope" else _bare(message, places, given)
    return found if given.show_patients else found.told(mask)


def _enveloped(message: Message, places: Places, given: Given) -> Explanation:
    opened = open_message(message, places, lambda body: given.action or meant(body))
    body = opened.body
    case = _Case(message, places, given, opened.problems)
    if body is None:
        return case.told(_NOTHING, None, "")
    if local(body) in ANSWERS:
        return _answer(body)
    with suppress(Mangled):
        package = mtom.read_package(message.body, message.content_type)
        case = replace(case, notes=tuple(_unreferred(places.root, package)))
        inline(places.root, package)
    said = next((each for each in Action if each.value == opened.action and each.body == body.tag), None)
    if given.action is not None:
        return _judged(case, body, given.action, "by --as")
    return _judged(case, body, said or meant(body), "by its Action" if said else "by its body")


def _unreferred(root: xml.Element, package: mtom.Package) -> Iterator[str]:
    """A note where parts travel along that nothing in the message refers to."""
    meant_parts = {mtom.match(each.get("href", ""), package.parts) for each in root.iter(INCLUDE)}
    if lost := [clip(each) for each in package.parts if each not in meant_parts]:
        yield f"no xop:Include refers to the part {', '.join(lost[:5])}: it is passed over"


def _bare(message: Message, places: Places, given: Given) -> Explanation:
    root = places.root
    if local(root) in ANSWERS:
        return _answer(root)
    body, note = root, _NO_ENVELOPE
    if not body_named(local(root)):
        inner = body_within(root)
        if inner is None:
            return Explanation(
                Outcome.UNREADABLE, f"This is XML and no message of document sharing: its root is {described(root)}."
            )
        body, note = inner, f"found inside {clip(local(root))}; {_NO_ENVELOPE}"
    case = _Case(message, places, given, notes=(note,))
    return _judged(case, body, given.action or meant(body), "by --as" if given.action else "by its body")


def _answer(body: xml.Element) -> Explanation:
    codes = [clip(code) for each in body.iter(f"{{{RS}}}RegistryError") if (code := each.get("errorCode", ""))]
    told = f" with {', '.join(codes[:5])}" if codes else ""
    sentence = f"This is an answer, {local(body)}{told}; what was asked is needed, the request."
    return Explanation(Outcome.UNREADABLE, sentence)


def _judged(case: _Case, body: xml.Element, action: Action | None, how: str) -> Explanation:
    """The body by the rules of its transaction; what cannot be judged is a problem of its own."""
    inner = served_within(body) if action is None or body.tag != action.body else None
    if inner is None or inner is body:
        if action is None or body.tag != action.body:
            return _misplaced(case, body, action, how)
        return _by_rules(case, body, action, how)
    provided = body.tag == PROVIDE
    expected = "ITI-42: a repository takes ITI-41, keeps the documents and registers their metadata"
    problem = _of_element(case, body, "transaction", expected if provided else described(inner), None)
    note = f"the {local(inner)} inside {clip(local(body))} was judged"
    note += f", without {', '.join(REPOSITORYS)}, which a repository adds" if provided else ""
    case = _Case(case.message, case.places, case.given, (*case.problems, problem), (*case.notes, note))
    inside = action if action is not None and action.body == inner.tag else meant(inner)
    if inside is None:
        return _misplaced(case, inner, action, how)
    return _by_rules(case, inner, inside, how, provided)


def _by_rules(case: _Case, body: xml.Element, action: Action, how: str, provided: bool = False) -> Explanation:
    judge = JUDGES.get(action)
    if judge is None:
        sentence = f"{action.transaction} feeds patients; explained are ITI-18, 42, 43, 51, 57, 61, 62 and 92."
        return Explanation(Outcome.UNREADABLE, sentence, action.transaction, how)
    judgement = judge(body, case.places, action, case.given)
    if provided:
        judgement = replace(judgement, problems=tuple(filter(_stays, judgement.problems)))
    return case.told(judgement, action, how)


def _stays(problem: Problem) -> bool:
    """False for what a repository adds to ITI-41 before it registers."""
    return problem.rule != NEEDED_ATTRIBUTE.id or problem.expected not in REPOSITORYS


def _misplaced(case: _Case, body: xml.Element, action: Action | None, how: str) -> Explanation:
    """A body that is that of no transaction, or of another one than somebody says."""
    wanted = action.body if action is not None else body_named(local(body))
    namespace, _, name = wanted[1:].rpartition("}")
    prefix = f":{body.prefix}" if body.prefix else ""
    fix = Fix(How.SET, f'xmlns{prefix}="{namespace}"') if name == local(body) else None
    expected = f"{name} in the namespace {namespace}" if wanted else "the body of a transaction"
    told = [each for each in case.problems if each.rule == "header-action-body"]
    problems = () if told and fix is None else (_of_element(case, body, "body-element", expected, fix),)
    if fix is not None:
        # Action and body belong together, but for a namespace.
        case = replace(case, problems=tuple(each for each in case.problems if each not in told))
    return case.told(Judgement(problems, ""), action, how)


def _of_element(case: _Case, body: xml.Element, rule: str, expected: str, fix: Fix | None) -> Problem:
    place = case.places.of(body)
    return Problem(
        rule=rule,
        level=Level.REJECT,
        section="TF-2 V.3",
        explanation="Each transaction has its Action and its body element, in its namespace",
        path=path_of(body, body),
        expected=expected,
        found=described(body),
        line=None if place is None else place.line,
        column=None if place is None else place.column,
        code="SOAP fault Sender",
        fix=fix,
    )

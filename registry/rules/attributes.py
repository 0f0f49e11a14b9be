"""Rules of attributes: what a DocumentEntry, SubmissionSet and Folder must say, how often, and how it is written.

Which attribute has which demands stands in tables; the functions below read them. Source: ITI TF-3 4.2.3, 4.3.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ihe import canonical, values
from ihe.names import (
    ASSOCIATION_DOCUMENTATION,
    FOLDER_CODE,
    IS_FOLDER,
    IS_SUBMISSION_SET,
    LIMITED_METADATA,
    ON_DEMAND_ENTRY,
    REFERENCE_ID_LIST,
    SIGNED_AT,
    STABLE_ENTRY,
    EntryScheme,
    IdScheme,
    SetScheme,
)
from ihe.submittal import Classification, Kind, Slot, Submittal, SubmittedObject
from ihe.values import Check
from registry.rules import table as rules
from registry.rules.strictness import Demands
from registry.rules.structure import LIST, named
from registry.rules.table import Rule, Violation


@dataclass(frozen=True, slots=True)
class _Attribute:
    """One attribute of the model: its name, how it is written, whether it must be there, whether it may be repeated."""

    name: str
    check: Check | None = None
    required: bool = False
    many: bool = False
    needed: bool = False
    """Nothing can be found, fetched or protected without it, or with nonsense in it: its rules are firm."""

    @property
    def presence(self) -> Rule:
        """The rule that is broken where it is missing."""
        return rules.NEEDED_ATTRIBUTE if self.needed else rules.REQUIRED_ATTRIBUTE

    @property
    def writing(self) -> Rule:
        """The rule that is broken where it is written otherwise."""
        return rules.NEEDED_TYPE if self.needed else rules.DATA_TYPE


@dataclass(frozen=True, slots=True)
class _Model:
    """The attributes of one kind of object by slot name, classification scheme and identification scheme."""

    slots: Mapping[str, _Attribute]
    codes: Mapping[str, _Attribute]
    identifiers: Mapping[str, _Attribute]
    author: str = ""
    label: str = ""
    title_most: int = 256


def _by_name(*attributes: _Attribute) -> dict[str, _Attribute]:
    return {attribute.name: attribute for attribute in attributes}


MODELS: dict[Kind, _Model] = {
    Kind.ENTRY: _Model(
        slots=_by_name(
            _Attribute("creationTime", values.dtm, required=True),
            _Attribute("languageCode", values.language, required=True),
            _Attribute("hash", values.sha1, required=True, needed=True),
            _Attribute("size", values.size, required=True, needed=True),
            _Attribute("repositoryUniqueId", values.oid, required=True, needed=True),
            _Attribute("sourcePatientId", values.cx, required=True),
            _Attribute("serviceStartTime", values.dtm),
            _Attribute("serviceStopTime", values.dtm),
            _Attribute("legalAuthenticator", values.xcn),
            _Attribute("URI"),
            _Attribute("documentAvailability", values.availability),
            _Attribute("sourcePatientInfo", values.patient_field, many=True),
            _Attribute(REFERENCE_ID_LIST, values.cxi, many=True),
            _Attribute(SIGNED_AT, values.dtm, needed=True),
        ),
        codes={
            EntryScheme.CLASS_CODE: _Attribute("classCode", required=True),
            EntryScheme.TYPE_CODE: _Attribute("typeCode", required=True),
            EntryScheme.FORMAT_CODE: _Attribute("formatCode", required=True),
            EntryScheme.FACILITY_TYPE_CODE: _Attribute("healthcareFacilityTypeCode", required=True),
            EntryScheme.PRACTICE_SETTING_CODE: _Attribute("practiceSettingCode", required=True),
            EntryScheme.CONFIDENTIALITY_CODE: _Attribute("confidentialityCode", required=True, many=True, needed=True),
            EntryScheme.EVENT_CODE: _Attribute("eventCodeList", many=True),
        },
        identifiers={
            IdScheme.ENTRY_PATIENT_ID: _Attribute("patientId", values.cx, required=True, needed=True),
            IdScheme.ENTRY_UNIQUE_ID: _Attribute("uniqueId", values.unique_id, required=True, needed=True),
        },
        author=EntryScheme.AUTHOR,
        title_most=128,
    ),
    Kind.SET: _Model(
        slots=_by_name(
            _Attribute("submissionTime", values.dtm, required=True),
            _Attribute("intendedRecipient", values.recipient, many=True),
        ),
        codes={SetScheme.CONTENT_TYPE_CODE: _Attribute("contentTypeCode", required=True)},
        identifiers={
            IdScheme.SET_PATIENT_ID: _Attribute("patientId", values.cx, required=True, needed=True),
            IdScheme.SET_SOURCE_ID: _Attribute("sourceId", values.oid, required=True, needed=True),
            IdScheme.SET_UNIQUE_ID: _Attribute("uniqueId", values.oid, required=True, needed=True),
        },
        author=SetScheme.AUTHOR,
        label=IS_SUBMISSION_SET,
    ),
    Kind.FOLDER: _Model(
        slots=_by_name(_Attribute("lastUpdateTime", values.dtm)),
        codes={FOLDER_CODE: _Attribute("codeList", required=True, many=True)},
        identifiers={
            IdScheme.FOLDER_PATIENT_ID: _Attribute("patientId", values.cx, required=True, needed=True),
            IdScheme.FOLDER_UNIQUE_ID: _Attribute("uniqueId", values.oid, required=True, needed=True),
        },
        label=IS_FOLDER,
    ),
    Kind.ASSOCIATION: _Model(
        slots=_by_name(_Attribute("SubmissionSetStatus")),
        codes={ASSOCIATION_DOCUMENTATION: _Attribute("associationDocumentation", many=True)},
        identifiers={},
    ),
}
CODE_MOST = 512
"""What fits into the index of codes whatever its characters, where an operator takes longer values than the schema."""
CONTENT = ("creationTime", "hash", "size")
"""Attributes of a document that is there already: an on-demand entry must not have them (TF-3 table 4.3.1.1-3)."""
_ON_DEMAND = replace(
    MODELS[Kind.ENTRY], slots={name: slot for name, slot in MODELS[Kind.ENTRY].slots.items() if name not in CONTENT}
)
KNOWN_SLOTS = {kind: frozenset(model.slots) for kind, model in MODELS.items()}
"""Slots that the framework, or this registry, gives a meaning; all others are extra metadata (TF-3 4.2.3.1.6)."""
AUTHOR_SLOTS: dict[str, Check | None] = {
    "authorPerson": values.xcn,
    "authorInstitution": values.xon,
    "authorRole": None,
    "authorSpecialty": None,
    "authorTelecommunication": values.xtn,
}
_AUTHOR_IS_ONE_OF = ("authorPerson", "authorInstitution", "authorTelecommunication")


def attributes(submittal: Submittal, demands: Demands) -> Iterator[Violation]:
    """Everything that is wrong with what the objects of a submission say of themselves."""
    if STABLE_ENTRY not in demands.entry_types and not submittal.of(Kind.ENTRY):
        yield Violation(rules.ON_DEMAND_ENTRY, LIST, "an on-demand entry", "none")
    for found in submittal.objects:
        model = _model(found, demands)
        yield from _own_attributes(found)
        if found.kind is Kind.ENTRY:
            yield from _entry_attributes(found, model, demands)
        yield from _slots(found, model)
        yield from _classifications(found, model)
        if demands.codes.codes:
            yield from _agreed_codes(found, model, demands)
        yield from _identifiers(found, model)
        yield from _titles(found, model)
    yield from _unique_ids(submittal)
    yield from _one_patient(submittal)


def _model(found: SubmittedObject, demands: Demands) -> _Model:
    if found.kind is not Kind.ENTRY or ON_DEMAND_ENTRY not in demands.entry_types:
        return MODELS[found.kind]
    # What the transaction leaves no choice about is judged as what it ought to be, so that one mistake is told as one.
    on_demand = len(demands.entry_types) == 1 or found.object_type == ON_DEMAND_ENTRY
    return _ON_DEMAND if on_demand else MODELS[Kind.ENTRY]


def _typed(check: Check | None, path: str, value: str, rule: Rule = rules.DATA_TYPE) -> Iterator[Violation]:
    if check is not None and (expected := check(value)):
        yield Violation(rule, path, expected, value or "nothing")


def _own_attributes(found: SubmittedObject) -> Iterator[Violation]:
    for name, path in named(found):
        if expected := values.uuid(name):
            yield Violation(rules.NEEDED_TYPE, f"{path}/@id", expected, name)
    if found.home:
        yield from _typed(values.oid_urn, f"{found.path}/@home", found.home)


def _entry_attributes(found: SubmittedObject, model: _Model, demands: Demands) -> Iterator[Violation]:
    if found.object_type not in demands.entry_types:
        rule = rules.STABLE_ENTRY if STABLE_ENTRY in demands.entry_types else rules.ON_DEMAND_ENTRY
        expected = " or ".join(sorted(demands.entry_types))
        yield Violation(rule, f"{found.path}/@objectType", expected, found.object_type or "nothing")
    if model is _ON_DEMAND:
        for slot in found.slots:
            if slot.name in CONTENT:
                yield Violation(rules.ON_DEMAND_CONTENT, slot.path, f"no {slot.name}: no document is there yet", "one")
    if found.mime_type or found.element.get("mimeType") is not None:
        path = f"{found.path}/@mimeType"
        yield from _typed(values.mime, path, found.mime_type, rules.NEEDED_TYPE)
        if agreed := demands.codes.media_refusal(found.mime_type):
            yield Violation(rules.ALLOWED_CODES, path, agreed, found.mime_type)
    yield from _service_times(found)


def _service_times(found: SubmittedObject) -> Iterator[Violation]:
    start, stop = found.value("serviceStartTime"), found.value("serviceStopTime")
    if values.is_dtm(start) and values.is_dtm(stop):
        # What the less precise of the two leaves open cannot be out of order.
        known = min(len(start), len(stop))
        if start[:known] > stop[:known]:
            slot = found.slot("serviceStopTime")
            yield Violation(rules.SERVICE_TIMES, slot.path if slot else found.path, f"{start} or later", stop)


def _slots(found: SubmittedObject, model: _Model) -> Iterator[Violation]:
    given = {slot.name: slot for slot in reversed(found.slots)}
    for attribute in model.slots.values():
        if attribute.required and (
            (slot := given.get(attribute.name)) is None or not slot.values or not slot.values[0]
        ):
            said = "nothing" if slot is None else "a slot without value"
            yield Violation(attribute.presence, slot.path if slot else found.path, attribute.name, said)
    for slot in found.slots:
        known = model.slots.get(slot.name)
        if known is None:
            if slot.name not in CONTENT or model is not _ON_DEMAND:
                yield from _extra(slot, model.slots)
        elif slot.values != ("",) or not known.required:
            yield from _known_slot(slot, known)


def _extra(slot: Slot, known: Mapping[str, object]) -> Iterator[Violation]:
    expected = ", ".join((*known, "or a URN of your own"))
    if slot.name.lower().startswith("urn:innsyn:"):
        # Stored and ignored it would show what its source keeps back: a withdrawal, or a misspelt time of signing.
        yield Violation(rules.NEEDED_TYPE, f"{slot.path}/@name", expected, slot.name)
    elif not values.is_urn(slot.name) or slot.name.lower().startswith("urn:ihe:"):
        yield Violation(rules.EXTRA_SLOT_NAME, f"{slot.path}/@name", expected, slot.name)
    yield Violation(rules.EXTRA_METADATA, slot.path, "only slots of the framework, to be stored", slot.name)


def _known_slot(slot: Slot, attribute: _Attribute) -> Iterator[Violation]:
    said = canonical.joined(slot.values) if attribute.name == "URI" else slot.values
    if not said and attribute.name == SIGNED_AT:
        yield Violation(rules.NEEDED_TYPE, slot.path, "the time of signing", "nothing")
    if len(said) > 1 and not attribute.many:
        yield Violation(rules.SINGLE_ATTRIBUTE, slot.path, f"one value of {slot.name}", f"{len(said)} values")
    if attribute.name == "URI" and said and len(said[0]) > values.UNIQUE_ID_MOST:
        expected = f"at most {values.UNIQUE_ID_MOST} characters, all pieces together"
        yield Violation(rules.DATA_TYPE, slot.path, expected, f"{len(said[0])} characters")
    if attribute.check is not None:
        for number, value in enumerate(said, 1):
            if wrong := attribute.check(value):
                path = f"{slot.path}/ValueList/Value[{number}]"
                yield Violation(attribute.writing, path, wrong, value or "nothing")


def _classifications(found: SubmittedObject, model: _Model) -> Iterator[Violation]:
    by_scheme: dict[str, list[Classification]] = {}
    for classification in found.classifications:
        by_scheme.setdefault(classification.scheme, []).append(classification)
    for scheme, attribute in model.codes.items():
        given = by_scheme.get(scheme, [])
        if attribute.required and not given:
            yield Violation(attribute.presence, found.path, f"{attribute.name}, a Classification of {scheme}", "none")
        if not attribute.many:
            for extra in given[1:]:
                yield Violation(rules.SINGLE_ATTRIBUTE, extra.path, f"one {attribute.name}", "another one")
    for classification in found.classifications:
        if classification.scheme in model.codes:
            yield from _code(classification, model.codes[classification.scheme].name)
        elif classification.scheme and classification.scheme == model.author:
            yield from _author(classification)
        elif LIMITED_METADATA & {classification.node, classification.scheme}:
            said = classification.node or classification.scheme
            yield Violation(rules.LIMITED_METADATA, classification.path, "all metadata", f"the label {said}")
        elif classification.scheme or classification.node != model.label or not model.label:
            said = classification.scheme or classification.node or "nothing"
            yield Violation(rules.KNOWN_SCHEME, classification.path, f"a scheme of {found.kind.value}", said)


def _code(code: Classification, name: str) -> Iterator[Violation]:
    if not code.code:
        yield Violation(rules.COMPLETE_CODE, f"{code.path}/@nodeRepresentation", f"the code of {name}", "nothing")
    schemes = code.values("codingScheme")
    if len(schemes) != 1 or not schemes[0]:
        said = f"{len(schemes)} values" if len(schemes) > 1 else "nothing"
        yield Violation(rules.COMPLETE_CODE, code.path, f"one codingScheme of {name}", said)
    if any(text != text.strip() for text in (code.code or "", *schemes)):
        expected = f"{name} and its codingScheme without white space at their ends"
        yield Violation(rules.COMPLETE_CODE, code.path, expected, "white space, with which they are others")
    if sum(map(len, (code.code or "", *schemes))) > CODE_MOST:
        expected = f"{name} and its codingScheme of at most {CODE_MOST} characters together"
        yield Violation(rules.COMPLETE_CODE, code.path, expected, "more")
    if not code.name:
        yield Violation(rules.DISPLAY_NAME, code.path, f"Name, the display name of {name}", "nothing")
    for slot in code.slots:
        if slot.name != "codingScheme":
            yield from _extra(slot, {"codingScheme": None})


def _agreed_codes(found: SubmittedObject, model: _Model, demands: Demands) -> Iterator[Violation]:
    for code in found.classifications:
        attribute, scheme = model.codes.get(code.scheme), next(iter(code.values("codingScheme")), "")
        # What is incomplete is told as that, and not once more as a code nobody agreed on.
        if attribute is None or not code.code or not scheme:
            continue
        if expected := demands.codes.refusal(attribute.name, values.nfc(code.code), values.nfc(scheme)):
            said = f"{code.code} of {scheme}"
            yield Violation(rules.ALLOWED_CODES, f"{code.path}/@nodeRepresentation", expected, said)


def _author(author: Classification) -> Iterator[Violation]:
    if author.code:
        path = f"{author.path}/@nodeRepresentation"
        yield Violation(rules.COMPLETE_AUTHOR, path, "an empty nodeRepresentation", author.code)
    if not any(any(author.values(name)) for name in _AUTHOR_IS_ONE_OF):
        yield Violation(rules.COMPLETE_AUTHOR, author.path, "at least one of " + ", ".join(_AUTHOR_IS_ONE_OF), "none")
    if len(author.values("authorPerson")) > 1:
        said = f"{len(author.values('authorPerson'))} of them"
        yield Violation(rules.SINGLE_ATTRIBUTE, author.path, "one authorPerson; one Classification per author", said)
    for slot in author.slots:
        if slot.name not in AUTHOR_SLOTS:
            yield from _extra(slot, AUTHOR_SLOTS)
            continue
        for number, value in enumerate(slot.values, 1):
            yield from _typed(AUTHOR_SLOTS[slot.name], f"{slot.path}/ValueList/Value[{number}]", value)


def _identifiers(found: SubmittedObject, model: _Model) -> Iterator[Violation]:
    for scheme, attribute in model.identifiers.items():
        given = found.identified_by(scheme)
        if not given:
            expected = f"{attribute.name}, an ExternalIdentifier of {scheme}"
            yield Violation(attribute.presence, found.path, expected, "none")
        for extra in given[1:]:
            yield Violation(rules.SINGLE_ATTRIBUTE, extra.path, f"one {attribute.name}", "another one")
        for identifier in given:
            if attribute.check is not None and (wrong := attribute.check(identifier.value)):
                path = f"{identifier.path}/@value"
                yield Violation(attribute.writing, path, wrong, identifier.value or "nothing")
    if found.kind is Kind.ASSOCIATION:
        return
    for identifier in found.identifiers:
        if identifier.scheme not in model.identifiers:
            expected = f"an identification scheme of {found.kind.value}"
            yield Violation(rules.KNOWN_SCHEME, identifier.path, expected, identifier.scheme)
        for slot in identifier.slots:
            yield from _extra(slot, {})


def _titles(found: SubmittedObject, model: _Model) -> Iterator[Violation]:
    for title in found.title:
        if len(title.value) > model.title_most:
            expected = f"at most {model.title_most} characters"
            yield Violation(rules.TITLE_LENGTH, f"{found.path}/Name", expected, f"{len(title.value)} characters")
    if found.kind is Kind.FOLDER and not any(title.value for title in found.title):
        yield Violation(rules.FOLDER_TITLE, found.path, "Name, the title of the folder", "nothing")


_UNIQUE_IDS = (IdScheme.ENTRY_UNIQUE_ID, IdScheme.SET_UNIQUE_ID, IdScheme.FOLDER_UNIQUE_ID)
_PATIENT_IDS = (IdScheme.SET_PATIENT_ID, IdScheme.ENTRY_PATIENT_ID, IdScheme.FOLDER_PATIENT_ID)


def _unique_ids(submittal: Submittal) -> Iterator[Violation]:
    seen: dict[str, str] = {}
    for found in submittal.objects:
        for identifier in found.identifiers:
            if identifier.scheme in _UNIQUE_IDS and identifier.value:
                first = seen.setdefault(identifier.value, found.path)
                if first != found.path:
                    expected = f"a uniqueId other than that of {first}"
                    yield Violation(
                        rules.UNIQUE_IDS_IN_MESSAGE, f"{identifier.path}/@value", expected, identifier.value
                    )


def _one_patient(submittal: Submittal) -> Iterator[Violation]:
    patient = ""
    for found in sorted(submittal.objects, key=lambda submitted: submitted.kind is not Kind.SET):
        for identifier in found.identifiers:
            if identifier.scheme in _PATIENT_IDS and identifier.value:
                patient = patient or identifier.value
                if identifier.value != patient:
                    yield Violation(rules.ONE_PATIENT, f"{identifier.path}/@value", patient, identifier.value)

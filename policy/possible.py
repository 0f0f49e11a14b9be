"""Agreements that could never share anything, or would share more than anybody meant: refused when the files are read.

Pure. A rule that silently denies everything looks like a quiet day; it is told to whoever wrote it instead.
"""

from __future__ import annotations

from collections.abc import Iterator

from policy.agreements import Finding
from policy.checks import AGREEMENTS, Check, Files
from policy.files import ANY, ClinicianAgreement, MachineAgreement


def periods_have_length(files: Files) -> Iterator[Finding]:
    """An agreement ends after it begins, and after its sources begin."""
    for name, agreement in files.agreements.agreement.items():
        if agreement.valid_to is None:
            continue
        at = f"agreement.{name}.valid_to"
        if agreement.valid_to <= agreement.valid_from:
            yield Finding(AGREEMENTS, at, "write an end after valid_from; the period is half-open")
        for source in files.sources_of(agreement):
            if files.organisations.source[source].available_from >= agreement.valid_to:
                sentence = f"source {source} has documents only from a later day; correct either, or leave it out"
                yield Finding(AGREEMENTS, at, sentence)


def lists_name_somebody(files: Files) -> Iterator[Finding]:
    """An empty list admits nobody and nothing; only `sources` may wait for its first."""
    for name, agreement in files.agreements.agreement.items():
        at = f"agreement.{name}"
        lists = {"kinds": agreement.kinds}
        if isinstance(agreement, ClinicianAgreement):
            lists |= {"roles": agreement.roles, "purposes": agreement.purposes}
            if agreement.departments is not None:
                lists["departments"] = agreement.departments
            if not agreement.consumers and not agreement.panels:
                yield Finding(AGREEMENTS, f"{at}.consumers", "name a consumer here or a panel under panels")
        else:
            lists["machines"] = agreement.machines
        for key, named in lists.items():
            if not named:
                yield Finding(AGREEMENTS, f"{at}.{key}", "name at least one; an empty list admits nothing")


def callers_pass_the_node(files: Files) -> Iterator[Finding]:
    """Roles and purposes are among those the node lets in, else no caller ever reaches the agreement."""
    if files.policy is None:
        return
    defaults = files.policy.defaults
    for name, agreement in files.agreements.agreement.items():
        if not isinstance(agreement, ClinicianAgreement):
            continue
        for role in agreement.roles:
            if role not in defaults.roles:
                sentence = f"defaults.roles of policy.toml lets nobody in as {role}; add it there or leave it out here"
                yield Finding(AGREEMENTS, f"agreement.{name}.roles", sentence)
        for purpose in agreement.purposes:
            if purpose not in defaults.purposes:
                sentence = f"defaults.purposes of policy.toml lets {purpose} not in; add it there or leave it out here"
                yield Finding(AGREEMENTS, f"agreement.{name}.purposes", sentence)
        for panel_id in agreement.panels:
            panel = files.organisations.panel.get(panel_id)
            if panel is not None and panel.require_role not in agreement.roles:
                sentence = f"panel {panel_id} is for role {panel.require_role}, which this agreement does not name"
                yield Finding(AGREEMENTS, f"agreement.{name}.roles", sentence)


def regions_hold(files: Files) -> Iterator[Finding]:
    """Under same_region every consumer is of every source's region; also of the region that is to be appended."""
    organisations = files.organisations
    for name, agreement in files.agreements.agreement.items():
        if not isinstance(agreement, ClinicianAgreement) or agreement.region_rule != "same_region":
            continue
        regions = {source: organisations.source[source].region for source in files.sources_of(agreement)}
        regions |= {
            f"of growth[{index}]": growth.region
            for index, growth in enumerate(files.agreements.growth, 1)
            if growth.append_to == name and growth.region in organisations.region
        }
        for consumer in files.consumers_of(agreement):
            region = organisations.consumer[consumer].region
            for source, other in regions.items():
                if region != other:
                    sentence = (
                        f"consumer {consumer} is of region {region}, source {source} of {other}; "
                        'take one of them out, or write region_rule = "any" if it is meant'
                    )
                    yield Finding(AGREEMENTS, f"agreement.{name}.consumers", sentence)


def nobody_reads_only_itself(files: Files) -> Iterator[Finding]:
    """A source is never a consumer of itself: an agreement with nothing else gives that consumer nothing."""
    organisations = files.organisations
    for name, agreement in files.agreements.agreement.items():
        if not isinstance(agreement, ClinicianAgreement):
            continue
        entities = {organisations.source[source].legal_entity for source in files.sources_of(agreement)}
        for consumer in files.consumers_of(agreement):
            if agreement.consumers != ANY and entities == {organisations.consumer[consumer].legal_entity}:
                sentence = f"consumer {consumer} is the only source itself and reads its own record there; leave it out"
                yield Finding(AGREEMENTS, f"agreement.{name}.consumers", sentence)


def departments_meet(files: Files) -> Iterator[Finding]:
    """Where both the agreement and a consumer list departments, some department is in both."""
    for name, agreement in files.agreements.agreement.items():
        if not isinstance(agreement, ClinicianAgreement) or not agreement.departments:
            continue
        for consumer in files.consumers_of(agreement):
            own = files.organisations.consumer[consumer].departments
            if own is not None and not set(own) & set(agreement.departments):
                sentence = f"consumer {consumer} lists other departments, so none of them ever reads; make them agree"
                yield Finding(AGREEMENTS, f"agreement.{name}.departments", sentence)


def ages_name_every_kind(files: Files) -> Iterator[Finding]:
    """A table of ages names each kind of the agreement and no other: nothing is without limit by omission."""
    for name, agreement in files.agreements.agreement.items():
        if agreement.max_age is None:
            continue
        at = f"agreement.{name}.max_age"
        kinds = files.kinds_of(agreement)
        if kinds is None:
            yield Finding(AGREEMENTS, at, 'name the kinds of the agreement, or write max_age = "none"')
            continue
        for kind in sorted(set(kinds) - agreement.max_age.keys()):
            yield Finding(AGREEMENTS, at, f'write days or "none" for kind {kind}')
        for kind in sorted(agreement.max_age.keys() - set(kinds)):
            if kind in files.kinds.kind or not files.resolves("kind", kind):
                yield Finding(AGREEMENTS, at, f"{kind} is no kind of this agreement; leave it out")


def openness_is_confirmed(files: Files) -> Iterator[Finding]:
    """`any` reader, `any` kind and `any` source in one agreement load only if the operator says so besides."""
    for name, agreement in files.agreements.agreement.items():
        readers = agreement.machines if isinstance(agreement, MachineAgreement) else agreement.consumers
        if readers == agreement.kinds == agreement.sources == ANY and name not in files.confirmed:
            sentence = "shares everything with everybody; narrow it, or confirm this agreement by name when loading"
            yield Finding(AGREEMENTS, f"agreement.{name}", sentence)


CHECKS: tuple[Check, ...] = (
    periods_have_length,
    lists_name_somebody,
    callers_pass_the_node,
    regions_hold,
    nobody_reads_only_itself,
    departments_meet,
    ages_name_every_kind,
    openness_is_confirmed,
)

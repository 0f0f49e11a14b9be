"""Tokens and messages for tests: good ones from the simulated token service, bad ones edited and signed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import xmlsec
from lxml import etree

from ihe import saml, signature, soap, xml
from ihe.names import DS, EXC_C14N, QUERY, RIM, SOAP12, WSA, WSSE, Action
from policy.agreements import Consumer, Defaults, Enrolment, Identifiers, Policy
from policy.facts import Channel, Peer, Subject
from policy.numbers import D_NUMBER, F_NUMBER, NumberRules
from policy.subject import IssuerProfile, subject_of
from server.identity import BindingsInMemory, Gatekeeper, IssuerTrust, MachineIdentity
from simulators import sts

NOW = datetime(2021, 2, 15, 9, 0, tzinfo=UTC)
ISSUER = "https://sts.simulated.example"
ANNE = sts.Clinician(
    name="Anne Eksempel",
    number="01826520074",
    hpr="9144900",
    role="LE",
    legal_entity="958935420",
    legal_entity_name="Oslo kommune",
    place_of_care="984630492",
    place_of_care_name="Oslo kommunale legevakt",
)
NEED = sts.Need()
CHIEF = "30924830065"
"""Whom an attacker would like to be."""
P1 = "15837510047"
ENVELOPED = DS + "enveloped-signature"
RSA_SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
CERTIFICATE = "aa" * 32
OTHER_CERTIFICATE = "bb" * 32


@lru_cache(maxsize=8)
def key(name: str = "sts") -> sts.KeyPair:
    return sts.new_key(name, NOW)


def service(**changes: object) -> sts.TokenService:
    return replace(sts.TokenService(ISSUER, key()), **changes)  # type: ignore[arg-type]


def good(at: datetime = NOW, who: sts.Clinician = ANNE, need: sts.Need = NEED, token_id: str = "") -> bytes:
    return service().clinician(who, P1, at, need, token_id=token_id)


def unsigned(token: bytes) -> xml.Element:
    assertion = xml.read(token)
    found = assertion.find(f"{{{DS}}}Signature")
    if found is not None:
        assertion.remove(found)
    return assertion


def forge(edit: Callable[[xml.Element], object], pair: sts.KeyPair | None = None, at: datetime = NOW) -> bytes:
    """A token that the issuer (or the holder of `pair`) really signed after `edit` changed it."""
    assertion = unsigned(good(at))
    edit(assertion)
    pair = pair or key()
    return xml.write(signature.sign(assertion, pair.private_key, pair.certificate))


def sign_as(
    assertion: xml.Element,
    signing_key: xmlsec.Key,
    *,
    method: str = RSA_SHA256,
    c14n: str = EXC_C14N,
    transforms: Sequence[str] = (ENVELOPED, EXC_C14N),
    digest: str = SHA256,
    uris: Sequence[str] = (),
    prefixes: str = "",
    place: int = 1,
) -> bytes:
    """Signs with exactly these algorithms, whatever the product would say of them."""
    references = "".join(
        f'<ds:Reference URI="{uri}"><ds:Transforms>'
        + "".join(
            f'<ds:Transform Algorithm="{transform}">'
            + (
                f'<ec:InclusiveNamespaces xmlns:ec="{EXC_C14N}" PrefixList="{prefixes}"/>'
                if prefixes and transform == EXC_C14N
                else ""
            )
            + "</ds:Transform>"
            for transform in transforms
        )
        + f'</ds:Transforms><ds:DigestMethod Algorithm="{digest}"/><ds:DigestValue/></ds:Reference>'
        for uri in (uris or (f"#{assertion.get('ID')}",))
    )
    template = etree.fromstring(
        f'<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{c14n}"/>'
        f'<ds:SignatureMethod Algorithm="{method}"/>{references}</ds:SignedInfo><ds:SignatureValue/></ds:Signature>'
    )
    assertion.insert(place, template)
    context = xmlsec.SignatureContext()
    context.key = signing_key
    context.register_id(assertion, "ID")
    context.sign(template)
    return xml.write(assertion)


def private_key(pair: sts.KeyPair | None = None) -> xmlsec.Key:
    return xmlsec.Key.from_memory((pair or key()).private_key, xmlsec.constants.KeyDataFormatPem, None)


def security(*children: bytes, prefix: str = "wsse") -> bytes:
    return (
        f'<{prefix}:Security xmlns:{prefix}="{WSSE}" soap12:mustUnderstand="1">'.encode()
        + b"".join(children)
        + f"</{prefix}:Security>".encode()
    )


QUERY_BODY = (
    f'<query:AdhocQueryRequest xmlns:query="{QUERY}"><query:ResponseOption returnType="LeafClass"/>'
    f'<rim:AdhocQuery xmlns:rim="{RIM}" id="urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"/></query:AdhocQueryRequest>'
).encode()


def message(
    *headers: bytes, action: Action = Action.QUERY, body: bytes = b"", body_attributes: str = "", envelope: str = ""
) -> bytes:
    """A whole request with these header blocks besides the addressing ones."""
    namespace, _, local = action.body[1:].partition("}")
    content = body or (QUERY_BODY if action is Action.QUERY else f'<b:{local} xmlns:b="{namespace}"/>'.encode())
    return (
        f'<soap12:Envelope xmlns:soap12="{SOAP12}" xmlns:wsa="{WSA}"{envelope}><soap12:Header>'
        f"<wsa:Action>{action}</wsa:Action><wsa:MessageID>urn:uuid:1</wsa:MessageID>".encode()
        + b"".join(headers)
        + f"</soap12:Header><soap12:Body{body_attributes}>".encode()
        + content
        + b"</soap12:Body></soap12:Envelope>"
    )


def call(raw: bytes) -> soap.Call:
    return soap.read_call(raw, "application/soap+xml; charset=UTF-8", frozenset(Action))


def asking(token: bytes, action: Action = Action.QUERY) -> soap.Call:
    return call(message(security(token), action=action))


def peer(certificate: str = CERTIFICATE, listener: str = "clinicians") -> Peer:
    return Peer(listener, "127.0.0.1", certificate, "c-1")


def rules(**changes: object) -> Policy:
    """A policy in force with the pilot's node-wide lists and one place."""
    legevakt = Consumer(
        consumer_id="oslo_legevakt",
        name="Allmennlegevakta",
        region="sor-ost",
        legal_entity="958935420",
        places_of_care=("984630492",),
        enrolment=Enrolment.ROLE,
        enrolled=(),
        departments=None,
    )
    defaults = Defaults(
        security_level="4",
        channels=frozenset({Channel.CLINICIAN}),
        roles=frozenset({"LE", "SP"}),
        purposes=frozenset({"TREAT", "ETREAT"}),
        scope_token=sts.SCOPE,
        token_skew=timedelta(seconds=60),
        attest_age=timedelta(minutes=60),
    )
    identifiers = Identifiers(
        patient=frozenset({F_NUMBER, D_NUMBER}),
        practitioner="2.16.578.1.12.4.1.4.4",
        organisation="2.16.578.1.12.4.1.4.101",
        department="2.16.578.1.12.4.1.4.102",
        national_home_community="2.16.578.1.12.4.1.7.1.1",
    )
    policy = Policy(
        version="test",
        description="",
        defaults=defaults,
        identifiers=identifiers,
        numbers=NumberRules(synthetic_months=frozenset({65, 80})),
        regions={},
        sources={},
        consumers={"oslo_legevakt": legevakt},
        panels={},
        kinds={},
        agreements={},
        block_rules={},
    )
    nodewide = {name: value for name, value in changes.items() if hasattr(defaults, name)}
    whole = {name: value for name, value in changes.items() if name not in nodewide}
    return replace(policy, defaults=replace(defaults, **nodewide), **whole)  # type: ignore[arg-type]


def profile(**changes: object) -> IssuerProfile:
    usual = IssuerProfile(ISSUER, Channel.CLINICIAN, "2.1", frozenset({sts.AUDIENCE}))
    return replace(usual, **changes)  # type: ignore[arg-type]


def trust(*pairs: sts.KeyPair, **changes: object) -> dict[str, IssuerTrust]:
    named = profile(**changes)
    keys = tuple(signature.VerifyKey(pair.certificate) for pair in (pairs or (key(),)))
    return {named.entity_id: IssuerTrust(named, keys)}


OUS = MachineIdentity("ous", frozenset({"cc" * 32}), ("2.999.1",), organisation="993467049")


def gatekeeper(
    issuers: dict[str, IssuerTrust] | None = None,
    machines: Sequence[MachineIdentity] = (OUS,),
    listener_identity: dict[str, str] | None = None,
    policy: Policy | None = None,
) -> Gatekeeper:
    in_force = policy or rules()
    return Gatekeeper(
        trust() if issuers is None else issuers,
        machines,
        listener_identity or {},
        lambda: in_force,
        BindingsInMemory(lambda: NOW),
    )


def subject(**changes: object) -> Subject:
    """Anne as she comes out of a good token."""
    said = subject_of(saml.read(xml.read(good(token_id="_a1"))), profile())
    return replace(said, **changes)  # type: ignore[arg-type]

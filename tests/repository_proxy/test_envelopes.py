"""What is written from holes is what zeep writes, for any ids and with any assertion."""

from __future__ import annotations

import pytest

from ihe import saml, soap, xml
from ihe.names import SAML, Action
from policy.facts import DocumentKey
from repository_proxy.envelopes import Template
from tests.repository_proxy.stage import ENVELOPES

URL = "https://hospital.example/repository?a=1&b=2"
MESSAGE = "urn:uuid:1b7c2f0e-4f57-4d1b-9d0e-2f6a51c9e8a4"
PLAIN = DocumentKey("2.999.1", "1.2.3")
ODD = DocumentKey("2.999.1", '<a>&amp;"\r\n\t\u00e5 hole-message hole-1-document')
ASSERTION = (
    f'<saml:Assertion xmlns:saml="{SAML}" ID="_1"><saml:Issuer>sts &amp; co</saml:Issuer></saml:Assertion>'.encode()
)


@pytest.mark.parametrize("assertion", [None, ASSERTION])
@pytest.mark.parametrize("asked", [[PLAIN], [ODD], [PLAIN, ODD, PLAIN]])
def test_a_request_from_the_template_is_what_zeep_writes(asked: list[DocumentKey], assertion: bytes | None) -> None:
    template = Template(ENVELOPES, URL)
    assert template.write(MESSAGE, asked, assertion) == xml.write(ENVELOPES.one(URL, asked, assertion, MESSAGE))


def test_the_assertion_goes_along_byte_for_byte_and_is_found_by_an_ordinary_reader() -> None:
    # Declared here and used in a value only: a library that tidies namespaces would lose it.
    kept = ASSERTION.replace(b" ID=", b' xmlns:xs="http://www.w3.org/2001/XMLSchema" ID=')
    written = Template(ENVELOPES, URL).write(MESSAGE, [PLAIN], kept)
    assert written.count(kept) == 1
    call = soap.read_call(written, soap.SIMPLE_TYPE, frozenset(Action))
    assert call.message_id == MESSAGE
    found = saml.find(call.security)
    assert found is not None
    assert found.nsmap["xs"] == "http://www.w3.org/2001/XMLSchema"


def test_a_template_that_does_not_fit_what_zeep_writes_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError, match="something else than was expected"):
        Template(ENVELOPES, "https://hospital.example/hole-message")

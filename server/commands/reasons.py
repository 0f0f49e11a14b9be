"""One sentence for every reason code, for operators; none of them ever reaches a caller."""

from __future__ import annotations

from policy.facts import Reason

SENTENCES: dict[Reason, str] = {
    Reason.TOKEN_MISSING: "the request carried no token, and the connection is no machine's",
    Reason.TOKEN_MALFORMED: "the security header or the token in it is not what the profile says",
    Reason.TOKEN_INVALID: "signature, issuer or audience of the token do not hold",
    Reason.ATTEST_EXPIRED: "the attestation of need is too old",
    Reason.TOKEN_EXPIRED: "the token is not valid at this time",
    Reason.TOKEN_REPLAY: "the token was used with another client certificate before",
    Reason.CHANNEL_NOT_ALLOWED: "the token's issuer does not speak for callers of this kind",
    Reason.LOA_LOW: "the caller did not log in at the level that is demanded",
    Reason.SUBJECT_MISMATCH: "the token names its person in ways that do not fit together",
    Reason.ROLE_NOT_ALLOWED: "the caller's role may not read documents",
    Reason.ORG_MISMATCH: "the token's organisations do not belong together",
    Reason.PURPOSE_MISSING: "the token states no purpose",
    Reason.PURPOSE_NOT_ALLOWED: "the purpose is not one that documents are shared for",
    Reason.TOKEN_SCOPE: "the token was not issued for document sharing",
    Reason.NEED_NOT_STATED: "the token does not tell which decision the need follows from",
    Reason.PATIENT_MISSING: "the token names no patient",
    Reason.PATIENT_INVALID: "the patient's number is not well-formed",
    Reason.BLOCKS_UNAVAILABLE: "blocks or identity links could not be read, so nothing was given out",
    Reason.PATIENT_MISMATCH: "the query is about another patient than the token",
    Reason.NO_AGREEMENT: "the caller's place of care has no agreement",
    Reason.UNKNOWN_DOC: "there is no such document",
    Reason.PATIENT_MISMATCH_DOC: "the document is another patient's",
    Reason.NO_AGREEMENT_SOURCE: "no agreement between this source and the caller's place of care",
    Reason.SCOPE_NOT_YET: "the agreement, or the source's part in it, has not begun",
    Reason.SCOPE_EXPIRED: "the agreement is over",
    Reason.REGION_NOT_ALLOWED: "the agreement does not reach into the caller's region",
    Reason.DEPT_NOT_LISTED: "the caller's department is not in the agreement",
    Reason.PERSON_NOT_ENROLLED: "the caller is not enrolled at this place of care",
    Reason.ROLE_NOT_IN_SCOPE: "the caller's role is not in the agreement",
    Reason.PURPOSE_NOT_IN_SCOPE: "the purpose is not in the agreement",
    Reason.BLOCK_VISIT_HISTORY: "the patient blocks the visit history for everyone",
    Reason.BLOCK_RESERVATION: "the patient has reserved against sharing",
    Reason.BLOCK_SHARING: "the patient blocks sharing of the journal",
    Reason.BLOCK_PERSON: "the patient blocks this person",
    Reason.BLOCK_ORG: "the caller's organisation or department is blocked",
    Reason.BLOCK_SOURCE_TOTAL: "the source gives out nothing about this patient",
    Reason.BLOCK_OPENABLE: "the patient blocks the journal; consent or an emergency would open it",
    Reason.KIND_NOT_SHARED: "documents of this kind are not shared",
    Reason.NOT_SIGNED: "the document is not signed",
    Reason.WITHDRAWN: "the source has withdrawn the document",
    Reason.DEPRECATED: "the document has been replaced",
    Reason.BLOCK_DOC: "the document is blocked",
    Reason.TOO_OLD: "the document is older than the agreement shares",
    Reason.NOT_LISTED: "the document was not listed under this token before",
    Reason.OK: "shared under the agreement",
    Reason.OK_BTG: "shared because of an emergency, against a block; the patient is told",
    Reason.OK_CONSENT: "shared with the patient's consent, against a block; the patient is told",
    Reason.SOURCE_UNAVAILABLE: "the source did not deliver",
}
assert SENTENCES.keys() == set(Reason)


def sentence(code: str) -> str:
    """What a reason code means; the code itself where it is one of another version."""
    return SENTENCES[Reason(code)] if code in {each.value for each in Reason} else code

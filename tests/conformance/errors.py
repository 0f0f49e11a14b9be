"""When this version raises which error, in words, where the product's own tables do not say it already.

A test holds this against the product's sources: no code may be raised that is missing here, or here and never raised.
"""

from __future__ import annotations

from ihe.errors import Subcode
from ihe.names import Code

RAISED: dict[Code, dict[str, str]] = {
    Code.REGISTRY_METADATA_ERROR: {"ITI-42, ITI-61, ITI-57, ITI-92": "the message is not valid ebRIM"},
    Code.DOCUMENT_UNIQUE_ID: {"ITI-43": "the document is unknown, hidden from the caller, or no longer held"},
    Code.UNKNOWN_REPOSITORY_ID: {"ITI-43": "no hospital is configured for the repositoryUniqueId"},
    Code.UNKNOWN_COMMUNITY: {"ITI-18, ITI-43": "the homeCommunityId is another than the configured one"},
    Code.REPOSITORY_BUSY: {"ITI-43": "the hospital is asked too much at this moment"},
    Code.REPOSITORY_ERROR: {
        "ITI-43": "the hospital cannot be reached, is late, refuses, breaks off, or sends another document than was "
        "registered; the message is not valid; the token is for another patient, or blocks cannot be looked up "
        "(`codeContext` is the reason code)"
    },
    Code.TOO_MANY_RESULTS: {
        "ITI-18, ITI-51": "LeafClass of more objects than `query.max_results`",
        "ITI-43": "more documents in one request than are allowed",
    },
    Code.UNKNOWN_STORED_QUERY: {"ITI-18, ITI-51": "the query is not one of the transaction's above"},
    Code.STORED_QUERY_MISSING_PARAM: {
        "ITI-18, ITI-51": "a required parameter is absent or empty, a status parameter has only unknown values, a "
        "query by id has none, a query across patients names neither patients (where they must be named) nor codes"
    },
    Code.STORED_QUERY_PARAM_NUMBER: {
        "ITI-18, ITI-51": "several values where one is allowed, a parameter repeated that may not be, ids of two "
        "kinds, a parameter and its `Exclude`"
    },
    Code.RESULT_NOT_SINGLE_PATIENT: {"ITI-18": "LeafClass by ids finds documents, folders or sets of several patients"},
    Code.UNKNOWN_PATIENT_ID: {"ITI-18": "the patient is unknown, if `query.unknown_patient_is_error` (else: Success)"},
    Code.REGISTRY_ERROR: {
        "ITI-18": "the message, the returnType or a value is malformed (a code without scheme, a quote); the token is "
        "for another patient, or blocks cannot be looked up (`codeContext` is the reason code); the database fails",
        "ITI-42, ITI-61, ITI-57, ITI-92": "the database fails",
        "ITI-62": "the message is not valid, or names no objects by their ids; the database fails",
    },
    Code.REGISTRY_BUSY: {
        "ITI-18, ITI-42, ITI-61, ITI-57, ITI-92, ITI-62": "the database has no turn or connection in time"
    },
    Code.REGISTRY_OUT_OF_RESOURCES: {"ITI-18, ITI-42, ITI-61, ITI-57, ITI-92, ITI-62": "the database has no room"},
}

FAULTS: dict[Subcode, str] = {
    Subcode.ACTION_NOT_SUPPORTED: "the `wsa:Action` is of no transaction of this endpoint",
    Subcode.ACTION_MISMATCH: "the body belongs to another action",
    Subcode.HEADER_REQUIRED: "there is no `wsa:Action`",
    Subcode.INVALID_HEADER: "an addressing header cannot be read",
    Subcode.INVALID_CARDINALITY: "an addressing header occurs twice",
    Subcode.ONLY_ANONYMOUS: "`wsa:ReplyTo` or `wsa:FaultTo` is an address",
    Subcode.TOKEN_UNAVAILABLE: "the endpoint wants an assertion and there is none",
    Subcode.FAILED_CHECK: "structure, signature, issuer or audience of the assertion",
    Subcode.MESSAGE_EXPIRED: "the assertion or the attestation is too old",
    Subcode.FAILED_AUTHENTICATION: "level, role, purpose, channel or another attribute is not allowed",
}

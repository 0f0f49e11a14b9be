"""Every constant of the wire, once: namespaces, actions, query ids, vocabulary, status and error codes.

Sources: IHE ITI TF-2 (3.18, 3.42, 3.43, appendix V), TF-3 4.1-4.2, OASIS ebRIM/ebRS 3.0, W3C SOAP 1.2 and
WS-Addressing 1.0, OASIS WSS 1.0 and SAML 2.0.
"""

from __future__ import annotations

from enum import StrEnum

# Namespaces ----------------------------------------------------------------------------------------------------------
SOAP12 = "http://www.w3.org/2003/05/soap-envelope"
SOAP11 = "http://schemas.xmlsoap.org/soap/envelope/"
WSA = "http://www.w3.org/2005/08/addressing"
XOP = "http://www.w3.org/2004/08/xop/include"
WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
WSU = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd"
SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
DS = "http://www.w3.org/2000/09/xmldsig#"
EXC_C14N = "http://www.w3.org/2001/10/xml-exc-c14n#"
XS = "http://www.w3.org/2001/XMLSchema"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
XML = "http://www.w3.org/XML/1998/namespace"
HL7 = "urn:hl7-org:v3"

LCM = "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"
RIM = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
RS = "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0"
QUERY = "urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0"
XDS = "urn:ihe:iti:xds-b:2007"

WSA_ANONYMOUS = WSA + "/anonymous"
WSA_NONE = WSA + "/none"
WSA_FAULT = WSA + "/fault"
SOAP_FAULT = WSA + "/soap/fault"
WSA_REPLY = WSA + "/reply"


class Action(StrEnum):
    """The request `wsa:Action` of each transaction (TF-2 3.18.4, 3.42.4, 3.43.4, 3.44.4, 3.51.4, 3.61.4; supplements
    XDS Metadata Update, RMU and RMD for ITI-57, ITI-92 and ITI-62)."""

    QUERY = "urn:ihe:iti:2007:RegistryStoredQuery"
    MULTI_PATIENT_QUERY = "urn:ihe:iti:2009:MultiPatientStoredQuery"
    REGISTER = "urn:ihe:iti:2007:RegisterDocumentSet-b"
    REGISTER_ON_DEMAND = "urn:ihe:iti:2010:RegisterOnDemandDocumentEntry"
    UPDATE = "urn:ihe:iti:2010:UpdateDocumentSet"
    RESTRICTED_UPDATE = "urn:ihe:iti:2018:RestrictedUpdateDocumentSet"
    REMOVE = "urn:ihe:iti:2010:DeleteDocumentSet"
    RETRIEVE = "urn:ihe:iti:2007:RetrieveDocumentSet"
    FEED_ADD = "urn:hl7-org:v3:PRPA_IN201301UV02"
    FEED_REVISE = "urn:hl7-org:v3:PRPA_IN201302UV02"
    FEED_MERGE = "urn:hl7-org:v3:PRPA_IN201304UV02"

    @property
    def reply(self) -> str:
        """The `wsa:Action` of the answer."""
        return REPLY_OF.get(self, self.value + "Response")

    @property
    def body(self) -> str:
        """The body element that belongs to this action, as `{namespace}local`."""
        return BODY_OF[self]

    @property
    def transaction(self) -> str:
        """The IHE transaction, e.g. `ITI-18`."""
        return TRANSACTION_OF[self]


BODY_OF: dict[Action, str] = {
    Action.QUERY: f"{{{QUERY}}}AdhocQueryRequest",
    Action.MULTI_PATIENT_QUERY: f"{{{QUERY}}}AdhocQueryRequest",
    Action.REGISTER: f"{{{LCM}}}SubmitObjectsRequest",
    Action.REGISTER_ON_DEMAND: f"{{{LCM}}}SubmitObjectsRequest",
    Action.UPDATE: f"{{{LCM}}}SubmitObjectsRequest",
    Action.RESTRICTED_UPDATE: f"{{{LCM}}}SubmitObjectsRequest",
    Action.REMOVE: f"{{{LCM}}}RemoveObjectsRequest",
    Action.RETRIEVE: f"{{{XDS}}}RetrieveDocumentSetRequest",
    Action.FEED_ADD: f"{{{HL7}}}PRPA_IN201301UV02",
    Action.FEED_REVISE: f"{{{HL7}}}PRPA_IN201302UV02",
    Action.FEED_MERGE: f"{{{HL7}}}PRPA_IN201304UV02",
}
TRANSACTION_OF: dict[Action, str] = {
    Action.QUERY: "ITI-18",
    Action.MULTI_PATIENT_QUERY: "ITI-51",
    Action.REGISTER: "ITI-42",
    Action.REGISTER_ON_DEMAND: "ITI-61",
    Action.UPDATE: "ITI-57",
    Action.RESTRICTED_UPDATE: "ITI-92",
    Action.REMOVE: "ITI-62",
    Action.RETRIEVE: "ITI-43",
    Action.FEED_ADD: "ITI-44",
    Action.FEED_REVISE: "ITI-44",
    Action.FEED_MERGE: "ITI-44",
}
REPLY_OF: dict[Action, str] = {
    Action.REGISTER_ON_DEMAND: "urn:ihe:iti:2010:RegisterOnDemandDocumentResponse",  # no "Entry" (TF-2 3.61.5)
    Action.FEED_ADD: "urn:hl7-org:v3:MCCI_IN000002UV01",
    Action.FEED_REVISE: "urn:hl7-org:v3:MCCI_IN000002UV01",
    Action.FEED_MERGE: "urn:hl7-org:v3:MCCI_IN000002UV01",
}
"""Answers whose action is not that of the request and `Response`."""
MACHINES_ONLY = frozenset(Action) - {Action.QUERY, Action.MULTI_PATIENT_QUERY, Action.RETRIEVE}
"""Transactions that write: sources, administrators and patient feeds send them, never a person's token."""
assert set(BODY_OF) == set(Action) == set(TRANSACTION_OF)


class QueryId(StrEnum):
    """Stored query ids that this registry answers; any other is `XDSUnknownStoredQuery`.

    Sources: ITI TF-2 3.18.4.1.2.4, 3.51.4.1.2.4; CP-ITI-1323 for FindDocumentsExclude.
    """

    FIND_DOCUMENTS = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
    FIND_SUBMISSION_SETS = "urn:uuid:f26abbcb-ac74-4422-8a30-edb644bbc1a9"
    FIND_FOLDERS = "urn:uuid:958f3006-baad-4929-a4de-ff1114824431"
    GET_ALL = "urn:uuid:10b545ea-725c-446d-9b95-8aeb444eddf3"
    GET_DOCUMENTS = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"
    GET_FOLDERS = "urn:uuid:5737b14c-8a1a-4539-b659-e03a34a5e1e4"
    GET_ASSOCIATIONS = "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155"
    GET_DOCUMENTS_AND_ASSOCIATIONS = "urn:uuid:bab9529a-4a10-40b3-a01f-f68a615d247a"
    GET_SUBMISSION_SETS = "urn:uuid:51224314-5390-4169-9b91-b1980040715a"
    GET_SUBMISSION_SET_AND_CONTENTS = "urn:uuid:e8e3cb2c-e39c-46b9-99e4-c12f57260b83"
    GET_FOLDER_AND_CONTENTS = "urn:uuid:b909a503-523d-4517-8acf-8e5834dfc4c7"
    GET_FOLDERS_FOR_DOCUMENT = "urn:uuid:10cae35a-c7f9-4cf5-b61e-fc3278ffb578"
    GET_RELATED_DOCUMENTS = "urn:uuid:d90e5407-b356-4d91-a89f-873917b4b0e6"
    FIND_DOCUMENTS_BY_REFERENCE_ID = "urn:uuid:12941a89-e02e-4be5-967c-ce4bfc8fe492"
    FIND_DOCUMENTS_EXCLUDE = "urn:uuid:4308b1df-36de-4bef-8e2e-ba91f593c435"
    FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS = "urn:uuid:3d1bdb10-39a2-11de-89c2-2f44d94eaa9f"
    FIND_FOLDERS_FOR_MULTIPLE_PATIENTS = "urn:uuid:50d3f5ac-39a2-11de-a1ca-b366239e58df"
    FIND_DOCUMENTS_BY_REFERENCE_ID_FOR_MULTIPLE_PATIENTS = "urn:uuid:1191642d-86c4-42d8-b784-f95445f9f0d5"


MULTI_PATIENT = frozenset(
    {
        QueryId.FIND_DOCUMENTS_FOR_MULTIPLE_PATIENTS,
        QueryId.FIND_FOLDERS_FOR_MULTIPLE_PATIENTS,
        QueryId.FIND_DOCUMENTS_BY_REFERENCE_ID_FOR_MULTIPLE_PATIENTS,
    }
)
"""The queries of ITI-51; all others are of ITI-18, and neither transaction answers those of the other."""


class Status(StrEnum):
    """availabilityStatus (TF-3 4.2.3.2.2)."""

    APPROVED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
    DEPRECATED = "urn:oasis:names:tc:ebxml-regrep:StatusType:Deprecated"


class ResponseStatus(StrEnum):
    """Outcome of a transaction (TF-3 4.2.4.2)."""

    SUCCESS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"
    FAILURE = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Failure"
    PARTIAL = "urn:ihe:iti:2007:ResponseStatusType:PartialSuccess"


class Severity(StrEnum):
    """Severity of one RegistryError (TF-3 4.2.4.1)."""

    ERROR = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Error"
    WARNING = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Warning"


class Code(StrEnum):
    """Error codes a registry or repository raises (TF-3 table 4.2.4.1-2)."""

    UNRESOLVED_REFERENCE = "UnresolvedReferenceException"
    DOCUMENT_UNIQUE_ID = "XDSDocumentUniqueIdError"
    DUPLICATE_UNIQUE_ID_IN_REGISTRY = "XDSDuplicateUniqueIdInRegistry"
    EXTRA_METADATA_NOT_SAVED = "XDSExtraMetadataNotSaved"
    MISSING_HOME_COMMUNITY_ID = "XDSMissingHomeCommunityId"
    NON_IDENTICAL_HASH = "XDSNonIdenticalHash"
    NON_IDENTICAL_SIZE = "XDSNonIdenticalSize"
    PATIENT_ID_DOES_NOT_MATCH = "XDSPatientIdDoesNotMatch"
    REGISTRY_BUSY = "XDSRegistryBusy"
    REPOSITORY_BUSY = "XDSRepositoryBusy"
    REGISTRY_DEPRECATED_DOCUMENT = "XDSRegistryDeprecatedDocumentError"
    DUPLICATE_UNIQUE_ID_IN_MESSAGE = "XDSRegistryDuplicateUniqueIdInMessage"
    REGISTRY_ERROR = "XDSRegistryError"
    REPOSITORY_ERROR = "XDSRepositoryError"
    REGISTRY_METADATA_ERROR = "XDSRegistryMetadataError"
    REGISTRY_OUT_OF_RESOURCES = "XDSRegistryOutOfResources"
    REPOSITORY_OUT_OF_RESOURCES = "XDSRepositoryOutOfResources"
    RESULT_NOT_SINGLE_PATIENT = "XDSResultNotSinglePatient"
    STORED_QUERY_MISSING_PARAM = "XDSStoredQueryMissingParam"
    STORED_QUERY_PARAM_NUMBER = "XDSStoredQueryParamNumber"
    TOO_MANY_RESULTS = "XDSTooManyResults"
    UNKNOWN_COMMUNITY = "XDSUnknownCommunity"
    UNKNOWN_PATIENT_ID = "XDSUnknownPatientId"
    UNKNOWN_REPOSITORY_ID = "XDSUnknownRepositoryId"
    UNKNOWN_STORED_QUERY = "XDSUnknownStoredQuery"
    # Of metadata update (ITI-57, ITI-92) and removal (ITI-62); the tools' reading of their supplements
    METADATA_UPDATE = "XDSMetadataUpdateError"
    METADATA_UPDATE_OPERATION = "XDSMetadataUpdateOperationError"
    METADATA_VERSION = "XDSMetadataVersionError"
    PATIENT_ID_RECONCILIATION = "XDSPatientIDReconciliationError"
    OBJECT_TYPE = "XDSObjectTypeError"
    METADATA_IDENTIFIER = "XDSMetadataIdentifierError"
    METADATA_ANNOTATION = "XDSMetadataAnnotationError"
    INVALID_REQUEST = "XDSInvalidRequestException"
    UNMODIFIABLE_METADATA = "UnmodifiableMetadataError"
    LOCAL_POLICY_RESTRICTION = "LocalPolicyRestrictionError"
    REFERENCES_EXIST = "ReferencesExistException"
    UNREFERENCED_OBJECT = "XDSUnreferencedObjectException"


# ebRIM vocabulary (TF-3 4.3.1.2, 4.2.5) ------------------------------------------------------------------------------
STABLE_ENTRY = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
ON_DEMAND_ENTRY = "urn:uuid:34268e47-fdf5-41a6-ba33-82133c465248"
IS_SUBMISSION_SET = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"
IS_FOLDER = "urn:uuid:d9d542f3-6cc4-48b6-8870-ea235fbc94c2"


class EntryScheme(StrEnum):
    """Classification schemes of a DocumentEntry."""

    AUTHOR = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
    CLASS_CODE = "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a"
    CONFIDENTIALITY_CODE = "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f"
    EVENT_CODE = "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4"
    FORMAT_CODE = "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d"
    FACILITY_TYPE_CODE = "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1"
    PRACTICE_SETTING_CODE = "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead"
    TYPE_CODE = "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983"


class SetScheme(StrEnum):
    """Classification schemes of a SubmissionSet."""

    AUTHOR = "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d"
    CONTENT_TYPE_CODE = "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500"


FOLDER_CODE = "urn:uuid:1ba97051-7806-41a8-a48b-8fce7af683c5"
ASSOCIATION_DOCUMENTATION = "urn:uuid:abd807a3-4432-4053-87b4-fd82c643d1f3"


class IdScheme(StrEnum):
    """Identification schemes of ExternalIdentifiers."""

    ENTRY_PATIENT_ID = "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427"
    ENTRY_UNIQUE_ID = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"
    SET_PATIENT_ID = "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446"
    SET_SOURCE_ID = "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832"
    SET_UNIQUE_ID = "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8"
    FOLDER_PATIENT_ID = "urn:uuid:f64ffdf0-4b97-4e06-b79f-a52b38ec2f8a"
    FOLDER_UNIQUE_ID = "urn:uuid:75df8f67-9973-4fbe-a900-df66cefecc5a"


LIMITED_METADATA = frozenset(
    {
        "urn:uuid:ab9b591b-83ab-4d03-8f5d-f93b1fb92e85",
        "urn:uuid:5003a9db-8d8d-49e6-bf0c-990e34ac7707",
        "urn:uuid:2c144a76-29a9-4b7c-af54-b25409fe7d03",
    }
)

OBJECT_TYPE = "urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:"


class AssociationType(StrEnum):
    """Association types of an ordinary submission (TF-3 4.2.2); those of metadata updates come with ITI-57."""

    HAS_MEMBER = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
    RPLC = "urn:ihe:iti:2007:AssociationType:RPLC"
    XFRM = "urn:ihe:iti:2007:AssociationType:XFRM"
    APND = "urn:ihe:iti:2007:AssociationType:APND"
    XFRM_RPLC = "urn:ihe:iti:2007:AssociationType:XFRM_RPLC"
    SIGNS = "urn:ihe:iti:2007:AssociationType:signs"
    IS_SNAPSHOT_OF = "urn:ihe:iti:2010:AssociationType:IsSnapshotOf"


SUBMIT_ASSOCIATION = "urn:ihe:iti:2010:AssociationType:SubmitAssociation"
UPDATE_AVAILABILITY_STATUS = "urn:ihe:iti:2010:AssociationType:UpdateAvailabilityStatus"
"""Types of associations that are operations of ITI-57; the registry carries them out and does not keep them as such."""

REFERENCE_ID_LIST = "urn:ihe:iti:xds:2013:referenceIdList"
SIGNED_AT = "urn:innsyn:signedAt"
"""Slot with the time of signing as a DTM in UTC, for sources that know it apart from registration."""
WITHDRAWN = "urn:innsyn:withdrawn"
"""Slot that marks an entry as withdrawn by its source."""

EMPTY_SHA1 = "da39a3ee5e6b4b0d3255bfef95601890afd80709"

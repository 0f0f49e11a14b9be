"""spyne as registry of operations and as the funnel every fault passes; it reads, validates and writes nothing itself.

The only module that imports spyne. Its Soap12 protocol, models, validator and WSGI transport are not used: the reader
is ihe.soap, the answer is bytes or a Release that server/gate.py streams. Why: docs/decisions/0001.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

import structlog

from ihe.errors import FaultCode, SoapFault
from ihe.names import XDS, Action
from ihe.soap import Call, Packaging, Reply, packaging_of, read_call, write_fault
from policy.facts import Peer
from repository_proxy.retrieve import Release
from server.log import wordless


class _VendoredSixFinder:
    """Finds `spyne.util.six.moves` on Python 3.12 and later, where the importer of the six it vendors is too old."""

    class _Loader:
        def __init__(self, importer: Any) -> None:
            self.importer = importer

        def create_module(self, spec: ModuleSpec) -> ModuleType:
            return self.importer.load_module(spec.name)  # type: ignore[no-any-return]

        def exec_module(self, module: ModuleType) -> None:
            """Nothing is left to do: the old importer has run it."""

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if not name.startswith("spyne.util.six.moves"):
            return None
        for finder in sys.meta_path:
            if type(finder).__name__ == "_SixMetaPathImporter" and name in getattr(finder, "known_modules", ()):
                importer: Any = finder
                return spec_from_loader(name, cls._Loader(importer), is_package=importer.is_package(name))  # type: ignore[arg-type]
        return None


if _VendoredSixFinder not in sys.meta_path:
    sys.meta_path.insert(0, _VendoredSixFinder)

from spyne import AnyXml, Application, Fault, MethodContext, Service, rpc  # noqa: E402
from spyne import const as spyne_const  # noqa: E402
from spyne.protocol import ProtocolBase  # noqa: E402
from spyne.server import ServerBase  # noqa: E402

# Its loggers print whole requests; its contexts run a full garbage collection once a second. Both are switched off.
logging.getLogger("spyne").setLevel(logging.CRITICAL + 1)
spyne_const.MIN_GC_INTERVAL = float("inf")

log = structlog.get_logger()

Answer = Reply | Release
Transaction = Callable[[Call, Peer], Answer]


@dataclass(slots=True)
class _Incoming:
    """What one exchange carries through spyne's context."""

    raw: bytes
    content_type: str
    peer: Peer
    transactions: Mapping[Action, Transaction]
    call: Call | None = None
    fault: SoapFault | None = None
    defect: BaseException | None = None

    def run(self) -> Answer:
        """The transaction's answer; its faults take the funnel, anything else is a defect."""
        assert self.call is not None
        try:
            return self.transactions[self.call.action](self.call, self.peer)
        except SoapFault as fault:
            raise self.funnel(fault) from fault

    def funnel(self, fault: SoapFault) -> Fault:
        """The one gate for faults: remembers ours, hands spyne something it can carry."""
        self.fault = fault
        return Fault(fault.code.value, fault.reason)

    def forget(self) -> None:
        """Lets go of everything: exceptions lead to frames and those back to them, so nothing would be freed soon."""
        for problem in (self.fault, self.defect):
            _forget_traces(problem)
        self.raw, self.call, self.fault, self.defect = b"", None, None, None


class _Protocol(ProtocolBase):  # type: ignore[misc]
    """Reads with ihe.soap, dispatches by action, returns what the transaction returned."""

    mime_type = "application/soap+xml; charset=UTF-8"

    def create_in_document(self, ctx: Any, charset: str | None = None) -> None:
        incoming: _Incoming = ctx.udc
        try:
            incoming.call = read_call(incoming.raw, incoming.content_type, frozenset(incoming.transactions))
        except SoapFault as fault:
            raise incoming.funnel(fault) from fault

    def decompose_incoming_envelope(self, ctx: Any, message: Any) -> None:
        ctx.method_request_string = _OPERATION[ctx.udc.call.action]

    def generate_method_contexts(self, ctx: Any) -> list[Any]:
        # No operation has auxiliary methods, for which alone spyne would copy the context.
        (ctx.descriptor,) = self.get_call_handles(ctx)
        return [ctx]

    def deserialize(self, ctx: Any, message: Any) -> None:
        ctx.in_object = ctx.udc.call


def _operation(name: str) -> Any:
    """spyne's declaration of one transaction; what it does is the transaction's own function."""

    def run(ctx: Any, call: Any) -> Any:
        return ctx.udc.run()

    run.__name__ = name
    return rpc(AnyXml, _returns=AnyXml, _body_style="bare")(run)


_OPERATION = {action: f"{{{XDS}}}{action.name.lower()}" for action in Action}
_Operations: Any = type(
    "_Operations", (Service,), {name: _operation(name) for name in (action.name.lower() for action in Action)}
)

_EMPTIED = dict.fromkeys(
    (
        "udc",
        "in_string",
        "in_document",
        "in_header_doc",
        "in_body_doc",
        "in_object",
        "out_object",
        "out_document",
        "out_body_doc",
        "out_string",
        "in_error",
        "out_error",
    )
)
"""What is heavy in a context, let go of."""


class SoapServer(ServerBase):  # type: ignore[misc]
    """Answers one SOAP message with the transaction its action names."""

    transport = "http://schemas.xmlsoap.org/soap/http"

    def __init__(self, transactions: Mapping[Action, Transaction]) -> None:
        application = Application([_Operations], tns=XDS, in_protocol=_Protocol(), out_protocol=_Protocol())
        application.event_manager.add_listener("method_exception_object", _remember)
        super().__init__(application)
        self.transactions = transactions

    def answer(self, raw: bytes, content_type: str, peer: Peer) -> Answer:
        """The whole answer, or a Release still to be streamed. Never raises: a defect becomes a Receiver fault.

        `content_type` has passed the gate (it is one of the two packagings). Faults are HTTP 500 in the packaging of
        the request and carry the caller's MessageID only.
        """
        incoming = _Incoming(raw, content_type, peer, self.transactions)
        packaging = packaging_of(content_type) or Packaging.SIMPLE
        context = MethodContext(self, MethodContext.SERVER)
        context.udc, context.in_string = incoming, raw
        try:
            self.generate_contexts(context)
            if context.in_error is None:
                self.get_in_object(context)
                self.get_out_object(context)
            if context.out_error is None:
                answer = context.out_object[0]
                if isinstance(answer, Reply | Release):
                    return answer
            elif incoming.fault is not None:
                return write_fault(incoming.fault, packaging)
            raise RuntimeError("an operation failed") from incoming.defect
        except Exception as defect:  # noqa: BLE001 - the last resort of the whole program
            error, where = wordless(incoming.defect or defect)
            log.error("defect", correlation=peer.correlation, error=error, where=where)
            reason = f"The request could not be answered; quote {peer.correlation}"
            return write_fault(SoapFault(FaultCode.RECEIVER, reason), packaging)
        finally:
            # Contexts are reference cycles: what is heavy in them must not wait for a garbage collection.
            incoming.forget()
            context.close()
            context.__dict__.update(_EMPTIED)


def _forget_traces(problem: BaseException | None) -> None:
    for _ in range(20):
        if problem is None:
            return
        problem.__traceback__ = None
        problem = problem.__cause__ or problem.__context__


def _remember(context: Any) -> None:
    """spyne keeps an exception's text and drops its trace; this listener runs while the trace is still at hand."""
    context.udc.defect = sys.exc_info()[1]

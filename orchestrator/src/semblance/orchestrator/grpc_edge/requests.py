"""Each request of our services: its id, and what became of it."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from secrets import token_hex
from typing import Any

import grpc

from semblance.orchestrator import caller
from semblance.orchestrator.grpc_edge.boundary import Behaviour, Context, Handler, around
from semblance.orchestrator.request import Request, answering
from semblance.orchestrator.spans import Tracer
from semblance.orchestrator.statistics import Statistics

# Metadata: what the caller calls its request, and what the service answers that it called it.
ID_KEY = "x-request-id"
# With those of W3C's Trace Context.
KEYS = frozenset({ID_KEY, "traceparent", "tracestate"})
ID_PATTERN = re.compile(r"[\x21-\x7e]{1,128}")


class Requests(grpc.aio.ServerInterceptor):
    """Stands before all others, so that those who are turned away count, too."""

    def __init__(self, methods: Collection[str], statistics: Statistics, tracer: Tracer | None = None) -> None:
        """`methods` are counted, and no other name that somebody may call."""
        self._tracer = tracer
        self._methods = frozenset(methods)
        self._statistics = statistics
        # By method: the handler that was met last, and the same, recorded.
        self._recorded: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        method = handler_call_details.method
        if method not in self._methods:
            return await continuation(handler_call_details)
        answering.set(self._request(method[1:], handler_call_details.invocation_metadata))
        handler = await continuation(handler_call_details)
        known, recorded = self._recorded.get(method, (None, None))
        if handler is not known:
            recorded = around(handler, self._streamed if handler.request_streaming else self._unary)
            self._recorded[method] = handler, recorded
        return recorded

    @contextmanager
    def of_stream(self, number: int) -> Iterator[None]:
        """Around the answer to a message of the stream that is being answered: a request of its own."""
        stream = answering.get()
        assert stream is not None
        request = Request(f"{stream.request_id}/{number}", stream.method, carrier=stream.carrier)
        answering.set(request)
        self._trace(request)
        began = time.perf_counter()
        try:
            yield
        except asyncio.CancelledError:
            request.fail("CANCELLED", "CANCELLED")
            raise
        finally:
            self._add(request, time.perf_counter() - began)

    def _unary(self, behaviour: Behaviour) -> Behaviour:
        async def recorded(message: Any, context: Context) -> Any:
            request, began = _begun(context), time.perf_counter()
            self._trace(request)
            try:
                return await behaviour(message, context)
            except asyncio.CancelledError:
                _cancelled(request, context)
                raise
            finally:
                self._add(request, time.perf_counter() - began)

        return recorded

    def _streamed(self, behaviour: Behaviour) -> Behaviour:
        """Of a stream that ends well only its messages count."""

        async def recorded(messages: Any, context: Context) -> Any:
            request = _begun(context)
            try:
                return await behaviour(messages, context)
            except asyncio.CancelledError:
                _cancelled(request, context)
                raise
            finally:
                if request.reason:
                    self._add(request, None)

        return recorded

    def _request(self, method: str, metadata: Any) -> Request:
        sent = {key: value for key, value in metadata if key in KEYS}
        named = sent.pop(ID_KEY, None)
        if not isinstance(named, str) or not ID_PATTERN.fullmatch(named):
            # None that a log can show.
            named = token_hex(8)
        return Request(named, method, carrier=sent)

    def _trace(self, request: Request) -> None:
        if self._tracer is not None:
            request.span = self._tracer.begin(request)

    def _add(self, request: Request, seconds: float | None) -> None:
        name = caller.current.get().name
        self._statistics.add_request(request, name, seconds)
        if request.span is not None:
            request.span.finish(name)


def _begun(context: Context) -> Request:
    """The request, whose id the caller is told."""
    request = answering.get()
    assert request is not None
    context.set_trailing_metadata(((ID_KEY, request.request_id),))
    return request


def _cancelled(request: Request, context: Context) -> None:
    """By its caller, or because its time was over."""
    over = context.time_remaining() == 0
    status = "DEADLINE_EXCEEDED" if over else "CANCELLED"
    request.fail(status, status)

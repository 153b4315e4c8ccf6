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
from semblance.orchestrator.statistics import Statistics

# Metadata: what the caller calls its request, and what the service answers that it called it.
ID_KEY = "x-request-id"
ID_PATTERN = re.compile(r"[\x21-\x7e]{1,128}")


class Requests(grpc.aio.ServerInterceptor):
    """Stands before all others, so that those who are turned away count, too."""

    def __init__(self, methods: Collection[str], statistics: Statistics) -> None:
        """`methods` are counted, and no other name that somebody may call."""
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
        answering.set(Request(_id(handler_call_details.invocation_metadata), method[1:]))
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
        request = Request(f"{stream.request_id}/{number}", stream.method)
        answering.set(request)
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

    def _add(self, request: Request, seconds: float | None) -> None:
        self._statistics.add_request(request, caller.current.get().name, seconds)


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


def _id(metadata: Any) -> str:
    """The caller's, unless it is none that a log can show."""
    for key, value in metadata:
        if key == ID_KEY and isinstance(value, str) and ID_PATTERN.fullmatch(value):
            return value
    return token_hex(8)

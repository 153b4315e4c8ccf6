"""Where an error becomes a status, and a call gets its deadline."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_status import rpc_status

from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.grpc_edge.status import fault

# Health and reflection answer with statuses of their own.
OUR_METHODS = ("/semblance.v1.", "/inference.")

Context = grpc.aio.ServicerContext[Any, Any]
# grpc.RpcMethodHandler or None; its type knows only the behaviours of the synchronous server.
Handler = Any
Behaviour = Callable[[Any, Context], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class DeadlinePolicy:
    """Seconds: `default` where the caller names no deadline, at most `maximum` whatever it names."""

    default: float
    maximum: float

    def of_call(self, context: Context, asked: float | None = None) -> Deadline:
        """`asked`: seconds that the request itself names, from when it was read."""
        named = [seconds for seconds in (context.time_remaining(), asked) if seconds is not None]
        return Deadline.after(min(self.maximum, *(named or [self.default])))


class ErrorBoundary(grpc.aio.ServerInterceptor):
    """Lets nothing but statuses out of our services. Cancellation is not an error."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(OUR_METHODS):
            return handler
        if handler.request_streaming:
            make, behaviour = grpc.stream_stream_rpc_method_handler, handler.stream_stream
        else:
            make, behaviour = grpc.unary_unary_rpc_method_handler, handler.unary_unary
        return make(_guarded(behaviour), handler.request_deserializer, handler.response_serializer)


def _guarded(behaviour: Behaviour) -> Behaviour:
    async def guarded(request: Any, context: Context) -> Any:
        try:
            return await behaviour(request, context)
        except Exception as error:
            await context.abort_with_status(rpc_status.to_status(fault(error).status()))

    return guarded

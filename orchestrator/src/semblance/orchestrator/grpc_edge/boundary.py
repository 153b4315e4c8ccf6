"""Where an error becomes a status, and a call gets its deadline."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import InvalidArgument
from semblance.orchestrator.grpc_edge.status import fault

# Health and reflection answer with statuses of their own.
OUR_METHODS = ("/semblance.v1.", "/inference.")

Context = grpc.aio.ServicerContext[Any, Any]
# grpc.RpcMethodHandler or None; its type knows only the behaviours of the synchronous server.
Handler = Any
Behaviour = Callable[[Any, Context], Awaitable[Any]]
Deserializer = Callable[[bytes], Any]


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

    def __init__(self) -> None:
        # By method; each call asks for its own.
        self._guarded: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(OUR_METHODS):
            return handler
        if method not in self._guarded:
            lenient = handler._replace(request_deserializer=_lenient(handler.request_deserializer))
            self._guarded[method] = around(lenient, _guarded)
        return self._guarded[method]


def around(handler: Handler, wrap: Callable[[Behaviour], Behaviour]) -> Handler:
    """The handler with its behaviour wrapped; of a method that takes one message, or takes and gives a stream."""
    if handler.request_streaming:
        make, behaviour = grpc.stream_stream_rpc_method_handler, handler.stream_stream
    elif handler.response_streaming:
        make, behaviour = grpc.unary_stream_rpc_method_handler, handler.unary_stream
    else:
        make, behaviour = grpc.unary_unary_rpc_method_handler, handler.unary_unary
    return make(wrap(behaviour), handler.request_deserializer, handler.response_serializer)


async def refuse(context: Context, error: Exception) -> NoReturn:
    """Ends the call with the status of an error."""
    status = rpc_status.to_status(fault(error).status())
    # `abort_with_status` would put its own in the place of what is there.
    await context.abort(status.code, status.details, (*context.trailing_metadata(), *status.trailing_metadata))


def _guarded(behaviour: Behaviour) -> Behaviour:
    async def guarded(request: Any, context: Context) -> Any:
        try:
            if isinstance(request, InvalidArgument):
                raise request
            return await behaviour(request, context)
        except Exception as error:
            await refuse(context, error)

    return guarded


def _lenient(deserialize: Deserializer) -> Deserializer:
    """Gives an error in place of a message that can't be read; raised, gRPC would answer in the parser's words."""

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return InvalidArgument("the bytes are not a message of this method; send one that follows its .proto file")

    return read

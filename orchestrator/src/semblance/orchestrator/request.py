"""The request that is being answered: what its log lines, metrics and spans have in common."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol, Self


class Span(Protocol):
    """A part of a request that has begun; when it has ended it is known which release it was served with."""

    @property
    def traceparent(self) -> str:
        """As W3C's Trace Context has it, for whom it calls."""
        ...

    def child(
        self,
        name: str,
        attributes: Mapping[str, str | int] | None = None,
        linked: Self | None = None,
        at: int | None = None,
    ) -> Self:
        """A part of this one that begins now, or did `at` so many nanoseconds of Unix time; with `attributes` it is a
        call of another service, which may be the same as one of another request's."""
        ...

    def end(self, error: str = "", at: int | None = None) -> None: ...

    def finish(self, caller: str) -> None:
        """Ends the span of a whole request, which was `caller`'s."""
        ...


@dataclass(slots=True, eq=False)
class Request:
    """A call, or one message of a stream.

    Attributes:
        request_id: in each of its log lines.
        method: gRPC's, such as semblance.v1.SearchService/Search.
        release_id: what it is served with; empty before it is admitted.
        status: the name of a gRPC status.
        reason: of its failure, as `google.rpc.ErrorInfo` has it; empty while there is none.
        carrier: the caller's `traceparent` and `tracestate`, of W3C's Trace Context, where he sent them.
        span: the innermost that has begun and not ended; None where the request is not traced.
    """

    request_id: str
    method: str
    release_id: str = ""
    status: str = "OK"
    reason: str = ""
    carrier: Mapping[str, str] = field(default_factory=dict)
    span: Span | None = None

    def fail(self, status: str, reason: str) -> None:
        self.status, self.reason = status, reason


# In the request's task and the tasks that this one starts; what serves several requests at once has one of them.
answering: ContextVar[Request | None] = ContextVar("request", default=None)

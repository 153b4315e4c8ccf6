"""The request that is being answered: what its log lines, metrics and spans have in common."""

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Request:
    """A call, or one message of a stream.

    Attributes:
        request_id: in each of its log lines.
        method: gRPC's, such as semblance.v1.SearchService/Search.
        release_id: what it is served with; empty before it is admitted.
        status: the name of a gRPC status.
        reason: of its failure, as `google.rpc.ErrorInfo` has it; empty while there is none.
    """

    request_id: str
    method: str
    release_id: str = ""
    status: str = "OK"
    reason: str = ""

    def fail(self, status: str, reason: str) -> None:
        self.status, self.reason = status, reason


# In the request's task and the tasks that this one starts; what serves several requests at once has one of them.
answering: ContextVar[Request | None] = ContextVar("request", default=None)

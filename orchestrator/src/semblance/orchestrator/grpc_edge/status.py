"""The one table from the taxonomy of errors to gRPC statuses."""

import logging
import uuid
from dataclasses import dataclass

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from semblance.orchestrator.errors import (
    Conflict,
    ContractMismatch,
    DeadlineExceeded,
    DependencyUnavailable,
    Forbidden,
    InvalidArgument,
    InvalidFilter,
    InvalidImage,
    NotFound,
    Overloaded,
    RateLimited,
    Retryable,
    SemblanceError,
    Unauthenticated,
    WrongState,
)
from semblance.orchestrator.request import answering
from semblance.v1.failure_pb2 import Failure

log = logging.getLogger(__name__)

DOMAIN = "semblance"
# Callers take 8 KiB of trailers by default, and a status has its text there twice: percent-encoded and in base64.
MAX_MESSAGE_BYTES = 1024

# Error → status and ErrorInfo.reason.
TABLE: dict[type[SemblanceError], tuple[StatusCode, str]] = {
    InvalidArgument: (StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    InvalidImage: (StatusCode.INVALID_ARGUMENT, "INVALID_IMAGE"),
    InvalidFilter: (StatusCode.INVALID_ARGUMENT, "INVALID_FILTER"),
    Unauthenticated: (StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    Forbidden: (StatusCode.PERMISSION_DENIED, "FORBIDDEN"),
    NotFound: (StatusCode.NOT_FOUND, "NOT_FOUND"),
    Conflict: (StatusCode.ABORTED, "CONFLICT"),
    Overloaded: (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
    RateLimited: (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"),
    DependencyUnavailable: (StatusCode.UNAVAILABLE, "DEPENDENCY_UNAVAILABLE"),
    ContractMismatch: (StatusCode.FAILED_PRECONDITION, "CONTRACT_MISMATCH"),
    WrongState: (StatusCode.FAILED_PRECONDITION, "WRONG_STATE"),
    DeadlineExceeded: (StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """An error as the caller sees it; `retry_delay` is in seconds."""

    code: StatusCode
    reason: str
    message: str
    retry_delay: float | None = None

    def status(self) -> Status:
        """As the rich status of a failed call."""
        details = [_packed(ErrorInfo(reason=self.reason, domain=DOMAIN))]
        if self.retry_delay is not None:
            details.append(_packed(RetryInfo(retry_delay=_duration(self.retry_delay))))
        return Status(code=self.code.value[0], message=self.message, details=details)

    def failure(self) -> Failure:
        """As the answer of one request of a stream."""
        delay = None if self.retry_delay is None else _duration(self.retry_delay)
        return Failure(code=self.code.value[0], message=self.message, reason=self.reason, retry_delay=delay)


def fault(error: Exception) -> Fault:
    """What became of the request that is being answered, which is told so.

    Anything that is not in the table is a defect of ours: its text stays in the log, under an id.
    """
    found = _fault(error)
    if (request := answering.get()) is not None:
        request.fail(found.code.name, found.reason)
        log.debug("failed with %s: %s", found.code.name, found.message)
    return found


def _fault(error: Exception) -> Fault:
    if isinstance(error, SemblanceError):
        code, reason = TABLE[type(error)]
        return Fault(code, reason, _shortened(str(error)), error.retry_delay if isinstance(error, Retryable) else None)
    if isinstance(error, NotImplementedError):
        # The generated servicers raise it for the methods of a protocol that are not overridden.
        return Fault(StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED", "this service does not offer the method")
    error_id = uuid.uuid4().hex[:12]
    log.error("internal error %s", error_id, exc_info=error)
    return Fault(StatusCode.INTERNAL, "INTERNAL", f"internal error {error_id}; the service's log explains it")


def _shortened(text: str) -> str:
    """An error may quote what the caller sent, whatever its length."""
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= MAX_MESSAGE_BYTES else encoded[:MAX_MESSAGE_BYTES].decode(errors="ignore") + " …"


def _packed(message: ErrorInfo | RetryInfo) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration

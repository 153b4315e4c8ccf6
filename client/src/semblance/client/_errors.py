"""What can go wrong, as one tree, and the one place that maps gRPC's errors to it.

SemblanceError
├── InvalidArgumentError      the request is wrong; sending it again will not help
│   ├── InvalidImageError     not a readable JPEG, PNG or WebP, or over a limit
│   └── InvalidFilterError    an unknown field, or a value of the wrong type
├── UnauthenticatedError      the service does not know who asks
├── ForbiddenError            it knows, and refuses
├── NotFoundError             there is no such item, or release
├── ConflictError             something else changed the same thing meanwhile
├── RetryableError            the same request may succeed later; see `retry_delay`
│   ├── OverloadedError       the service has too much to do, or you call more often than agreed
│   └── UnavailableError      the service, or something it depends on, cannot be reached
├── ContractMismatchError     a model or a collection is not what the release says
├── WrongStateError           a release is not in the state, or has not the figures, that this takes
├── DeadlineExceededError     no answer within the deadline
├── CancelledError            the call was cancelled
└── InternalError             a defect of the service; its log explains the id in the message
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from semblance.v1.failure_pb2 import Failure

DOMAIN = "semblance"
"""`ErrorInfo.domain` of the service's own errors."""

STATUS_DETAILS = "grpc-status-details-bin"
"""The trailing metadata that carries a serialised `google.rpc.Status`."""


class SemblanceError(Exception):
    """Base of all errors of this client; its text says what was wrong, what was expected and what to do."""


class InvalidArgumentError(SemblanceError):
    """The request is wrong."""


class InvalidImageError(InvalidArgumentError):
    """An image can't be read, is of another format than JPEG, PNG or WebP, or is over a limit."""


class InvalidFilterError(InvalidArgumentError):
    """A filter names an unknown field or compares it with a value of the wrong type."""


class UnauthenticatedError(SemblanceError):
    """The service does not know who asks."""


class ForbiddenError(SemblanceError):
    """The service knows who asks, and refuses."""


class NotFoundError(SemblanceError):
    """There is no such item, or release."""


class ConflictError(SemblanceError):
    """Something else changed the same thing meanwhile."""


class RetryableError(SemblanceError):
    """The same request may succeed later: after `retry_delay` seconds, where the service named a time."""

    def __init__(self, message: str, retry_delay: float | None = None) -> None:
        super().__init__(message)
        self.retry_delay = retry_delay


class OverloadedError(RetryableError):
    """The service has too much to do, or this caller calls more often than agreed."""


class UnavailableError(RetryableError):
    """The service, or something that it depends on, cannot be reached."""


class ContractMismatchError(SemblanceError):
    """A model or a collection is not what the release says."""


class WrongStateError(SemblanceError):
    """A release is not in the state, or has not the figures, that what is asked of it needs."""


class DeadlineExceededError(SemblanceError):
    """No answer within the deadline."""


class CancelledError(SemblanceError):
    """The call was cancelled, by either side."""


class InternalError(SemblanceError):
    """A defect of the service; its log explains the id in the message."""


BY_REASON: dict[str, type[SemblanceError]] = {
    "INVALID_ARGUMENT": InvalidArgumentError,
    "INVALID_IMAGE": InvalidImageError,
    "INVALID_FILTER": InvalidFilterError,
    "UNAUTHENTICATED": UnauthenticatedError,
    "FORBIDDEN": ForbiddenError,
    "NOT_FOUND": NotFoundError,
    "CONFLICT": ConflictError,
    "OVERLOADED": OverloadedError,
    "RATE_LIMITED": OverloadedError,
    "DEPENDENCY_UNAVAILABLE": UnavailableError,
    "CONTRACT_MISMATCH": ContractMismatchError,
    "WRONG_STATE": WrongStateError,
    "DEADLINE_EXCEEDED": DeadlineExceededError,
    "INTERNAL": InternalError,
}
"""The error of each `ErrorInfo.reason` of the service."""

BY_STATUS: dict[grpc.StatusCode, type[SemblanceError]] = {
    grpc.StatusCode.CANCELLED: CancelledError,
    grpc.StatusCode.UNKNOWN: InternalError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: ConflictError,
    grpc.StatusCode.PERMISSION_DENIED: ForbiddenError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: OverloadedError,
    grpc.StatusCode.FAILED_PRECONDITION: ContractMismatchError,
    grpc.StatusCode.ABORTED: ConflictError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgumentError,
    grpc.StatusCode.UNIMPLEMENTED: InternalError,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DATA_LOSS: InternalError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
}
"""The error of each status without a reason that is known here: of gRPC itself, a proxy, a newer service."""

_STATUS_BY_NUMBER = {status.value[0]: status for status in grpc.StatusCode}


def from_failure(failure: Failure) -> SemblanceError:
    """The error that a stream's `Failure` message stands for."""
    status = _STATUS_BY_NUMBER.get(failure.code, grpc.StatusCode.UNKNOWN)
    delay = _seconds(failure.retry_delay) if failure.HasField("retry_delay") else None
    return _error(status, failure.reason, failure.message, delay)


def from_rpc_error(error: Any, target: str) -> SemblanceError:
    """The error that a call's failed status stands for.

    `error` is a `grpc.RpcError` that is also a call, as every one that a channel raises is.
    """
    status: grpc.StatusCode = error.code()
    message = error.details() or ""
    reason, delay = _details(error.trailing_metadata() or ())
    if not reason and status is grpc.StatusCode.UNAVAILABLE:
        # C-core's text is a chain of causes; the last is the one that a person needs.
        cause = message.rpartition(": ")[2]
        message = f"cannot reach {target}: is it up? start it with `semblance up` ({cause})"
    elif not reason and status is grpc.StatusCode.DEADLINE_EXCEEDED:
        message = f"{target} did not answer in time ({message})"
    elif not reason and status is grpc.StatusCode.RESOURCE_EXHAUSTED and "message larger than max" in message:
        # What every gRPC says of its own limit, which waiting does not change.
        return InvalidArgumentError(f"a message to or from {target} is too large; ask for less at once ({message})")
    elif not reason:
        message = f"{message} ({status.name} from {target})"
    return _error(status, reason, message, delay)


@contextmanager
def mapped(target: str) -> Iterator[None]:
    """Raises a gRPC error of the block as the error of this module that it stands for."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error, target) from error


def _error(status: grpc.StatusCode, reason: str, message: str, delay: float | None) -> SemblanceError:
    kind = BY_REASON.get(reason) or BY_STATUS[status]
    return kind(message, delay) if issubclass(kind, RetryableError) else kind(message)


def _details(metadata: Any) -> tuple[str, float | None]:
    """The service's reason, empty where it gave none, and the retry delay in seconds."""
    reason, delay = "", None
    for key, value in metadata:
        if key != STATUS_DETAILS:
            continue
        for detail in Status.FromString(value).details:
            info, retry = ErrorInfo(), RetryInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                reason = info.reason
            elif detail.Unpack(retry):
                delay = _seconds(retry.retry_delay)
    return reason, delay


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9

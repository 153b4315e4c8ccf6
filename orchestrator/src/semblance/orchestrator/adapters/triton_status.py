"""What Triton's statuses and texts mean."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from grpc import StatusCode

from semblance.orchestrator.errors import (
    ContractMismatch,
    DeadlineExceeded,
    DependencyUnavailable,
    Overloaded,
    SemblanceError,
)
from semblance.orchestrator.release import ModelVersion

# What Triton says, with the status UNAVAILABLE as for much else, where a model's queue is full or a request waited too
# long in it (`core/src/dynamic_batch_scheduler.cc`, `scheduler_utils.cc`).
QUEUE_FULL = "Exceeds maximum queue size"
QUEUE_TIMEOUT = "Request timeout expired"
# The same for a model or version that is being loaded or unloaded (`core/src/model_repository_manager`).
NOT_READY = "is not at ready state"
# Where it was not started in explicit mode, with the status UNAVAILABLE (`core/src/model_repository_manager`).
NO_CONTROL = "explicit model load / unload is not allowed"
# Where it was restarted and has lost what was registered (`src/shared_memory_manager.cc`).
UNKNOWN_REGION = "Unable to find shared memory region"


@contextmanager
def errors(url: str, model: ModelVersion | None = None) -> Iterator[None]:
    """Maps what calls to the Triton at `url` raise, about one model or all."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise _translated(error, url, title_of(model) if model else "its models") from None


@contextmanager
def load_errors(url: str, name: str) -> Iterator[None]:
    """Maps what loading or unloading a model in the Triton at `url` raises."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        text = error.details() or ""
        if NO_CONTROL in text:
            raise DependencyUnavailable(
                f"Triton at {url} loads no models on request, {name} for one; start it with "
                "--model-control-mode=explicit"
            ) from None
        if error.code() in (StatusCode.DEADLINE_EXCEEDED, StatusCode.UNAVAILABLE):
            raise _translated(error, url, name) from None
        raise ContractMismatch(f"Triton at {url} can't serve {name}: {text}") from None


def title_of(model: ModelVersion) -> str:
    return f"{model.name} version {model.version}"


def _translated(error: grpc.aio.AioRpcError, url: str, title: str) -> SemblanceError:
    subject = f"Triton at {url}"
    text = error.details() or ""
    match error.code():
        case StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{subject} did not answer for {title} within the request's deadline")
        case StatusCode.UNAVAILABLE if QUEUE_FULL in text:
            return Overloaded(f"{subject} has a full queue for {title}; try again later")
        case StatusCode.UNAVAILABLE if QUEUE_TIMEOUT in text:
            return DeadlineExceeded(f"{subject} left the request for {title} in its queue for too long")
        case StatusCode.UNAVAILABLE if NOT_READY in text:
            return DependencyUnavailable(f"{subject} is loading or unloading {title}; try again later")
        case StatusCode.UNAVAILABLE:
            return DependencyUnavailable(f"{subject} does not answer: {text}")
        case StatusCode.RESOURCE_EXHAUSTED:
            return Overloaded(f"{subject} is overloaded with {title}: {text}")
        case StatusCode.NOT_FOUND:
            return ContractMismatch(f"{subject} does not know {title}: {text}; load that version there")
        case StatusCode.INVALID_ARGUMENT:
            return ContractMismatch(f"{subject} refuses the input of {title}: {text}")
        case _:
            return DependencyUnavailable(f"{subject} failed on {title}: {text}")

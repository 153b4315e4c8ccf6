"""The taxonomy of failures. `grpc_edge.status` maps each to one gRPC status; nothing else does.

    SemblanceError
    ├── InvalidArgument
    │   ├── InvalidImage
    │   └── InvalidFilter
    ├── Unauthenticated
    ├── Forbidden
    ├── NotFound
    ├── Conflict
    ├── Retryable
    │   ├── Overloaded
    │   ├── RateLimited
    │   └── DependencyUnavailable
    ├── ContractMismatch
    ├── WrongState
    └── DeadlineExceeded

The text of an error is for the caller: what was wrong, what was expected, what to do.
"""


class SemblanceError(Exception):
    """A failure that the caller is told about in its own words."""


class InvalidArgument(SemblanceError):
    """The request asks for something that can't be."""


class InvalidImage(InvalidArgument):
    """The bytes are not an image that is accepted."""


class InvalidFilter(InvalidArgument):
    """The filter names an unknown attribute or compares it with a value of another type."""


class Unauthenticated(SemblanceError):
    """It is not known who calls."""


class Forbidden(SemblanceError):
    """The caller is known, and has no role that this takes."""


class NotFound(SemblanceError):
    """There is no such item, or release."""


class Conflict(SemblanceError):
    """Somebody else changed the same thing meanwhile."""


class Retryable(SemblanceError):
    """A failure that trying again after `retry_delay` seconds may mend."""

    def __init__(self, message: str, retry_delay: float = 1.0) -> None:
        super().__init__(message)
        self.retry_delay = retry_delay


class Overloaded(Retryable):
    """More is asked than can be served in time."""


class RateLimited(Retryable):
    """The caller asks more often than it may."""


class DependencyUnavailable(Retryable):
    """Triton, Milvus, the metadata or the image store does not answer."""


class ContractMismatch(SemblanceError):
    """A model or a collection is not what the release says it is."""


class WrongState(SemblanceError):
    """A release is not in the state, or has not the figures, that what is asked of it needs."""


class DeadlineExceeded(SemblanceError):
    """The request's time is over."""

"""How failures of the wire become errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

import semblance.client
from semblance.client import (
    Client,
    ConflictError,
    ContractMismatchError,
    DeadlineExceededError,
    ForbiddenError,
    InternalError,
    InvalidArgumentError,
    InvalidFilterError,
    InvalidImageError,
    NewItem,
    NotFoundError,
    OverloadedError,
    RetryableError,
    SearchRequest,
    SemblanceError,
    UnauthenticatedError,
    UnavailableError,
    WrongStateError,
)
from semblance.client import _errors as errors
from semblance.client.testing import FakeSemblance
from semblance.v1.failure_pb2 import Failure

REASONS: dict[str, type[SemblanceError]] = {
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
"""The taxonomy of the wire contract."""


class FailedCall(grpc.RpcError):
    """What a channel raises."""

    def __init__(self, status: grpc.StatusCode, details: str = "", metadata: Any = ()) -> None:
        self._status, self._details, self._metadata = status, details, metadata

    def code(self) -> grpc.StatusCode:
        return self._status

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._metadata


def all_errors(kind: type[SemblanceError] = SemblanceError) -> set[type[SemblanceError]]:
    return {kind}.union(*map(all_errors, kind.__subclasses__()))


def test_every_error_is_public_and_in_the_drawn_tree() -> None:
    for kind in all_errors():
        assert getattr(semblance.client, kind.__name__) is kind
        assert kind.__name__ in semblance.client.__all__
        assert kind.__name__ in (errors.__doc__ or "")


def test_every_status_of_grpc_is_mapped() -> None:
    assert set(errors.BY_STATUS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}
    for status in errors.BY_STATUS:
        assert isinstance(errors.from_rpc_error(FailedCall(status), "here"), errors.BY_STATUS[status])


def test_every_reason_of_the_contract_is_mapped() -> None:
    assert errors.BY_REASON == REASONS
    for reason, kind in REASONS.items():
        failure = Failure(code=2, message="text", reason=reason)
        assert type(errors.from_failure(failure)) is kind


@pytest.mark.parametrize("kind", list(REASONS.values()))
def test_an_error_survives_the_wire(
    kind: type[SemblanceError], fake: FakeSemblance, client: Client, picture: Callable[[int], bytes]
) -> None:
    delayed = issubclass(kind, RetryableError)
    error = kind("what and why", 1.5) if issubclass(kind, RetryableError) else kind("what and why")
    # More often than a call is retried, so that the last word is the error.
    fake.fail(error, times=6)
    with pytest.raises(kind) as raised:
        client.search(picture(1))
    [(_, answer)] = client.search_many([SearchRequest(picture(1))])
    with pytest.raises(kind) as put:
        client.put_item(NewItem("mug", [picture(1)]))
    for found in (raised.value, answer, put.value):
        assert type(found) is kind
        assert str(found) == "what and why"
        assert getattr(found, "retry_delay", None) == (1.5 if delayed else None)


def test_an_unknown_reason_falls_back_to_the_status() -> None:
    failure = Failure(code=grpc.StatusCode.NOT_FOUND.value[0], message="text", reason="INVENTED_LATER")
    assert type(errors.from_failure(failure)) is NotFoundError
    assert type(errors.from_failure(Failure(code=999, message="text"))) is InternalError


def test_a_reason_of_somebody_else_is_not_ours() -> None:
    packed = AnyMessage()
    packed.Pack(ErrorInfo(domain="googleapis.com", reason="INVALID_IMAGE"))
    metadata = [(errors.STATUS_DETAILS, Status(details=[packed]).SerializeToString())]
    error = errors.from_rpc_error(FailedCall(grpc.StatusCode.INVALID_ARGUMENT, "text", metadata), "here")
    assert type(error) is InvalidArgumentError


def test_a_message_over_a_limit_of_grpc_is_not_an_overload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semblance.client.testing._service.MAX_MESSAGE_BYTES", 2**20)
    with FakeSemblance() as small, Client(small.target) as client:
        with pytest.raises(InvalidArgumentError, match=f"to or from {small.target} is too large"):
            client.search(bytes(2**21))
        with pytest.raises(InvalidArgumentError, match="too large"):
            client.put_item(NewItem("mug", [bytes(2**21)]))
    error = errors.from_rpc_error(FailedCall(grpc.StatusCode.RESOURCE_EXHAUSTED, "quota of the proxy"), "here")
    assert type(error) is OverloadedError


def test_a_service_that_is_not_there_is_named_with_the_way_out() -> None:
    with FakeSemblance() as fake:
        target = fake.target
    with Client(target) as client, pytest.raises(UnavailableError, match=f"cannot reach {target}.*semblance up"):
        client.count()
    with Client(target) as client, pytest.raises(UnavailableError, match=f"cannot reach {target}"):
        list(client.put([NewItem("mug", [b"x"])]))

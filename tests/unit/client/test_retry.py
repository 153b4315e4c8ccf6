"""What is tried again, and what is not."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from semblance.client import (
    Client,
    DeadlineExceededError,
    InternalError,
    InvalidArgumentError,
    InvalidImageError,
    NewItem,
    NotFoundError,
    OverloadedError,
    SearchRequest,
    UnavailableError,
)
from semblance.client._channel import options
from semblance.client._retry import backoff
from semblance.client.testing import FakeSemblance
from semblance.v1 import catalog_pb2, feedback_pb2, release_pb2, search_pb2


def test_an_unavailable_service_is_tried_again(fake: FakeSemblance, client: Client) -> None:
    fake.fail(UnavailableError("the database is away"), times=2)
    assert client.count().items == 0
    assert fake.received["Count"] == 3


def test_a_service_that_stays_unavailable_is_given_up(fake: FakeSemblance, client: Client) -> None:
    fake.fail(UnavailableError("the database is away"), times=100)
    with pytest.raises(UnavailableError, match="the database is away"):
        client.count()
    assert fake.received["Count"] == 4


def test_the_largest_image_is_tried_again_too(fake: FakeSemblance, client: Client) -> None:
    fake.fail(UnavailableError("a moment"), times=2)
    with pytest.raises(InvalidImageError):
        client.search(bytes(16 * 2**20))
    assert fake.received["Search"] == 3


def test_grpc_itself_retries_no_stream_of_requests() -> None:
    config = json.loads(str(dict(options("127.0.0.1:1", None))["grpc.service_config"]))
    without = {
        (name["service"], name["method"])
        for each in config["methodConfig"]
        if "retryPolicy" not in each
        for name in each["name"]
    }
    streams = {
        (service.full_name, method.name)
        for module in (catalog_pb2, feedback_pb2, release_pb2, search_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if method.client_streaming
    }
    assert len(streams) == 3
    assert streams <= without


def test_attempts_are_as_far_apart_as_grpcs_own() -> None:
    for attempt, seconds in ((2, 0.1), (3, 0.3), (4, 0.9), (5, 2.0), (100, 2.0)):
        assert backoff(attempt) == pytest.approx(seconds, rel=0.21)


@pytest.mark.parametrize("error", [OverloadedError("busy"), InternalError("defect 1")])
def test_nothing_else_is_tried_again(fake: FakeSemblance, client: Client, error: Exception) -> None:
    fake.fail(error)  # type: ignore[arg-type]
    with pytest.raises(type(error)):
        client.count()
    assert fake.received["Count"] == 1


def test_a_delete_that_is_tried_again_may_find_nothing(
    fake: FakeSemblance, client: Client, picture: Callable[[int], bytes]
) -> None:
    client.put_item(NewItem("mug", [picture(1)]))
    fake.fail(UnavailableError("a moment"))
    client.delete("mug")
    fake.fail(UnavailableError("a moment"))
    client.delete("mug")
    assert fake.received["Delete"] == 4
    with pytest.raises(NotFoundError):
        client.delete("mug")
    assert fake.received["Delete"] == 5


def test_a_deletion_of_feedback_is_not_tried_again(fake: FakeSemblance, client: Client) -> None:
    fake.fail(UnavailableError("a moment"))
    with pytest.raises(UnavailableError):
        client.feedback.delete(["f1"])
    assert fake.received["DeleteFeedback"] == 1


def test_a_call_that_is_not_answered_ends_at_its_deadline(fake: FakeSemblance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semblance.client._channel.STREAM_GRACE", 0.2)
    with Client(fake.target, timeout=0.3) as client, fake.hold():
        with pytest.raises(DeadlineExceededError, match=fake.target):
            client.count()
        with pytest.raises(DeadlineExceededError, match=r"within 0\.5 s"):
            client.put_item(NewItem("mug", [b"x"]))
        with pytest.raises(DeadlineExceededError, match=r"within 0\.5 s"):
            list(client.search_many([SearchRequest(b"x")]))


def test_what_no_message_can_carry_is_refused_before_it_is_sent(fake: FakeSemblance, client: Client) -> None:
    with pytest.raises(InvalidArgumentError, match=r"64\.0 MiB"):
        client.search(bytes(64 * 2**20))
    assert not fake.received

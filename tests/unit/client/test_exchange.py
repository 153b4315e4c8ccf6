"""Several requests in flight on one stream."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Queue
from threading import Event
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from semblance.client import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    ForbiddenError,
    InternalError,
    InvalidImageError,
    NewItem,
    SearchRequest,
    SearchResult,
    UnavailableError,
    _exchange,
)
from semblance.client._client import search_protocol
from semblance.client._exchange import Window
from semblance.client._translate import MAX_MESSAGE_BYTES
from semblance.client.testing import FakeSemblance
from semblance.v1 import search_pb2, search_pb2_grpc

Picture = Callable[[int], bytes]
Handler = Callable[
    [Iterator[search_pb2.SearchRequest], grpc.ServicerContext], Iterator[search_pb2.SearchStreamResponse]
]


@contextmanager
def serving(handler: Handler) -> Iterator[str]:
    """A service whose SearchStream is `handler`; yields its host and port."""

    class Servicer(search_pb2_grpc.SearchServiceServicer):
        def Search(self, request: Any, context: Any) -> Any:  # noqa: N802
            raise NotImplementedError

        def SearchStream(self, request_iterator: Any, context: Any) -> Any:  # noqa: N802
            return handler(request_iterator, context)

    server = grpc.server(ThreadPoolExecutor(4))
    search_pb2_grpc.add_SearchServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def answer(request: search_pb2.SearchRequest) -> search_pb2.SearchStreamResponse:
    response = search_pb2.SearchResponse(request_id=request.request_id, release=request.image.decode())
    return search_pb2.SearchStreamResponse(request_id=request.request_id, response=response)


def in_pairs(
    requests: Iterator[search_pb2.SearchRequest], context: object
) -> Iterator[search_pb2.SearchStreamResponse]:
    """Answers the second of two requests first."""
    for first in requests:
        yield from map(answer, (next(requests), first))


def gathered(target: str, requests: list[SearchRequest], in_flight: int, asynchronous: bool) -> list[Any]:
    """What `search_many` yields."""

    async def run() -> list[Any]:
        async with AsyncClient(target, timeout=5) as client:
            return [pair async for pair in client.search_many(requests, in_flight=in_flight)]

    if asynchronous:
        return asyncio.run(run())
    with Client(target, timeout=5) as client:
        return list(client.search_many(requests, in_flight=in_flight))


both = pytest.mark.parametrize("asynchronous", [False, True], ids=["threads", "asyncio"])


@both
def test_answers_out_of_order_go_with_their_requests(asynchronous: bool) -> None:
    requests = [SearchRequest(str(number).encode()) for number in range(20)]
    with serving(in_pairs) as target:
        pairs = gathered(target, requests, 4, asynchronous)
    assert [request for request, _ in pairs[:4]] == [requests[1], requests[0], requests[3], requests[2]]
    assert all(result.release.encode() == request.image for request, result in pairs)
    assert len(pairs) == 20


@both
def test_a_stream_that_ends_early_is_an_error(asynchronous: bool) -> None:
    def deaf(requests: Any, context: Any) -> Iterator[search_pb2.SearchStreamResponse]:
        yield answer(next(requests))

    with serving(deaf) as target, pytest.raises(InternalError, match="unanswered"):
        gathered(target, [SearchRequest(b"1"), SearchRequest(b"2")], 2, asynchronous)


@both
def test_an_answer_to_nothing_is_an_error(asynchronous: bool) -> None:
    def confused(requests: Any, context: Any) -> Iterator[search_pb2.SearchStreamResponse]:
        yield search_pb2.SearchStreamResponse(request_id="nobody's")
        yield from map(answer, requests)

    with serving(confused) as target, pytest.raises(InternalError, match="nobody's"):
        gathered(target, [SearchRequest(b"1")], 2, asynchronous)


@both
@pytest.mark.parametrize("in_flight", [1, 3])
def test_what_was_not_answered_when_the_service_went_is_sent_again(in_flight: int, asynchronous: bool) -> None:
    seen: list[bytes] = []

    def breaking(requests: Any, context: grpc.ServicerContext) -> Iterator[search_pb2.SearchStreamResponse]:
        for _ in range(2):
            request = next(requests)
            seen.append(request.image)
            yield answer(request)
        context.abort(grpc.StatusCode.UNAVAILABLE, "going down")

    requests = [SearchRequest(str(number).encode()) for number in range(8)]
    with serving(breaking) as target:
        pairs = gathered(target, requests, in_flight, asynchronous)
    assert [request for request, _ in pairs] == requests
    assert all(result.release.encode() == request.image for request, result in pairs)
    assert seen == [request.image for request in requests]


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Those that were waited for, which takes no time here."""
    found: list[int] = []

    def none(attempt: int) -> float:
        found.append(attempt)
        return 0.0

    monkeypatch.setattr(_exchange, "backoff", none)
    return found


@both
def test_a_service_that_goes_before_it_answers_anything_is_an_error_after_four_times(
    asynchronous: bool, attempts: list[int]
) -> None:
    seen: list[bytes] = []

    def breaking(requests: Any, context: grpc.ServicerContext) -> Iterator[search_pb2.SearchStreamResponse]:
        seen.append(next(requests).image)
        context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
        yield

    with serving(breaking) as target, pytest.raises(UnavailableError, match="going down"):
        gathered(target, [SearchRequest(b"1"), SearchRequest(b"2")], 1, asynchronous)
    assert seen == [b"1"] * 4
    assert attempts == [2, 3, 4]


@both
def test_more_than_grpc_keeps_is_sent_again_before_the_first_answer_too(
    asynchronous: bool, attempts: list[int]
) -> None:
    requests = [SearchRequest(bytes([number]) * (MAX_MESSAGE_BYTES // 20)) for number in range(21)]
    streams = 0

    def breaking(incoming: Any, context: grpc.ServicerContext) -> Iterator[search_pb2.SearchStreamResponse]:
        nonlocal streams
        streams += 1
        if streams == 1:
            for _ in requests:
                next(incoming)
            context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
        for request in incoming:
            yield search_pb2.SearchStreamResponse(
                request_id=request.request_id, response=search_pb2.SearchResponse(release=str(request.image[0]))
            )

    with serving(breaking) as target:
        pairs = gathered(target, requests, len(requests), asynchronous)
    assert [result.release for _, result in pairs] == [str(number) for number in range(21)]
    assert attempts == [2]


@both
def test_a_request_that_the_service_dies_of_is_sent_four_times_and_the_others_are_answered(
    asynchronous: bool, attempts: list[int]
) -> None:
    seen: list[bytes] = []

    def dying(requests: Any, context: grpc.ServicerContext) -> Iterator[search_pb2.SearchStreamResponse]:
        for request in requests:
            seen.append(request.image)
            if request.image == b"5":
                context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
            yield answer(request)

    requests = [SearchRequest(str(number).encode()) for number in range(10)]
    with serving(dying) as target:
        results = dict(gathered(target, requests, 1, asynchronous))
    failed = results.pop(requests[5])
    assert isinstance(failed, UnavailableError)
    assert "each of the 4 times that it was sent this: going down" in str(failed)
    assert [result.release.encode() for result in results.values()] == [request.image for request in results]
    assert len(results) == 9
    assert seen.count(b"5") == 4
    assert attempts[:3] == [2, 3, 4]


@both
def test_a_service_that_stays_away_after_it_has_answered_is_an_error(asynchronous: bool, attempts: list[int]) -> None:
    seen: list[bytes] = []

    def going(requests: Any, context: grpc.ServicerContext) -> Iterator[search_pb2.SearchStreamResponse]:
        for request in requests:
            seen.append(request.image)
            if request.image != b"0":
                context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
            yield answer(request)

    with serving(going) as target, pytest.raises(UnavailableError, match="going down"):
        gathered(target, [SearchRequest(str(number).encode()) for number in range(10)], 1, asynchronous)
    assert seen == [b"0", *[b"1"] * 4, b"2"]


@both
def test_what_else_ends_a_stream_is_an_error(asynchronous: bool) -> None:
    def breaking(requests: Any, context: grpc.ServicerContext) -> Iterator[search_pb2.SearchStreamResponse]:
        yield answer(next(requests))
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "not any more")

    with serving(breaking) as target, pytest.raises(ForbiddenError, match="not any more"):
        gathered(target, [SearchRequest(b"1"), SearchRequest(b"2")], 1, asynchronous)


@both
def test_an_item_that_cannot_be_read_fails_alone(asynchronous: bool, fake: FakeSemblance, picture: Picture) -> None:
    requests = [SearchRequest(picture(1)), SearchRequest("nowhere.jpg"), SearchRequest(picture(2))]
    results = dict(gathered(fake.target, requests, 2, asynchronous))
    assert isinstance(results[requests[1]], InvalidImageError)
    assert "nowhere.jpg" in str(results[requests[1]])
    assert isinstance(results[requests[0]], SearchResult)
    assert isinstance(results[requests[2]], SearchResult)


@both
def test_no_request_is_no_answer(asynchronous: bool, fake: FakeSemblance) -> None:
    assert gathered(fake.target, [], 2, asynchronous) == []


@pytest.mark.parametrize("timeout", [None, 2.5])
def test_an_answer_gives_the_others_their_time_anew(timeout: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service may not have read them before it gave that answer."""
    now = 100.0
    monkeypatch.setattr(_exchange, "time", SimpleNamespace(monotonic=lambda: now))
    protocol = search_protocol(timeout, in_flight=2, target="here")
    assert protocol.patience > (timeout or 60)
    window = Window(protocol)
    assert window.patience() == math.inf
    keys = []
    for _ in range(2):
        key, message = protocol.encode(SearchRequest(b"photo"))
        window.send(key, SearchRequest(b"photo"), message)
        keys.append(key)
    now += 2
    assert window.patience() == pytest.approx(protocol.patience - 2)
    window.receive(search_pb2.SearchStreamResponse(request_id=keys[0]))
    assert window.patience() == pytest.approx(protocol.patience)


def test_no_more_than_the_limit_is_in_flight(fake: FakeSemblance, client: Client, picture: Picture) -> None:
    pulled: Queue[int] = Queue()

    def items() -> Iterator[NewItem]:
        for number in range(10):
            pulled.put(number)
            yield NewItem(str(number), [picture(number)])

    answers = client.put(items(), in_flight=3)
    with ThreadPoolExecutor(1) as pool:
        with fake.hold():
            first = pool.submit(next, answers)
            fake.wait_for("Put", 1)
            for _ in range(4):
                pulled.get(timeout=10)
            # The fourth was pulled, and waits for one of the three that are in flight.
            assert not first.done()
            assert pulled.empty()
        first.result(timeout=10)
    assert len(list(answers)) == 9


def test_an_answer_does_not_wait_for_a_slow_source(fake: FakeSemblance, client: Client, picture: Picture) -> None:
    answered = Event()

    def items() -> Iterator[NewItem]:
        for number in range(1000):
            if answered.is_set():
                return
            yield NewItem(str(number), [picture(number)])
            fake.wait_for("Put", number + 1)

    for _ in client.put(items(), in_flight=1000):
        answered.set()
    assert fake.received["Put"] < 1000


def test_an_item_waits_for_an_earlier_one_of_its_id(fake: FakeSemblance, client: Client, picture: Picture) -> None:
    items = [NewItem("mug", [picture(number)], {"version": number}) for number in range(5)]
    assert [item for item, _ in client.put(items)] == items
    assert client.get("mug").attributes == {"version": 4}


def test_who_stops_listening_cancels_the_call() -> None:
    cancelled = Event()

    def waiting(requests: Any, context: grpc.ServicerContext) -> Iterator[search_pb2.SearchStreamResponse]:
        context.add_callback(cancelled.set)
        yield answer(next(requests))
        cancelled.wait(10)

    with serving(waiting) as target, Client(target) as client:
        answers = client.search_many(SearchRequest(b"1") for _ in range(5))
        next(answers)
        answers.close()  # type: ignore[attr-defined]
        assert cancelled.wait(10)


def test_an_error_of_the_source_reaches_the_caller(client: Client, picture: Picture) -> None:
    def items() -> Iterator[NewItem]:
        yield NewItem("mug", [picture(1)])
        raise KeyError("broken source")

    with pytest.raises(KeyError, match="broken source"):
        list(client.put(items()))


async def test_asyncio_notices_a_deadline(fake: FakeSemblance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semblance.client._channel.STREAM_GRACE", 0.2)
    with fake.hold():
        async with AsyncClient(fake.target, timeout=0.3) as client:
            with pytest.raises(DeadlineExceededError, match=r"within 0\.5 s"):
                [pair async for pair in client.search_many([SearchRequest(b"1")])]
            with pytest.raises(DeadlineExceededError):
                await client.count()


async def test_cancelling_a_task_of_asyncio_ends_its_stream(fake: FakeSemblance, picture: Picture) -> None:
    async with AsyncClient(fake.target) as client:

        async def put() -> list[Any]:
            return [pair async for pair in client.put([NewItem("mug", [picture(1)])])]

        with fake.hold():
            task = asyncio.create_task(put())
            await asyncio.to_thread(fake.wait_for, "Put", 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (await client.count()).items <= 1


@both
def test_a_stream_needs_room_for_a_request(asynchronous: bool, fake: FakeSemblance) -> None:
    with pytest.raises(ValueError, match="in_flight is 0"):
        gathered(fake.target, [SearchRequest(b"1")], 0, asynchronous)

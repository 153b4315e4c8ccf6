"""The client for threads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import count
from types import TracebackType
from typing import Self

import grpc

from semblance.client import _translate as translate
from semblance.client._channel import (
    CALL_TIMEOUT,
    DEFAULT_TARGET,
    IN_FLIGHT,
    CallOptions,
    Tls,
    bearer,
    options,
    patience,
)
from semblance.client._errors import SemblanceError, mapped
from semblance.client._exchange import Protocol, exchange
from semblance.client._feedback import Verdicts
from semblance.client._filters import Filter
from semblance.client._releases import Releases, release_options
from semblance.client._types import (
    Box,
    Counts,
    ImageInput,
    Item,
    Measure,
    NewItem,
    Objects,
    Outcome,
    SearchRequest,
    SearchResult,
)
from semblance.v1 import catalog_pb2, catalog_pb2_grpc, search_pb2, search_pb2_grpc

LIST_PAGE = 500
"""Items fetched at a time while listing."""


def search_protocol(timeout: float | None, in_flight: int, target: str) -> Protocol[SearchRequest, SearchResult]:
    """Searches in a stream are numbered."""
    numbers = count(1)

    def encode(request: SearchRequest) -> tuple[str, search_pb2.SearchRequest]:
        key = str(next(numbers))
        return key, translate.search_message(request, key, timeout)

    def decode(message: search_pb2.SearchStreamResponse) -> tuple[str, SearchResult | SemblanceError]:
        return message.request_id, translate.stream_result(message)

    return Protocol(encode, decode, patience(timeout), in_flight, target)


def put_protocol(timeout: float | None, in_flight: int, target: str) -> Protocol[NewItem, Outcome]:
    """Puts are known by the item's id."""

    def encode(new: NewItem) -> tuple[str, catalog_pb2.PutRequest]:
        return new.item_id, translate.put_message(new, timeout)

    def decode(message: catalog_pb2.PutResponse) -> tuple[str, Outcome | SemblanceError]:
        return message.item_id, translate.put_outcome(message)

    return Protocol(encode, decode, patience(timeout), in_flight, target)


class Client:
    """A connection to Semblance. Threads may share one; close it, or use it in a `with` statement.

        with Client() as client:
            for hit in client.search("photo.jpg").objects[0].hits:
                print(hit.item_id, hit.similarity)

    Every method raises a `SemblanceError`. A call that finds the service unavailable is tried up to four
    times within its deadline; nothing else is retried, and neither is a deletion of feedback, nor what makes, switches
    or retires a release.

    Args:
        target: host and port of the service; or of several orchestrators, which calls then take turns among:
            `ipv4:10.0.0.5:50051,10.0.0.6:50051`, or `dns:///orchestrators:50051`, a name that has all their addresses;
            over TLS only that.
        timeout: seconds that one answer may take, 10 by default and 60 of `releases`. On a stream, as puts,
            `search_many` and `releases.build_items` are, the service counts them from when it reads a request, and what
            it can't answer in time fails alone; by default it takes as long as it grants. A stream without any answer
            for 5 s more, by default for 120 s, is given up.
        tls: for a service that speaks TLS; OSError where one of its files can't be read.
        token: what the service's operator gave you, `semblance.<name>.<secret>`. ValueError where it would cross a
            network in the clear: it goes over TLS, or to this host.

    Attributes:
        releases: which models and which index serve; for an operator.
        feedback: verdicts about answers.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: float | None = None,
        tls: Tls | None = None,
        token: str | None = None,
    ) -> None:
        self._target, self._timeout = target, timeout
        self._call = CallOptions(timeout=timeout or CALL_TIMEOUT, metadata=bearer(token, target, tls))
        if tls is None:
            self._channel = grpc.insecure_channel(target, options(target, tls))
        else:
            self._channel = grpc.secure_channel(target, tls.credentials(), options(target, tls))
        self._searches = search_pb2_grpc.SearchServiceStub(self._channel)
        self._catalog = catalog_pb2_grpc.CatalogServiceStub(self._channel)
        self.releases = Releases(self._channel, release_options(timeout, self._call), target, timeout)
        self.feedback = Verdicts(self._channel, self._call, target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection and cancels what is in flight."""
        self._channel.close()

    def search(
        self,
        image: ImageInput,
        *,
        top_k: int = 10,
        filter: Filter | None = None,  # noqa: A002
        objects: Objects = "all",
        boxes: Sequence[Box] = (),
        min_detection_score: float | None = None,
        min_similarity: float | None = None,
        include_attributes: bool = False,
        include_embeddings: bool = False,
        include_timings: bool = False,
        release: str | None = None,
        measure: Measure | None = None,
    ) -> SearchResult:
        """The catalogue items that a photo shows. `SearchRequest` explains the arguments."""
        request = SearchRequest(
            image,
            top_k,
            filter,
            objects,
            boxes,
            min_detection_score,
            min_similarity,
            include_attributes,
            include_embeddings,
            include_timings,
            release,
            measure,
        )
        message = translate.search_message(request)
        with mapped(self._target):
            return translate.search_result(self._searches.Search(message, **self._call))

    def search_many(
        self, requests: Iterable[SearchRequest], *, in_flight: int = IN_FLIGHT
    ) -> Iterator[tuple[SearchRequest, SearchResult | SemblanceError]]:
        """Searches over one stream, `in_flight` at a time; yields each request with its result as it comes.

        The order is not kept. A search that fails is yielded with its error and does not end the others; what
        ends them all is raised. Nothing is sent before the first result is asked for.
        """
        protocol = search_protocol(self._timeout, in_flight, self._target)
        yield from exchange(partial(self._searches.SearchStream, metadata=self._call["metadata"]), protocol, requests)

    def put(
        self, items: Iterable[NewItem], *, in_flight: int = IN_FLIGHT
    ) -> Iterator[tuple[NewItem, Outcome | SemblanceError]]:
        """Puts items over one stream, `in_flight` at a time, and yields each with its outcome as it comes.

        An item with an outcome is durable and searchable. The order is not kept, except that an item waits
        for an earlier one of the same id. An item that fails is yielded with its error and does not end the
        others; what ends them all is raised. Nothing is sent before the first outcome is asked for.
        """
        protocol = put_protocol(self._timeout, in_flight, self._target)
        yield from exchange(partial(self._catalog.Put, metadata=self._call["metadata"]), protocol, items)

    def put_item(self, item: NewItem) -> Outcome:
        """Puts one item; when this returns, it is durable and searchable."""
        [(_, outcome)] = self.put([item])
        if isinstance(outcome, SemblanceError):
            raise outcome
        return outcome

    def get(self, item_id: str, *, include_image_data: bool = False) -> Item:
        """An item, with its images' original bytes where asked for; NotFoundError where there is none."""
        request = translate.get_message(item_id, include_image_data)
        with mapped(self._target):
            return translate.item(self._catalog.Get(request, **self._call))

    def delete(self, item_id: str) -> None:
        """Deletes an item; NotFoundError where there is none."""
        request = translate.delete_message(item_id)
        with mapped(self._target):
            self._catalog.Delete(request, **self._call)

    def count(self) -> Counts:
        """How much the catalogue holds."""
        request = catalog_pb2.CountRequest()
        with mapped(self._target):
            return translate.counts(self._catalog.Count(request, **self._call))

    def list(self) -> Iterator[Item]:
        """All items, ordered by id, fetched as they are iterated; without their images' bytes."""
        request = catalog_pb2.ListRequest(page_size=LIST_PAGE)
        while True:
            with mapped(self._target):
                page = self._catalog.List(request, **self._call)
            yield from map(translate.item, page.items)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

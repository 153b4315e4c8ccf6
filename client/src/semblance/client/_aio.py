"""The client for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Self

import grpc

from semblance.client import _translate as translate
from semblance.client._channel import CALL_TIMEOUT, DEFAULT_TARGET, IN_FLIGHT, CallOptions, Tls, bearer, options
from semblance.client._client import LIST_PAGE, put_protocol, search_protocol
from semblance.client._errors import SemblanceError, mapped
from semblance.client._exchange import exchange_async
from semblance.client._feedback import AsyncVerdicts
from semblance.client._filters import Filter
from semblance.client._releases import AsyncReleases, release_options
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
from semblance.v1 import catalog_pb2, catalog_pb2_grpc, search_pb2_grpc


class AsyncClient:
    """`Client` for asyncio: make it inside a running event loop and use it there.

    Image files named by their path are read in the event loop's thread; pass bytes where that matters.
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
            self._channel = grpc.aio.insecure_channel(target, options(target, tls))
        else:
            self._channel = grpc.aio.secure_channel(target, tls.credentials(), options(target, tls))
        self._searches = search_pb2_grpc.SearchServiceStub(self._channel)
        self._catalog = catalog_pb2_grpc.CatalogServiceStub(self._channel)
        self.releases = AsyncReleases(self._channel, release_options(timeout, self._call), target, timeout)
        self.feedback = AsyncVerdicts(self._channel, self._call, target)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection and cancels what is in flight."""
        await self._channel.close()

    async def search(
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
            return translate.search_result(await self._searches.Search(message, **self._call))

    def search_many(
        self, requests: Iterable[SearchRequest] | AsyncIterable[SearchRequest], *, in_flight: int = IN_FLIGHT
    ) -> AsyncIterator[tuple[SearchRequest, SearchResult | SemblanceError]]:
        """As `Client.search_many`."""
        protocol = search_protocol(self._timeout, in_flight, self._target)
        return exchange_async(partial(self._searches.SearchStream, metadata=self._call["metadata"]), protocol, requests)

    def put(
        self, items: Iterable[NewItem] | AsyncIterable[NewItem], *, in_flight: int = IN_FLIGHT
    ) -> AsyncIterator[tuple[NewItem, Outcome | SemblanceError]]:
        """As `Client.put`."""
        return exchange_async(
            partial(self._catalog.Put, metadata=self._call["metadata"]),
            put_protocol(self._timeout, in_flight, self._target),
            items,
        )

    async def put_item(self, item: NewItem) -> Outcome:
        """Puts one item; when this returns, it is durable and searchable."""
        [(_, outcome)] = [answer async for answer in self.put([item])]
        if isinstance(outcome, SemblanceError):
            raise outcome
        return outcome

    async def get(self, item_id: str, *, include_image_data: bool = False) -> Item:
        """An item, with its images' original bytes where asked for; NotFoundError where there is none."""
        request = translate.get_message(item_id, include_image_data)
        with mapped(self._target):
            return translate.item(await self._catalog.Get(request, **self._call))

    async def delete(self, item_id: str) -> None:
        """Deletes an item; NotFoundError where there is none."""
        request = translate.delete_message(item_id)
        with mapped(self._target):
            await self._catalog.Delete(request, **self._call)

    async def count(self) -> Counts:
        """How much the catalogue holds."""
        request = catalog_pb2.CountRequest()
        with mapped(self._target):
            return translate.counts(await self._catalog.Count(request, **self._call))

    async def list(self) -> AsyncIterator[Item]:
        """All items, ordered by id, fetched as they are iterated; without their images' bytes."""
        request = catalog_pb2.ListRequest(page_size=LIST_PAGE)
        while True:
            with mapped(self._target):
                page = await self._catalog.List(request, **self._call)
            for message in page.items:
                yield translate.item(message)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

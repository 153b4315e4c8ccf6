"""`CatalogService`: translates and calls."""

import asyncio
from collections.abc import AsyncIterator

from semblance.orchestrator.admission import Admission
from semblance.orchestrator.catalog import Catalog, Outcome
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.grpc_edge import translate
from semblance.orchestrator.grpc_edge.boundary import Context, DeadlinePolicy
from semblance.orchestrator.grpc_edge.peer import caller
from semblance.orchestrator.grpc_edge.status import fault
from semblance.orchestrator.grpc_edge.stream import Streams
from semblance.orchestrator.schema import Schema
from semblance.v1.catalog_pb2 import (
    CountRequest,
    CountResponse,
    DeleteRequest,
    DeleteResponse,
    GetRequest,
    ListRequest,
    ListResponse,
    PutRequest,
    PutResponse,
)
from semblance.v1.catalog_pb2_grpc import CatalogServiceServicer
from semblance.v1.item_pb2 import Item

# The metadata of a call that gRPC makes again (gRFC A6).
PREVIOUS_ATTEMPTS = "grpc-previous-rpc-attempts"


class CatalogService(CatalogServiceServicer):
    def __init__(
        self,
        catalog: Catalog,
        admission: Admission,
        schema: Schema,
        deadlines: DeadlinePolicy,
        streams: Streams,
        window: int,
    ) -> None:
        self._catalog = catalog
        self._admission = admission
        self._schema = schema
        self._deadlines = deadlines
        self._streams = streams
        self._window = window

    async def Put(self, request_iterator: AsyncIterator[PutRequest], context: Context) -> None:  # type: ignore[override]  # noqa: N802
        """A coroutine that writes, which grpc.aio takes beside the generator of the generated signature."""
        who = caller(context)

        async def answer(request: PutRequest) -> PutResponse:
            item_id = request.item.item_id
            try:
                # Puts wait for each other rather than being refused, so each has the most there is if it names no time.
                asked = translate.timeout(request) or self._deadlines.maximum
                outcome = await self._put(request, who, self._deadlines.of_call(context, asked))
            except Exception as error:
                return PutResponse(item_id=item_id, failure=fault(error).failure())
            return PutResponse(item_id=item_id, outcome=translate.outcome(outcome))

        await self._streams.converse(request_iterator, answer, self._window, context)

    async def Get(self, request: GetRequest, context: Context) -> Item:  # noqa: N802
        item_id = translate.item_id(request.item_id)
        deadline = self._deadlines.of_call(context)
        async with deadline.enforced(), self._admission.lookup.admit(caller(context), 0, deadline) as place:
            item = await self._catalog.get(item_id, place.release)
            files: list[bytes] = []
            if request.include_image_data:
                files = await asyncio.gather(*(self._catalog.image(image.image_id) for image in item.images))
        return translate.item_message(item, files)

    async def Delete(self, request: DeleteRequest, context: Context) -> DeleteResponse:  # noqa: N802
        item_id = translate.item_id(request.item_id)
        deadline = self._deadlines.of_call(context)
        async with deadline.enforced(), self._admission.lookup.admit(caller(context), 0, deadline) as place:
            await self._catalog.delete(item_id, place.release, deadline, _is_repeated(context))
        return DeleteResponse()

    async def Count(self, request: CountRequest, context: Context) -> CountResponse:  # noqa: N802
        deadline = self._deadlines.of_call(context)
        async with deadline.enforced(), self._admission.lookup.admit(caller(context), 0, deadline) as place:
            size = await self._catalog.count(place.release)
        return CountResponse(items=size.items, images=size.images, vectors=size.vectors)

    async def List(self, request: ListRequest, context: Context) -> ListResponse:  # noqa: N802
        page_size = translate.page_size(request)
        deadline = self._deadlines.of_call(context)
        async with deadline.enforced(), self._admission.lookup.admit(caller(context), 0, deadline) as place:
            page = await self._catalog.list(page_size, request.page_token, place.release)
        return ListResponse(
            items=[translate.item_message(item) for item in page.items], next_page_token=page.next_page_token
        )

    async def _put(self, request: PutRequest, who: str, deadline: Deadline) -> Outcome:
        draft = translate.draft(request)
        size = sum(map(len, draft.images))
        async with deadline.enforced(), self._admission.ingest.admit(who, size, deadline) as place:
            outcome = await self._catalog.put(draft, place.release, deadline, place.leave_models)
        await self._schema.learn(draft.attributes)
        return outcome


def _is_repeated(context: Context) -> bool:
    """Whether gRPC itself makes the call again, by its caller's retry policy."""
    return any(key == PREVIOUS_ATTEMPTS for key, _ in context.invocation_metadata() or ())

"""`SearchService`: translates and calls."""

from collections.abc import AsyncIterator

from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import InvalidArgument
from semblance.orchestrator.grpc_edge import translate
from semblance.orchestrator.grpc_edge.boundary import Context, DeadlinePolicy
from semblance.orchestrator.grpc_edge.peer import caller
from semblance.orchestrator.grpc_edge.searcher import Searcher
from semblance.orchestrator.grpc_edge.status import fault
from semblance.orchestrator.grpc_edge.stream import Streams
from semblance.v1.search_pb2 import SearchRequest, SearchResponse, SearchStreamResponse
from semblance.v1.search_pb2_grpc import SearchServiceServicer


class SearchService(SearchServiceServicer):
    def __init__(self, searcher: Searcher, deadlines: DeadlinePolicy, streams: Streams, window: int) -> None:
        self._searcher = searcher
        self._deadlines = deadlines
        self._streams = streams
        self._window = window

    async def Search(self, request: SearchRequest, context: Context) -> SearchResponse:  # noqa: N802
        deadline = self._deadlines.of_call(context, translate.timeout(request))
        return await self._search(request, caller(context), deadline)

    async def SearchStream(self, request_iterator: AsyncIterator[SearchRequest], context: Context) -> None:  # type: ignore[override]  # noqa: N802
        """A coroutine that writes, which grpc.aio takes beside the generator of the generated signature."""
        in_flight: set[str] = set()
        who = caller(context)

        async def answer(request: SearchRequest) -> SearchStreamResponse:
            request_id = request.request_id
            try:
                if request_id in in_flight:
                    raise InvalidArgument(
                        f"request_id {request_id!r} is in flight already; take another id until it is answered"
                    )
                in_flight.add(request_id)
                try:
                    # The deadline of the stream says nothing about one request.
                    asked = translate.timeout(request) or self._deadlines.default
                    response = await self._search(request, who, self._deadlines.of_call(context, asked))
                finally:
                    in_flight.discard(request_id)
            except Exception as error:
                return SearchStreamResponse(request_id=request_id, failure=fault(error).failure())
            return SearchStreamResponse(request_id=request_id, response=response)

        await self._streams.converse(request_iterator, answer, self._window, context)

    async def _search(self, request: SearchRequest, who: str, deadline: Deadline) -> SearchResponse:
        query = translate.query(request.image, request.options)
        return await self._searcher.search(
            query, who, deadline, lambda answer: translate.search_response(request, answer)
        )

"""The way of a search that all protocols share."""

import time
from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message

from semblance.orchestrator.admission import Admission
from semblance.orchestrator.caller import Role, check_role
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import InvalidArgument
from semblance.orchestrator.pipeline import Answer, Pipeline, Query, Stopwatch
from semblance.orchestrator.release import Release
from semblance.orchestrator.schema import Schema
from semblance.orchestrator.shadow import Shadows
from semblance.orchestrator.spans import stages
from semblance.orchestrator.statistics import Statistics
from semblance.orchestrator.suspects import Suspects

# Below what a message may have (`server.MAX_MESSAGE_BYTES`), which gRPC would refuse in words of its own.
MAX_ANSWER_BYTES = 60 * 2**20

Response = TypeVar("Response", bound=Message)


class Searcher:
    def __init__(
        self,
        pipeline: Pipeline,
        admission: Admission,
        schema: Schema,
        statistics: Statistics,
        check_needs: Callable[[], None],
        shadows: Shadows,
        suspects: Suspects,
    ) -> None:
        """`check_needs` raises DependencyUnavailable where a search would fail at one of its steps."""
        self.statistics = statistics
        self._check_needs = check_needs
        self._pipeline = pipeline
        self._admission = admission
        self._schema = schema
        self._shadows = shadows
        self._suspects = suspects

    async def search(
        self, query: Query, caller: str, deadline: Deadline, encode: Callable[[Answer], Response]
    ) -> Response:
        """The answer as `encode` puts it in the caller's protocol; counted and timed, as a cancelled one is."""
        with stages() as on_lap:
            return await self._search(query, caller, deadline, encode, Stopwatch(on_lap=on_lap))

    async def _search(
        self,
        query: Query,
        caller: str,
        deadline: Deadline,
        encode: Callable[[Answer], Response],
        stopwatch: Stopwatch,
    ) -> Response:
        served: Release | None = None
        try:
            if query.release_id:
                # One that nobody vouches for yet answers; and who chose their release would be in no canary.
                check_role(Role.ADMIN, "search a release by its id")
            if query.where is not None:
                self._schema.check(query.where)
            size = len(query.image)
            async with (
                deadline.enforced(),
                self._admission.search.admit(caller, size, deadline, query.release_id) as place,
            ):
                stopwatch.lap("admission")
                served = place.release
                self._check_needs()
                began = time.perf_counter()
                answer = await self._pipeline.search(query, served, deadline, stopwatch)
                seconds = time.perf_counter() - began
            response = encode(answer)
            if (size := response.ByteSize()) > MAX_ANSWER_BYTES:
                raise InvalidArgument(
                    f"the answer would have {size:,} bytes, and at most {MAX_ANSWER_BYTES:,} are sent; ask for fewer "
                    "items or objects, or without attributes"
                )
            stopwatch.lap("encode")
        except BaseException as error:
            self.statistics.add_failed(stopwatch)
            served = served or self._admission.chosen(caller)
            if served is not None and not query.release_id:
                self._shadows.offer(query, served, error, stopwatch.total())
            raise
        self.statistics.add_answered(stopwatch)
        if not query.release_id:
            self._shadows.offer(query, served, answer, seconds)
            self._suspects.offer(query, caller, answer)
        return response

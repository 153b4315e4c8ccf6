"""Milvus' search call, of which every request makes one.

The messages are pymilvus'. Its client around them is not used here: it makes an object of each value of an answer, most
of which nobody reads, and that took more of the orchestrator's CPU than all else in a search. What its client adds to a
call is added here, too: the token, the database and the encryption that the address asks for.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import grpc
import numpy as np
from numpy.typing import NDArray
from pymilvus.client.connection_manager import ConnectionConfig
from pymilvus.client.utils import check_status
from pymilvus.exceptions import MilvusException
from pymilvus.grpc_gen.common_pb2 import Bounded, KeyValuePair, PlaceholderGroup, PlaceholderType, PlaceholderValue
from pymilvus.grpc_gen.milvus_pb2 import DESCRIPTOR, SearchRequest, SearchResults

from semblance.orchestrator.adapters.coalescer import Call, Coalescer, Part
from semblance.orchestrator.box import Box
from semblance.orchestrator.measure import Measure, l2_similarities
from semblance.orchestrator.ports import Neighbour, Neighbours
from semblance.orchestrator.release import Release
from semblance.orchestrator.spans import calling

# Milvus' names of them; it answers by L2 with the square of the distance.
METRIC_TYPES = {Measure.COSINE: "COSINE", Measure.INNER_PRODUCT: "IP", Measure.L2: "L2"}
HIT_FIELDS = ("item_id", "image_id", "x1", "y1", "x2", "y2")
# Of `SearchRequest.guarantee_timestamp` at bounded consistency; `BOUNDED_TS` of pymilvus.
BOUNDED_TIMESTAMP = 2
# Calls that differ in their vectors alone, at once, and vectors of one, unless a single search has more: none should
# wait long for the others' vectors.
UNDER_WAY = 2
MOST_VECTORS = 64
# Rows that are answered to them together: an answer is read in one piece, on the event loop.
MOST_ROWS = 16_384
# Numbers in their vectors, where these are asked for: 8 MiB.
MOST_NUMBERS = 2 * 2**20
# Serialised requests that are kept: callers of one service ask with few limits and filters.
REQUESTS_KEPT = 64

SEARCH = f"/{DESCRIPTOR.services_by_name['MilvusService'].full_name}/Search"


class MilvusSearch:
    """Connects when first used, and again by itself within a second of Milvus' return."""

    def __init__(self, uri: str, token: str, options: Mapping[str, int]) -> None:
        """Raises ValueError where `uri` is not one."""
        try:
            address = ConnectionConfig.from_uri(uri, token=token)
        except MilvusException as error:
            raise ValueError(f"Milvus' address {uri!r} is none: {error.message}") from None
        channel_options = [("grpc.max_receive_message_length", -1), *options.items()]
        self.address = address.address
        self._channel = (
            grpc.aio.secure_channel(address.address, grpc.ssl_channel_credentials(), channel_options)
            if "secure" in dict(address.handler_kwargs)
            else grpc.aio.insecure_channel(address.address, channel_options)
        )
        self._metadata = [("dbname", address.db_name)] if address.db_name else []
        if address.token:
            self._metadata.append(("authorization", base64.b64encode(address.token.encode()).decode()))
        self._search: grpc.aio.UnaryUnaryMultiCallable[bytes, Any] = self._channel.unary_unary(
            SEARCH, response_deserializer=SearchResults.FromString
        )
        self._coalescer: Coalescer[Asked] = Coalescer(self._together, lambda _: UNDER_WAY)

    async def close(self) -> None:
        await self._channel.close()

    async def connected(self) -> None:
        """Waits until the connection is there."""
        await self._channel.channel_ready()

    async def __call__(
        self,
        release: Release,
        vectors: NDArray[np.float32],
        limit: int,
        expression: str,
        include_attributes: bool,
        include_vectors: bool,
        timeout: float,
    ) -> list[Neighbours]:
        """For each of `vectors`, float32 [N, dimension], up to `limit` rows that meet `expression`, most similar first.

        Raises MilvusException with what Milvus answers, grpc.aio.AioRpcError where it does not.
        """
        ef = max(release.index.ef, limit)
        metric = release.index.metric
        more = [name for name, wanted in (("attributes", include_attributes), ("vector", include_vectors)) if wanted]
        fields = (*HIT_FIELDS, *more)
        settings = _settings(release.collection, METRIC_TYPES[metric], ef, limit, expression, fields)
        asked = Asked(settings, metric, limit, release.dimension if include_vectors else 0)
        part = Part(len(vectors), vectors)
        self._coalescer.join(asked, part)
        answer: list[Neighbours] = await self._coalescer.answer(asked, part, timeout)
        return answer

    def _together(self, asked: "Asked", rows: int) -> "Searches":
        room = min(MOST_VECTORS, MOST_ROWS // asked.limit)
        if asked.numbers:
            room = min(room, MOST_NUMBERS // (asked.limit * asked.numbers))
        return Searches(self, asked, max(room, rows))

    async def ask(
        self, asked: "Asked", vectors: NDArray[np.float32], timeout: float, metadata: Sequence[tuple[str, str]] = ()
    ) -> list[Neighbours]:
        """One call."""
        # Serialised messages that follow each other are one message.
        request = asked.settings + _queries(vectors)
        answer = await self._search(request, timeout=timeout, metadata=[*self._metadata, *metadata] or None)
        check_status(answer.status)
        return _neighbours(answer.results, asked)


class Asked(NamedTuple):
    """What searches that go together have in common.

    `settings`: the request without its vectors, serialised. `numbers`: how many each row's vector has; 0 where they are
    not asked for.
    """

    settings: bytes
    metric: Measure
    limit: int
    numbers: int


class Searches(Call):
    """Those that go as one call."""

    def __init__(self, milvus: MilvusSearch, asked: Asked, room: int) -> None:
        super().__init__(room)
        self._milvus = milvus
        self._asked = asked

    async def send(self, timeout: float) -> list[Neighbours]:
        vectors = np.concatenate([part.data for part in self.parts])
        attributes = {"server.address": self._milvus.address, "rows": len(vectors)}
        with calling("Milvus search", attributes, self.spans) as metadata:
            return await self._milvus.ask(self._asked, vectors, timeout, metadata or [])


@lru_cache(REQUESTS_KEPT)
def _settings(collection: str, metric_type: str, ef: int, limit: int, expression: str, fields: Sequence[str]) -> bytes:
    """The request without its vectors, serialised."""
    parameters = {
        "anns_field": "vector",
        "topk": str(limit),
        "metric_type": metric_type,
        "round_decimal": "-1",
        "ignore_growing": "False",
        "params": json.dumps({"ef": ef, "metric_type": metric_type}, separators=(",", ":")),
    }
    request = SearchRequest(
        collection_name=collection,
        dsl=expression,
        dsl_type="BoolExprV1",
        output_fields=fields,
        search_params=[KeyValuePair(key=key, value=value) for key, value in parameters.items()],
        guarantee_timestamp=BOUNDED_TIMESTAMP,
        consistency_level=Bounded,
    )
    serialised: bytes = request.SerializeToString()
    return serialised


def _queries(vectors: NDArray[np.float32]) -> bytes:
    values = PlaceholderValue(
        tag="$0", type=PlaceholderType.FloatVector, values=[vector.tobytes() for vector in vectors]
    )
    group = PlaceholderGroup(placeholders=[values]).SerializeToString()
    serialised: bytes = SearchRequest(nq=len(vectors), placeholder_group=group).SerializeToString()
    return serialised


def _neighbours(results: Any, asked: Asked) -> list[Neighbours]:
    """`results`: a `SearchResultData`, whose columns hold the rows of all queries, one query's behind the other's."""
    # Where no row was found, a column has no data of any type.
    columns = {
        field.field_name: getattr(field.scalars, kind).data
        for field in results.fields_data
        if (kind := field.scalars.WhichOneof("data"))
    }
    item_ids, scores = columns.get("item_id", ()), results.scores
    if asked.metric is Measure.L2:
        scores = l2_similarities(np.array(scores, np.float32)).tolist()
    vectors = _vectors(results, asked.numbers) if asked.numbers else None
    found = []
    start = 0
    for count in results.topks:
        end = start + count
        mine = None if vectors is None else vectors[start:end]
        found.append(Neighbours(item_ids[start:end], scores[start:end], partial(_row, columns, scores, start), mine))
        start = end
    return found


def _vectors(results: Any, numbers: int) -> NDArray[np.float32]:
    """float32 [rows, numbers], not to be written to.

    They are read from the wire's bytes of them, a `FloatArray` with nothing but its packed numbers at the end: one
    Python float after the other would take a hundred times as long.
    """
    column = next((field.vectors.float_vector for field in results.fields_data if field.field_name == "vector"), None)
    if column is None:
        # Where no row was found.
        return np.empty((0, numbers), np.float32)
    count, content = len(column.data), column.SerializeToString()
    return np.frombuffer(content, "<f4", count, len(content) - 4 * count).reshape(-1, numbers)


def _row(columns: Mapping[str, Any], scores: Any, start: int, number: int) -> Neighbour:
    at = start + number
    return Neighbour(
        columns["item_id"][at],
        columns["image_id"][at],
        Box(columns["x1"][at], columns["y1"][at], columns["x2"][at], columns["y2"][at]),
        scores[at],
        json.loads(columns["attributes"][at]) if "attributes" in columns else {},
    )

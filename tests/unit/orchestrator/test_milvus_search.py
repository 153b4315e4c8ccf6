"""Milvus is asked as pymilvus would ask it."""

import base64
from dataclasses import replace
from typing import Any

import grpc
import numpy as np
import pytest
from pymilvus.client.prepare import Prepare
from pymilvus.exceptions import MilvusException
from pymilvus.grpc_gen.common_pb2 import Bounded
from pymilvus.grpc_gen.milvus_pb2 import SearchRequest, SearchResults

from semblance.orchestrator.adapters.milvus_search import (
    BOUNDED_TIMESTAMP,
    MOST_NUMBERS,
    MOST_VECTORS,
    SEARCH,
    Asked,
    MilvusSearch,
)
from semblance.orchestrator.measure import Measure
from semblance.orchestrator.release import IndexParameters
from semblance.orchestrator.testing import example_release

FIELDS = ["item_id", "image_id", "x1", "y1", "x2", "y2"]
RELEASE = example_release(4, collection="c")
VECTORS = np.arange(12, dtype=np.float32).reshape(3, 4)


class Answering(grpc.GenericRpcHandler):
    """Answers every search with one answer, and remembers what was asked, and with which metadata."""

    def __init__(self, answer: SearchResults) -> None:
        self.answer = answer
        self.requests: list[SearchRequest] = []
        self.metadata: dict[str, str] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        assert handler_call_details.method == SEARCH
        self.metadata = {key: str(value) for key, value in handler_call_details.invocation_metadata}
        return grpc.unary_unary_rpc_method_handler(
            self._search, SearchRequest.FromString, SearchResults.SerializeToString
        )

    async def _search(self, request: SearchRequest, context: object) -> SearchResults:
        self.requests.append(request)
        return self.answer


async def ask(
    milvus: Answering,
    path: str = "",
    token: str = "",
    include_attributes: bool = False,
    include_vectors: bool = False,
    metric: Measure = Measure.COSINE,
) -> list[Any]:
    server = grpc.aio.server(handlers=[milvus])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    search = MilvusSearch(f"http://127.0.0.1:{port}{path}", token, {})
    release = replace(RELEASE, index=IndexParameters(metric=metric))
    try:
        return list(await search(release, VECTORS, 200, 'item_id == "a"', include_attributes, include_vectors, 10.0))
    finally:
        await search.close()
        await server.stop(None)


@pytest.mark.parametrize(
    ("metric", "metric_type"), [(Measure.COSINE, "COSINE"), (Measure.INNER_PRODUCT, "IP"), (Measure.L2, "L2")]
)
@pytest.mark.parametrize("include_attributes", [False, True])
@pytest.mark.parametrize("include_vectors", [False, True])
async def test_the_request_is_the_one_that_pymilvus_makes(
    include_attributes: bool, include_vectors: bool, metric: Measure, metric_type: str
) -> None:
    milvus = Answering(SearchResults())
    await ask(milvus, include_attributes=include_attributes, include_vectors=include_vectors, metric=metric)
    more = [*(["attributes"] if include_attributes else []), *(["vector"] if include_vectors else [])]
    expected = Prepare.search_requests_with_expr(
        "c",
        "vector",
        {"metric_type": metric_type, "params": {"ef": 200}},
        200,
        data=list(VECTORS),
        expr='item_id == "a"',
        output_fields=[*FIELDS, *more],
        consistency_level=Bounded,
        guarantee_timestamp=BOUNDED_TIMESTAMP,
        use_default_consistency=False,
    )
    (request,) = milvus.requests
    parameters = [{each.key: each.value for each in message.search_params} for message in (request, expected)]
    assert parameters[0] == parameters[1]
    for message in (request, expected):
        message.ClearField("search_params")
    assert request == expected


async def test_token_and_database_go_with_the_call() -> None:
    milvus = Answering(SearchResults())
    await ask(milvus, "/shop", token="root:secret")
    assert milvus.metadata["authorization"] == base64.b64encode(b"root:secret").decode()
    assert milvus.metadata["dbname"] == "shop"


async def test_a_status_in_the_answer_is_an_error() -> None:
    answer = SearchResults()
    answer.status.code, answer.status.reason = 100, "not there"
    with pytest.raises(MilvusException, match="not there") as failure:
        await ask(Answering(answer))
    assert failure.value.code == 100


async def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ValueError, match="ftp://host"):
        MilvusSearch("ftp://host", "", {})


async def test_few_searches_for_many_rows_go_together() -> None:
    search = MilvusSearch("http://127.0.0.1:1", "", {})
    cosine = Measure.COSINE
    assert [search._together(Asked(b"", cosine, limit, 0), 3).room for limit in (40, 4096, 16_384)] == [
        MOST_VECTORS,
        4,
        3,
    ]
    # Where vectors of 2048 numbers are asked for.
    assert [search._together(Asked(b"", cosine, limit, 2048), 3).room for limit in (10, 100, 1000)] == [64, 10, 3]
    assert MOST_NUMBERS >= 100 * 2048 * 10
    await search.close()


async def test_rows_come_with_their_vectors() -> None:
    answer = SearchResults()
    answer.results.topks.extend([2, 0, 1])
    answer.results.scores.extend([0.9, 0.8, 0.7])
    items = answer.results.fields_data.add(field_name="item_id")
    items.scalars.string_data.data.extend(["a", "b", "c"])
    stored = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    column = answer.results.fields_data.add(field_name="vector")
    column.vectors.dim = 4
    column.vectors.float_vector.data.extend(stored.ravel().tolist())
    first, second, third = await ask(Answering(answer), include_vectors=True)
    assert [each.vectors.tolist() for each in (first, second, third)] == [stored[:2].tolist(), [], stored[2:].tolist()]
    assert [each.vectors for each in await ask(Answering(answer))] == [None] * 3
    nothing = await ask(Answering(SearchResults()), include_vectors=True)
    assert nothing == []


async def test_a_squared_distance_is_told_as_a_similarity() -> None:
    answer = SearchResults()
    answer.results.topks.extend([4, 0, 0])
    # The last one is 0 for want of precision.
    answer.results.scores.extend([4.0, 1.0, 0.0, -1e-7])
    items = answer.results.fields_data.add(field_name="item_id")
    items.scalars.string_data.data.extend("abcd")
    found, *_ = await ask(Answering(answer), metric=Measure.L2)
    assert list(found.similarities) == [0.0, 0.5, 1.0, 1.0]
    found, *_ = await ask(Answering(answer), metric=Measure.INNER_PRODUCT)
    assert list(found.similarities) == pytest.approx([4.0, 1.0, 0.0, -1e-7])

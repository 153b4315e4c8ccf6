"""What similarities are is chosen by request, and told with the answer."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from grpc import StatusCode
from grpc.aio import AioRpcError
from tritonclient.grpc.aio import InferenceServerClient, InferInput

from semblance.client import AsyncClient, Measure, NewItem, SearchRequest
from semblance.client.commands.group import semblance
from semblance.orchestrator import measure as formulas
from tests.integration.service.world import BOTH, GREEN_PHOTO, RED_PHOTO, Caller, World, photo, reason

MEASURES: tuple[Measure, ...] = ("cosine", "inner_product", "l2", "manhattan", "hamming")
ORANGE_PHOTO = photo(((230, 120, 20), (50, 50, 200, 160)))
# By item: one has two images, and is found by the better one.
PHOTOS = {"red": [RED_PHOTO], "green": [GREEN_PHOTO], "orange": [ORANGE_PHOTO, RED_PHOTO], "both": [BOTH]}


@pytest.fixture
async def client(caller: Caller) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(caller.address) as made:
        for item_id, files in PHOTOS.items():
            await made.put_item(NewItem(item_id, files))
        yield made


def expected(world: World, measure: str, embedding: Any) -> list[tuple[str, float]]:
    """From every row of the index: items with their best similarity, most similar first."""
    [collection] = world.index.collections.values()
    rows = list(collection.rows.values())
    stored = np.stack([row.vector for row in rows])
    found = formulas.similarities(formulas.Measure(measure), np.array(embedding, np.float32), stored)
    best: dict[str, float] = {}
    for row, similarity in zip(rows, found.tolist(), strict=True):
        best[row.item_id] = max(best.get(row.item_id, -2.0), similarity)
    return sorted(best.items(), key=lambda each: -each[1])


@pytest.mark.parametrize("measure", MEASURES)
async def test_items_are_found_by_the_measure_that_is_asked_for(
    client: AsyncClient, world: World, measure: Measure
) -> None:
    result = await client.search(BOTH, measure=measure, include_embeddings=True)
    assert result.measure == measure
    assert len(result.objects) == 2
    for each in result.objects:
        wanted = expected(world, measure, each.embedding)
        assert [hit.similarity for hit in each.hits] == pytest.approx([one for _, one in wanted], abs=1e-5)
        assert {hit.item_id: hit.similarity for hit in each.hits} == pytest.approx(dict(wanted), abs=1e-5)
    least = wanted[1][1]
    kept = await client.search(BOTH, measure=measure, min_similarity=least - 1e-4)
    assert len(kept.objects[1].hits) == sum(one >= least - 1e-4 for _, one in wanted)


async def test_without_a_measure_it_is_the_indexs_metric(client: AsyncClient) -> None:
    result = await client.search(RED_PHOTO)
    assert result.measure == "cosine"
    [(_, streamed)] = [each async for each in client.search_many([SearchRequest(RED_PHOTO, measure="manhattan")])]
    assert getattr(streamed, "measure", streamed) == "manhattan"


async def test_a_scale_that_a_similarity_can_not_have_is_refused(caller: Caller) -> None:
    wrong: list[dict[str, Any]] = [
        {"measure": "HAMMING", "min_similarity": -0.1},
        {"measure": "COSINE", "min_similarity": 1.1},
    ]
    for options in wrong:
        with pytest.raises(AioRpcError) as raised:
            await caller.search(RED_PHOTO, **options)
        assert reason(raised.value)[:2] == (StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


async def test_the_command_tells_by_what(client: AsyncClient, caller: Caller, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(RED_PHOTO)

    async def shown(*options: str) -> str:
        arguments = ["search", str(tmp_path / "red.png"), "--target", caller.address, *options]
        result = await asyncio.to_thread(CliRunner(env={"COLUMNS": "120"}).invoke, semblance, arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    told = json.loads(await shown("--measure", "inner-product", "--json"))
    assert told["measure"] == "inner_product"
    assert "similarity (manhattan)" in await shown("--measure", "manhattan")
    assert "similarity (" not in await shown()


async def test_the_model_takes_and_tells_a_measure(client: AsyncClient, caller: Caller) -> None:
    named: dict[str, InferInput] = {}
    for name, content in (("image", RED_PHOTO), ("options", b'{"measure": "HAMMING", "top_k": 3}')):
        named[name] = InferInput(name, [1], "BYTES")
        named[name].set_data_from_numpy(np.array([content], dtype=object))
    async with InferenceServerClient(caller.address) as model:
        result = await model.infer("search", list(named.values()))
    native = await client.search(RED_PHOTO, measure="hamming", top_k=3)
    assert result.get_response().parameters["measure"].string_param == "hamming"
    assert result.as_numpy("similarity").tolist() == [[hit.similarity for hit in native.objects[0].hits]]

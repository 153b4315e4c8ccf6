"""A photo in, the right products out; and nothing acknowledged is lost."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from demo.scoring import Score
from semblance.client import (
    Box,
    Client,
    InvalidArgumentError,
    InvalidFilterError,
    NewItem,
    NotFoundError,
    SearchRequest,
    SearchResult,
    SemblanceError,
    Source,
    UnavailableError,
    field,
)
from semblance.orchestrator.adapters import shared_memory
from semblance.serving import milvus, orchestrator
from semblance.serving.triton import Triton
from tests.stack import World, semblance


@pytest.fixture(scope="module")
def client(service: orchestrator.Orchestrator, world: World) -> Iterator[Client]:
    """The drawn catalogue, indexed with the command."""
    done = semblance("index", world.manifest, "--target", service.address)
    assert done.returncode == 0, done.stdout + done.stderr
    with Client(service.address) as client:
        yield client


def test_the_items_of_unseen_scenes_are_found(client: Client, world: World) -> None:
    score = Score()
    requests = {SearchRequest(scene.path, top_k=5): scene for scene in world.scenes}
    for request, result in client.search_many(requests, in_flight=4):
        assert isinstance(result, SearchResult), result
        score.add(result.objects, requests[request].objects)
    assert score.recall_at_1 >= 0.9
    assert score.recall_at_5 >= 0.95


def test_indexing_again_changes_nothing(client: Client, service: orchestrator.Orchestrator, world: World) -> None:
    before = [item.updated_at for item in client.list()], client.count()
    assert semblance("index", world.manifest, "--target", service.address).returncode == 0
    assert ([item.updated_at for item in client.list()], client.count()) == before


def test_what_is_searched_with(client: Client, world: World) -> None:
    scene = max(world.scenes, key=lambda scene: len(scene.objects))
    every = client.search(scene.path, include_timings=True, include_embeddings=True)
    assert {found.source for found in every.objects} == {Source.DETECTED}
    assert every.timings is not None
    assert 0 < every.timings.detect < every.timings.total
    assert all(sum(x * x for x in o.embedding or ()) == pytest.approx(1, abs=1e-3) for o in every.objects)

    [largest] = client.search(scene.path, objects="largest").objects
    area = max((o.box.x2 - o.box.x1) * (o.box.y2 - o.box.y1) for o in every.objects)
    assert (largest.box.x2 - largest.box.x1) * (largest.box.y2 - largest.box.y1) == pytest.approx(area)

    [whole] = client.search(scene.path, objects="whole_image").objects
    assert (whole.source, whole.box) == (Source.WHOLE_IMAGE, Box(0, 0, every.image_width, every.image_height))

    truth = scene.objects[0]
    [given] = client.search(scene.path, boxes=[Box(*truth.box)]).objects
    assert given.source is Source.GIVEN
    assert truth.item_id in [hit.item_id for hit in given.hits[:3]]


def test_nothing_detected_is_an_answer(client: Client, world: World) -> None:
    result = client.search(world.scenes[0].path, min_detection_score=1.0)
    assert result.nothing_detected
    assert [found.source for found in result.objects] == [Source.WHOLE_IMAGE]
    assert result.objects[0].hits


def test_a_filter_keeps_the_rest_out(client: Client, world: World) -> None:
    where = (field("kind") == "card") & (field("price") < 20.0) & ~(field("limited") == True)  # noqa: E712
    wanted = {
        item.item_id
        for item in client.list()
        if item.attributes["kind"] == "card" and item.attributes["price"] < 20 and not item.attributes["limited"]  # type: ignore[operator]
    }
    result = client.search(world.scenes[0].path, top_k=100, filter=where, include_attributes=True)
    assert wanted
    for found in result.objects:
        assert {hit.item_id for hit in found.hits} == wanted
        assert all(hit.attributes["kind"] == "card" for hit in found.hits)


def test_min_similarity_leaves_out_what_is_less_alike(client: Client, world: World) -> None:
    photo = next(iter(world.photos.values()))
    result = client.search(photo, top_k=100, min_similarity=0.9)
    assert result.objects
    assert all(hit.similarity >= 0.9 for found in result.objects for hit in found.hits)


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (InvalidFilterError, {"filter": field("weight") < 3}),
        (InvalidFilterError, {"filter": field("price") == "cheap"}),
        (InvalidArgumentError, {"top_k": 1001}),
        (InvalidArgumentError, {"boxes": [Box(0, 0, 100_000, 10)]}),
        (InvalidArgumentError, {"min_similarity": 2.0}),
    ],
)
def test_what_can_not_be_is_refused(
    client: Client, world: World, error: type[SemblanceError], options: dict[str, object]
) -> None:
    with pytest.raises(error):
        client.search(world.scenes[0].path, **options)  # type: ignore[arg-type]
    assert client.search(world.scenes[0].path).objects


def test_a_deleted_item_is_found_no_more(client: Client, world: World) -> None:
    item, photo = next(iter(world.photos.items()))
    new = NewItem("a passing guest", [photo])
    client.put_item(new)
    assert {hit.item_id for hit in client.search(photo, top_k=3).objects[0].hits} >= {item, new.item_id}
    client.delete(new.item_id)
    assert new.item_id not in {hit.item_id for hit in client.search(photo, top_k=3).objects[0].hits}
    with pytest.raises(NotFoundError):
        client.get(new.item_id)


def test_acknowledged_puts_survive_kill_9(inference: Triton, repository: Path, world: World, tmp_path: Path) -> None:
    photos = dict(list(world.photos.items())[:6])

    def start(vectors: milvus.Milvus) -> AbstractContextManager[orchestrator.Orchestrator]:
        folder = tmp_path / "orchestrator"
        return orchestrator.running(folder, repository=repository, triton=inference.grpc, milvus=vectors.uri)

    with milvus.lite(tmp_path / "milvus") as vectors:
        with start(vectors) as server, Client(server.address) as client:
            pid = server.pid
            acknowledged = put_until_killed(client, server, photos)
        assert not list(shared_memory.FOLDER.glob(f"{shared_memory.PREFIX}{pid}-*"))
        assert 4 <= len(acknowledged) < len(photos)
        with start(vectors) as server, Client(server.address) as client:
            for item_id in acknowledged:
                assert client.get(item_id, include_image_data=True).images[0].data == photos[item_id].read_bytes()
                assert client.search(photos[item_id], top_k=1).objects[0].hits[0].item_id == item_id


def put_until_killed(client: Client, server: orchestrator.Orchestrator, photos: dict[str, Path]) -> list[str]:
    """Puts photos one after another, kills the service after the fourth, and returns the acknowledged ids."""
    acknowledged: list[str] = []
    outcomes = client.put((NewItem(item_id, [path]) for item_id, path in photos.items()), in_flight=1)
    try:
        for new, outcome in outcomes:
            if isinstance(outcome, SemblanceError):
                # What was in flight fails by itself where the service is gone after others' answers.
                assert isinstance(outcome, UnavailableError), outcome
                break
            acknowledged.append(new.item_id)
            if len(acknowledged) == 4:
                os.kill(server.pid, signal.SIGKILL)
    except SemblanceError:
        pass
    return acknowledged


def test_the_search_command_prints_and_draws(
    client: Client, service: orchestrator.Orchestrator, world: World, tmp_path: Path
) -> None:
    photo, picture = world.scenes[0].path, tmp_path / "out.png"
    done = semblance("search", photo, "--target", service.address, "--json", "--save", picture)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    ours = client.search(photo)
    assert [o["hits"][0]["item_id"] for o in answer["objects"]] == [o.hits[0].item_id for o in ours.objects]
    assert picture.read_bytes().startswith(b"\x89PNG")

"""The programs of `benchmarks/alternatives` give the service's answers: otherwise they would be no alternatives."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from semblance.benchmarks import contenders, load
from semblance.benchmarks.contenders import Site, Start
from semblance.benchmarks.stack import Stack
from semblance.client import Client, NewItem
from semblance.serving import milvus, orchestrator, triton
from tests.stack import ROOT, World

PHOTOS = 5
# Of objects whose most similar item is the same where the script resizes and computes in its own way.
PLAIN_SHARE = 0.9


@pytest.fixture(scope="module")
def photos(world: World) -> list[Path]:
    return [scene.path for scene in world.scenes[:PHOTOS]]


@pytest.fixture(scope="module")
def site(
    inference: triton.Triton,
    repository: Path,
    world: World,
    photos: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("alternatives")
    with (
        milvus.lite(folder / "milvus") as index,
        orchestrator.running(
            folder / "orchestrator", repository=repository, triton=inference.grpc, milvus=index.uri
        ) as service,
    ):
        with Client(service.address) as client:
            for item_id, photo in world.photos.items():
                client.put_item(NewItem(item_id, [photo]))
        stack = Stack(service.address, inference.grpc, index.uri, repository, {}, {})
        yield Site(stack, ROOT / "demo" / "weights", photos, folder)


def search(start: Start, site: Site) -> list[list[list[str]]]:
    async def turn() -> list[list[list[str]]]:
        async with start(site) as contender:
            with contender.paused():
                pass
            return [await contender.search(photo.read_bytes()) for photo in site.photos]

    return asyncio.run(turn())


@pytest.fixture(scope="module")
def expected(site: Site) -> list[list[list[str]]]:
    answers = search(contenders.semblance, site)
    assert sum(map(len, answers)) > PHOTOS
    return answers


# Each starts a server that loads and warms up both models.
@pytest.mark.timeout(600, func_only=True)
@pytest.mark.parametrize("start", [contenders.bls, contenders.bentoml, contenders.ray])
def test_a_server_finds_the_same_items_in_the_same_order(
    start: Start, site: Site, expected: list[list[list[str]]]
) -> None:
    assert search(start, site) == expected


@pytest.mark.timeout(600, func_only=True)
def test_the_plain_script_finds_the_same_items(site: Site, expected: list[list[list[str]]]) -> None:
    same = sum(
        (Counter(ids[0] for ids in found) & Counter(ids[0] for ids in answer)).total()
        for found, answer in zip(search(contenders.plain, site), expected, strict=True)
    )
    assert same >= PLAIN_SHARE * sum(map(len, expected))


class Server:
    """Takes a while for each photo; refuses one kind."""

    def __init__(self, refused: bytes = b"") -> None:
        self._refused = refused
        self._busy = 0
        self.most = 0
        self.asked: list[bytes] = []
        self.answered = 0

    async def search(self, photo: bytes) -> None:
        if photo == self._refused:
            raise ValueError("refused")
        self.asked.append(photo)
        self._busy += 1
        self.most = max(self.most, self._busy)
        await asyncio.sleep(0.02)
        self._busy -= 1
        self.answered += 1


def called(server: Server, site: Site) -> load.Load:
    photos = [b"1", b"2", b"3"]
    return asyncio.run(load.searches(server.search, site.stack, photos, in_flight=4, seconds=0.5, warm_up=0.1))


def test_the_load_generator_keeps_photos_in_flight_in_turns_and_leaves_none_behind(site: Site) -> None:
    server = Server()
    loaded = called(server, site)
    assert server.most == 4
    assert server.asked[:6] == [b"1", b"2", b"3"] * 2
    assert server.answered == len(server.asked)
    assert 0 < loaded.rate <= 1.1 * 4 / 0.02
    assert loaded.count < server.answered


def test_a_failed_search_ends_the_measurement(site: Site) -> None:
    with pytest.raises(ValueError, match="refused"):
        called(Server(refused=b"3"), site)

"""Every measure on the real stack; and a release by another metric, searched before it serves, judged and activated."""

import time
from collections.abc import Iterator
from itertools import islice, pairwise

import pytest

from semblance.client import (
    Client,
    Figure,
    Measure,
    NewItem,
    NewRelease,
    ReleaseState,
    SearchResult,
    SemblanceError,
    UnavailableError,
    WrongStateError,
)
from semblance.serving import orchestrator
from tests.stack import World, semblance

PATIENCE = 120.0
ITEMS = 8


@pytest.fixture(scope="module")
def client(service: orchestrator.Orchestrator, world: World) -> Iterator[Client]:
    """With a few items."""
    with Client(service.address, timeout=PATIENCE) as client:
        for item_id, photo in islice(world.photos.items(), ITEMS):
            client.put_item(NewItem(item_id, [photo]))
        yield client


def similarities(result: SearchResult) -> list[dict[str, float]]:
    """Of each object, by item; most similar first."""
    for found in result.objects:
        assert all(one.similarity >= other.similarity for one, other in pairwise(found.hits))
    return [{hit.item_id: hit.similarity for hit in found.hits} for found in result.objects]


def test_measures_tell_the_same_of_one_photo_on_their_scales(client: Client, world: World) -> None:
    item_id, photo = next(iter(world.photos.items()))
    by: dict[Measure, list[dict[str, float]]] = {}
    measures: tuple[Measure, ...] = ("cosine", "inner_product", "l2", "manhattan", "hamming")
    for measure in measures:
        result = client.search(photo, top_k=ITEMS, measure=measure)
        assert result.measure == measure
        by[measure] = similarities(result)
        assert by[measure][0][item_id] == max(by[measure][0].values()) == pytest.approx(1, abs=0.02)
    for cosine, product, l2, manhattan, hamming in zip(*by.values(), strict=True):
        assert product == pytest.approx(cosine, abs=1e-3)
        # |q - x|² is 2 - 2 q·x.
        assert {each: 1 - 2 * (1 - one) ** 2 for each, one in l2.items()} == pytest.approx(cosine, abs=1e-3)
        assert cosine.keys() == manhattan.keys() == hamming.keys()
        assert all(0 <= one <= 1 for one in (*manhattan.values(), *hamming.values()))


def test_a_release_by_another_metric_is_searched_judged_and_activated(client: Client, world: World) -> None:
    client.releases.create(NewRelease(metric="l2"))
    give_up = time.monotonic() + PATIENCE
    while (built := client.releases.get("r2")).state is not ReleaseState.READY:
        assert time.monotonic() < give_up, built.progress
        time.sleep(0.2)
    assert built.index.metric == "l2"
    photo = next(iter(world.photos.values()))
    named = None
    while named is None:
        assert time.monotonic() < give_up
        try:
            named = client.search(photo, release="r2")
        except (WrongStateError, UnavailableError):
            # It is ready, and the orchestrator looks at it twice a second.
            time.sleep(0.1)
    assert (named.release, named.measure) == ("r2", "l2")
    usual = client.search(photo, measure="l2")
    assert usual.release == "r1"
    for one, other in zip(similarities(named), similarities(usual), strict=True):
        assert one == pytest.approx(other, abs=2e-3)

    low = Figure("recall@1_difference_low", 0.0, "least difference of recall@1, at 95 %")
    client.releases.record_evaluation("r2", [low], against="r1")
    gate = "evaluation.recall@1_difference_low>0"
    refused = semblance("release", "activate", "r2", "--require", gate, "--target", client._target)
    assert refused.returncode == 1
    assert "evaluation.recall@1_difference_low is 0, and > 0 is required" in refused.stderr
    client.releases.record_evaluation("r2", [Figure(low.name, 0.01, low.meaning)], against="r1")
    done = semblance("release", "activate", "r2", "--require", gate, "--target", client._target)
    assert done.returncode == 0, done.stderr
    assert client.search(photo).release == "r2"
    with pytest.raises(SemblanceError, match="'r9'; r1, r2 can be searched"):
        client.search(photo, release="r9")
    client.releases.roll_back()

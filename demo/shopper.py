"""A simulated user who knows what lies in every scene, and tells the service where its answers are wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from demo.scenes import Object, Truth
from demo.scoring import matched
from semblance.client import Box, Client, ObjectHits, SearchResult, Source, Verdict


def complaints(result: SearchResult, objects: Sequence[Object]) -> Iterator[tuple[Verdict, ObjectHits | None]]:
    """What is wrong with an answer, each with the object of the answer that it is about.

    An item that is not the first hit is named; one that was not detected is shown; boxes with nothing in them, or
    with the wrong kind of thing, are not spoken of: a user looks for items, and passes over what is none.
    """
    found = [each for each in result.objects if each.source is Source.DETECTED]
    pairs = matched(found, objects)
    for number, i in pairs.items():
        first = found[number].hits[0].item_id if found[number].hits else ""
        if first != objects[i].item_id:
            yield Verdict.item(objects[i].item_id), found[number]
    for i, missed in enumerate(objects):
        if i not in pairs.values():
            yield Verdict.missed(Box(*missed.box), missed.item_id), None


def complain(client: Client, scenes: Sequence[Truth], results: Sequence[SearchResult]) -> int:
    """Gives a verdict on every failure; returns how many."""
    given = 0
    for scene, result in zip(scenes, results, strict=True):
        for verdict, answered in complaints(result, scene.objects):
            client.feedback.give(scene.path, result.release, verdict, answered)
            given += 1
    return given

"""Answers that are probably wrong, though nobody says so: some of them are kept as feedback, behind the answer.

They are left out first where searches need the room, and fail no answer.
"""

import asyncio
import logging
import math
import random
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from semblance.orchestrator.admission import Admission
from semblance.orchestrator.detect import DEFAULT_MIN_SCORE
from semblance.orchestrator.errors import SemblanceError
from semblance.orchestrator.feedback import MAX_HITS, AnsweredObject, Kind, RankedItem, Source, Verdict
from semblance.orchestrator.pipeline import Answer, Query, Region
from semblance.orchestrator.ports import Neighbour
from semblance.orchestrator.verdicts import Draft, Verdicts

log = logging.getLogger(__name__)

# Photos that wait to be stored, and their bytes together; more are dropped.
MOST = 16
MOST_BYTES = 64 * 2**20


class Outcome(StrEnum):
    """What became of a suspicious answer that was sampled."""

    STORED = "stored"
    # It was there already.
    KNOWN = "known"
    # Left out for want of room.
    DROPPED = "dropped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Which answers are suspicious, and the `share` of them that is kept, 0 to 1.

    An object's first hit below `similarity`, or less than `margin` above the second, is.
    """

    share: float
    similarity: float
    margin: float


class Suspects:
    def __init__(self, verdicts: Verdicts, admission: Admission, suspicion: Suspicion) -> None:
        self._verdicts = verdicts
        self._admission = admission
        self._suspicion = suspicion
        self._random = random.Random()
        self._waiting: asyncio.Queue[tuple[Draft, int]] = asyncio.Queue(MOST)
        self._bytes = 0
        # Since the process started.
        self.outcomes: Counter[Outcome] = Counter()

    def offer(self, query: Query, caller: str, answer: Answer) -> None:
        """Tells of a search that was answered; it may be kept. Returns at once."""
        if self._suspicion.share <= self._random.random():
            return
        found = suspicious(query, answer, self._suspicion)
        if found is None:
            return
        size = len(query.image)
        if self._waiting.full() or self._bytes + size > MOST_BYTES or not self._admission.idle:
            self.outcomes[Outcome.DROPPED] += 1
            return
        verdict, answered = found
        self._bytes += size
        self._waiting.put_nowait((Draft("", caller, answer.release_id, query.image, verdict, answered), size))

    async def store_forever(self) -> None:
        """One at a time."""
        while True:
            draft, size = await self._waiting.get()
            try:
                _, new = await self._verdicts.give(draft)
                self.outcomes[Outcome.STORED if new else Outcome.KNOWN] += 1
            except SemblanceError as error:
                log.debug("a suspicious answer could not be kept: %s", error)
                self.outcomes[Outcome.FAILED] += 1
            except Exception:
                log.exception("a suspicious answer could not be kept")
                self.outcomes[Outcome.FAILED] += 1
            finally:
                self._bytes -= size


def suspicious(query: Query, answer: Answer, suspicion: Suspicion) -> tuple[Verdict, AnsweredObject | None] | None:
    """Why the answer is, and because of which object: the one whose first hit is the least similar or, where all are
    similar, the one whose second is the nearest to the first.

    A filter or a least similarity may leave out the right items, another measure has another scale, and a least score
    may leave out every object: such answers say nothing of the models.
    """
    if answer.description.nothing_detected:
        return (Verdict(Kind.NOTHING_DETECTED), None) if query.selection.min_score <= DEFAULT_MIN_SCORE else None
    if query.where is not None or query.measure is not None or query.min_similarity != -math.inf:
        return None
    objects = list(zip(answer.description.regions, answer.hits, strict=True))
    region, hits = min(objects, key=lambda each: _first(each[1]))
    if _first(hits) < suspicion.similarity:
        return Verdict(Kind.LOW_SIMILARITY), answered_object(region, hits)
    region, hits = min(objects, key=lambda each: _margin(each[1]))
    if _margin(hits) < suspicion.margin:
        return Verdict(Kind.NARROW_MARGIN), answered_object(region, hits)
    return None


def answered_object(region: Region, hits: tuple[Neighbour, ...]) -> AnsweredObject:
    source = Source.GIVEN if region.given else Source.WHOLE_IMAGE
    ranked = tuple(RankedItem(hit.item_id, hit.similarity) for hit in hits[:MAX_HITS])
    if region.detection is None:
        return AnsweredObject(source, region.box, 0.0, "", ranked)
    return AnsweredObject(Source.DETECTED, region.box, region.detection.score, region.detection.class_name, ranked)


def _first(hits: tuple[Neighbour, ...]) -> float:
    return hits[0].similarity if hits else -1.0


def _margin(hits: tuple[Neighbour, ...]) -> float:
    """Infinite where there is no second."""
    return hits[0].similarity - hits[1].similarity if len(hits) > 1 else float("inf")

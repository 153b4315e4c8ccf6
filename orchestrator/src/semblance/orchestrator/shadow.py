"""Copies of searches, run on another release behind the answer, and what is seen of it beside the active one.

A *candidate* is the release that is watched: the shadow, whose copies of the active release's searches are run here; or
the canary, which serves callers itself, while the active release gets the copies. Copies are left out first where
searches need the room, count in no limit, and fail no answer.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from semblance.orchestrator.admission import Admission
from semblance.orchestrator.comparison import compare
from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.errors import (
    Forbidden,
    InvalidArgument,
    Overloaded,
    RateLimited,
    Unauthenticated,
)
from semblance.orchestrator.observations import Observations, Side
from semblance.orchestrator.pipeline import Answer, Pipeline, Query, Stopwatch
from semblance.orchestrator.release import Release
from semblance.orchestrator.request import answering
from semblance.orchestrator.traffic import Traffic

log = logging.getLogger(__name__)

# Copies that are run at once: so many photos and answers are kept for them.
MOST = 2
# What says nothing about a release. A deadline that passed may: a release that hangs has no other failures.
CALLERS_FAULT = (
    InvalidArgument,
    Unauthenticated,
    Forbidden,
    Overloaded,
    RateLimited,
    asyncio.CancelledError,
)


class Role(StrEnum):
    CANARY = "canary"
    SHADOW = "shadow"


class Outcome(StrEnum):
    """What became of a copy."""

    ANSWERED = "answered"
    FAILED = "failed"
    # Left out for want of room.
    DROPPED = "dropped"


# Ids of a candidate and of the active release beside it, and what the candidate is: added up while all that stays so.
Pair = tuple[str, Role, str]


class Shadows:
    def __init__(self, pipeline: Pipeline, admission: Admission, seconds: float) -> None:
        """A copy may take so many seconds."""
        self._pipeline = pipeline
        self._admission = admission
        self._seconds = seconds
        self._random = random.Random()
        self._running: set[asyncio.Task[None]] = set()
        self._observations: dict[Pair, Observations] = {}
        # Copies by the id of the release that they were for, since the process started.
        self.copies: Counter[tuple[str, Outcome]] = Counter()

    async def close(self) -> None:
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def observed(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Of each candidate there is, by its id, since it became that beside this active release."""
        pairs = _pairs(self._admission.traffic)
        self._observations = {pair: seen for pair, seen in self._observations.items() if pair in pairs}
        totals: dict[str, Observations] = {}
        for (candidate, _, _), seen in self._observations.items():
            totals[candidate] = totals.get(candidate, Observations()) + seen
        for candidate, total in totals.items():
            yield candidate, total.as_json()

    def offer(self, query: Query, served: Release, result: Answer | BaseException, seconds: float) -> None:
        """Tells of a search that has left admission, and how long its chain took; it may be copied. Returns at once."""
        traffic = self._admission.traffic
        if traffic is None or (traffic.canary is None and traffic.shadow is None):
            return
        if traffic.canary is not None:
            candidate = traffic.canary[0]
            seen = self._seen(traffic, candidate, Role.CANARY)
            if served == candidate:
                _count(seen.candidate, result, seconds)
                if isinstance(result, Answer):
                    self._copy(query, result, seconds, traffic, traffic.active, Role.CANARY, seen)
            elif served == traffic.active:
                _count(seen.active, result, seconds)
        if traffic.shadow is not None and served == traffic.active and isinstance(result, Answer):
            candidate, percent = traffic.shadow
            if self._random.random() * 100 < percent:
                seen = self._seen(traffic, candidate, Role.SHADOW)
                self._copy(query, result, seconds, traffic, candidate, Role.SHADOW, seen)

    def _copy(
        self,
        query: Query,
        answer: Answer,
        seconds: float,
        traffic: Traffic,
        release: Release,
        role: Role,
        seen: Observations,
    ) -> None:
        """Runs a search, which was answered after so many seconds, on the release, too, where there is room for it."""
        if len(self._running) >= MOST or not self._admission.idle:
            seen.dropped += 1
            self.copies[release.release_id, Outcome.DROPPED] += 1
            return
        task = asyncio.create_task(self._run(query, answer, seconds, traffic, release, role, seen))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(
        self,
        query: Query,
        answer: Answer,
        seconds: float,
        traffic: Traffic,
        release: Release,
        role: Role,
        seen: Observations,
    ) -> None:
        # A span of the request's trace would be taken for a part of its time.
        if (request := answering.get()) is not None:
            answering.set(replace(request, span=None))
        deadline, began = Deadline.after(self._seconds), time.perf_counter()
        try:
            traffic.check(release)
            async with deadline.enforced():
                copy = await self._pipeline.search(query, release, deadline, Stopwatch())
        except Exception as error:
            log.debug("a copy of a search failed on release %s: %s", release.release_id, error)
            dropped = isinstance(error, Overloaded)
            self.copies[release.release_id, Outcome.DROPPED if dropped else Outcome.FAILED] += 1
            if dropped:
                seen.dropped += 1
            elif role is Role.SHADOW and not isinstance(error, InvalidArgument):
                seen.candidate.failed += 1
                _add_original(seen, release, traffic, seconds)
            return
        self.copies[release.release_id, Outcome.ANSWERED] += 1
        if role is Role.SHADOW:
            seen.candidate.add(time.perf_counter() - began)
            _add_original(seen, release, traffic, seconds)
            seen.add(compare(answer, copy))
        else:
            seen.add(compare(copy, answer))

    def _seen(self, traffic: Traffic, candidate: Release, role: Role) -> Observations:
        pair = candidate.release_id, role, traffic.active.release_id
        return self._observations.setdefault(pair, Observations())


def _pairs(traffic: Traffic | None) -> set[Pair]:
    if traffic is None:
        return set()
    candidates = ((traffic.canary, Role.CANARY), (traffic.shadow, Role.SHADOW))
    return {(each[0].release_id, role, traffic.active.release_id) for each, role in candidates if each is not None}


def _count(side: Side, result: Answer | BaseException, seconds: float) -> None:
    if isinstance(result, Answer):
        side.add(seconds)
    elif not isinstance(result, CALLERS_FAULT):
        side.failed += 1


def _add_original(seen: Observations, shadow: Release, traffic: Traffic, seconds: float) -> None:
    """Counts the search that a copy was made of, unless it was when it was served: beside a canary, all are."""
    if traffic.canary is None or traffic.canary[0] != shadow:
        seen.active.add(seconds)

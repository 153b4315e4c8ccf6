"""Several inference servers that serve the same models: each request goes to the one with the least to do, and to
another one where it fails there."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.deadline import Deadline
from semblance.orchestrator.dependency import Dependency
from semblance.orchestrator.errors import ContractMismatch, DeadlineExceeded, DependencyUnavailable
from semblance.orchestrator.ports import Batch, InferenceServer
from semblance.orchestrator.release import ModelVersion

log = logging.getLogger(__name__)

# Between two lines of the log about what one server failed at and another one was asked for, in seconds.
TELL_EVERY = 60.0

T = TypeVar("T")
# By the server's own fault.
Failure = DependencyUnavailable | ContractMismatch


@dataclass(slots=True, eq=False)
class Replica:
    """`outstanding`: its batches that are not done; `failovers`: those, since the process started, that another one was
    asked for."""

    server: InferenceServer
    dependency: Dependency
    outstanding: int = 0
    failovers: int = 0
    _tell_at: float = -math.inf

    def fails_over(self, other: "Replica", error: Exception) -> None:
        """Counts it, and tells the operator now and then: where the other one can, no caller notices anything."""
        self.failovers += 1
        if time.monotonic() >= self._tell_at:
            self._tell_at = time.monotonic() + TELL_EVERY
            log.warning(
                "%s is asked for what %s failed at, %d times since the start: %s",
                other.dependency.name,
                self.dependency.name,
                self.failovers,
                error,
            )


class Replicas:
    """An `InferenceServer`. Those that are unavailable get nothing until a probe of theirs succeeds."""

    def __init__(self, replicas: Sequence[Replica], counts: Callable[[ModelVersion], bool] = lambda _: True) -> None:
        """`counts`: whether it says something of a server that it can't compute a model."""
        self._replicas = list(replicas)
        self._counts = counts

    @property
    def available(self) -> bool:
        return any(replica.dependency.available for replica in self._replicas)

    def failovers(self) -> dict[str, int]:
        """By server, its batches that another one was asked for."""
        return {replica.dependency.name: replica.failovers for replica in self._replicas}

    def check_available(self) -> None:
        """Raises DependencyUnavailable where a call would be in vain."""
        self._next().dependency.check()

    @contextmanager
    def batch(self, model: ModelVersion, rows: int) -> Iterator["RepeatedBatch"]:
        with ExitStack() as leased:

            def lease(replica: Replica) -> GuardedBatch:
                return leased.enter_context(self._lease(replica, model, rows))

            yield RepeatedBatch(self._next(), lease, leased, self._another)

    @contextmanager
    def _lease(self, replica: Replica, model: ModelVersion, rows: int) -> Iterator["GuardedBatch"]:
        replica.outstanding += 1
        try:
            with replica.server.batch(model, rows) as batch:
                yield GuardedBatch(batch, replica.dependency, model.name if self._counts(model) else None)
        finally:
            replica.outstanding -= 1

    async def check(self, model: ModelVersion, timeout: float) -> None:
        """All that answer; at least one has to."""
        await self._ask(lambda server: server.check(model, timeout))

    async def ready_versions(self, name: str, timeout: float) -> tuple[int, ...]:
        """Those that all have that answer."""
        answers = await self._ask(lambda server: server.ready_versions(name, timeout))
        return tuple(sorted(set.intersection(*map(set, answers))))

    def _next(self) -> Replica:
        # Where none is available, its own error says so.
        return _idlest([each for each in self._replicas if each.dependency.available] or self._replicas)

    def _another(self, failed: Collection[Replica]) -> Replica | None:
        """None where nobody is left who may do what these could not."""
        left = [each for each in self._replicas if each.dependency.available and each not in failed]
        return _idlest(left) if left else None

    async def _ask(self, question: Callable[[InferenceServer], Awaitable[T]]) -> list[T]:
        """Leaves out who does not answer, until he does. Raises his error where nobody else does."""
        answers: list[T] = []
        silent: dict[Replica, DependencyUnavailable | DeadlineExceeded] = {}

        async def ask(replica: Replica) -> None:
            try:
                answers.append(await question(replica.server))
            except (DependencyUnavailable, DeadlineExceeded) as error:
                silent[replica] = error

        await asyncio.gather(*map(ask, self._replicas))
        if not answers:
            raise next(iter(silent.values()))
        for replica, error in silent.items():
            replica.dependency.unavailable(error)
        return answers


def _idlest(replicas: Sequence[Replica]) -> Replica:
    """Any of those with the least to do: in turn, one would get all detections, and the other all embeddings."""
    return min(replicas, key=lambda replica: (replica.outstanding, random.random()))


def _telling(errors: Sequence[Failure]) -> Failure:
    """The one to raise of servers that have failed, in that order: the last one's, caused by the first one's. What a
    server that answers finds wrong says more than that another one does not answer."""
    telling = next((each for each in errors if isinstance(each, ContractMismatch)), errors[-1])
    if telling is not errors[0]:
        telling.__cause__ = errors[0]
    return telling


@dataclass(frozen=True, slots=True, eq=False)
class GuardedBatch:
    """See `ports.Batch`. Without the name of a `model`, its failure says nothing of the server."""

    batch: Batch
    dependency: Dependency
    model: str | None

    @property
    def pixels(self) -> NDArray[np.uint8]:
        return self.batch.pixels

    async def infer(self, timeout: float) -> NDArray[np.float32]:
        if self.model is None:
            self.dependency.check()
            return await self.batch.infer(timeout)
        with self.dependency.calling(self.model):
            return await self.batch.infer(timeout)


class RepeatedBatch:
    """See `ports.Batch`. What a server fails at, by its own fault, the others are asked for in what is left of the
    time."""

    def __init__(
        self,
        first: Replica,
        lease: Callable[[Replica], GuardedBatch],
        leased: ExitStack,
        another: Callable[[Collection[Replica]], Replica | None],
    ) -> None:
        """`lease` leaves it to `leased` to end what it gives; `another` is told who has failed."""
        self._replica = first
        self._lease = lease
        self._leased = leased
        self._another = another
        self._batch = lease(first)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        return self._batch.pixels

    async def infer(self, timeout: float) -> NDArray[np.float32]:
        deadline = Deadline.after(timeout)
        failed: dict[Replica, Failure] = {}
        try:
            while True:
                try:
                    return await self._batch.infer(deadline.remaining())
                except (DependencyUnavailable, ContractMismatch) as error:
                    failed[self._replica] = error
                other = self._another(failed)
                if other is None:
                    raise _telling([*failed.values()])
                self._replica.fails_over(other, failed[self._replica])
                self._move(other, failed[self._replica])
        finally:
            # Each error has a traceback that holds this frame, and with it the pixels.
            failed.clear()

    def _move(self, other: Replica, error: Exception) -> None:
        """Takes the pixels to another server, and ends what was leased of the one that failed before that one infers:
        where the input was to go with others', those wait for it."""
        failed, pixels = self._leased.pop_all(), self._batch.pixels
        try:
            self._batch = self._lease(other)
            self._batch.pixels[:] = pixels
        finally:
            failed.__exit__(type(error), error, error.__traceback__)
        self._replica = other

"""Whether something that the service needs answers: a circuit breaker that looks for itself.

    available ──FAILURES in a row, of calls of one kind or probes──▶ unavailable
        ▲                                                                │
        └─────────────────────── a probe succeeds ───────────────────────┘

While it is available it is probed now and then, so that its health is known without traffic, and at once after a call
that failed. While it is not, calls fail without being made, and it is probed with a growing, jittered delay. Where
calls have failed, answering questions is not enough: a probe has it do what they asked for. A call whose deadline
passed only has it probed: how long that was is its caller's choice.
"""

import asyncio
import logging
import random
import time
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

from semblance.orchestrator.errors import (
    ContractMismatch,
    DeadlineExceeded,
    DependencyUnavailable,
    Overloaded,
    SemblanceError,
)

log = logging.getLogger(__name__)

FAILURES = 3
# Between two probes of what is available, in seconds; a random half more or less.
PROBE_SECONDS = 2.0
# What a probe may take, in seconds.
PROBE_TIMEOUT = 3.0
# Between two probes of what has failed: at first, and at most, in seconds; a random half more or less.
FIRST_RETRY, LAST_RETRY = 0.1, 2.0

Port = TypeVar("Port")
Probe = Callable[[float, bool], Awaitable[object]]


class Dependency:
    def __init__(self, name: str, probe: Probe, on_change: Callable[[], None]) -> None:
        """`probe` raises an error of ours where it does not answer, or answers wrongly, within so many seconds; it is
        told whether calls have failed since it last succeeded.

        `on_change` is told when it becomes available or unavailable.
        """
        self.name = name
        self._probe = probe
        # Why it is unavailable, and whether it answers all the same.
        self._reason = ""
        self._answers = True
        # By kind, calls that failed since the last one that did not.
        self._failures: Counter[str] = Counter()
        # Since the process started, of calls and of probes.
        self.failed_calls = self.failed_probes = 0
        self._last_failure: Callable[[], Exception | None] = lambda: None
        self._since = 0.0
        self._suspected = asyncio.Event()
        self._on_change = on_change

    @property
    def available(self) -> bool:
        return not self._reason

    def check(self) -> None:
        """Raises DependencyUnavailable where a call would be in vain.

        Where it answers, but wrongly, calls are made: they say best what is wrong.
        """
        if not self._answers:
            delay = random.uniform(0.5, 1.5) * LAST_RETRY
            raise DependencyUnavailable(f"{self._reason}; it is tried again every {LAST_RETRY:g} s", delay)

    @contextmanager
    def calling(self, kind: str = "") -> Iterator[None]:
        """Around a call; raises what `check` raises. One kind of call may fail while others do not."""
        self.check()
        try:
            yield
        except (DependencyUnavailable, ContractMismatch) as error:
            # Those whose inputs went as one request get the same error.
            if error is not self._last_failure():
                self._last_failure = weakref.ref(error)
                self._failed(kind, error)
            raise
        except DeadlineExceeded:
            self._suspected.set()
            raise
        self._failures.pop(kind, None)

    def _failed(self, kind: str, error: SemblanceError) -> None:
        self._failures[kind] += 1
        self.failed_calls += 1
        self._suspected.set()
        if self._failures[kind] >= FAILURES:
            self.unavailable(error)

    def unavailable(self, error: SemblanceError) -> None:
        """No call is made until a probe succeeds."""
        was_available = self.available
        # Not the error itself: it holds all that its request was working on.
        self._reason, self._answers = str(error), not isinstance(error, (DependencyUnavailable, DeadlineExceeded))
        if was_available:
            self._since = time.monotonic()
            log.error("%s is unavailable, and calls that need it fail at once: %s", self.name, error)
            self._on_change()

    async def watch(self) -> None:
        """Probes for ever."""
        failures = 0
        while True:
            await self._pause(failures)
            error = await self._look()
            failures = 0 if error is None else failures + 1
            self.failed_probes += error is not None
            if error is None:
                self._works()
            elif failures >= FAILURES:
                self.unavailable(error)

    async def _pause(self, failures: int) -> None:
        """Between two probes, the last `failures` of which have failed."""
        jitter = random.uniform(0.5, 1.5)
        if failures:
            await asyncio.sleep(jitter * min(LAST_RETRY, FIRST_RETRY * 2.0 ** min(failures - 1, 10)))
        else:
            with suppress(TimeoutError):
                async with asyncio.timeout(jitter * PROBE_SECONDS):
                    await self._suspected.wait()
        self._suspected.clear()

    def _works(self) -> None:
        self._failures.clear()
        if not self.available:
            self._reason, self._answers = "", True
            log.info("%s is available again, after %.1f s", self.name, time.monotonic() - self._since)
            self._on_change()

    async def _look(self) -> SemblanceError | None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                await self._probe(PROBE_TIMEOUT, bool(self._failures))
        except Overloaded:
            # It has much to do, and does it.
            return None
        except TimeoutError:
            return DependencyUnavailable(f"{self.name} did not answer within {PROBE_TIMEOUT:g} s")
        except SemblanceError as error:
            return error
        except Exception as error:
            log.exception("%s could not be probed", self.name)
            return DependencyUnavailable(f"{self.name} could not be probed: {error}")
        return None


def guarded(port: Port, dependency: Dependency, counts: Callable[..., bool] = lambda *_: True) -> Port:
    """The port with each of its methods, which are coroutines, called within `dependency.calling()`, unless `counts`
    says of its arguments that a failure tells nothing of the dependency."""
    return cast(Port, _Guarded(port, dependency, counts))


class _Guarded:
    def __init__(self, port: object, dependency: Dependency, counts: Callable[..., bool]) -> None:
        self._port = port
        self._dependency = dependency
        self._counts = counts

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self._port, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            if not self._counts(*arguments):
                self._dependency.check()
                return await method(*arguments, **named)
            with self._dependency.calling(name):
                return await method(*arguments, **named)

        # Found without this from now on.
        setattr(self, name, call)
        return call

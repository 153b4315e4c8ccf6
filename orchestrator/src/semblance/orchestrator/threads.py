"""Threads for the work on pixels, which would hold up the event loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A fixed number of threads. What waits for one is bounded by admission."""

    def __init__(self, threads: int) -> None:
        self.size = threads
        # Pieces of work that somebody waits for, under way or not begun.
        self.wanted = 0
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pixels")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        # What is logged in the thread is the request's.
        context, job = copy_context(), [partial(work, *args, **kwargs)]
        self.wanted += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: context.run(job.pop()))
        finally:
            self.wanted -= 1
            # What was given up keeps its place in the pool's queue, but not its image in memory.
            job.clear()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

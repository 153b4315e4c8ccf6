"""Threads for the work on pixels."""

import asyncio
import gc
import threading
import weakref

import pytest

from semblance.orchestrator.request import Request, answering
from semblance.orchestrator.threads import Threads


class Photo:
    """Something large."""


async def test_what_is_given_up_while_it_waits_for_a_thread_is_not_kept() -> None:
    threads, busy = Threads(1), threading.Event()
    first = asyncio.ensure_future(threads.run(busy.wait, 10))
    photo = Photo()
    kept = weakref.ref(photo)
    second = asyncio.ensure_future(threads.run(id, photo))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait({second})
    del photo, second
    gc.collect()
    assert kept() is None
    busy.set()
    assert await first
    assert await threads.run(len, "abc") == 3
    threads.close()


async def test_an_error_reaches_who_waits() -> None:
    threads = Threads(1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 1, 0)
    threads.close()


async def test_the_thread_knows_for_whom_it_works() -> None:
    threads = Threads(1)
    answering.set(Request("a", "b"))
    assert await threads.run(answering.get) is answering.get() is not None
    threads.close()

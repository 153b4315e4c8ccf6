"""One process that serves, from its start to its end."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

from semblance.orchestrator.allocator import keep_freed_memory
from semblance.orchestrator.bootstrap import Service, real_ports
from semblance.orchestrator.settings import Settings

log = logging.getLogger(__name__)


def serve(settings: Settings, worker: int = 0) -> NoReturn:
    """Serves as `run` does, and ends the process with status 0. Raises what keeps it from serving."""
    asyncio.Runner().run(run(settings, worker))
    # Neither the loop is closed nor the interpreter ended: both wait for every thread, and one may hang in a store that
    # does not answer. What had to be finished is.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


async def run(settings: Settings, worker: int = 0) -> None:
    """Serves until SIGTERM or SIGINT; `worker` is its number among those that share the port.

    A process that has the port for itself listens at once, and says that it is not serving yet. Of those that share
    it, each listens when it is ready: whoever is connected to one is served.
    """
    keep_freed_memory()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with real_ports(settings) as ports:
        service = Service(settings, ports, worker)
        try:
            if settings.workers == 1:
                log.info("listening on port %d, not serving yet", await service.bind())
            await _unless_stopped(service.activate(), stopped)
            if settings.workers > 1 and not stopped.is_set():
                log.info("worker %d is listening on port %d", worker, await service.bind())
            await stopped.wait()
            log.info("stopping")
        finally:
            await service.stop()


async def _unless_stopped(start: Coroutine[Any, Any, None], stopped: asyncio.Event) -> None:
    """Runs the start to its end, unless the process is stopped meanwhile."""
    starting, stopping = asyncio.create_task(start), asyncio.create_task(stopped.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
        return
    starting.result()

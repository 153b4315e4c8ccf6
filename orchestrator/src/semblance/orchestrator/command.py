"""`semblance serve`."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import click
from pydantic import SecretStr

from semblance.orchestrator.bootstrap import Service, real_ports
from semblance.orchestrator.errors import SemblanceError
from semblance.orchestrator.grpc_edge.server import AddressInUse
from semblance.orchestrator.logs import log_to_stderr
from semblance.orchestrator.settings import Settings, SettingsError, flag, variable

log = logging.getLogger(__name__)


def _flags(command: Callable[..., None]) -> Callable[..., None]:
    """An option for each setting; `Settings` itself reads the variables and judges the values."""
    for name, field in reversed(Settings.model_fields.items()):
        default = "" if isinstance(field.default, SecretStr) else field.default
        text = f"{field.description} [{variable(name)}{f'; default: {default}' if default != '' else ''}]"
        command = click.option(flag(name), name, metavar="VALUE", help=text)(command)
    return command


@click.command(short_help="Run the service.")
@_flags
def serve(**flags: str | None) -> None:
    """Run the service until SIGTERM or SIGINT, which lets the calls in flight finish.

    Each setting is an environment variable or a flag; flags win.
    """
    try:
        settings = Settings.read({name: value for name, value in flags.items() if value is not None})
        log_to_stderr(settings.log_level)
        asyncio.run(_serve(settings))
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    except (AddressInUse, SemblanceError) as error:
        log.critical("%s", error)
        sys.exit(1)


async def _serve(settings: Settings) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with real_ports(settings) as ports:
        service = Service(settings, ports)
        port = await service.bind()
        log.info("listening on port %d, not serving yet", port)
        try:
            await _unless_stopped(service.activate(), stopped)
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

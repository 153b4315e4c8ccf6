"""`semblance serve`."""

import asyncio
import logging
import sys
from collections.abc import Callable

import click
from pydantic import SecretStr

from semblance.orchestrator.address import AddressInUse
from semblance.orchestrator.errors import SemblanceError
from semblance.orchestrator.logs import log_to_stderr
from semblance.orchestrator.settings import Settings, SettingsError, flag, variable
from semblance.orchestrator.supervisor import supervise

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

    With --workers, several processes share the port, and one more watches over them: a worker that is killed is
    replaced, and one that ends by itself, which it does only where something is wrong, ends them all.

    Each setting is an environment variable or a flag; flags win.
    """
    try:
        given = {name: value for name, value in flags.items() if value is not None}
        settings = Settings.read(given)
        log_to_stderr(settings.log_level)
        if settings.workers == 1:
            # Not above: the process that watches over workers needs none of this, and its 150 MB.
            from semblance.orchestrator.process import run

            asyncio.run(run(settings))
        else:
            sys.exit(supervise(settings, {variable(name): value for name, value in given.items()}))
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    except (AddressInUse, SemblanceError) as error:
        log.critical("%s", error)
        sys.exit(1)

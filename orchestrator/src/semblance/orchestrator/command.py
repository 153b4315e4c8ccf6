"""`semblance serve`."""

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

import click
from pydantic import SecretStr

from semblance.orchestrator.address import AddressInUse
from semblance.orchestrator.errors import SemblanceError
from semblance.orchestrator.logs import log_to_stderr
from semblance.orchestrator.settings import Settings, SettingsError, flag, variable
from semblance.orchestrator.supervisor import supervise

log = logging.getLogger(__name__)


def setting_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """An option for each of these settings but secrets; `Settings` itself reads the variables and judges the values."""

    def add(command: Callable[..., None]) -> Callable[..., None]:
        for name in reversed(names):
            field = Settings.model_fields[name]
            if field.annotation is SecretStr:
                continue
            switch = field.annotation is bool
            # A default of the host's is told by its description: this text is the same on every host.
            of_the_host = field.default_factory is not None
            default = "" if switch or of_the_host or field.default == "" else f"; default: {field.default}"
            text = f"{field.description} [{variable(name)}{default}]"
            form: dict[str, Any] = {"flag_value": "true", "default": None} if switch else {"metavar": "VALUE"}
            command = click.option(flag(name), name, help=text, **form)(command)
        return command

    return add


def settings_of(flags: Mapping[str, str | None]) -> Settings:
    """From the environment and the flags that are given. Raises click.UsageError."""
    try:
        return Settings.read({name: value for name, value in flags.items() if value is not None})
    except SettingsError as error:
        raise click.UsageError(str(error)) from None


@click.command(short_help="Run the service.")
@setting_options(*Settings.model_fields)
def serve(**flags: str | None) -> None:
    """Run the service until SIGTERM or SIGINT, which lets the calls in flight finish.

    With --workers, several processes share the port, and one more watches over them: a worker that is killed is
    replaced, and one that ends by itself, which it does only where something is wrong, ends them all.

    Each setting is an environment variable or a flag; flags win. SEMBLANCE_MILVUS_TOKEN (user:password or an API key of
    Milvus) has no flag: others of this host see command lines.
    """
    settings = settings_of(flags)
    try:
        log_to_stderr(settings.log_level)
        if settings.workers == 1:
            # Not above: the process that watches over workers needs none of this, and its 150 MB.
            from semblance.orchestrator import process

            process.serve(settings)
        else:
            given = {variable(name): value for name, value in flags.items() if value is not None}
            sys.exit(supervise(settings, given))
    except SettingsError as error:
        raise click.UsageError(str(error)) from None
    except (AddressInUse, SemblanceError) as error:
        log.critical("%s", error)
        sys.exit(1)

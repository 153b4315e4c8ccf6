"""`semblance token`."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import click

from semblance.orchestrator.caller import Role
from semblance.orchestrator.grpc_edge.callers import CallersFile, Entry, TokenHash, digest, new_token
from semblance.orchestrator.settings import SettingsError


@click.command(short_help="Give a caller a token.")
@click.argument("name")
@click.option(
    "--callers",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="SEMBLANCE_CALLERS",
    required=True,
    show_envvar=True,
    help="The service's file of callers; made where it is not there.",
)
@click.option(
    "--role",
    "roles",
    type=click.Choice([role.value for role in Role]),
    multiple=True,
    help="What a new caller may do; may be given several times.",
)
@click.option(
    "--requests-per-second", type=float, metavar="N", help="How often a new caller may call, in the long run."
)
@click.option(
    "--burst", type=int, metavar="N", help="How many requests it may send at once; those of a second by default."
)
def token(name: str, path: Path, roles: tuple[str, ...], requests_per_second: float | None, burst: int | None) -> None:
    """Give a caller a token, and print it this once: the file keeps only its SHA-256.

    A caller that is there already gets one more token, so that it can change over before the old one is taken out
    of the file. A running service sees changes of the file within a second.
    """
    try:
        callers = {entry.name: entry for entry in CallersFile.read(path).callers} if path.exists() else {}
        if name not in callers:
            if not roles:
                raise click.UsageError(f"{name} is new in {path}: name its roles with --role")
            callers[name] = Entry.of(name=name, roles=roles, requests_per_second=requests_per_second, burst=burst)
        elif roles or requests_per_second or burst:
            raise click.UsageError(f"{name} is in {path} already; change its roles and limits there")
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    made = new_token(name)
    hashed = TokenHash(sha256=digest(made).hex(), created=datetime.now(UTC).date())
    callers[name] = callers[name].model_copy(update={"tokens": (*callers[name].tokens, hashed)})
    try:
        _write(path, CallersFile(callers=tuple(callers.values())))
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror}") from None
    click.echo(made)


def _write(path: Path, file: CallersFile) -> None:
    """Replaces the file at once: a service that reads it meanwhile sees the old one or the new one."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(file.model_dump_json(indent=2, exclude_defaults=True) + "\n")
    if path.exists():
        shutil.copymode(path, aside)
    aside.replace(path)

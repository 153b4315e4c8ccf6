"""What the commands that talk to the service have in common."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semblance.client._channel import CALL_TIMEOUT, DEFAULT_TARGET, RELEASE_TIMEOUT, Tls
from semblance.client._client import Client
from semblance.client._filters import Attribute

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_FILE = click.Path(dir_okay=False, path_type=Path)

TOKEN_VARIABLE = "SEMBLANCE_TOKEN"


class Connect:
    """Makes the client that the options describe; can be pickled, for other processes to make it too.

    No dataclass: its text, and what libraries log of the fields of one, would tell the token.
    """

    def __init__(self, target: str, timeout: float | None, tls: Tls | None, token: str | None) -> None:
        self._target, self._timeout, self._tls, self._token = target, timeout, tls, token

    def __call__(self) -> Client:
        try:
            return Client(self._target, timeout=self._timeout, tls=self._tls, token=self._token)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        except OSError as error:
            raise unreadable(error) from None


_OPTIONS = (
    click.option(
        "--target",
        envvar="SEMBLANCE_TARGET",
        default=DEFAULT_TARGET,
        metavar="HOST:PORT",
        show_default=True,
        show_envvar=True,
        help="Where the service is; several orchestrators as ipv4:ADDRESS:PORT,ADDRESS:PORT or dns:///NAME:PORT.",
    ),
    click.option("--tls", envvar="SEMBLANCE_TLS", is_flag=True, show_envvar=True, help="Speak TLS; --ca implies it."),
    click.option(
        "--ca", envvar="SEMBLANCE_CA", type=_FILE, show_envvar=True, help="Who signed the service's certificate, PEM."
    ),
    click.option(
        "--client-certificate",
        envvar="SEMBLANCE_CLIENT_CERTIFICATE",
        type=_FILE,
        show_envvar=True,
        help="Your own certificate chain, PEM, where the service asks for one.",
    ),
    click.option("--client-key", envvar="SEMBLANCE_CLIENT_KEY", type=_FILE, show_envvar=True, help="Its key, PEM."),
    click.option(
        "--token-file",
        envvar="SEMBLANCE_TOKEN_FILE",
        type=_FILE,
        show_envvar=True,
        help=f"File that holds your token; without one, it is taken from {TOKEN_VARIABLE}.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help=f"How long one answer may take.  [default: {CALL_TIMEOUT:g}; of releases {RELEASE_TIMEOUT:g}; for an item "
        "put, what the service grants]",
    ),
)


def connection_options(function: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of a connection, and passes what they make as `connect`."""

    @wraps(function)
    def command(
        target: str,
        tls: bool,
        ca: Path | None,
        client_certificate: Path | None,
        client_key: Path | None,
        token_file: Path | None,
        timeout: float | None,
        **others: Any,
    ) -> None:
        try:
            spoken = Tls(ca, client_certificate, client_key) if tls or ca or client_certificate else None
            token = _token(token_file)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        except OSError as error:
            raise unreadable(error) from None
        function(connect=Connect(target, timeout, spoken, token), **others)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def unreadable(error: OSError) -> click.ClickException:
    return click.ClickException(f"can't read {error.filename}: {error.strerror}")


def _token(file: Path | None) -> str | None:
    """Never an option's value: others of this host see command lines."""
    text = file.read_text() if file else os.environ.get(TOKEN_VARIABLE, "")
    return text.strip() or None


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")


def to_json(value: DataclassInstance) -> str:
    """A result of the client as JSON on one line; images' bytes are left out, times are ISO 8601."""
    return json.dumps(_without_bytes(asdict(value)), default=datetime.isoformat, ensure_ascii=False)


def _without_bytes(value: Any) -> Any:
    match value:
        case dict():
            return {key: _without_bytes(inner) for key, inner in value.items() if key != "data"}
        case list() | tuple():
            return [_without_bytes(inner) for inner in value]
    return value


def describe(attributes: Mapping[str, Attribute]) -> str:
    """Attributes on one line."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in attributes.items()}
    return ", ".join(f"{name}={text}" for name, text in sorted(texts.items()))

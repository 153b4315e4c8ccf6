"""What the commands that talk to the service have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from semblance.client._channel import CALL_TIMEOUT, DEFAULT_TARGET
from semblance.client._filters import Attribute

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Function = TypeVar("Function", bound=Callable[..., Any])


def connection_options(function: Function) -> Function:
    """Adds `--target` and `--timeout`."""
    timeout = click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help=f"How long one answer may take.  [default: {CALL_TIMEOUT:g}; for an item put, what the service grants]",
    )
    target = click.option(
        "--target",
        envvar="SEMBLANCE_TARGET",
        default=DEFAULT_TARGET,
        metavar="HOST:PORT",
        show_default=True,
        show_envvar=True,
        help="Where the service is.",
    )
    return target(timeout(function))


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

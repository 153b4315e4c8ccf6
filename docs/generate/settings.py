"""The page of what an operator may set, from the type that reads it."""

from typing import Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from semblance.orchestrator.settings import SECRETS, Settings, flag, variable

TYPES: dict[object, str] = {bool: "switch", int: "integer", float: "number", str: "text", SecretStr: "secret"}
BOUNDS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))

HEAD = f"""\
# Settings

<!-- Generated: change orchestrator/src/semblance/orchestrator/settings.py, and `make references`. -->

What the orchestrator reads once, when it starts, in the order of `semblance serve --help`: a flag, which wins, a
variable, or a [file of secrets](../security.md#secrets) in `{SECRETS}` that has the variable's name in small letters. A
variable `SEMBLANCE_…` that is none of these, or a value of another type, stops the start. A switch has no value as a
flag, and `true` or `false` as a variable. What the client's commands read, such as `SEMBLANCE_TARGET`, is with the
[commands](commands.md).

"""


def page() -> str:
    """The page's Markdown: a heading for each setting, how it is set, its type, its default, and what it means."""
    return HEAD + "\n".join(_setting(name, field) for name, field in Settings.model_fields.items())


def _setting(name: str, field: FieldInfo) -> str:
    ways = [variable(name)] if field.annotation is SecretStr else [variable(name), flag(name)]
    how = ", ".join(f"`{way}`" for way in ways)
    return f"## {name}\n\n{how}: {_type(field)}; default: {_default(field)}\n\n{field.description}\n"


def _type(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        *others, last = (f"`{value}`" for value in get_args(field.annotation))
        return f"{', '.join(others)} or {last}"
    bounds = [
        f"{sign} {getattr(bound, side):,}"
        for kind, side, sign in BOUNDS
        for bound in field.metadata
        if isinstance(bound, kind)
    ]
    return ", ".join([TYPES[field.annotation], *bounds])


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "of the host"
    value = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    if isinstance(value, bool):
        return str(value).lower()
    return "empty" if value == "" else f"`{value}`"

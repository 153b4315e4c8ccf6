"""Who calls, and what it may do."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

from semblance.orchestrator.errors import Forbidden
from semblance.orchestrator.rate_limit import RateLimit


class Role(StrEnum):
    SEARCH = "search"
    INGEST = "ingest"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` is for logs, metrics and admission; without a `rate` it calls as often as it likes.

    `check` raises Unauthenticated or Forbidden where it may not make its call any more, as a stream outlives a token;
    else it gives the caller as it is known now, None where it can't have changed.
    """

    name: str
    roles: frozenset[Role]
    rate: RateLimit | None = None
    check: Callable[[], "Caller | None"] = lambda: None


ANYBODY = Caller("anybody", frozenset(Role))

# Of the call that is being answered, in its task and the tasks that this one starts.
current: ContextVar[Caller] = ContextVar("caller", default=ANYBODY)


def check_role(role: Role, what: str) -> None:
    """Raises Forbidden where whoever is answered has not the role that `what` takes, beside that of the method."""
    caller = current.get()
    now = caller.check() or caller
    if role not in now.roles:
        raise Forbidden(f"{now.name} may not {what}, which takes the role {role}")

"""Who calls, and what it may do."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

from semblance.orchestrator.rate_limit import RateLimit


class Role(StrEnum):
    SEARCH = "search"
    INGEST = "ingest"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` is for logs, metrics and admission; without a `rate` it calls as often as it likes.

    `check` raises Unauthenticated or Forbidden where it may not make its call any more: a stream outlives a token.
    """

    name: str
    roles: frozenset[Role]
    rate: RateLimit | None = None
    check: Callable[[], object] = lambda: None


ANYBODY = Caller("anybody", frozenset(Role))

# Of the call that is being answered, in its task and the tasks that this one starts.
current: ContextVar[Caller] = ContextVar("caller", default=ANYBODY)

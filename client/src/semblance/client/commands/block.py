"""A block of items in a worker of an engine: sent until each has its answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from semblance.client._client import Client
from semblance.client._errors import DeadlineExceededError, RetryableError

Answer = TypeVar("Answer")

PAUSES = (1.0, 5.0, 25.0)
"""Seconds before what is not answered, or refused for the moment, is sent again: an orchestrator that restarts is back
within them."""


def answers(
    connect: Callable[[], Client],
    item_ids: Sequence[str],
    send: Callable[[Client, Sequence[str], dict[str, Answer]], None],
) -> list[Answer]:
    """The answer of each item, over one stream where that does not break: a job of hours outlasts a service that is
    away for a while.

    Args:
        send: sends items, and notes answers as they come. A RetryableError among them, or raised, is no last answer.

    Raises:
        SemblanceError: the stream broke once more after the last pause, or nothing can be sent at all.
    """
    found: dict[str, Answer] = {}
    waiting = item_ids
    for pause in (*PAUSES, None):
        try:
            with connect() as client:
                send(client, waiting, found)
        except (RetryableError, DeadlineExceededError):
            if pause is None:
                raise
        waiting = [item_id for item_id in waiting if item_id not in found or isinstance(found[item_id], RetryableError)]
        if not waiting or pause is None:
            break
        time.sleep(pause)
    return [found[item_id] for item_id in item_ids]

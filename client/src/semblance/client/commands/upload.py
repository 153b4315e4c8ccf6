"""Putting entries into the catalogue: all of them in this process, or a block of them in a worker of Ray."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from semblance.client._client import Client
from semblance.client._errors import InvalidImageError, RetryableError, SemblanceError
from semblance.client._filters import Attribute
from semblance.client._translate import image_bytes
from semblance.client._types import NewItem, Outcome
from semblance.client.commands.block import answers
from semblance.client.commands.entry import Entry

StoredItem = tuple[tuple[str, ...], Mapping[str, Attribute]]
"""Image ids and attributes."""

Settle = Callable[[Entry, Outcome | SemblanceError], None]
"""Takes what has come of an entry."""


def upload(client: Client, entries: Sequence[Entry], stored: Mapping[str, StoredItem], settle: Settle) -> None:
    """Puts what the service does not have yet. What it refuses for the moment is tried again after the delay that it
    names, as long as others get through."""
    through = 0

    def settled(entry: Entry, outcome: Outcome | SemblanceError) -> None:
        nonlocal through
        through += isinstance(outcome, Outcome)
        settle(entry, outcome)

    waiting = entries
    while waiting:
        refused: list[tuple[Entry, RetryableError]] = []
        sent: dict[NewItem, Entry] = {}
        before = through
        for item, outcome in client.put(changed_items(waiting, stored, sent, settled)):
            entry = sent.pop(item)
            if isinstance(outcome, RetryableError):
                refused.append((entry, outcome))
            else:
                settled(entry, outcome)
        if refused and through == before:
            for entry, error in refused:
                settled(entry, error)
            return
        waiting = [entry for entry, _ in refused]
        time.sleep(max((error.retry_delay or 1.0 for _, error in refused), default=0.0))


def stored_items(client: Client) -> dict[str, StoredItem]:
    """What the service has, by item id. Listing an item takes about a thirtieth of putting it again with an image of
    20 KB."""
    return {item.item_id: (tuple(image.image_id for image in item.images), item.attributes) for item in client.list()}


def changed_items(
    entries: Sequence[Entry], stored: Mapping[str, StoredItem], sent: dict[NewItem, Entry], settle: Settle
) -> Iterator[NewItem]:
    """The entries that differ from what is stored, read as they are needed, and noted in `sent`."""
    for entry in entries:
        try:
            images = [image_bytes(path) for path in entry.images]
        except InvalidImageError as error:
            settle(entry, error)
            continue
        image_ids = tuple(dict.fromkeys(hashlib.sha256(image).hexdigest() for image in images))
        if stored.get(entry.item_id) == (image_ids, entry.attributes):
            settle(entry, Outcome.UNCHANGED)
            continue
        item = NewItem(entry.item_id, images, entry.attributes)
        sent[item] = entry
        yield item


def put_block(
    connect: Callable[[], Client], block: Sequence[tuple[Entry, StoredItem | None]]
) -> list[Outcome | SemblanceError]:
    """In a worker: what has come of each entry; beside each is what the service had of it."""
    entries = {entry.item_id: entry for entry, _ in block}
    stored = {entry.item_id: item for entry, item in block if item is not None}

    def send(client: Client, waiting: Sequence[str], found: dict[str, Outcome | SemblanceError]) -> None:
        def settle(entry: Entry, outcome: Outcome | SemblanceError) -> None:
            found[entry.item_id] = outcome

        upload(client, [entries[item_id] for item_id in waiting], stored, settle)

    return answers(connect, list(entries), send)

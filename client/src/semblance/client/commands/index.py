"""`semblance index`."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from semblance.client._client import Client
from semblance.client._errors import InvalidImageError, RetryableError, SemblanceError
from semblance.client._filters import Attribute
from semblance.client._translate import image_bytes
from semblance.client._types import NewItem, Outcome
from semblance.client.commands.connection import Connect, connection_options
from semblance.client.commands.entry import Entry, Problem
from semblance.client.commands.source import gather

Stored = Mapping[str, tuple[tuple[str, ...], Mapping[str, Attribute]]]
"""Image ids and attributes by item id."""


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@connection_options
def index(paths: tuple[str, ...], connect: Connect) -> None:
    """Put images into the catalogue.

    PATH is a folder, a glob, an image, or a manifest. Of a folder or a glob, every JPEG, PNG and WebP file below it
    becomes an item, whose id is the file's path inside the folder without its suffix; hidden files are left out.

    A manifest is a CSV or JSON Lines file with columns `item_id` and `image` (a path relative to the manifest); all
    other columns become attributes. Several rows of one item_id are several images of one item. A column of a CSV
    whose values are all integers, numbers or true/false is typed so.

    What the service already has is not sent again: after an interruption, run the same command. Files that can't be
    indexed are listed at the end, and the exit status is then 1.
    """
    entries, problems = gather(paths)
    if not entries:
        reasons = "\n".join(f"  {problem.where}: {problem.reason}" for problem in problems)
        raise click.ClickException(f"nothing to index:\n{reasons}")
    run = Run(problems=problems)
    columns = (TextColumn("indexing"), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
    try:
        with connect() as client, Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("", total=len(entries))
            run.advance = lambda: progress.advance(task)
            upload(client, entries, run)
    except (KeyboardInterrupt, SemblanceError):
        click.echo(f"stopped early: {run.summary()}; run the same command again to go on")
        raise
    finally:
        if run.problems:
            Console().print(problem_table(run.problems))
    click.echo(run.summary())
    if run.problems:
        raise SystemExit(1)


@dataclass(slots=True)
class Run:
    """What has come of the entries so far."""

    problems: list[Problem]
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    advance: Callable[[], None] = lambda: None
    _started: float = field(default_factory=time.monotonic)

    def succeed(self, outcome: Outcome) -> None:
        self.outcomes[outcome] += 1
        self.advance()

    def fail(self, entry: Entry, error: SemblanceError) -> None:
        self.problems.append(Problem(entry.where, str(error)))
        self.advance()

    def summary(self) -> str:
        seconds = time.monotonic() - self._started
        counts = ", ".join(f"{self.outcomes[outcome]} {outcome}" for outcome in Outcome)
        rate = self.outcomes.total() / seconds
        return f"{counts}, {len(self.problems)} failed in {seconds:.1f} s ({rate:.1f} items/s)"


def upload(client: Client, entries: Sequence[Entry], run: Run) -> None:
    """Puts what the service does not have yet. What it refuses for the moment is tried again after the delay that it
    names, as long as others get through."""
    stored = stored_items(client)
    waiting = entries
    while waiting:
        refused: list[tuple[Entry, RetryableError]] = []
        sent: dict[NewItem, Entry] = {}
        before = run.outcomes.total()
        for item, outcome in client.put(changed_items(waiting, stored, sent, run)):
            entry = sent.pop(item)
            if isinstance(outcome, RetryableError):
                refused.append((entry, outcome))
            elif isinstance(outcome, SemblanceError):
                run.fail(entry, outcome)
            else:
                run.succeed(outcome)
        if refused and run.outcomes.total() == before:
            for entry, error in refused:
                run.fail(entry, error)
            return
        waiting = [entry for entry, _ in refused]
        time.sleep(max((error.retry_delay or 1.0 for _, error in refused), default=0.0))


def stored_items(client: Client) -> Stored:
    """What the service has. Listing an item takes about a thirtieth of putting it again with an image of 20 KB."""
    return {item.item_id: (tuple(image.image_id for image in item.images), item.attributes) for item in client.list()}


def changed_items(entries: Sequence[Entry], stored: Stored, sent: dict[NewItem, Entry], run: Run) -> Iterator[NewItem]:
    """The entries that differ from what is stored, read as they are needed, and noted in `sent`."""
    for entry in entries:
        try:
            images = [image_bytes(path) for path in entry.images]
        except InvalidImageError as error:
            run.fail(entry, error)
            continue
        image_ids = tuple(dict.fromkeys(hashlib.sha256(image).hexdigest() for image in images))
        if stored.get(entry.item_id) == (image_ids, entry.attributes):
            run.succeed(Outcome.UNCHANGED)
            continue
        item = NewItem(entry.item_id, images, entry.attributes)
        sent[item] = entry
        yield item


class RateColumn(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f} items/s", style="progress.data.speed")


def problem_table(problems: Sequence[Problem]) -> Table:
    table = Table("file", "reason", title=f"{len(problems)} could not be indexed", title_justify="left")
    for problem in problems:
        # The name of a file may have bytes that are no text.
        cells = (text.encode(errors="backslashreplace").decode() for text in (problem.where, problem.reason))
        table.add_row(*map(Text, cells))
    return table

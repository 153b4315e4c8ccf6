"""`semblance index`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from semblance.client._errors import SemblanceError
from semblance.client._types import Outcome
from semblance.client.commands.connection import Connect, connection_options
from semblance.client.commands.entry import Entry, Problem
from semblance.client.commands.ray_engine import RayEngine, engine_options
from semblance.client.commands.source import gather
from semblance.client.commands.upload import StoredItem, put_block, stored_items, upload


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@engine_options
@connection_options
def index(paths: tuple[str, ...], engine: RayEngine | None, connect: Connect) -> None:
    """Put images into the catalogue.

    PATH is a folder, a glob, an image, or a manifest. Of a folder or a glob, every JPEG, PNG and WebP file below it
    becomes an item, whose id is the file's path inside the folder without its suffix; hidden files are left out.

    A manifest is a CSV or JSON Lines file with columns `item_id` and `image` (a path relative to the manifest); all
    other columns become attributes. Several rows of one item_id are several images of one item. A column of a CSV
    whose values are all integers, numbers or true/false is typed so.

    What the service already has is not sent again: after an interruption, run the same command. Files that can't be
    indexed are listed at the end, and the exit status is then 1.

    With --engine ray, workers read the files and send them, in blocks: on a cluster, every PATH must lead to the same
    files under the same name on each of its hosts, and so must the files of --ca and --client-certificate. What a
    killed worker was doing, another one does again.
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
            stored = stored_items(client)
            if engine:
                distribute(engine, connect, entries, stored, run)
            else:
                upload(client, entries, stored, run.settle)
    except (KeyboardInterrupt, SemblanceError, click.ClickException):
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

    def settle(self, entry: Entry, outcome: Outcome | Exception) -> None:
        if isinstance(outcome, Outcome):
            self.outcomes[outcome] += 1
        else:
            self.problems.append(Problem(entry.where, str(outcome)))
        self.advance()

    def summary(self) -> str:
        seconds = time.monotonic() - self._started
        counts = ", ".join(f"{self.outcomes[outcome]} {outcome}" for outcome in Outcome)
        rate = self.outcomes.total() / seconds
        return f"{counts}, {len(self.problems)} failed in {seconds:.1f} s ({rate:.1f} items/s)"


def distribute(
    engine: RayEngine, connect: Connect, entries: Sequence[Entry], stored: Mapping[str, StoredItem], run: Run
) -> None:
    """Has workers put the entries, whose paths need not be relative to where they work."""
    tasks = (
        (replace(entry, images=tuple(path.absolute() for path in entry.images)), stored.get(entry.item_id))
        for entry in entries
    )
    with engine.started() as job:
        for (entry, _), outcome in job.map(partial(put_block, connect), tasks, lambda task: task[0].where):
            run.settle(entry, outcome)


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

"""`semblance release`: its commands stand in the order of a release's life, here as in its help."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from itertools import islice
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from semblance.client._client import Client
from semblance.client._errors import DeadlineExceededError, RetryableError, SemblanceError
from semblance.client._release_types import NewRelease, Release, ReleaseState, Switch
from semblance.client._types import Metric
from semblance.client.commands import build
from semblance.client.commands import release_tables as tables
from semblance.client.commands.connection import Connect, connection_options, json_option, to_json
from semblance.client.commands.ray_engine import RayEngine, engine_options

POLL_SECONDS = 0.5
# Of items that failed.
SHOWN_FAILURES = 20

_REQUIREMENT = re.compile(r"[^\s<>=]+\s*(<|>)=?\s*[+-]?\d+(\.\d+)?")
_PERCENT = click.FloatRange(0, 100)


class InOrder(click.Group):
    """Lists its commands in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class TextsType(click.ParamType[tuple[str, ...]]):
    """An option's value that is several, between commas."""

    name = "texts"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        texts = tuple(text.strip() for text in str(value).split(","))
        if not all(texts):
            self.fail(f"{value!r} has an empty part between its commas", param, ctx)
        return texts


class RequirementsType(TextsType):
    """What a report must say."""

    name = "requirements"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        requirements = super().convert(value, param, ctx)
        for requirement in requirements:
            if not _REQUIREMENT.fullmatch(requirement):
                self.fail(f"{requirement!r} is no comparison of a figure, such as overlap@10>=0.8", param, ctx)
        return requirements


@click.group(cls=InOrder)
def release() -> None:
    """Replace models and index while traffic flows.

    A release is a detector version, an embedder version and the index of that embedder's vectors. A new one is planned
    and created beside the active one, compared with it as a shadow or a canary, activated, and rolled back if need be.
    """


def new_release_options(function: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of a release that is to be made, and passes it as `new`."""

    @wraps(function)
    def command(
        release_id: str | None,
        detector: int | None,
        embedder: int | None,
        m: int | None,
        ef_construction: int | None,
        ef: int | None,
        metric: str | None,
        keep_index: bool,
        **others: Any,
    ) -> None:
        by = _METRICS[metric] if metric else None
        function(new=NewRelease(release_id, detector, embedder, m, ef_construction, ef, keep_index, by), **others)

    for option in reversed(_NEW_RELEASE):
        command = option(command)
    return command


_VERSION = click.IntRange(min=1)
_METRICS: Mapping[str, Metric] = {"cosine": "cosine", "inner-product": "inner_product", "l2": "l2"}
_NEW_RELEASE = (
    click.argument("release_id", metavar="[ID]", required=False),
    click.option("--detector", type=_VERSION, metavar="VERSION", help="A published version of the detector."),
    click.option("--embedder", type=_VERSION, metavar="VERSION", help="A published version of the embedder."),
    click.option("--m", type=click.IntRange(2, 2048), help="HNSW's M."),
    click.option("--ef-construction", type=click.IntRange(1, 2**31 - 1), help="HNSW's efConstruction."),
    click.option("--ef", type=click.IntRange(1, 32_768), help="HNSW's ef, of searches."),
    click.option("--metric", type=click.Choice(list(_METRICS)), help="What the index finds the nearest by."),
    click.option(
        "--keep-index",
        is_flag=True,
        help="With another detector, use the active release's index: what is in it keeps the crops that it has.",
    ),
)


@release.command()
@new_release_options
@json_option
@connection_options
def plan(new: NewRelease, as_json: bool, connect: Connect) -> None:
    """Say what a release would take; nothing is done.

    What no option names is as the active release has it; ID is the next of r1, r2, … unless it is given.
    """
    with connect() as client:
        planned = client.releases.plan(new)
    if as_json:
        click.echo(to_json(planned))
    else:
        Console().print(tables.plan_table(planned))


@release.command()
@new_release_options
@engine_options
@click.option("--no-wait", is_flag=True, help="Return at once; the service goes on building.")
@json_option
@connection_options
def create(new: NewRelease, engine: RayEngine | None, no_wait: bool, as_json: bool, connect: Connect) -> None:
    """Build a release, and wait until it is ready.

    What no option names is as the active release has it; ID is the next of r1, r2, … unless it is given. The service
    builds; Ctrl-C ends only the waiting.

    With --engine ray, workers have all orchestrators build it at once, where otherwise one does. The same command with
    the ID goes on with a build that was interrupted; left alone, the service goes on by itself.
    """
    if engine and no_wait:
        raise click.UsageError("--no-wait leaves it to the service, which --engine ray does not")
    with connect() as client:
        built = build.created(client, replace(new, engine="outside")) if engine else client.releases.create(new)
        if not as_json:
            click.echo(
                f"building {built.release_id}: {tables.model(built.detector)}, {tables.model(built.embedder)}, "
                f"{built.dimension} numbers, collection {built.collection}"
            )
        if engine:
            distribute(engine, connect, client, built.release_id)
        if not no_wait:
            built = watched(client, built.release_id)
    if as_json:
        click.echo(to_json(built))
    elif not no_wait:
        click.echo(f"{built.release_id} is {built.state}")
    if built.state is ReleaseState.RETIRED:
        raise SystemExit(1)


def distribute(engine: RayEngine, connect: Connect, client: Client, release_id: str) -> None:
    """Has Ray build it, shows how far it is, and says what failed, which is left to the service to try again."""
    console = Console(stderr=True)
    columns = (TextColumn("building"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=console) as bar:
            progress = client.releases.get(release_id).progress
            task = bar.add_task(
                "", total=progress.items if progress else None, completed=progress.settled if progress else 0
            )
            running = build.Build(release_id, lambda: bar.advance(task))
            build.distribute(engine, connect, client, running)
    except (KeyboardInterrupt, SemblanceError, click.ClickException):
        again = f"semblance release create {release_id} --engine ray"
        click.echo(f"stopped early; to go on: {again}; left alone, the service goes on by itself", err=True)
        raise
    for item_id, error in islice(running.failures.items(), SHOWN_FAILURES):
        console.print(f"{item_id}: {error}", markup=False, highlight=False)
    if len(running.failures) > SHOWN_FAILURES:
        console.print(f"and {len(running.failures) - SHOWN_FAILURES} more failed")


def watched(client: Client, release_id: str) -> Release:
    """Waits until a release is not built any more, and shows how far it is."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.fields[doing]}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rest]}"))
    problem = ""
    try:
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=None, doing="building", rest="")
            while True:
                found, trouble = looked_up(client, release_id)
                if found and (progress := found.progress):
                    rate = f"{progress.rate:.1f} items/s, " if progress.rate else ""
                    rest = rate + tables.rest(progress)
                    doing = "built outside" if progress.engine == "outside" else "building"
                    bar.update(task, total=progress.items, completed=progress.settled, doing=doing, rest=rest)
                if trouble and trouble != problem:
                    console.print(trouble, markup=False, highlight=False)
                problem = trouble
                if found and found.state is not ReleaseState.BUILDING:
                    bar.update(task, doing=found.state, rest="")
                    return found
                time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        click.echo(f"{release_id} goes on building; watch it: semblance release show {release_id}", err=True)
        raise


def looked_up(client: Client, release_id: str) -> tuple[Release | None, str]:
    """The release and what keeps it from getting on. A build outlasts a service that is away for a while, and so does
    who waits for it."""
    try:
        found = client.releases.get(release_id)
    except (RetryableError, DeadlineExceededError) as error:
        return None, str(error)
    return found, found.progress.problem if found.progress else ""


@release.command("list")
@json_option
@connection_options
def list_releases(as_json: bool, connect: Connect) -> None:
    """List all releases, the oldest first; with --json, one a line."""
    with connect() as client:
        found = client.releases.list()
    if as_json:
        for each in found:
            click.echo(to_json(each))
    else:
        Console().print(tables.release_table(found))


@release.command()
@click.argument("release_id", metavar="ID")
@json_option
@connection_options
def show(release_id: str, as_json: bool, connect: Connect) -> None:
    """Show everything about a release."""
    with connect() as client:
        found = client.releases.get(release_id)
    if as_json:
        click.echo(to_json(found))
    else:
        Console().print(tables.release_facts(found))


@release.command()
@json_option
@connection_options
def status(as_json: bool, connect: Connect) -> None:
    """Say whether every part holds what it should.

    The parts are Triton, Milvus and the orchestrators. The exit status is 1 where something is not as it should be.
    """
    with connect() as client:
        found = client.releases.status()
    if as_json:
        click.echo(to_json(found))
    else:
        Console().print(tables.status_table(found))
    if not found.good:
        raise SystemExit(1)


@release.command()
@click.argument("release_id", metavar="ID")
@click.option("--percent", type=_PERCENT, help="Of searches.")
@click.option("--off", is_flag=True, help="End it.")
@json_option
@connection_options
def shadow(release_id: str, percent: float | None, off: bool, as_json: bool, connect: Connect) -> None:
    """Try a release with copies of searches.

    It serves a share of them too, unseen by their callers.
    """
    if off == (percent is not None):
        raise click.UsageError("give --percent or --off")
    if percent == 0:
        raise click.UsageError("--percent must be more than 0; --off ends it")
    with connect() as client:
        changed = client.releases.shadow(release_id, percent=percent or 0.0)
    if as_json:
        click.echo(to_json(changed))
    elif off:
        click.echo(f"{release_id} is no shadow")
    else:
        click.echo(f"{release_id} is a shadow of {changed.shadow_percent:g} % of searches")


@release.command()
@click.argument("release_id", metavar="ID")
@click.option("--percent", type=_PERCENT, help="Of all callers.")
@click.option("--callers", type=TextsType(), multiple=True, metavar="NAME,...", help="These callers.")
@click.option("--off", is_flag=True, help="End it.")
@json_option
@connection_options
def canary(
    release_id: str,
    percent: float | None,
    callers: tuple[tuple[str, ...], ...],
    off: bool,
    as_json: bool,
    connect: Connect,
) -> None:
    """Try a release with some of the callers.

    It serves them in place of the active one. --callers may be given several times, and together with --percent.
    """
    given = percent is not None or bool(callers)
    if off == given:
        raise click.UsageError("give --percent, --callers or both, or --off")
    if percent == 0 and not callers:
        raise click.UsageError("--percent must be more than 0 where no --callers are named; --off ends it")
    with connect() as client:
        names = [name for group in callers for name in group]
        changed = client.releases.canary(release_id, percent=percent or 0.0, callers=names)
    if as_json:
        click.echo(to_json(changed))
    elif changed.canary:
        click.echo(f"{release_id} is a canary: {tables.share(changed.canary)}")
    else:
        click.echo(f"{release_id} is no canary")


@release.command()
@click.argument("release_id", metavar="ID")
@json_option
@connection_options
def report(release_id: str, as_json: bool, connect: Connect) -> None:
    """Compare a shadow or canary with the active release.

    Figures that begin with `evaluation.` are those of the release's last `semblance evaluate`.
    """
    with connect() as client:
        found = client.releases.report(release_id)
    if as_json:
        click.echo(to_json(found))
    else:
        Console().print(tables.report_table(found))


@release.command()
@click.argument("release_id", metavar="ID")
@click.option(
    "--require",
    type=RequirementsType(),
    multiple=True,
    metavar="FIGURE>=NUMBER,...",
    help="Only if the report says so, such as 'overlap@10>=0.8, evaluation.recall@1>0.9'.",
)
@json_option
@connection_options
def activate(release_id: str, require: tuple[tuple[str, ...], ...], as_json: bool, connect: Connect) -> None:
    """Serve with a release that is ready.

    Returns when every orchestrator does; the exit status is 1 where one has not followed in time.
    """
    with connect() as client:
        requirements = [each for group in require for each in group]
        print_switch(client.releases.activate(release_id, require=requirements), as_json)


@release.command()
@json_option
@connection_options
def rollback(as_json: bool, connect: Connect) -> None:
    """Serve with the release that the active one replaced.

    Returns as `activate` does.
    """
    with connect() as client:
        print_switch(client.releases.roll_back(), as_json)


def print_switch(switch: Switch, as_json: bool) -> None:
    click.echo(to_json(switch) if as_json else tables.switch_sentence(switch))
    if switch.lagging:
        raise SystemExit(1)


@release.command()
@click.argument("release_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@connection_options
def retire(release_id: str, yes: bool, as_json: bool, connect: Connect) -> None:
    """Give up a release, and the index that only it uses."""
    if not yes:
        click.confirm(f"Retire {release_id}? The index that only it uses is dropped.", abort=True, err=True)
    with connect() as client:
        retired = client.releases.retire(release_id)
    click.echo(to_json(retired) if as_json else f"{release_id} is retired")

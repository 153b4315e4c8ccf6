"""`semblance feedback`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from semblance.client._errors import SemblanceError, WrongStateError
from semblance.client._feedback_types import Feedback, FeedbackGroup, FeedbackKind, Verdict
from semblance.client._translate import image_bytes
from semblance.client._types import Box, ObjectHits
from semblance.client.commands.connection import Connect, connection_options, json_option, to_json
from semblance.client.commands.feedback_folder import NotEmpty, write_folder
from semblance.client.commands.release import InOrder
from semblance.client.commands.search import BoxType

# What becomes of a verdict that is to be made a reference image.
OUTCOMES = ("added", "there already", "skipped", "failed")
_CONFIRMING = (FeedbackKind.RIGHT, FeedbackKind.ITEM, FeedbackKind.MISSED)


@click.group(cls=InOrder)
def feedback() -> None:
    """Say what is right or wrong about answers, and learn from it.

    Verdicts are kept with their photos. They tell how often the service is right, and are exported as tasks for Label
    Studio, queries for an evaluation and pairs for a training.
    """


def choice_options(function: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that say which feedback is meant, and passes them as `choice`."""

    @wraps(function)
    def command(kinds: tuple[str, ...], release: str, caller: str, **others: Any) -> None:
        chosen = [FeedbackKind(kind) for kind in kinds]
        function(choice={"kinds": chosen, "release": release, "caller": caller}, **others)

    for option in (
        click.option("--caller", default="", metavar="NAME", help="Of this caller."),
        click.option("--release", default="", metavar="ID", help="About answers of this release."),
        click.option(
            "--kind",
            "kinds",
            multiple=True,
            type=click.Choice([kind.value for kind in FeedbackKind]),
            help="Of this kind; may be given several times.",
        ),
    ):
        command = option(command)
    return command


@feedback.command()
@click.argument("image", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--object",
    "number",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="The object that it is about, as `semblance search` numbers them.",
)
@click.option(
    "--rank", type=click.IntRange(1, 1000), default=1, show_default=True, help="The hit that is --right or --wrong."
)
@click.option("--right", is_flag=True, help="The hit is the item that the object is.")
@click.option("--wrong", is_flag=True, help="The hit is another item.")
@click.option("--item", metavar="ITEM_ID", help="The object is this item; with --missed, what was missed is.")
@click.option("--box-wrong", is_flag=True, help="The object's box is wrong.")
@click.option("--right-box", type=BoxType(), help="With --box-wrong: the right one, x1,y1,x2,y2.")
@click.option("--missed", type=BoxType(), help="Something at x1,y1,x2,y2 was not detected.")
@click.option("--id", "feedback_id", default="", help="An id of your own; by default it is made of what is said.")
@json_option
@connection_options
def give(
    image: str,
    number: int,
    rank: int,
    right: bool,
    wrong: bool,
    item: str | None,
    box_wrong: bool,
    right_box: Box | None,
    missed: Box | None,
    feedback_id: str,
    as_json: bool,
    connect: Connect,
) -> None:
    """Say what is right or wrong about the answer to a photo.

    Searches with the photo, and gives one verdict: --right, --wrong, --item, --box-wrong or --missed. Giving the same
    again changes nothing.
    """
    given = [right, wrong, item is not None and missed is None, box_wrong, missed is not None]
    if sum(given) != 1:
        raise click.UsageError("give one verdict: --right, --wrong, --item, --box-wrong or --missed")
    if right_box and not box_wrong:
        raise click.UsageError("--right-box goes with --box-wrong")
    photo = image_bytes(image)
    with connect() as client:
        result = client.search(photo, top_k=max(10, rank))
        answered = None if missed else _object(result.objects, number)
        if missed:
            verdict = Verdict.missed(missed, item or "")
        elif box_wrong:
            verdict = Verdict.box_wrong(right_box)
        elif item is not None:
            verdict = Verdict.item(item)
        else:
            assert answered is not None
            hit = _hit(answered, rank)
            verdict = Verdict.right(hit) if right else Verdict.wrong(hit)
        kept = client.feedback.give(photo, result.release, verdict, answered, feedback_id=feedback_id)
    if as_json:
        click.echo(to_json(kept))
    else:
        state = "kept" if kept.created else "was there already"
        click.echo(f"{kept.feedback_id} {state}: {_said(verdict)}, about an answer of {result.release}")


def _object(objects: tuple[ObjectHits, ...], number: int) -> ObjectHits:
    if number > len(objects):
        raise click.ClickException(f"there is no object {number}: the answer has {len(objects)}, numbered from 1")
    return objects[number - 1]


def _hit(answered: ObjectHits, rank: int) -> str:
    if rank > len(answered.hits):
        raise click.ClickException(f"there is no hit {rank}: the object has {len(answered.hits)}, numbered from 1")
    return answered.hits[rank - 1].item_id


def _said(verdict: Verdict) -> str:
    return f"{verdict.kind} {verdict.item_id}".strip()


@feedback.command("list")
@choice_options
@json_option
@connection_options
def list_feedback(choice: Mapping[str, Any], as_json: bool, connect: Connect) -> None:
    """List feedback, the newest first; with --json, one a line."""
    with connect() as client:
        if as_json:
            for each in client.feedback.list(**choice):
                click.echo(to_json(each))
            return
        table = Table("id", "given", "caller", "release", "verdict", "class", "first hit")
        for each in client.feedback.list(**choice):
            table.add_row(*map(Text, _cells(each)))
    Console().print(table)


def _cells(each: Feedback) -> tuple[str, ...]:
    hits = each.answered.hits if each.answered else ()
    return (
        each.feedback_id,
        f"{each.given_at:%Y-%m-%d %H:%M}",
        each.caller,
        each.release,
        _said(each.verdict),
        (each.answered.class_name if each.answered else None) or "",
        f"{hits[0].item_id} {hits[0].similarity:.3f}" if hits else "",
    )


@feedback.command()
@choice_options
@json_option
@connection_options
def report(choice: Mapping[str, Any], as_json: bool, connect: Connect) -> None:
    """Say how often the first hit was right, by release, class and condition of the photo.

    A verdict counts as judged where it tells whether the first hit was right. A wrong box and a missed object are
    failures. The interval is Wilson's, of 95 %.
    """
    with connect() as client:
        found = client.feedback.report(**choice)
    if as_json:
        click.echo(to_json(found))
        return
    numbers = (Column(name, justify="right") for name in ("verdicts", "judged", "right", "rate", "95 %"))
    table = Table("by", "", *numbers, "kinds")
    for group in found.groups:
        name = f"{group.name}: {group.meaning}" if group.meaning else group.name
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(group.kinds.items()))
        counts = map(str, (group.verdicts, group.judged, group.right))
        table.add_row(group.by, Text(name), *counts, *_rate(group), kinds)
    Console().print(table)


def _rate(group: FeedbackGroup) -> tuple[str, str]:
    if group.rate is None:
        return "", ""
    return f"{group.rate:.3f}", f"{group.rate_low:.3f} – {group.rate_high:.3f}"


@feedback.command()
@click.argument("folder", type=click.Path(path_type=Path))
@choice_options
@connection_options
def export(folder: Path, choice: Mapping[str, Any], connect: Connect) -> None:
    """Write what there is to learn from into FOLDER, which must be new or empty.

    tasks.json has failures and suspicious answers as tasks for Label Studio, with pre-annotations; queries.jsonl what
    objects are, to evaluate with; pairs.jsonl the same with what they were taken for, to train with; images the photos.
    """
    try:
        with connect() as client:
            written = write_folder(folder, client.feedback.export(**choice))
    except NotEmpty as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"can't write {error.filename or folder}: {error.strerror}") from None
    click.echo(
        f"{folder}: {written.photos} photos, {written.tasks} tasks, {written.queries} queries, {written.pairs} pairs"
    )


@feedback.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--caller", default="", metavar="NAME", help="Everything of this caller.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@connection_options
def delete(ids: tuple[str, ...], caller: str, yes: bool, connect: Connect) -> None:
    """Delete feedback by its ids, or everything of a caller.

    Photos follow within minutes, unless something else refers to them. Reference images that were made of them are
    items' own, and stay.
    """
    if bool(ids) == bool(caller):
        raise click.UsageError("name ids, or a --caller")
    if caller and not yes:
        click.confirm(f"Delete all feedback of {caller}?", abort=True)
    with connect() as client:
        click.echo(f"{client.feedback.delete(ids, caller=caller)} deleted")


@feedback.command("add-references")
@choice_options
@connection_options
def add_references(choice: Mapping[str, Any], connect: Connect) -> None:
    """Make the objects of confirmed verdicts reference images of their items.

    Of the verdicts right, item, and missed with an item; what was added once is not added again, and what a later
    verdict took back, or what its item has no room for, is skipped. It changes what the
    catalogue finds, and what was added is no query of an evaluation any more: export first what is to measure the
    gain.
    """
    kinds = [kind for kind in _CONFIRMING if not choice["kinds"] or kind in choice["kinds"]]
    if not kinds:
        raise click.UsageError(f"no item is confirmed by these kinds; use {', '.join(_CONFIRMING)}")
    outcomes: Counter[str] = Counter()
    with connect() as client:
        for each in client.feedback.list(**{**choice, "kinds": kinds}):
            if not each.true_item:
                continue
            try:
                added = client.feedback.add_reference(each.feedback_id)
            except SemblanceError as error:
                # Trying again would change nothing about what is in no state for it.
                outcomes["skipped" if isinstance(error, WrongStateError) else "failed"] += 1
                click.echo(f"{each.feedback_id}: {error}", err=True)
            else:
                outcomes["added" if added.added else "there already"] += 1
    click.echo(", ".join(f"{outcomes[outcome]} {outcome}" for outcome in OUTCOMES))
    if outcomes["failed"]:
        raise SystemExit(1)

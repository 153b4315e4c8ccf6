"""`semblance search`."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from semblance.client._filters import All, Filter
from semblance.client._translate import image_bytes
from semblance.client._types import Box, Measure, Objects, SearchResult
from semblance.client.commands.connection import Connect, connection_options, describe, json_option, to_json
from semblance.client.commands.expression import ComparisonType
from semblance.client.drawing import caption, draw_result

_DRAWN_SUFFIXES = (".png", ".jpg", ".jpeg")

MEASURES: Mapping[str, Measure] = {
    "cosine": "cosine",
    "inner-product": "inner_product",
    "l2": "l2",
    "manhattan": "manhattan",
    "hamming": "hamming",
}
_OBJECTS: Mapping[str, Objects] = {"all": "all", "largest": "largest", "whole-image": "whole_image"}


class BoxType(click.ParamType[Box]):
    """An option's value that is a box."""

    name = "box"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Box:
        try:
            corners = [float(part) for part in str(value).split(",")]
        except ValueError:
            corners = []
        if len(corners) != 4 or not all(map(math.isfinite, corners)):
            self.fail(f"{value!r} is not x1,y1,x2,y2 in pixels, such as 40,60,200,220", param, ctx)
        return Box(*corners)


def _drawable(ctx: click.Context, param: click.Parameter, path: Path | None) -> Path | None:
    """Refuses before the search what could not be written after it."""
    if path is None:
        return None
    if path.suffix.lower() not in _DRAWN_SUFFIXES:
        raise click.BadParameter(f"{path} must end in {', '.join(_DRAWN_SUFFIXES)}", ctx, param)
    if not os.access(path.parent, os.W_OK):
        raise click.BadParameter(f"{path} must be in a folder that exists and that you may write to", ctx, param)
    return path


@click.command()
@click.argument("image", type=click.Path(exists=True, dir_okay=False))
@click.option("--top-k", default=10, show_default=True, help="Items returned for each object.")
@click.option("--where", type=ComparisonType(), multiple=True, help="Only items for which it holds, such as price<20.")
@click.option("--objects", type=click.Choice(list(_OBJECTS)), default="all", show_default=True, help="What to search.")
@click.option("--box", "boxes", type=BoxType(), multiple=True, help="Search x1,y1,x2,y2 instead of what is detected.")
@click.option("--min-score", type=float, help="Leave out detections below it, 0 to 1.")
@click.option("--min-similarity", type=float, help="Leave out items below it, on the scale of the measure.")
@click.option("--measure", type=click.Choice(list(MEASURES)), help="What similarities are, unless the index's metric.")
@click.option("--release", metavar="ID", help="Search this release, active or only ready; takes the role admin.")
@click.option(
    "--save",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    callback=_drawable,
    help="Draw the result into this PNG or JPEG.",
)
@json_option
@connection_options
def search(
    image: str,
    top_k: int,
    where: tuple[Filter, ...],
    objects: str,
    boxes: tuple[Box, ...],
    min_score: float | None,
    min_similarity: float | None,
    measure: str | None,
    release: str | None,
    save: Path | None,
    as_json: bool,
    connect: Connect,
) -> None:
    """Find the catalogue items that a photo shows.

    --where and --box may be given several times; all of the conditions must hold.
    """
    if boxes and objects != "all":
        raise click.UsageError("--box excludes --objects: give one of the two")
    photo = image_bytes(image)
    with connect() as client:
        result = client.search(
            photo,
            top_k=top_k,
            filter=All(where) if where else None,
            objects=_OBJECTS[objects],
            boxes=boxes,
            min_detection_score=min_score,
            min_similarity=min_similarity,
            include_attributes=True,
            release=release,
            measure=MEASURES[measure] if measure else None,
        )
        if save:
            drawn = draw_result(photo, result, client)
            try:
                drawn.save(save)
            except OSError as error:
                raise click.ClickException(f"cannot write {save}: {error.strerror or error}") from error
    if as_json:
        click.echo(to_json(result))
    else:
        show(result)


def show(result: SearchResult) -> None:
    """Prints a table for each object."""
    console = Console()
    if result.nothing_detected:
        console.print("Nothing was detected, so the whole image was searched with.")
    for number, found in enumerate(result.objects, 1):
        title = f"object {number} · {caption(found)} · box {_corners(found.box)}"
        table = Table("rank", "item id", _similarity(result), "attributes", title=title, title_justify="left")
        for rank, hit in enumerate(found.hits, 1):
            table.add_row(str(rank), Text(hit.item_id), f"{hit.similarity:.3f}", Text(describe(hit.attributes)))
        if not found.hits:
            table.add_row("", Text("no item", style="dim"), "", "")
        console.print(table)


def _similarity(result: SearchResult) -> str:
    """The head of its column."""
    return "similarity" if result.measure == "cosine" else f"similarity ({result.measure.replace('_', ' ')})"


def _corners(box: Box) -> str:
    return f"{box.x1:.0f},{box.y1:.0f} – {box.x2:.0f},{box.y2:.0f}"

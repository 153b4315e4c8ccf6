"""`semblance dataset import|push|config`."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from semblance.client.commands.connection import Connect, connection_options
from semblance.training.dataset.dataset import DatasetError
from semblance.training.dataset.source import Format

if TYPE_CHECKING:
    from semblance.client import SearchResult
    from semblance.training.dataset.division import By, Division
    from semblance.training.dataset.preannotation import Unlabelled
    from semblance.training.dataset.project import Project
    from semblance.training.dataset.source import Export

Shares = tuple[float, float, float]

CONFIGURATION = "label_config.xml"

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@contextmanager
def refusals() -> Iterator[None]:
    """Errors raised on purpose, as one line for the user and exit status 1."""
    try:
        yield
    except DatasetError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error


class SharesType(click.ParamType[Shares]):
    """Percentages of train, val and test."""

    name = "shares"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Shares:
        try:
            train, val, test = (float(part) / 100 for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not three percentages, such as 70,15,15", param, ctx)
        shares = (train, val, test)
        if not all(0 <= share <= 1 for share in shares) or not math.isclose(sum(shares), 1):
            self.fail(f"{value!r} are not percentages that sum to 100, such as 70,15,15", param, ctx)
        return shares


class PrefixType(click.ParamType[tuple[str, Path]]):
    """An address's beginning and the folder that it stands for."""

    name = "prefix"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        # The last =: addresses may have some, and folders seldom do.
        prefix, _, folder = str(value).rpartition("=")
        if not prefix or not Path(folder).is_dir():
            self.fail(f"{value!r} is not PREFIX=FOLDER with a folder that is there", param, ctx)
        return prefix, Path(folder)


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = tuple(part.strip() for part in value.split(","))
    if not all(names) or len(set(names)) != len(names):
        raise click.BadParameter(f"{value!r} is not a list of different names, such as card,mug", ctx, param)
    return names


@click.group()
def dataset() -> None:
    """Make datasets of annotated photos."""


@dataset.command("import")
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--output", required=True, type=click.Path(path_type=Path), metavar="DATASET", help="The folder to write."
)
@click.option(
    "--format", "kind", type=click.Choice(get_args(Format)), help="What SOURCE is.  [default: its content tells]"
)
@click.option("--images", type=_FOLDER, multiple=True, metavar="FOLDER", help="Where photos are; may be repeated.")
@click.option(
    "--map",
    "prefixes",
    type=PrefixType(),
    multiple=True,
    metavar="PREFIX=FOLDER",
    help="Where photos are whose addresses begin so, such as s3://shop/photos/=photos; may be repeated.",
)
@click.option(
    "--classes",
    callback=_names,
    metavar="NAMES",
    help="The classes that are expected, in the order of their numbers, such as card,mug.  [default: those of SOURCE]",
)
@click.option(
    "--max-outside",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    help="The largest share of a box that may lie outside of its photo; it is cut off.",
)
@click.option(
    "--leave-out",
    is_flag=True,
    help="Leave out photos and objects that have errors; without it, any error refuses the import.",
)
@click.option(
    "--split",
    "shares",
    type=SharesType(),
    metavar="TRAIN,VAL,TEST",
    help="Percentages of photos.  [default: the splits that SOURCE has, else 70,15,15]",
)
@click.option(
    "--split-by",
    type=click.Choice(["item", "image"]),
    default="item",
    show_default=True,
    help="Whether photos that show the same item go into one split. Those that look alike always do.",
)
@click.option("--seed", default=0, show_default=True, help="Of the split: the same seed gives the same dataset.")
@click.option("--replace", is_flag=True, help="Put the dataset in the place of the one that is there.")
def import_command(
    source: Path,
    output: Path,
    kind: Format | None,
    images: tuple[Path, ...],
    prefixes: tuple[tuple[str, Path], ...],
    classes: tuple[str, ...] | None,
    max_outside: float,
    leave_out: bool,
    shares: Shares | None,
    split_by: By,
    seed: int,
    replace: bool,
) -> None:
    """Make a dataset of SOURCE: Label Studio's JSON or YOLO export, YOLO folders, or COCO.

    SOURCE is a file, a folder or a zip archive. Its photos are found by path, by the name they were uploaded as, and by
    address. All of it is checked: nothing is written if the export is malformed, or has errors that --leave-out is not
    given for. What was found is printed, and is in the dataset's report.md and report.json.
    """
    from semblance.training.dataset import check, folder, likeness, opening, report
    from semblance.training.dataset.location import Locations

    console = Console()
    with refusals():
        folder.refuse_existing(output, replace)
        with opening.opened(source, kind) as export, _progress(len(export.images), "reading photos") as step:
            locations = Locations(export.root, images, dict(prefixes))
            checked = check.check(export, locations, classes, max_outside, step)
            described = _description(source, export)
            refused = sum(found.severity == "error" for found in checked.findings)
            if (refused and not leave_out) or not checked.images:
                report.show(report.refusal(export, checked, described), console)
                raise DatasetError(_refusal(refused, len(checked.images)))
            alike = likeness.alike([image.photo for image in checked.images])
            division = _divided(checked.images, alike, shares, split_by, seed)
            described |= {"split": division.rule}
            made = report.summary(export, checked, alike, division, described)
            with folder.staging(output, replace) as aside:
                folder.write(aside, checked.images, division.splits, checked.classes, described)
                (aside / report.JSON).write_text(json.dumps(made.to_json(), indent=1, ensure_ascii=False) + "\n")
                (aside / report.MARKDOWN).write_text(report.markdown(made))
    report.show(made, console)
    click.echo(f"{output}: {made.images_kept} images; {output / report.MARKDOWN} has all findings")


def _refusal(errors: int, usable: int) -> str:
    if not usable:
        return "no annotated photo can be used, and nothing was written"
    return f"{errors} errors, and nothing was written; mend them, or give --leave-out to go on without what has them"


def _description(source: Path, export: Export) -> dict[str, str]:
    return {
        "format": export.format,
        "name": source.resolve().name,
        "sha256": export.digest,
        "version": version("semblance-training"),
    }


def _divided(images: Any, alike: Any, shares: Shares | None, split_by: By, seed: int) -> Division:
    from semblance.training.dataset import division

    if shares is None and (own := division.kept(images)):
        return own
    return division.divide(images, alike, shares or division.DEFAULT_SHARES, split_by, seed)


@dataset.command()
@click.argument("photos", nargs=-1, required=True, metavar="PHOTOS...", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="TASKS.JSON",
    help="Write the tasks into this file, to be imported by hand, and label_config.xml beside it. Needs --image-url.",
)
@click.option("--url", metavar="URL", help="Make the tasks in the Label Studio there; needs --project.")
@click.option("--project", "number", type=int, metavar="NUMBER", help="Of the project, as its address has it.")
@click.option(
    "--image-url",
    metavar="PREFIX",
    help="What Label Studio finds a photo by, before its path below the folder given: https://shop.example/photos/ or "
    "/data/local-files/?d=photos/.  [default with --url: photos are uploaded]",
)
@click.option("--min-score", type=click.FloatRange(0, 1), help="Leave out detections below it.")
@click.option("--min-similarity", type=click.FloatRange(-1, 1), help="With --suggest-items: none less similar.")
@click.option("--suggest-items", is_flag=True, help="Suggest for each object the catalogue item that is most similar.")
@connection_options
def push(
    photos: tuple[Path, ...],
    output: Path | None,
    url: str | None,
    number: int | None,
    image_url: str | None,
    min_score: float | None,
    min_similarity: float | None,
    suggest_items: bool,
    connect: Connect,
) -> None:
    """Make Label Studio tasks of PHOTOS, with what the service detects in them drawn already.

    PHOTOS are files or folders. The key for --url is taken from LABEL_STUDIO_API_KEY. Photos that the project has tasks
    for already are known by their content and passed over: after an interruption, run the same command.
    """
    from semblance.training.dataset import preannotation
    from semblance.training.dataset.detection import detect

    if min_similarity is not None and not suggest_items:
        raise click.UsageError("--min-similarity is about --suggest-items; give that too")
    with refusals():
        if output is not None:
            if url is not None or image_url is None:
                raise click.UsageError("--output goes with --image-url, and without --url")
            found = preannotation.gather(photos)
            _refuse_existing(output, output.with_name(CONFIGURATION))
            with connect() as client, _progress(len(found), "searching") as step:
                results, problems = detect(client, found, min_score, min_similarity, step)
            _write_tasks(output, found, results, image_url, suggest_items)
            click.echo(
                f"{output}: {len(results)} tasks; {output.with_name(CONFIGURATION)} is the configuration to label with"
            )
        else:
            if url is None or number is None:
                raise click.UsageError("give --output TASKS.JSON, or --url with --project")
            found = preannotation.gather(photos)
            with _project(url, number) as project:
                known = project.digests()
                new = [photo for photo in found if photo.sha256 not in known]
                with connect() as client, _progress(len(new), "searching") as step:
                    results, problems = detect(client, new, min_score, min_similarity, step)
                _create(project, new, results, image_url, suggest_items)
            click.echo(f"{len(results)} tasks made; {len(found) - len(new)} photos had one already")
    for where, reason in problems.items():
        click.echo(f"{where}: {reason}", err=True)
    if problems:
        raise click.ClickException(f"{len(problems)} photos could not be searched with, and have no task")


@dataset.command()
@click.option("--classes", required=True, callback=_names, metavar="NAMES", help="To label with, such as card,mug.")
def config(classes: tuple[str, ...]) -> None:
    """Print the labelling configuration for a Label Studio project.

    With it, annotators draw rectangles of these classes and may name each one's item; import and push fit it.
    """
    from semblance.training.dataset.labelling import configuration

    click.echo(configuration(classes), nl=False)


def _refuse_existing(*files: Path) -> None:
    for file in files:
        if file.exists():
            raise DatasetError(f"{file} is there and is not overwritten; name another place")


def _project(url: str, number: int) -> Project:
    from semblance.training.dataset import project

    key = os.environ.get(project.KEY_VARIABLE, "").strip()
    if not key:
        raise DatasetError(f"{project.KEY_VARIABLE} is not set; Label Studio shows the key under Account & Settings")
    return project.Project(url, number, key)


def _write_tasks(
    output: Path,
    photos: Sequence[Unlabelled],
    results: Mapping[str, SearchResult],
    image_url: str,
    suggest_items: bool,
) -> None:
    from semblance.training.dataset import labelling, preannotation

    tasks = [
        preannotation.task(photo, photo.address(image_url), results[photo.sha256], suggest_items=suggest_items)
        for photo in photos
        if photo.sha256 in results
    ]
    configuration = labelling.configuration(preannotation.classes(results.values()))
    output.with_name(CONFIGURATION).write_text(configuration)
    output.write_text(json.dumps(tasks, indent=1, ensure_ascii=False) + "\n")


def _create(
    project: Project,
    photos: Sequence[Unlabelled],
    results: Mapping[str, SearchResult],
    image_url: str | None,
    suggest_items: bool,
) -> None:
    """Makes one task after another: what is there when it is interrupted is whole, and known the next time."""
    from semblance.training.dataset import labelling, preannotation

    labelling.check(project.configuration(), preannotation.classes(results.values()), suggest_items)
    with _progress(len(results), "making tasks") as step:
        for photo in photos:
            if photo.sha256 in results:
                address = project.upload(photo.path) if image_url is None else photo.address(image_url)
                result = results[photo.sha256]
                project.create([preannotation.task(photo, address, result, suggest_items=suggest_items)])
                step()


@contextmanager
def _progress(total: int, doing: str) -> Iterator[Callable[[], None]]:
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)

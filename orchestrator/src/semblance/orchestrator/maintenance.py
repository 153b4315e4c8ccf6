"""`semblance verify` and `semblance rebuild`, which look at the stores themselves, whether the service runs or not.

They write nothing to the index, which belongs to the service: they say in the metadata store what is to be done, and
the service does it, within seconds if it runs, or as soon as it is started.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from semblance.orchestrator.activation import new_collection
from semblance.orchestrator.adapters.images import FileImageStore
from semblance.orchestrator.adapters.metadata import Database, SqlMetadataStore, SqlRegistry
from semblance.orchestrator.adapters.milvus import MilvusIndex
from semblance.orchestrator.command import setting_options, settings_of
from semblance.orchestrator.errors import ContractMismatch, NotFound, SemblanceError
from semblance.orchestrator.ports import MetadataStore, Registry
from semblance.orchestrator.release import Release
from semblance.orchestrator.settings import Settings
from semblance.orchestrator.verification import SHARDS, CheckedImages, CheckedItems, Disagreement, Verification

AGREE, DISAGREE, FAILED = 0, 1, 2
# Disagreements in the table; --json has them all.
SHOWN = 20
# Between two looks at how far the service is, and how long it may get no further, in seconds.
POLL = 0.5
PATIENCE = 120.0


class Mismatch(click.ClickException):
    """The collection is not there, or holds vectors of another model."""

    exit_code = DISAGREE


class Failed(click.ClickException):
    """It could not be found out, or nothing goes on."""

    exit_code = FAILED


@dataclass(slots=True)
class Report:
    """What one look at everything found, in numbers."""

    release: str
    collection: str
    items: int = 0
    rows: int = 0
    images: int = 0
    disagreeing: int = 0
    missing: int = 0
    extra: int = 0
    stale: int = 0
    lost_images: int = 0
    unreferenced_images: int = 0
    unreferenced_bytes: int = 0
    removed_images: int = 0
    # The last item id of what was looked at.
    until: str = field(default="", repr=False)

    @property
    def agrees(self) -> bool:
        return not self.disagreeing and not self.lost_images


class Findings:
    """Says what is found: in JSON at once, one object a line, or in a table at the end, which then is not complete."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._table = Table("item id", "missing", "extra", "stale", "", title_justify="left")
        self._lost: list[str] = []

    def disagreement(self, found: Disagreement) -> None:
        if self._as_json:
            click.echo(json.dumps(asdict(found), ensure_ascii=False))
        elif self._table.row_count < SHOWN:
            numbers = (str(number or "") for number in (found.missing, found.extra, found.stale))
            self._table.add_row(Text(found.item_id), *numbers, "the service tries to mend it" if found.waiting else "")

    def images(self, found: CheckedImages) -> None:
        if self._as_json:
            for image_id in found.lost:
                click.echo(json.dumps({"lost_image": image_id}))
            for image in found.unreferenced:
                click.echo(json.dumps({"unreferenced_image": image.image_id, "bytes": image.size}))
        self._lost += found.lost[: SHOWN - len(self._lost)]

    def summary(self, report: Report) -> None:
        if self._as_json:
            click.echo(json.dumps({"agree": report.agrees, **asdict(report)}, ensure_ascii=False))
            return
        console = Console()
        if self._table.row_count:
            self._table.title = f"{report.disagreeing:,} items disagree with their rows in the index"
            console.print(self._table)
        for image_id in self._lost:
            console.print(Text(f"lost image {image_id}: restore it from the backup"))
        console.print(
            f"release {report.release}, collection {report.collection}: {report.items:,} items, {report.rows:,} rows; "
            f"{report.missing:,} rows missing, {report.extra:,} extra, {report.stale:,} stale\n"
            f"{report.images:,} images, {report.lost_images:,} lost; no item refers to "
            f"{report.unreferenced_images:,} files more ({report.unreferenced_bytes:,} bytes), "
            f"{report.removed_images:,} of them removed\n"
            f"{'all agree' if report.agrees else 'they disagree'}",
            highlight=False,
        )


@click.command(short_help="Compare the index with the catalogue.")
@click.option("--repair", is_flag=True, help="Let the service mend what disagrees, wait for it, and look again.")
@click.option("--collect", is_flag=True, help="Remove images that no item has referred to for an hour.")
@click.option("--after", default="", metavar="ITEM_ID", help="Go on after this item, where an earlier run was stopped.")
@click.option("--json", "as_json", is_flag=True, help="Print each finding as JSON on a line; the last line sums up.")
@setting_options("metadata_url", "image_store", "milvus_uri", "milvus_token")
def verify(repair: bool, collect: bool, after: str, as_json: bool, **flags: str | None) -> None:
    """Compare the index and the image store with what the metadata store says.

    An item may have rows missing from the index, rows too many, or stale ones, with other attributes or of another
    image. A collection that is not the release's is an error. Images that items refer to may be lost from the image
    store, and files may be left in it that no item refers to, such as those of deleted items.

    The service may run meanwhile, and has to for --repair. The exit status is 0 where all agree, 1 where not, and 2
    where it could not be found out.
    """
    with failures():
        agree = asyncio.run(_verify(settings_of(flags), repair, collect, after, as_json))
    raise SystemExit(AGREE if agree else DISAGREE)


@click.command(short_help="Make the index anew from the catalogue.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until all is indexed.")
@setting_options("metadata_url")
def rebuild(yes: bool, wait: bool, **flags: str | None) -> None:
    """Make the index anew from the metadata and image stores alone.

    The active release gets a new, empty collection, into which the service puts every item; it drops the old one a
    minute later. Until all is done, searches find only what is indexed so far. The service may run; if it does not,
    start it: this command waits. To stop this command stops nothing but the waiting.

    The exit status is 0 where all is indexed, 1 where some items could not be, and 2 where nothing goes on.
    """
    with failures():
        left = asyncio.run(_rebuild(settings_of(flags), yes, wait))
    raise SystemExit(DISAGREE if left else AGREE)


@contextmanager
def failures() -> Iterator[None]:
    try:
        yield
    except ContractMismatch as error:
        raise Mismatch(str(error)) from None
    except (SemblanceError, ValueError) as error:
        raise Failed(str(error)) from None


async def _verify(settings: Settings, repair: bool, collect: bool, after: str, as_json: bool) -> bool:
    async with AsyncExitStack() as stack:
        database = Database(settings.metadata_url)
        stack.push_async_callback(database.close)
        metadata = SqlMetadataStore(database)
        images = FileImageStore(settings.image_store)
        stack.push_async_callback(images.close)
        index = MilvusIndex(settings.milvus_uri, settings.milvus_token.get_secret_value())
        stack.push_async_callback(index.close)
        progress = stack.enter_context(progress_bar())
        verification = Verification(metadata, images, index)
        release = await _active_release(SqlRegistry(database))
        report = await _look(verification, metadata, release, progress, after, as_json, repair, collect)
        if repair and report.disagreeing:
            await _wait_for_the_service(metadata, release, datetime.now(UTC), progress)
            report = await _look(verification, metadata, release, progress, after, as_json)
        return report.agrees


async def _look(
    verification: Verification,
    metadata: MetadataStore,
    release: Release,
    progress: Progress,
    after: str,
    as_json: bool,
    repair: bool = False,
    collect: bool = False,
) -> Report:
    report, findings = Report(release.release_id, release.collection, until=after), Findings(as_json)
    task = progress.add_task("items", total=await metadata.count_items())
    try:
        async for items in verification.items(release, after):
            _count_items(report, items)
            for found in items.disagreements:
                findings.disagreement(found)
            if repair:
                await metadata.unsettle(release.collection, [found.item_id for found in items.disagreements])
            progress.advance(task, items.items)
    except asyncio.CancelledError:
        click.echo(f"stopped early; to go on: --after {json.dumps(report.until)}", err=True)
        raise
    task = progress.add_task("images", total=len(SHARDS))
    async for images in verification.images():
        _count_images(report, images)
        findings.images(images)
        if collect:
            report.removed_images += await verification.collect(images)
        progress.advance(task)
    findings.summary(report)
    return report


def _count_items(report: Report, items: CheckedItems) -> None:
    report.items += items.items
    report.rows += items.rows
    report.disagreeing += len(items.disagreements)
    report.missing += sum(found.missing for found in items.disagreements)
    report.extra += sum(found.extra for found in items.disagreements)
    report.stale += sum(found.stale for found in items.disagreements)
    report.until = items.until or report.until


def _count_images(report: Report, images: CheckedImages) -> None:
    report.images += images.images
    report.lost_images += len(images.lost)
    report.unreferenced_images += len(images.unreferenced)
    report.unreferenced_bytes += sum(image.size for image in images.unreferenced)


async def _rebuild(settings: Settings, yes: bool, wait: bool) -> int:
    """Returns how many items are not indexed, though the service tried."""
    async with AsyncExitStack() as stack:
        database = Database(settings.metadata_url)
        stack.push_async_callback(database.close)
        metadata, registry = SqlMetadataStore(database), SqlRegistry(database)
        release = await _active_release(registry)
        items = await metadata.count_items()
        if not yes:
            question = f"Index {items:,} items of release {release.release_id} anew, in place of {release.collection}?"
            click.confirm(question, abort=True)
        changed = await registry.replace_collection(new_collection(release.release_id))
        click.echo(f"{release.release_id}: collection {changed.collection} replaces {release.collection}", err=True)
        if not wait:
            return 0
        started = time.monotonic()
        while await metadata.enlist(changed.collection):
            pass
        await _wait_for_the_service(metadata, changed, datetime.now(UTC), stack.enter_context(progress_bar()))
        left = await metadata.count_unsettled(changed.collection, datetime.now(UTC))
        click.echo(f"{items - left:,} items indexed in {time.monotonic() - started:.1f} s")
        if left:
            click.echo(f"{left:,} items are not indexed yet; the service's log says why", err=True)
        return left


async def _active_release(registry: Registry) -> Release:
    release = await registry.active_release()
    if release is None:
        raise NotFound("no release is active: the service was never started with this metadata store")
    return release


async def _wait_for_the_service(metadata: MetadataStore, release: Release, since: datetime, progress: Progress) -> None:
    """Until it has mended, or tried to mend, what was unsettled at that moment."""
    total = left = await metadata.count_due(release.collection, since)
    task = progress.add_task("indexing", total=total)
    moved = time.monotonic()
    while left:
        await asyncio.sleep(POLL)
        now = await metadata.count_due(release.collection, since)
        if now != left:
            moved = time.monotonic()
        elif time.monotonic() - moved > PATIENCE:
            raise Failed(
                f"none of {left:,} items was indexed within {PATIENCE:.0f} s: is the service running? Its log says why"
            )
        left = now
        progress.update(task, completed=total - left)


def progress_bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))

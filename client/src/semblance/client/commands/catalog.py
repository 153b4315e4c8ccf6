"""`semblance get`, `delete`, `count` and `list`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from semblance.client._types import Item
from semblance.client.commands.connection import Connect, connection_options, describe, json_option, to_json

_SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp"}
"""By the first bytes of the formats that the service accepts."""


@click.command()
@click.argument("item_id")
@click.option(
    "--save-images",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the item's images there, under their image ids.",
)
@json_option
@connection_options
def get(item_id: str, save_images: Path | None, as_json: bool, connect: Connect) -> None:
    """Show an item of the catalogue."""
    with connect() as client:
        item = client.get(item_id, include_image_data=save_images is not None)
    if save_images:
        try:
            save(item, save_images)
        except OSError as error:
            raise click.ClickException(f"cannot write into {save_images}: {error.strerror}") from error
    if as_json:
        click.echo(to_json(item))
        return
    table = Table(show_header=False)
    table.add_row("item id", Text(item.item_id))
    for name, value in sorted(item.attributes.items()):
        table.add_row(Text(name), Text(str(value)))
    table.add_row("created", f"{item.created_at:%Y-%m-%d %H:%M:%S} UTC")
    table.add_row("updated", f"{item.updated_at:%Y-%m-%d %H:%M:%S} UTC")
    images = Table(Column("image id", overflow="fold"), Column("size", no_wrap=True), "vectors")
    for image in item.images:
        images.add_row(image.image_id, f"{image.width} × {image.height}", str(image.vectors))
    console = Console()
    console.print(table)
    console.print(images)


def save(item: Item, folder: Path) -> None:
    """Writes the item's images into the folder, under the digest of their bytes, which is their id: a name that a
    service sends could lead out of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in item.images:
        data = image.data or b""
        suffix = next((suffix for start, suffix in _SUFFIXES.items() if data.startswith(start)), "")
        (folder / f"{hashlib.sha256(data).hexdigest()}{suffix}").write_bytes(data)


@click.command()
@click.argument("item_id")
@json_option
@connection_options
def delete(item_id: str, as_json: bool, connect: Connect) -> None:
    """Delete an item of the catalogue."""
    with connect() as client:
        client.delete(item_id)
    click.echo(json.dumps({"deleted": item_id}, ensure_ascii=False) if as_json else f"deleted {item_id}")


@click.command()
@json_option
@connection_options
def count(as_json: bool, connect: Connect) -> None:
    """Count what the catalogue holds."""
    with connect() as client:
        counts = client.count()
    if as_json:
        click.echo(to_json(counts))
    else:
        click.echo(f"{counts.items:,} items, {counts.images:,} images, {counts.vectors:,} vectors")


@click.command("list")
@json_option
@connection_options
def list_items(as_json: bool, connect: Connect) -> None:
    """List the items of the catalogue; with --json, one a line."""
    with connect() as client:
        if as_json:
            for item in client.list():
                click.echo(to_json(item))
            return
        table = Table("item id", "images", "vectors", "attributes")
        for item in client.list():
            vectors = sum(image.vectors for image in item.images)
            table.add_row(Text(item.item_id), str(len(item.images)), str(vectors), Text(describe(item.attributes)))
    Console().print(table)

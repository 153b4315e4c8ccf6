"""Write the demo's catalogue and scenes: `python -m demo.generate --out DIR`."""

from __future__ import annotations

from pathlib import Path

import click

from demo import catalogue, scenes
from demo.items import collect

PIXELS = 384
"""Height at which items are drawn before they are photographed."""


@click.command()
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write to.")
@click.option("--items", default=240, show_default=True, help="Items in the catalogue, a third of each kind.")
@click.option("--scenes", "scene_count", default=60, show_default=True, help="Scenes to search in.")
@click.option("--seed", default=7, show_default=True, help="The same seed writes the same bytes.")
def main(out: Path, items: int, scene_count: int, seed: int) -> None:
    """Draw a catalogue with product photos, and scenes in which its items lie about."""
    chosen = list(collect(items, seed))
    with click.progressbar(chosen, label="drawing items") as bar:
        sprites = [item.draw(PIXELS) for item in bar]
    click.echo("taking product photos")
    photos = catalogue.write(out, chosen, sprites, seed)
    click.echo("laying out scenes")
    scenes.write(out, chosen, sprites, scene_count, seed)
    click.echo(f"{items} items, {len(photos)} photos and {scene_count} scenes in {out}")


if __name__ == "__main__":
    main()

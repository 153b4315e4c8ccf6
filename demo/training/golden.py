"""Golden pictures of exported demo models: `python -m demo.training.golden demo/weights/*`.

The pictures are drawn: scenes for the detector, objects cut out of them for the embedder. For models that were exported
without any, or before the drawing changed; `semblance export` itself takes them from its gate's pictures.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click
import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray
from PIL import Image

from demo import generate, scenes
from demo.training.crop import cut
from semblance.export import gallery, golden, manifest, package
from semblance.export.contract import GOLDEN_FILE, MANIFEST_FILE

SCENES = 8
SEED = 11


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(folders: tuple[Path, ...]) -> None:
    """Write golden.npz into exported FOLDERS, and name it in their manifests."""
    with tempfile.TemporaryDirectory() as world:
        options = {"--out": world, "--items": 24, "--scenes": SCENES, "--seed": SEED}
        generate.main([str(part) for option in options.items() for part in option], standalone_mode=False)
        for folder in folders:
            write(folder, Path(world))


def write(folder: Path, world: Path) -> None:
    source = package.read(folder)
    contract = source.contract
    size = contract.input.dims[0]
    if contract.model == "detector":
        pixels = gallery.photographs(world / "scenes", SCENES, size, contract.pad_value).pixels
    else:
        pixels = crops(world, size)
    golden.record(source.model, contract, pixels, lambda *_: None).write(folder / GOLDEN_FILE)
    # The message would write its maps in another order.
    path = folder / MANIFEST_FILE
    entry = json_format.MessageToDict(manifest.file_entry(folder / GOLDEN_FILE), preserving_proto_field_name=True)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"golden_file": entry}, indent=2) + "\n")


def crops(world: Path, size: int) -> NDArray[np.uint8]:
    """Every object of the scenes, cut out as the service does: uint8 [N,size,size,3]."""
    return np.stack(
        [
            cut(np.asarray(Image.open(truth.path)), thing.box, size)
            for truth in scenes.read_truth(world)
            for thing in truth.objects
        ]
    )


if __name__ == "__main__":
    main()

"""A catalogue to learn from."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from semblance.export import gallery
from semblance.orchestrator.box import Box
from semblance.training.train import material
from semblance.training.train.crops import Crop
from semblance.training.train.material import Material, Sources
from tests.training.train.course import quiet


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    """Six items with a picture each."""
    rows = ["item_id,image"]
    for number, pixels in enumerate(gallery.drawn(6, 64).pixels):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        rows.append(f"item-{number},{number}.png")
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(rows))
    return path


@pytest.fixture
def cut(catalogue: Path) -> Material:
    sources = material.collect(catalogue, None, None)
    queries = tuple(Crop(crop.path, crop.item_id, Box(8, 8, 56, 56)) for crop in sources.references)
    return material.cut(Sources(sources.references, queries, (), queries), None, 0, quiet)

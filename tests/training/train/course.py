"""A short training of a network with random weights."""

from __future__ import annotations

from pathlib import Path

from semblance.export import embedder as exported
from semblance.training.train.embedder import Recipe, Training
from semblance.training.train.material import Material
from semblance.training.train.run import Run

RECIPE = Recipe(epochs=2, rate=1e-3, items=3, side=32, layers=1, patience=9, seed=4)


def quiet(*_: object) -> None:
    pass


def begun(folder: Path, cut: Material) -> Training:
    run = Run.open(folder, {}, resume=folder.exists())
    return Training(run, exported.random(1).trunk, cut, {}, RECIPE, quiet)

"""The picture of a training's course."""

from __future__ import annotations

from pathlib import Path

from semblance.training.train import curves

PANELS = {"loss": ["loss"], "validation": ["recall@1"]}


def test_a_course_without_a_number_has_no_picture(tmp_path: Path) -> None:
    """An embedder that gets a head alone, of a catalogue alone: no loss, and nothing to validate on."""
    curves.draw(tmp_path / "curves.png", [{"epoch": 0, "loss": None, "recall@1": None}], PANELS, 0)
    assert not list(tmp_path.iterdir())
    curves.draw(tmp_path / "curves.png", [{"epoch": 0, "loss": None, "recall@1": 0.5}], PANELS, 0)
    assert (tmp_path / "curves.png").stat().st_size > 1000

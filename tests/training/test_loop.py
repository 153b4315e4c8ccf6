"""What `make loop` is made of: annotations as Label Studio exports them, and a user who says what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from demo import labelling, shopper
from demo.scenes import Object, Truth
from semblance.client import Box, Hit, ObjectHits, SearchResult, Source, Verdict
from semblance.training.dataset.command import dataset
from semblance.training.dataset.dataset import Dataset

MUG, TOY = Object("card-1", "card", (10, 20, 60, 80)), Object("badge-2", "badge", (70, 15.5, 118, 60.25))


def answered(kind: str, box: tuple[float, float, float, float], *items: str) -> ObjectHits:
    hits = tuple(Hit(item, 0.9, "", Box(0, 0, 1, 1), {}) for item in items)
    return ObjectHits(Source.DETECTED, Box(*box), 0.8, kind, hits, None)


def result(*objects: ObjectHits) -> SearchResult:
    return SearchResult("r1", 128, 96, objects, not objects, None)


def test_annotations_are_imported_as_the_truth_they_were_made_of(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 96, 128, 3), np.uint8)
    scenes = [Truth(tmp_path / "a.jpg", (MUG, TOY)), Truth(tmp_path / "b.jpg", (TOY,))]
    for scene, picture in zip(scenes, pixels, strict=True):
        Image.fromarray(picture).save(scene.path)
    labelling.write(tmp_path / "export.json", scenes)
    arguments = ["import", tmp_path / "export.json", "--images", tmp_path, "--split", "0,0,100"]
    arguments += ["--split-by", "image", "--output", tmp_path / "dataset"]
    done = CliRunner().invoke(dataset, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    for scene, image in zip(scenes, Dataset.read(tmp_path / "dataset").split("test"), strict=True):
        assert [(each.class_name, each.item_id) for each in image.objects] == [
            (each.kind, each.item_id) for each in scene.objects
        ]
        np.testing.assert_allclose([o.box for o in image.objects], [o.box for o in scene.objects], atol=1e-6)


def test_a_user_names_what_was_taken_for_another_and_shows_what_was_missed() -> None:
    wrong = answered("card", MUG.box, "card-7", "card-1")
    said = list(shopper.complaints(result(wrong), (MUG, TOY)))
    assert said == [(Verdict.item("card-1"), wrong), (Verdict.missed(Box(*TOY.box), "badge-2"), None)]


def test_a_user_has_nothing_to_say_of_a_right_answer() -> None:
    right = answered("card", MUG.box, "card-1"), answered("badge", TOY.box, "badge-2")
    assert not list(shopper.complaints(result(*right), (MUG, TOY)))


@pytest.mark.parametrize("within", ["signal.raise_signal(signal.SIGINT)", "stack.semblance('list')"])
def test_ctrl_c_ends_it_without_a_traceback(within: str, tmp_path: Path) -> None:
    """Ctrl-C here, and in a command that it runs, which says so by its status."""
    program = tmp_path / "bin" / "semblance"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 130\n")
    program.chmod(0o755)
    told = (
        "import signal, sys\nfrom demo import interruption, stack\n"
        f"sys.executable = {str(program)!r}\nwith interruption.interruptible():\n    {within}\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", told], cwd=root, text=True, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (130, "stopped, with all that it had started\n")

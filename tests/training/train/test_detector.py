"""The detector's command, from the shipped weights to what passes the gate."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from semblance.export import detector as exported
from semblance.export import manifest
from semblance.training.dataset.dataset import Dataset, Manifest
from semblance.training.train import detector, tuning
from semblance.training.train.command import train
from semblance.training.train.detector import Recipe, Tuned
from semblance.training.train.errors import TrainingError
from semblance.training.train.run import PROGRESS, TUNING, Run
from tests.training.train.course import quiet

WEIGHTS = Path(__file__).resolve().parents[3] / "demo" / "weights" / "detector"
CLASSES = ["card", "badge", "figurine"]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two scenes with what the shipped detector says of them, once to learn from and once to validate on."""
    folder = tmp_path / "dataset"
    images = []
    with np.load(WEIGHTS / "golden.npz") as golden:
        scenes = list(zip(golden["inputs"], golden["outputs"], strict=True))
    for split in ("train", "val"):
        for number, (pixels, rows) in enumerate(scenes):
            file = folder / "images" / split / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
            found = [row for row in rows.tolist() if row[4] > 0.5]
            objects = [
                {"class": CLASSES[int(row[5])], "box": row[:4], "item_id": None, "polygon": None} for row in found
            ]
            labels = folder / "labels" / split / f"{number}.txt"
            labels.parent.mkdir(parents=True, exist_ok=True)
            labels.write_text(
                "\n".join(
                    f"{int(c)} {(x1 + x2) / 1280} {(y1 + y2) / 1280} {(x2 - x1) / 640} {(y2 - y1) / 640}"
                    for x1, y1, x2, y2, _, c in found
                )
            )
            images.append(
                {
                    "file": f"images/{split}/{number}.png",
                    "split": split,
                    "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
                    "width": 640,
                    "height": 640,
                    "source": str(number),
                    "objects": objects,
                }
            )
    described = {"format": 1, "classes": CLASSES, "source": {}, "images": images}
    (folder / "manifest.json").write_text(json.dumps(described))
    names = {"path": str(folder), "train": "images/train", "val": "images/val", "names": dict(enumerate(CLASSES))}
    (folder / "data.yaml").write_text(json.dumps(names))
    return folder


def test_a_run_is_whole_and_ends_with_the_gate(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["detector", str(dataset), "--weights", str(WEIGHTS), "--output", str(run), "--epochs", "1"]
    result = CliRunner().invoke(train, arguments)
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in (run / "progress.jsonl").read_text().splitlines()]
    assert [record["epoch"] for record in records] == [0, 1]
    # Before the first step it is the shipped detector, whose own answers are the truth here.
    assert records[0]["mAP50"] > 0.95
    assert manifest.verify(run / "export").parity.figures["min_iou"] >= 0.99
    assert "AGPL" in (run / "MODEL_CARD.md").read_text()
    assert (run / "curves.png").stat().st_size > 1000
    assert f"semblance publish {run / 'export'}" in result.output
    again = CliRunner().invoke(train, arguments)
    assert again.exit_code == 1
    assert "--resume" in again.output
    other = CliRunner().invoke(train, [*arguments, "--resume", "--batch", "4"])
    assert other.exit_code == 1
    assert "was begun with batch 16" in other.output


def test_weights_that_are_none_leave_nothing_in_the_way_of_the_right_command(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    arguments = ["detector", str(dataset), "--output", str(run), "--epochs", "1", "--image-size", "64", "--weights"]
    wrong = CliRunner().invoke(train, [*arguments, str(tmp_path)])
    assert wrong.exit_code == 1
    right = CliRunner().invoke(train, [*arguments, str(WEIGHTS), "--rate", "0.00003"])
    assert right.exit_code == 0, right.output
    assert json.loads((run / "settings.json").read_text())["rate"] == 0.00003


def test_a_resumed_search_goes_on_and_does_not_repeat_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Tuned] = []

    def trained(run: Run, data: Dataset, recipe: Recipe, tuned: Tuned, *_: object) -> list[dict[str, Any]]:
        tried.append(tuned)
        (run.folder / detector.WORK).mkdir()
        return [{"epoch": 0, "mAP50-95": 0.9}, {"epoch": 1, "mAP50-95": tuned.mosaic / 2}]

    monkeypatch.setattr(detector, "train", trained)
    (tmp_path / detector.START).touch()
    data = Dataset(tmp_path, Manifest(classes=(), source={}, images=()))
    recipe, default = Recipe(3, 64, 1, 0), Tuned(1e-4)
    tuning.best(Run(tmp_path), data, recipe, default, 3, quiet, quiet)
    best = tuning.best(Run(tmp_path), data, recipe, default, 6, quiet, quiet)
    assert tried[0] == default
    assert len(tried) == len(set(tried)) == 6
    assert best == max(tried, key=lambda each: each.mosaic)


def search(folder: Path, count: int, trained: Any, monkeypatch: pytest.MonkeyPatch) -> Tuned:
    monkeypatch.setattr(detector, "train", trained)
    (folder / detector.START).touch()
    data = Dataset(folder, Manifest(classes=(), source={}, images=()))
    return tuning.best(Run(folder), data, Recipe(3, 64, 1, 0), Tuned(1e-4), count, quiet, quiet)


def test_an_interrupted_trial_is_tried_again_and_leaves_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tried: list[Tuned] = []

    def trained(run: Run, data: Dataset, recipe: Recipe, tuned: Tuned, *_: object) -> list[dict[str, Any]]:
        assert (run.folder / detector.START).exists()
        (run.folder / detector.WORK).mkdir()
        (run.folder / PROGRESS).touch()
        tried.append(tuned)
        if len(tried) == 1:
            raise KeyboardInterrupt
        return [{"epoch": 1, "mAP50-95": 0.5}]

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, 2, trained, monkeypatch)
    assert "Traceback" not in capfd.readouterr().err
    search(tmp_path, 2, trained, monkeypatch)
    assert tried[0] == tried[1] == Tuned(1e-4)
    assert len(tried) == 3
    assert {path.name for path in (tmp_path / "trials").rglob("*") if path.is_file()} == {PROGRESS}


def test_a_run_without_resume_leaves_an_interrupted_search_alone(tmp_path: Path) -> None:
    Run.open(tmp_path / "run", {"tune": 3}, resume=False)
    (tmp_path / "run" / TUNING).write_text("trials")
    with pytest.raises(TrainingError, match="--resume"):
        Run.open(tmp_path / "run", {"tune": 3}, resume=False)
    assert (tmp_path / "run" / TUNING).read_text() == "trials"


def test_settings_of_another_program_are_no_run(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"editor.tabSize": 4}')
    (tmp_path / "work.txt").write_text("months of it")
    for resume in (False, True):
        with pytest.raises(TrainingError):
            Run.open(tmp_path, {"tune": 3}, resume=resume)
    assert (tmp_path / "work.txt").read_text() == "months of it"


def test_what_can_not_be_resumed_is_told_from_what_is_not_there(tmp_path: Path) -> None:
    run, settings = tmp_path / "run", {"seed": 0, "contents": {}}
    with pytest.raises(TrainingError, match=r"there is no .*settings\.json; leave --resume out"):
        Run.open(run, settings, resume=True)
    run.mkdir()
    # Of a version that kept no contents.
    (run / "settings.json").write_text('{"seed": 0}')
    with pytest.raises(TrainingError, match=r"settings\.json is of another version or kind; .* another --output"):
        Run.open(run, settings, resume=True)


@pytest.mark.parametrize("what", ["dataset", "weights"])
def test_a_run_is_not_resumed_with_other_contents_of_a_path(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def goes_on(*_: object) -> None:
        raise TrainingError("it goes on")

    monkeypatch.setattr(detector, "prepare", goes_on)
    weights = tmp_path / "weights"
    shutil.copytree(WEIGHTS, weights)
    arguments = ["detector", str(dataset), "--weights", str(weights), "--output", str(tmp_path / "run")]
    for option in ([], ["--resume"]):
        assert "it goes on" in CliRunner().invoke(train, [*arguments, *option]).output
    changed = {"dataset": dataset, "weights": weights}[what]
    with (changed / "manifest.json").open("a") as manifest:
        manifest.write("\n")
    refused = CliRunner().invoke(train, [*arguments, "--resume"])
    assert refused.exit_code == 1
    assert f"{what} {changed} has changed since" in refused.output


def test_a_kill_while_a_checkpoint_is_written_costs_an_epoch_and_not_the_run(dataset: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    data, recipe = Dataset.read(dataset), Recipe(2, 64, 9, 0)
    run.folder.mkdir()
    detector.prepare(str(WEIGHTS), data, run, 0, quiet)

    def killed(record: dict[str, Any]) -> None:
        if record["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        detector.train(run, data, recipe, Tuned(1e-5), quiet, killed)
    last = run.folder / detector.LAST
    last.write_bytes(last.read_bytes()[:100_000])
    records = detector.train(run, data, recipe, Tuned(1e-5), quiet, quiet)
    assert [record["epoch"] for record in records] == [0, 1, 2]
    for checkpoint in (detector.LAST, detector.BEST):
        (run.folder / checkpoint).write_bytes(b"torn")
    with pytest.raises(TrainingError, match="another --output"):
        detector.train(run, data, recipe, Tuned(1e-5), quiet, quiet)


def test_a_run_that_was_killed_after_its_last_epoch_is_resumed_to_its_end(dataset: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    data, recipe = Dataset.read(dataset), Recipe(1, 64, 9, 0)
    run.folder.mkdir()
    detector.prepare(str(WEIGHTS), data, run, 0, quiet)

    def killed(record: dict[str, Any]) -> None:
        if record["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        detector.train(run, data, recipe, Tuned(1e-5), quiet, killed)
    records = detector.train(run, data, recipe, Tuned(1e-5), quiet, quiet)
    assert [record["epoch"] for record in records] == [0, 1]
    # With the optimiser in it.
    assert exported.load(str(run.folder / detector.BEST)).class_names == tuple(CLASSES)


def test_a_kill_while_the_best_checkpoint_is_written_costs_nothing_where_the_last_one_is_as_good(
    dataset: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path / "run")
    data, recipe = Dataset.read(dataset), Recipe(1, 64, 9, 0)
    run.folder.mkdir()
    detector.prepare(str(WEIGHTS), data, run, 0, quiet)
    records = detector.train(run, data, recipe, Tuned(1e-5), quiet, quiet)
    last, best = run.folder / detector.LAST, run.folder / detector.BEST
    whole = best.read_bytes()

    def resumed(*figures: float) -> bool:
        """Whether it goes on with a whole one, where the epochs had these figures."""
        run.keep([{**records[0], "epoch": epoch, "mAP50-95": figure} for epoch, figure in enumerate(figures)])
        detector.train(run, data, recipe, Tuned(1e-5), quiet, quiet)
        return best.read_bytes() == last.read_bytes()

    for torn in (whole[:100_000], b""):
        best.write_bytes(torn)
        assert resumed(-2, -1, records[1]["mAP50-95"])
        # Killed before the last epoch was recorded.
        best.write_bytes(torn)
        assert resumed(-2, -1)
        # The start is what is kept.
        best.write_bytes(torn)
        assert resumed(2, 1)
        best.write_bytes(torn)
        with pytest.raises(TrainingError, match=r"best\.pt, can't be read.*another --output"):
            resumed(0, 2, 1)
        assert best.read_bytes() == torn


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    arguments = ["detector", str(tmp_path), "--weights", str(WEIGHTS), "--output", str(tmp_path / "run")]
    result = CliRunner().invoke(train, arguments)
    assert result.exit_code == 1
    assert "semblance dataset import" in result.output
    assert not (tmp_path / "run").exists()

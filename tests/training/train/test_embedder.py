"""The embedder's training: resumed as if never stopped, with confused items in one batch."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from semblance.client import Client, NewItem
from semblance.client.testing import FakeSemblance
from semblance.export import embedder as exported
from semblance.orchestrator.box import Box
from semblance.training.dataset.dataset import Dataset, Manifest
from semblance.training.train import confusion, crops, material
from semblance.training.train.batches import Batches
from semblance.training.train.command import train
from semblance.training.train.crops import Crop
from semblance.training.train.embedder import BEST
from semblance.training.train.errors import TrainingError
from semblance.training.train.material import Material
from tests.training.train.course import begun, quiet


def test_a_resumed_run_ends_as_one_that_was_never_stopped(cut: Material, tmp_path: Path) -> None:
    whole = begun(tmp_path / "whole", cut).train(quiet)

    def stop(record: dict[str, Any]) -> None:
        if record["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begun(tmp_path / "stopped", cut).train(stop)
    resumed = begun(tmp_path / "stopped", cut).train(quiet)
    assert [r | {"seconds": 0} for r in resumed] == [r | {"seconds": 0} for r in whole]
    assert [record["epoch"] for record in whole] == [0, 1, 2]
    one, other = (torch.load(tmp_path / name / "state.pt")["trunk"] for name in ("whole", "stopped"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    # What is kept is what the export reads.
    exported.load(tmp_path / "whole" / BEST)


def test_only_the_last_layers_learn_and_no_statistics_move(cut: Material, tmp_path: Path) -> None:
    training = begun(tmp_path / "run", cut)
    before = exported.random(1).trunk.state_dict()
    training.train(quiet)
    after = torch.load(tmp_path / "run" / "state.pt")["trunk"]
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith("layer4.") and "running" not in name for name in moved)


def test_confused_items_stand_in_one_batch(cut: Material) -> None:
    batches = Batches(cut, 2, 32, 0)
    rivals = {f"item-{n}": [f"item-{n ^ 1}"] for n in range(6)}
    with ThreadPoolExecutor(1) as pool:
        for number in range(4):
            pixels, items = batches.batch(number, rivals, pool)
            assert pixels.shape == (4, 32, 32, 3)
            assert items[0] ^ 1 == items[2]
            again, _ = batches.batch(number, rivals, pool)
            np.testing.assert_array_equal(pixels, again)


def test_the_index_says_which_items_it_confuses(catalogue: Path) -> None:
    crop = material.collect(catalogue, None, None).references[2]
    with FakeSemblance() as fake, Client(fake.target) as client:
        for number in range(4):
            client.put_item(NewItem(f"item-{number}", [catalogue.with_name(f"{number}.png")]))
        found = confusion.mined(client, [Crop(crop.path, crop.item_id, Box(0, 0, 64, 64))], quiet)
    assert set(found) == {"item-2"}
    assert set(found["item-2"]) == {"item-0", "item-1", "item-3"}


def test_a_photo_is_asked_about_by_its_boxes_and_as_a_whole(catalogue: Path) -> None:
    """Verdicts on the whole photo and on a part of it: each answer is told of its own."""
    path = catalogue.with_name("2.png")
    with FakeSemblance() as fake, Client(fake.target) as client:
        for number in range(3):
            client.put_item(NewItem(f"item-{number}", [catalogue.with_name(f"{number}.png")]))
        both = [Crop(path, "item-2", None), *(Crop(path, "item-1", Box(0, 0, 32, 32)) for _ in range(101))]
        found = confusion.mined(client, both, quiet)
    assert set(found) == {"item-1", "item-2"}
    assert "item-2" not in found["item-2"]
    assert "item-1" not in found["item-1"]


def test_photos_that_validate_or_test_are_not_learnt_from(catalogue: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(catalogue.with_name("1.png").read_bytes()).hexdigest()
    pairs: list[dict[str, Any]] = [
        {"image": f"images/{name}.png", "box": None, "positive": "item-1", "negatives": []} for name in (digest, "b")
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    objects = [{"class": "mug", "box": [0, 0, 9, 9], "item_id": "item-1"}]
    image = {"width": 64, "height": 64, "source": "", "objects": objects}
    images = [
        {**image, "file": "a.png", "split": "train", "sha256": "a" * 64},
        {**image, "file": "b.png", "split": "test", "sha256": digest},
    ]
    data = Dataset(tmp_path, Manifest.model_validate({"classes": ["mug"], "source": {}, "images": images}))
    sources = material.collect(catalogue, data, tmp_path)
    assert [pair.crop.path.stem for pair in sources.pairs] == ["b"]
    assert sources.held_out == 1


@pytest.mark.parametrize("option", ["--mine", "--layers=2", "--rate=0.1"])
def test_options_of_a_network_that_is_not_to_learn_are_refused(catalogue: Path, tmp_path: Path, option: str) -> None:
    arguments = ["embedder", "--catalogue", str(catalogue), "--output", str(tmp_path / "run"), option]
    done = CliRunner().invoke(train, arguments)
    assert done.exit_code == 2
    assert "give --epochs 1 or more" in done.output


def test_a_verdicts_wrong_item_becomes_a_rival(catalogue: Path, tmp_path: Path) -> None:
    feedback = tmp_path / "feedback"
    feedback.mkdir()
    pair = {"image": "../1.png", "box": [0, 0, 30, 40], "class": None, "positive": "item-1", "negatives": ["item-5"]}
    (feedback / "pairs.jsonl").write_text(json.dumps(pair) + "\n")
    sources = material.collect(catalogue, None, feedback)
    assert material.cut(sources, None, 0, quiet).negatives == {"item-1": ("item-5",)}


def test_a_line_that_is_no_pair_is_named(catalogue: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text('{"image": "1.png"}\n')
    with pytest.raises(TrainingError, match=r"pairs\.jsonl:1 is no pair"):
        material.collect(catalogue, None, tmp_path)


def test_crops_are_those_of_the_service(catalogue: Path) -> None:
    photo = crops.read(catalogue.with_name("1.png"))
    square = crops.square(photo, Box(0, 0, 64, 32))
    assert square.shape == (224, 224, 3)
    assert (square[:56] == crops.PAD_VALUE).all()
    assert (square[-56:] == crops.PAD_VALUE).all()


def test_one_item_is_too_few(catalogue: Path, cut: Material, tmp_path: Path) -> None:
    alone = Material(cut.items[:1], cut.patches, {}, cut.gallery, cut.queries)
    with pytest.raises(TrainingError, match="there is only one"):
        begun(tmp_path / "run", alone)

"""Where weights come from: files, official names, random by name; anything else is refused with the way out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet50
from ultralytics import YOLO

from semblance.export import detector, embedder
from semblance.export.errors import WeightsError
from semblance.export.weights import seeded

# A proxy that nobody listens on: every download fails at once.
UNREACHABLE = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    with seeded(5):
        weights: dict[str, torch.Tensor] = resnet50().state_dict()
    return weights


def test_a_seed_names_the_same_weights_each_time() -> None:
    assert embedder.random(1).source == embedder.random(1).source
    assert embedder.random(1).source.sha256 != embedder.random(2).source.sha256
    assert detector.random("yolov8n.yaml", 1).source == detector.random("yolov8n.yaml", 1).source


def test_a_trained_detector_comes_with_its_class_names(tmp_path: Path) -> None:
    file = tmp_path / "trained.pt"
    YOLO("yolov8n.yaml").save(file)
    loaded = detector.load(str(file))
    assert loaded.source.weights == "trained.pt"
    assert len(loaded.class_names) == 80


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "segments.pt"
    YOLO("yolov8n-seg.yaml").save(file)
    with pytest.raises(WeightsError, match="task `segment`"):
        detector.load(str(file))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"no file yolov99x\.pt"):
        detector.load("yolov99x.pt")


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(WeightsError, match=r"no architecture yolov99x\.yaml"):
        detector.random("yolov99x.yaml", 0)


def test_a_state_dict_is_taken_with_and_without_its_classifier(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    whole, trunk = tmp_path / "whole.pt", tmp_path / "trunk.pt"
    torch.save(state, whole)
    torch.save({name: value for name, value in state.items() if not name.startswith("fc.")}, trunk)
    one, other = embedder.load(whole).trunk.state_dict(), embedder.load(trunk).trunk.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(lambda state: state.pop("layer1.0.conv1.weight"), "layer1.0.conv1.weight", id="missing"),
        pytest.param(lambda state: state.update(extra=torch.zeros(1)), "extra", id="unexpected"),
        pytest.param(lambda state: state.update({"conv1.weight": torch.zeros(1)}), "size mismatch", id="shape"),
        pytest.param(lambda state: state.update(epoch=3), "no state dict", id="no tensors"),
    ],
)
def test_a_state_dict_of_another_network_is_refused(
    state: dict[str, torch.Tensor], tmp_path: Path, change: object, named: str
) -> None:
    assert callable(change)
    changed = dict(state)
    change(changed)
    torch.save(changed, tmp_path / "changed.pt")
    with pytest.raises(WeightsError, match=named):
        embedder.load(tmp_path / "changed.pt")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(WeightsError, match="is not a state dict"):
        embedder.load(tmp_path / "text.pt")
    with pytest.raises(WeightsError, match="is not a checkpoint"):
        detector.load(str(tmp_path / "text.pt"))
    with pytest.raises(WeightsError, match=r"none\.pt can't be read: No such file"):
        embedder.load(tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("command", "ways_out"),
    [
        (["embedder"], ["--weights", "`semblance export embedder --random-seed 0`"]),
        (
            ["detector", "--weights", "yolov8n.pt"],
            ["give its path", "`semblance export detector --weights yolov8n.yaml --random-seed 0`"],
        ),
    ],
)
def test_unreachable_official_weights_name_the_ways_out(
    tmp_path: Path, command: list[str], ways_out: list[str]
) -> None:
    environment = os.environ | UNREACHABLE | {"TORCH_HOME": str(tmp_path), "YOLO_CONFIG_DIR": str(tmp_path)}
    program = Path(sys.executable).with_name("semblance")
    repository = tmp_path / "model_repository"
    done = subprocess.run(
        [program, "export", *command, "--repository", repository],
        env=environment,
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    for way in ("could not be downloaded", *ways_out):
        assert way in done.stderr
    assert not repository.exists()

"""`semblance export`, from weights to a published version."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from semblance.export import manifest, repository
from semblance.export.command import export, publish
from semblance.export.contract import DETECTOR, EMBEDDER
from semblance.export.session import open_session


def run(*arguments: object) -> str:
    result = CliRunner().invoke(export, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def check_golden(folder: Path, rows: int) -> None:
    """The published model answers to its golden pictures as it did when it was exported, in one batch too."""
    assert manifest.verify(folder).HasField("golden_file")
    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        inputs, outputs = golden["inputs"], golden["outputs"]
    assert len(inputs) == len(outputs) == rows
    assert outputs.any(axis=tuple(range(1, outputs.ndim))).all()
    session = open_session(onnx.load(folder / "model.onnx"))
    again = session.run(None, {session.get_inputs()[0].name: inputs})[0]
    np.testing.assert_allclose(again, outputs, rtol=1e-3, atol=1e-2)


DETECTOR_COMMAND = ("detector", "--weights", "yolov8n.yaml", "--random-seed", 7, "--max-batch-size", 2)
EMBEDDER_COMMAND = ("embedder", "--random-seed", 7, "--max-batch-size", 2)


def test_a_detector_is_exported_verified_and_published(tmp_path: Path) -> None:
    output = run(*DETECTOR_COMMAND, "--repository", tmp_path)
    published = manifest.verify(tmp_path / "detector" / "1")
    assert published.model_file.sha256[:12] in output
    assert published.source.weights == "yolov8n.yaml, random seed 7"
    assert (published.max_batch_size, published.pad_value, len(published.class_names)) == (2, 114, 80)
    assert published.input == manifest.tensor_entry(DETECTOR.input)
    assert published.parity.batch_sizes == [1, 2]
    assert published.parity.figures["min_iou"] >= published.parity.bounds["min_iou"] == 0.99
    assert set(published.tools) >= {"torch", "ultralytics", "onnx", "onnxruntime"}
    check_golden(tmp_path / "detector" / "1", rows=2)


def test_an_embedder_is_exported_verified_and_published(tmp_path: Path) -> None:
    run(*EMBEDDER_COMMAND, "--repository", tmp_path)
    published = manifest.verify(tmp_path / "embedder" / "1")
    assert published.output == manifest.tensor_entry(EMBEDDER.output)
    assert published.parity.figures["min_cosine"] >= published.parity.bounds["min_cosine"] == 0.9999
    check_golden(tmp_path / "embedder" / "1", rows=2)


def test_int8_weights_go_into_a_folder_small_and_into_the_repository_expanded(tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    run(*DETECTOR_COMMAND, "--int8-weights", "--output", folder)
    exported = manifest.verify(folder)
    assert exported.weights_precision == "int8"
    assert exported.model_file.bytes < 3.6e6
    assert "rounding_mean_iou" in exported.parity.figures
    result = CliRunner().invoke(publish, [str(folder), "--repository", str(tmp_path / "models")])
    assert result.exit_code == 0, result.output
    published = manifest.verify(tmp_path / "models" / "detector" / "1")
    assert published.exported_file == exported.model_file
    assert published.model_file.bytes > 12e6
    check_golden(tmp_path / "models" / "detector" / "1", rows=2)


def test_a_failed_gate_publishes_nothing(tmp_path: Path) -> None:
    """Random weights turn far when they are rounded: the bound of reduced precision refuses them."""
    result = CliRunner().invoke(
        export, [str(part) for part in (*EMBEDDER_COMMAND, "--int8-weights", "--repository", tmp_path)]
    )
    assert result.exit_code == 1
    assert "drawn picture" in result.output
    assert "bound 0.999" in result.output
    assert not (tmp_path / "embedder").exists()


@pytest.mark.parametrize(
    "arguments",
    [("--weights", "yolov8n.yaml"), ("--weights", "yolov8n.pt", "--random-seed", "1")],
    ids=["random without a seed", "a seed for trained weights"],
)
def test_random_weights_are_asked_for_by_name(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(export, ["detector", *arguments])
    assert result.exit_code == 2
    assert "--random-seed" in result.output


def test_pictures_of_a_folder_are_compared_on(tmp_path: Path) -> None:
    from PIL import Image

    from semblance.export import gallery

    for number, pixels in enumerate(gallery.drawn(2, 300, seed=9).pixels):
        Image.fromarray(pixels[:200]).save(tmp_path / f"photo-{number}.png")
    run(*EMBEDDER_COMMAND, "--images", tmp_path, "--output", tmp_path / "exported")
    few = ["--max-batch-size", "3", "--images", str(tmp_path), "--output", str(tmp_path / "other")]
    result = CliRunner().invoke(export, ["embedder", "--random-seed", "7", *few])
    assert result.exit_code == 1
    assert "holds 2 pictures, and the gate needs 3" in result.output
    assert repository.versions(tmp_path) == []

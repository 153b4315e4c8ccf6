"""What the models and the service are fed with."""

import io
import json
from base64 import b64decode
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from PIL import Image

from semblance.benchmarks import bare, null_models, sweep
from semblance.benchmarks.world import numbered
from semblance.client import Box
from semblance.export import repository


@pytest.fixture
def photo() -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).resize((640, 480)).save(file, "JPEG")
    return file.getvalue()


def test_null_models_are_published_like_others_and_answer_constants(tmp_path: Path) -> None:
    null_models.publish(tmp_path)
    assert repository.versions(tmp_path / "detector") == [1]
    detections = answer(tmp_path, "detector", image=np.zeros((3, 640, 640, 3), np.uint8))
    assert detections.shape == (3, 100, 6)
    assert (detections[:, :, 4] > 0).sum(axis=1).tolist() == [2, 2, 2]
    embeddings = answer(tmp_path, "embedder", crop=np.zeros((2, 224, 224, 3), np.uint8))
    assert embeddings.shape == (2, 2048)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx([1, 1], abs=1e-5)


def answer(models: Path, name: str, **inputs: NDArray[np.uint8]) -> NDArray[np.float32]:
    outputs = ReferenceEvaluator(onnx.load(models / name / "1" / "model.onnx")).run(None, inputs)
    assert isinstance(outputs, list)
    return np.asarray(outputs[0])


def test_a_numbered_photo_is_the_same_picture_in_other_bytes(photo: bytes) -> None:
    one, other = numbered(photo, 1), numbered(photo, 2)
    assert len({photo, one, other}) == 3
    assert np.array_equal(bare.decode(one), bare.decode(photo))
    assert Image.open(io.BytesIO(other)).size == (640, 480)


def test_bare_steps_give_the_models_what_they_expect(photo: bytes) -> None:
    picture = bare.decode(photo)
    letterboxed = bare.letterbox(picture)
    assert letterboxed.shape == (640, 640, 3)
    assert np.array_equal(letterboxed[80:560], picture)
    assert (letterboxed[:80] == 114).all()
    picture[50:150, 100:300] = 7
    [crop] = bare.crops(picture, [Box(100.2, 50.3, 299.9, 149.8)])
    assert crop.shape == (224, 224, 3)
    assert (crop[56:168] == 7).all()
    assert (crop[:56] == 114).all()
    assert (crop[168:] == 114).all()


def test_rows_reach_perf_analyzer_byte_by_byte(tmp_path: Path) -> None:
    rows = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    sweep.write_rows(rows, "crop", tmp_path / "rows.json")
    data = json.loads((tmp_path / "rows.json").read_text())["data"]
    assert [b64decode(each["crop"]["b64"]) for each in data] == [row.tobytes() for row in rows]


def test_perf_analyzers_table_is_read_in_seconds(tmp_path: Path) -> None:
    table = tmp_path / "report.csv"
    table.write_text(
        "Concurrency,Inferences/Second,Client Send,p50 latency,p90 latency,p95 latency,p99 latency,Avg latency\n"
        "4,535.551,170,6702,10898,13441,20894,7452\n"
    )
    [swept] = sweep.read(table)
    assert swept.rate == pytest.approx(535.551)
    assert (swept.latency.p50, swept.latency.p99, swept.latency.mean) == pytest.approx((0.006702, 0.020894, 0.007452))

"""The whole of it on the real Triton, Milvus and orchestrator: a release measured, compared, kept, and required."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import catalogue, labelling, scenes
from demo.items import collect
from demo.stack import WEIGHTS
from semblance.client import Client
from semblance.serving import milvus, orchestrator, triton
from semblance.training.dataset.dataset import Dataset
from semblance.training.evaluate.detection import SERVED_SCORE

PATIENCE = 60


def semblance(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("semblance")
    return subprocess.run([program, *arguments], capture_output=True, text=True)


def succeed(*arguments: str | Path) -> str:
    done = semblance(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Product:
    """The running product with 12 items, r1 active and r2 the same with another ef, and 5 annotated scenes."""

    def __init__(self, target: str, vectors: str, dataset: Path) -> None:
        self.target, self.vectors, self.dataset = target, vectors, dataset

    def evaluate(self, output: Path, *arguments: str) -> str:
        options = ("--target", self.target, "--timeout", str(PATIENCE), "--output", output)
        return succeed("evaluate", self.dataset, *options, *arguments)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("product")
    items = list(collect(12, 21))
    sprites = [item.draw(384) for item in items]
    catalogue.write(folder / "world", items, sprites, 21)
    scenes.write(folder / "world", items, sprites, 5, 21)
    labelling.annotate(folder / "world")
    labelling.imported(folder / "world", folder / "dataset", "0,0,100")
    for model in ("detector", "embedder"):
        succeed("publish", WEIGHTS / model, "--repository", folder / "repository")
    with (
        triton.running(folder / "repository", folder / "triton") as inference,
        milvus.lite(folder / "milvus") as vectors,
        orchestrator.running(
            folder / "orchestrator", repository=folder / "repository", triton=inference.grpc, milvus=vectors.uri
        ) as service,
    ):
        succeed("index", folder / "world" / "manifest.csv", "--target", service.address)
        succeed("release", "create", "r2", "--ef", "64", "--target", service.address)
        yield Product(service.address, vectors.uri, folder / "dataset")


@pytest.mark.timeout(900)
def test_a_release_is_measured_whole(product: Product, tmp_path: Path) -> None:
    product.evaluate(tmp_path, "--milvus", product.vectors, "--robustness-images", "2")
    written = json.loads((tmp_path / "evaluation.json").read_text())
    values = written["value"]
    assert written["subject"]["release"] == "r1"
    assert 0.7 <= values["recall@1"] <= values["recall@5"] <= values["recall@10"] <= 1
    assert values["recall@1"] <= values["mrr"] <= 1
    assert values["map50"] > 0.9
    assert values["recall@1"] + values["missed"] + values["misplaced"] + values["misjudged"] == pytest.approx(1)
    objects = sum(len(image.objects) for image in Dataset.read(product.dataset).images)
    assert sum(len(photo["objects"]) for photo in written["samples"]) == objects
    assert min(d["score"] for photo in written["samples"] for d in photo["detections"]) < SERVED_SCORE
    index = written["parts"]["index"]
    with Client(product.target) as client:
        assert index["rows"] == client.count().vectors
        assert index["served_ef"] in [point["ef"] for point in index["ef"]]
    assert index["ef"][0]["cost"] == 1
    assert index["ef"][-1]["recall"] > 0.99
    measures = written["parts"]["measures"]
    assert set(measures) == {"cosine", "inner product", "L2", "Manhattan", "Hamming"}
    # The index is exact here, so what was served with the true boxes is what cosine finds offline.
    for name in ("recall@1", "recall@5", "mrr"):
        assert measures["cosine"][name]["value"] == pytest.approx(values[f"{name}_true_boxes"], abs=0.01)
    lost = written["parts"]["robustness"]["lost"]
    assert len(lost) == 10
    assert all(len(severities) == 5 for severities in lost.values())
    assert max(severities[-1]["value"] for severities in lost.values()) > 0
    page = (tmp_path / "report.html").read_text()
    assert "Manhattan" in page
    assert page.count("<svg") == 5


@pytest.mark.timeout(900)
def test_two_releases_are_compared_and_the_difference_can_be_required(product: Product, tmp_path: Path) -> None:
    """They differ in ef alone, which finds all of so few rows: no difference, so that the gate stays shut."""
    quick = ("--robustness-images", "0")
    product.evaluate(tmp_path / "r2", "--release", "r2", "--against", "r1", "--record", *quick)
    written = json.loads((tmp_path / "r2" / "evaluation.json").read_text())
    assert written["subject"]["release"] == "r2"
    assert written["subject"]["against"] == "r1"
    assert written["value"]["recall@1_difference"] == 0
    with Client(product.target) as client:
        report = client.releases.report("r2")
        assert report.evaluation is not None
        assert report.evaluation.against == "r1"
        kept = {figure.name: figure.value for figure in report.figures}
    assert kept["evaluation.recall@1"] == pytest.approx(written["value"]["recall@1"], abs=1e-5)
    assert kept["evaluation.recall@1_difference_low"] == 0
    gate = ("release", "activate", "r2", "--target", product.target, "--require")
    refused = semblance(*gate, "evaluation.recall@1_difference_low>0")
    assert refused.returncode != 0
    assert "recall@1_difference_low is 0, and > 0 is required" in " ".join(refused.stderr.split())
    product.evaluate(tmp_path / "r1", *quick, "--compare", str(tmp_path / "r2" / "evaluation.json"))
    assert json.loads((tmp_path / "r1" / "evaluation.json").read_text())["subject"]["against"] == "r2"
    succeed(*gate, "evaluation.recall@1_difference_low>=0")


def test_an_index_that_is_not_there_is_told_and_the_rest_is_measured(product: Product, tmp_path: Path) -> None:
    said = product.evaluate(tmp_path, "--robustness-images", "0", "--milvus", "http://127.0.0.1:1")
    assert "Milvus does not answer at http://127.0.0.1:1" in " ".join(said.split())
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert "does not answer" in written["parts"]["index"]["not measured"]
    assert "does not answer" in (tmp_path / "report.html").read_text()


def test_a_release_that_is_not_there(product: Product, tmp_path: Path) -> None:
    done = semblance("evaluate", product.dataset, "--target", product.target, "--release", "r9", "--output", tmp_path)
    assert done.returncode == 1
    assert "r9" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())

"""Networks made of exported graphs compute what the graphs do, in evaluation mode exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from semblance.export.embedder import Embedder
from semblance.export.gallery import Gallery
from semblance.export.weights import Source
from semblance.training.train import recovery
from semblance.training.train.errors import TrainingError

WEIGHTS = Path(__file__).resolve().parents[3] / "demo" / "weights"


def quiet(what: str, done: int, total: int) -> None:
    pass


def golden(model: str) -> tuple[Gallery, np.ndarray]:
    """Pictures, and what the shipped graph answers."""
    with np.load(WEIGHTS / model / "golden.npz") as file:
        return Gallery(tuple(f"golden {n}" for n in range(len(file["inputs"]))), file["inputs"]), file["outputs"]


def test_the_embedder_gives_the_graphs_vectors_before_and_after_its_norms_are_settled() -> None:
    pictures, expected = golden("embedder")
    trunk = recovery.embedder(WEIGHTS / "embedder", pictures, quiet)
    embedder = Embedder(trunk.eval(), Source("", ""))
    found = np.stack([embedder.embed(picture) for picture in pictures.pixels])
    np.testing.assert_allclose((found * expected).sum(axis=1), 1, atol=1e-5)
    pixels = torch.from_numpy(pictures.pixels).permute(0, 3, 1, 2).float() / 64 - 2
    recovery.settle(trunk, [pixels[:2], pixels[2:]])
    settled = np.stack([embedder.embed(picture) for picture in pictures.pixels])
    np.testing.assert_allclose((settled * expected).sum(axis=1), 1, atol=1e-5)
    with torch.no_grad():
        calm, busy = trunk.eval()(pixels), trunk.train()(pixels)
    assert torch.nn.functional.cosine_similarity(calm, busy).min() > 0.999


def test_the_detector_gives_the_graphs_boxes() -> None:
    pictures, expected = golden("detector")
    network = recovery.detector(WEIGHTS / "detector", pictures, quiet)
    pixels = torch.from_numpy(pictures.pixels).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        scores = network.eval()(pixels)[0][:, 4:].amax(dim=(1, 2))
    np.testing.assert_allclose(scores, expected[:, 0, 4], atol=1e-4)
    assert tuple(network.names.values()) == ("card", "badge", "figurine")


def test_the_folder_of_the_other_model_is_refused() -> None:
    pictures, _ = golden("embedder")
    with pytest.raises(TrainingError, match="give the folder of the embedder"):
        recovery.embedder(WEIGHTS / "detector", pictures, quiet)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    pictures, _ = golden("detector")
    with pytest.raises(TrainingError, match="can't be trained from"):
        recovery.detector(tmp_path, pictures, quiet)

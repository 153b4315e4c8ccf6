"""ResNet-50, or any module that maps an image to a vector, to an ONNX graph that meets the embedder's contract."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torchvision.models import ResNet50_Weights, resnet50
from torchvision.transforms.functional import normalize, to_tensor

from semblance.export import folding, gallery, int8_weights, tracing
from semblance.export.contract import CROP_SIZE, EMBEDDING_SIZE, Contract, embedder_of
from semblance.export.errors import WeightsError
from semblance.export.weights import Source, file_source, random_source, seeded, settle_batch_norms

# torchvision's preprocessing of its ImageNet weights, for pixels from 0 to 1, RGB.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

OFFICIAL = ResNet50_Weights.IMAGENET1K_V2


@dataclass(frozen=True)
class Embedder:
    """A trunk in evaluation mode: FP32 [B,3,224,224], normalised as ImageNet's, to FP32 [B,dims]."""

    trunk: torch.nn.Module
    source: Source
    dims: int = EMBEDDING_SIZE

    @property
    def contract(self) -> Contract:
        return embedder_of(self.dims)

    def embed(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The L2-normalised vector [dims] of one picture, UINT8 [224,224,3] RGB, by torchvision's transforms."""
        with torch.no_grad():
            vector = self.trunk(prepared(picture)[None])
            return np.asarray(torch.nn.functional.normalize(vector)[0], dtype=np.float32)

    def rounded(self) -> Embedder:
        """The same embedder with batch norms folded and the weights that int8 storage keeps."""
        return Embedder(folding.round_convolutions(folding.fold_batch_norms(self.trunk)), self.source, self.dims)

    def graph(self, *, store_int8: bool) -> onnx.ModelProto:
        """The whole embedder: UINT8 [B,224,224,3] to FP32 [B,dims]."""
        model = tracing.trace(_Graph(self.trunk).eval(), self.contract, [self.contract.output.name])
        tracing.declare_output(model, self.contract)
        if store_int8:
            int8_weights.store(model)
        return model


class _Graph(torch.nn.Module):  # type: ignore[misc]  # the checks run without torch
    def __init__(self, trunk: torch.nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.register_buffer("mean", 255 * torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", 255 * torch.tensor(DEVIATION).view(1, 3, 1, 1))

    def forward(self, crop: torch.Tensor) -> torch.Tensor:
        pixels = crop.permute(0, 3, 1, 2).float()
        return torch.nn.functional.normalize(self.trunk((pixels - self.mean) / self.deviation))


def prepared(picture: NDArray[np.uint8]) -> torch.Tensor:
    """FP32 [3,224,224], by torchvision's transforms, of UINT8 [224,224,3] RGB."""
    tensor: torch.Tensor = normalize(to_tensor(picture), MEAN, DEVIATION)
    return tensor


def official() -> Embedder:
    """torchvision's ImageNet weights, downloaded if they are not in torch's cache.

    Raises:
        WeightsError: they can't be reached.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / OFFICIAL.url.rpartition("/")[2]
    try:
        state = OFFICIAL.get_state_dict(progress=True, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"the ImageNet weights could not be downloaded from {OFFICIAL.url}: {error}. Download them elsewhere and "
            f"give their path with --weights (or put them at {path}). `semblance export embedder --random-seed 0` "
            "makes one of random weights, for a trial."
        ) from error
    return Embedder(_trunk(state, str(OFFICIAL)), file_source(path, f"torchvision/resnet50 {OFFICIAL.name}"))


def load(path: Path) -> Embedder:
    """ResNet-50 from a state dict in torchvision's names, with or without the classifier `fc`.

    Raises:
        WeightsError: not such a file.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {error.strerror}") from error
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise WeightsError(f"{path} is not a state dict that torch can load: {error}") from error
    return Embedder(_trunk(state, str(path)), file_source(path))


def random(seed: int) -> Embedder:
    """ResNet-50 with seeded random weights."""
    with seeded(seed):
        trunk = resnet50()
    trunk.fc = torch.nn.Identity()
    pictures = gallery.drawn(8, CROP_SIZE).pixels
    settle_batch_norms(trunk, torch.stack([prepared(picture) for picture in pictures]))
    return Embedder(trunk, random_source("torchvision/resnet50", seed, trunk))


def _trunk(state: object, name: str) -> torch.nn.Module:
    trunk = resnet50()
    trunk.fc = torch.nn.Identity()
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{name} holds no state dict (names to tensors); save `model.state_dict()`")
    weights = {key: value for key, value in state.items() if not key.startswith("fc.")}
    try:
        trunk.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise WeightsError(f"{name} does not fit torchvision's resnet50: {error}") from error
    return trunk.float().eval()

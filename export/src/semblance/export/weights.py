"""Where weights come from, and the digest that names them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Source:
    """A description for people, such as `yolov8n.pt` or `random seed 7`, and a SHA-256 in lower-case hexadecimal."""

    weights: str
    sha256: str


def file_source(path: Path, description: str | None = None) -> Source:
    with path.open("rb") as file:
        return Source(description or path.name, hashlib.file_digest(file, "sha256").hexdigest())


def random_source(architecture: str, seed: int, network: torch.nn.Module) -> Source:
    return state_source(f"{architecture}, random seed {seed}", network)


def state_source(description: str, network: torch.nn.Module) -> Source:
    """The source of weights without a file: the digest is of the state dict's names and bytes, in order of name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return Source(description, digest.hexdigest())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws torch's random numbers from a seed, and leaves the caller's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def settle_batch_norms(network: torch.nn.Module, pixels: torch.Tensor) -> None:
    """Sets the running statistics of random weights to those of a batch.

    Without it a deep random network gives nearly the same numbers for every image, and nothing could be compared.

    Args:
        network: any network with batch norms; left in evaluation mode.
        pixels: FP32 [B,3,H,W], scaled as the network expects.
    """
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    network.train()
    with torch.no_grad():
        network(pixels)
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum

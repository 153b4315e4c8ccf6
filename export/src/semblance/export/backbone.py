"""A network of the user's own, found by the import path of the factory that makes it, as an embedder."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import torch

from semblance.export import gallery
from semblance.export.contract import CROP_SIZE
from semblance.export.embedder import Embedder, prepared
from semblance.export.errors import WeightsError, summary
from semblance.export.weights import state_source

EXPECTED = "expected a callable without arguments that returns a torch.nn.Module"
EXPECTED_OUTPUT = f"expected FP32 [B,dim], a vector for each picture, for FP32 [B,3,{CROP_SIZE},{CROP_SIZE}]"


def load(path: str) -> Embedder:
    """The network that the factory at `package.module:factory` returns, on the CPU, in fp32, in evaluation mode.

    Modules are looked for in the current directory first, as `python -m` does. The length of the vectors is that of
    one picture's.

    Raises:
        WeightsError: there is no such factory, it fails or returns something else, or the network does not map
            pictures to finite vectors.
    """
    network = _made(path)
    dims = _vector_size(network, path)
    try:
        source = state_source(path, network)
    except Exception as error:
        raise WeightsError(
            f"the state dict of {path} can't be digested: {summary(error)}; expected dense tensors by name"
        ) from error
    return Embedder(network, source, dims)


def _made(path: str) -> torch.nn.Module:
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise WeightsError(f"{path!r} is no import path of a factory; expected package.module:factory")
    # It stays there: what the network imports when it is first run is found, too.
    sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise WeightsError(
            f"{module_name} can't be imported: {summary(error)}. Run in the folder that holds it, or name that folder, "
            "and those of other packages that it needs, in PYTHONPATH."
        ) from error
    try:
        factory = getattr(module, name)
    except AttributeError:
        where = getattr(module, "__file__", None) or "built in"
        raise WeightsError(f"{module_name} ({where}) has no {name!r}; {EXPECTED}") from None
    if not callable(factory):
        raise WeightsError(f"{path} is of type {type(factory).__name__}; {EXPECTED}")
    try:
        network = factory()
    except (Exception, SystemExit) as error:
        raise WeightsError(f"{path} failed: {summary(error)}; {EXPECTED}") from error
    if not isinstance(network, torch.nn.Module):
        raise WeightsError(f"{path} returned {_described(network)}; {EXPECTED}")
    return network


def _vector_size(network: torch.nn.Module, path: str) -> int:
    """The numbers that the network, which is put into its state for exporting, gives for one picture."""
    picture = prepared(gallery.drawn(1, CROP_SIZE).pixels[0])[None]
    try:
        network.float().cpu().eval()
        with torch.no_grad():
            output = network(picture)
    except Exception as error:
        raise WeightsError(f"the network of {path} fails on a picture: {summary(error)}; {EXPECTED_OUTPUT}") from error
    is_vector = isinstance(output, torch.Tensor) and output.ndim == 2 and output.shape[0] == 1 and output.shape[1] > 0
    if not is_vector or output.dtype != torch.float32:
        raise WeightsError(f"the network of {path} gives {_described(output)} for one picture; {EXPECTED_OUTPUT}")
    if not output.isfinite().all() or not output.any():
        raise WeightsError(
            f"the network of {path} gives a vector of zeros, or numbers that are not finite, for a drawn picture; "
            "expected finite numbers, not all zero. Are its weights loaded?"
        )
    return int(output.shape[1])


def _described(value: object) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return f"a {type(value).__name__}"

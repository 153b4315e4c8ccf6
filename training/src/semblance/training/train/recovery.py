"""Networks to train, made of exported graphs: what `semblance export` folded, and maybe rounded, is taken apart again.

An exported graph keeps the names of the network's layers, and each convolution carries the batch norm that stood behind
it. The networks here have the graph's convolutions, and batch norms that only add the bias: they compute what the graph
does. In training mode such norms would not: they divide by the deviation of the batch. `settle` therefore gives every
norm the statistics of real pictures, and changes its scale and shift by as much, so that the network computes the same
as before, in evaluation mode exactly, and in training mode as closely as a batch resembles those pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torchvision.models import resnet50
from ultralytics.nn.tasks import DetectionModel

from semblance.export import gate, package
from semblance.export.detector import Detector, Thresholds
from semblance.export.embedder import Embedder
from semblance.export.errors import ExportError
from semblance.export.gallery import Gallery
from semblance.export.session import Progress
from semblance.export.weights import Source
from semblance.training.train.errors import TrainingError

Parameters = Mapping[str, NDArray[np.float32]]
"""The tensors of a graph's convolutions, by the names of the network's layers."""

SCALES = "nsmlx"
"""The sizes of Ultralytics' architectures, smallest first."""

FAMILIES = ("yolov8", "yolo11", "yolo26", "yolo12", "yolov10", "yolov5", "yolov6")
"""Ultralytics' detectors that come in `SCALES`."""


def embedder(folder: Path, gallery: Gallery, progress: Progress) -> torch.nn.Module:
    """ResNet-50 without its classifier, from an exported folder: computes the graph's vectors of the pictures.

    Raises:
        TrainingError: the folder holds no such graph.
    """
    exported = _read(folder, "embedder")
    trunk = resnet50()
    trunk.fc = torch.nn.Identity()
    parameters = _parameters(exported.model, "trunk.")
    if not _fits(trunk, parameters):
        raise TrainingError(f"the layers of {folder} are not those of a ResNet-50; give the folder of one")
    _fill(trunk, parameters)
    source = _source(exported)
    try:
        gate.check_embedder(Embedder(trunk.eval(), source), exported.model, gallery, gate.MIN_COSINE, progress)
    except ExportError as error:
        raise TrainingError(f"{folder} could not be turned back into a network: {error}") from error
    return trunk


def detector(folder: Path, gallery: Gallery, progress: Progress) -> Any:
    """An Ultralytics model from an exported folder: detects what the graph does in the pictures.

    Raises:
        TrainingError: the folder holds no graph of an architecture of Ultralytics.
    """
    exported = _read(folder, "detector")
    names = dict(enumerate(exported.manifest.class_names))
    network = _architecture(_parameters(exported.model, "network."), len(names))
    if network is None:
        raise TrainingError(
            f"the layers of {folder} are not those of any of Ultralytics' detectors "
            f"({', '.join(FAMILIES)}); train from its .pt checkpoint"
        )
    network.names = names
    described = exported.manifest
    found = Detector(network.eval(), tuple(described.class_names), _source(exported))
    thresholds = Thresholds(described.score_threshold, described.iou_threshold)
    try:
        gate.check_detector(found, exported.model, gallery, thresholds, progress)
    except ExportError as error:
        raise TrainingError(f"{folder} could not be turned back into a network: {error}") from error
    return network


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def settle(network: torch.nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Gives batch norms the statistics of pictures, and leaves what the network computes as it is.

    Of what it gets, z, with mean m and variance v over all pictures and places, a norm makes g (z - m) / √(v + ε) + b;
    the new g and b follow from those that it had with the old m and v.

    Args:
        network: left in evaluation mode.
        batches: FP32 [B,3,H,W], as the network expects them.
    """
    moments: dict[torch.nn.BatchNorm2d, list[torch.Tensor]] = {}

    def gather(norm: torch.nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        values = inputs[0].double().transpose(0, 1).flatten(1)
        count = torch.tensor(float(values.shape[1]), dtype=torch.float64)
        sums = [count, values.sum(1), (values * values).sum(1)]
        known = moments.setdefault(norm, [torch.zeros_like(each) for each in sums])
        for total, each in zip(known, sums, strict=True):
            total += each

    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(gather) for norm in norms]
    network.eval()
    try:
        for batch in batches:
            network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    for norm, (count, total, squares) in moments.items():
        mean = total / count
        variance = (squares / count - mean * mean).clamp(min=0)
        old = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        norm.bias.add_((old * (mean - norm.running_mean)).float())
        norm.weight.copy_(old * (variance + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)


def _read(folder: Path, model: str) -> package.Package:
    try:
        exported = package.read(folder)
    except (ExportError, OSError) as error:
        raise TrainingError(f"{folder} can't be trained from: {error}") from error
    if exported.contract.model != model:
        raise TrainingError(f"{folder} holds the {exported.contract.model}; give the folder of the {model}")
    return exported


def _source(exported: package.Package) -> Source:
    return Source(exported.manifest.source.weights, exported.manifest.source.sha256)


def _parameters(model: onnx.ModelProto, prefix: str) -> Parameters:
    kernels = {name for node in model.graph.node if node.op_type == "Conv" for name in node.input[1:]}
    return {
        tensor.name.removeprefix(prefix): numpy_helper.to_array(tensor)
        for tensor in model.graph.initializer
        if tensor.name in kernels
    }


def _convolutions(network: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Conv2d, torch.nn.BatchNorm2d | None]]:
    """Each convolution with its name and the batch norm behind it: the next layer of the same block."""
    for prefix, block in network.named_modules():
        children = list(block.named_children())
        for (name, module), (_, following) in zip(children, [*children, ("", None)][1:], strict=True):
            if isinstance(module, torch.nn.Conv2d):
                norm = following if isinstance(following, torch.nn.BatchNorm2d) else None
                yield f"{prefix}.{name}".removeprefix("."), module, norm


def _fits(network: torch.nn.Module, parameters: Parameters) -> bool:
    wanted = {f"{name}.weight": tuple(conv.weight.shape) for name, conv, _ in _convolutions(network)}
    return wanted == {name: value.shape for name, value in parameters.items() if name.endswith(".weight")}


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]  # the checks run without torch
def _fill(network: torch.nn.Module, parameters: Parameters) -> None:
    for name, conv, norm in _convolutions(network):
        conv.weight.copy_(torch.tensor(parameters[f"{name}.weight"]))
        bias = parameters.get(f"{name}.bias")
        if norm is not None:
            norm.reset_running_stats()
            norm.weight.fill_((1 + norm.eps) ** 0.5)
            norm.bias.copy_(torch.tensor(bias) if bias is not None else torch.zeros_like(norm.bias))
        elif bias is not None and conv.bias is not None:
            conv.bias.copy_(torch.tensor(bias))


def _architecture(parameters: Parameters, classes: int) -> Any:
    """The Ultralytics network that has exactly these convolutions, with their weights; None where none has."""
    for scale in SCALES:
        for family in FAMILIES:
            network = DetectionModel(f"{family}{scale}.yaml", nc=classes, verbose=False)
            if _fits(network, parameters):
                _fill(network, parameters)
                return network
    return None

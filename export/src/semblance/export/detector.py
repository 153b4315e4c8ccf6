"""Ultralytics detection weights to an ONNX graph that meets the detector's contract."""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from ultralytics import YOLO
from ultralytics.nn.modules.head import Detect
from ultralytics.utils import SETTINGS
from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES, attempt_download_asset
from ultralytics.utils.nms import non_max_suppression

from semblance.export import folding, gallery, int8_weights, nms, tracing
from semblance.export.contract import DETECTOR, IMAGE_SIZE, MAX_DETECTIONS
from semblance.export.errors import WeightsError
from semblance.export.weights import Source, file_source, random_source, seeded, settle_batch_norms

RANDOM = "`semblance export detector --weights yolov8n.yaml --random-seed 0` makes one of random weights, for a trial."
"""What needs no weights; training, too, begins with what is exported."""

Rows = NDArray[np.float32]
"""FP32 [N,6]: x1 y1 x2 y2 in letterbox pixels, score, class; best first."""


@dataclass(frozen=True)
class Thresholds:
    """A detection's score is above `score`; of two of a class that overlap by more than `iou`, one goes."""

    score: float = 0.05
    iou: float = 0.7


@dataclass(frozen=True)
class Detector:
    """An Ultralytics network in evaluation mode, FP32 [B,3,640,640] from 0 to 1, as Ultralytics loads it."""

    network: Any
    class_names: tuple[str, ...]
    source: Source

    @property
    def is_end_to_end(self) -> bool:
        """Whether the head gives detections that need no suppression, as YOLOv10's and YOLO26's may."""
        return bool(self.network.model[-1].end2end)

    def detect(self, picture: NDArray[np.uint8], thresholds: Thresholds) -> Rows:
        """What Ultralytics itself detects in one picture, UINT8 [640,640,3] RGB."""
        return self._suppressed(picture, thresholds, MAX_DETECTIONS)

    def candidates(self, picture: NDArray[np.uint8], score: float) -> Rows:
        """What would be detected if nothing suppressed anything, above a score."""
        return self._suppressed(picture, Thresholds(score, iou=1.0), sys.maxsize)

    def _suppressed(self, picture: NDArray[np.uint8], thresholds: Thresholds, limit: int) -> Rows:
        pixels = _to_pixels(torch.from_numpy(picture)[None])
        with torch.no_grad():
            predictions = self.network(pixels)
        rows = non_max_suppression(predictions, conf_thres=thresholds.score, iou_thres=thresholds.iou, max_det=limit)
        return np.asarray(rows[0], dtype=np.float32)

    def rounded(self) -> Detector:
        """The same detector with batch norms folded and the weights that int8 storage keeps."""
        return Detector(folding.round_convolutions(self._fused()), self.class_names, self.source)

    def graph(self, thresholds: Thresholds, *, store_int8: bool) -> onnx.ModelProto:
        """The whole detector: UINT8 [B,640,640,3] to FP32 [B,100,6]."""
        network = self._fused()
        head = network.model[-1]
        head.export, head.format, head.xyxy, head.max_det = True, "onnx", True, MAX_DETECTIONS
        module = _Graph(network).eval()
        with torch.no_grad():
            # Ultralytics keeps the grid of the last shape: after a run with the tracer's shape it is a constant.
            module(torch.zeros((2, *DETECTOR.input.dims), dtype=torch.uint8))
        if head.end2end:
            model = tracing.trace(module, DETECTOR, ["rows"])
            nms.append_threshold(model.graph, "rows", score_threshold=thresholds.score)
        else:
            model = tracing.trace(module, DETECTOR, ["boxes", "scores"])
            nms.append_nms(
                model.graph, "boxes", "scores", score_threshold=thresholds.score, iou_threshold=thresholds.iou
            )
        if store_int8:
            int8_weights.store(model)
        return model

    def _fused(self) -> Any:
        return copy.deepcopy(self.network).fuse(verbose=False).eval()


class _Graph(torch.nn.Module):  # type: ignore[misc]  # the checks run without torch
    """Image bytes to what the head gives: boxes [B,N,4] and scores [B,classes,N], or rows [B,100,6]."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.end2end: bool = network.model[-1].end2end

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...] | torch.Tensor:
        predictions: torch.Tensor = self.network(_to_pixels(image))
        if self.end2end:
            return predictions
        return predictions[:, :4].transpose(1, 2), predictions[:, 4:]


def _to_pixels(image: torch.Tensor) -> torch.Tensor:
    """UINT8 [B,H,W,3] to FP32 [B,3,H,W] from 0 to 1, as Ultralytics scales."""
    return image.permute(0, 3, 1, 2).float() / 255


def load(weights: str) -> Detector:
    """Trained weights from a `.pt` file, or official ones by name, such as `yolov8n.pt`, downloaded if need be.

    Raises:
        WeightsError: no such file or name, no way to download, or not a YOLO detector.
    """
    path = Path(weights)
    if not path.exists():
        path = _download(weights)
    try:
        yolo = YOLO(path)
    except Exception as error:  # whatever reading a foreign pickle raises
        raise WeightsError(f"{path} is not a checkpoint that Ultralytics can load: {error}") from error
    return _detector(yolo, file_source(path))


def random(architecture: str, seed: int) -> Detector:
    """An architecture such as `yolov8n.yaml` with seeded random weights, scaled so that it detects a little.

    Raises:
        WeightsError: no such architecture, or not a YOLO detector.
    """
    with seeded(seed):
        try:
            yolo = YOLO(architecture)
        except FileNotFoundError as error:
            raise WeightsError(
                f"there is no architecture {architecture}: neither a file nor one that Ultralytics has, such as "
                "yolov8n.yaml"
            ) from error
    detector = _detector(yolo, Source("", ""))
    pixels = _to_pixels(torch.from_numpy(gallery.drawn(6, IMAGE_SIZE).pixels))
    settle_batch_norms(detector.network, pixels)
    _spread_outputs(detector.network, pixels)
    return Detector(detector.network, detector.class_names, random_source(architecture, seed, detector.network))


def _detector(yolo: Any, source: Source) -> Detector:
    network = yolo.model
    # Segmentation, pose and oriented boxes are subclasses of Detect with other outputs, RT-DETR is another class.
    if yolo.task != "detect" or not isinstance(network.model[-1], Detect):
        raise WeightsError(
            f"{yolo.ckpt_path or yolo.cfg} is a model for the task `{yolo.task}` with a "
            f"{type(network.model[-1]).__name__} head; expected a YOLO detection model (task `detect`)"
        )
    names = tuple(str(yolo.names[index]) for index in range(len(yolo.names)))
    return Detector(network.float().eval(), names, source)


def _download(name: str) -> Path:
    if name not in GITHUB_ASSETS_NAMES:
        raise WeightsError(
            f"there is no file {name}, and Ultralytics publishes no weights of that name. Give a `.pt` file, or an "
            f"official name such as yolov8n.pt. {RANDOM}"
        )
    path = Path(SETTINGS["weights_dir"]) / name
    try:
        return Path(attempt_download_asset(path))
    except (OSError, RuntimeError) as error:
        raise WeightsError(
            f"{name} could not be downloaded from Ultralytics' releases on GitHub: {error}. Download it elsewhere and "
            f"give its path (or put it at {path.resolve()}). {RANDOM}"
        ) from error


def _spread_outputs(network: Any, pixels: torch.Tensor) -> None:
    """Scales the last layers so that some dozens of an image's boxes pass a score of 0.05, and that sizes differ.

    Of each scale's class logits the median becomes -11, and one in 30,000, the 20 highest of 8400 boxes x 80 classes,
    exceeds -3: a score of 0.05. Logits of distances get the deviation 1.5 around 0. Where the head gives distances
    themselves, in strides (`reg_max` 1), the median becomes 4 and one in 30,000 falls below 1: a negative distance
    would turn a box inside out.
    """
    head = network.model[-1]
    branches = [head.one2many] + ([head.one2one] if getattr(head, "one2one_cv2", None) is not None else [])
    finals = [(layers[-1], kind) for branch in branches for kind, heads in branch.items() for layers in heads]
    outputs: dict[torch.nn.Module, torch.Tensor] = {}
    hooks = [layer.register_forward_hook(lambda m, _, out: outputs.__setitem__(m, out)) for layer, _ in finals]
    with torch.no_grad():
        network(pixels)
        for layer, kind in finals:
            logits = outputs[layer] - layer.bias[:, None, None]
            low, middle, high = logits.flatten().quantile(torch.tensor([1 / 30_000, 0.5, 1 - 1 / 30_000]))
            if kind == "cls_head":
                factor, centre = 8 / (high - middle), -11
            elif head.reg_max == 1:
                factor, centre = 3 / (middle - low), 4
            else:
                factor, centre = 1.5 / logits.std(), 0
            layer.weight.mul_(factor)
            layer.bias.copy_(centre - factor * middle.expand_as(layer.bias))
    for hook in hooks:
        hook.remove()

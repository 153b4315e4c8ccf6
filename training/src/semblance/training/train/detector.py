"""Fine-tuning a YOLO detector with Ultralytics.

What stands here is what Ultralytics does not know: weights that come from an exported graph, classes that keep what the
weights know of them by name, and the start as a candidate, so that a training never ends with less than it began with.
"""

from __future__ import annotations

import os
import pickle
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("YOLO_OFFLINE", "true")
# Its own log and bars, of which ours tell what matters, are left out.
os.environ.setdefault("YOLO_VERBOSE", "false")

import numpy as np
import torch
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel

from semblance.export import conversion
from semblance.export import detector as exported
from semblance.export.contract import DETECTOR, IMAGE_SIZE
from semblance.export.errors import ExportError
from semblance.export.gallery import Gallery
from semblance.export.package import Package
from semblance.export.session import Progress
from semblance.export.weights import seeded
from semblance.orchestrator.letterbox import letterbox
from semblance.training.dataset.dataset import AnnotatedImage, Dataset
from semblance.training.train import cores, crops, recovery
from semblance.training.train.errors import TrainingError
from semblance.training.train.run import Run, Step

START = "start.pt"
"""The network before the first step."""

WORK = "ultralytics"
"""Ultralytics' own folder in a run: checkpoints, labels it read."""

BEST = f"{WORK}/weights/best.pt"
LAST = f"{WORK}/weights/last.pt"

METRICS = {"mAP50": "metrics/mAP50(B)", "mAP50-95": "metrics/mAP50-95(B)"}

KNOWN_RATE = 2e-5
"""Where the weights know every class: what is right must not be unlearnt. AdamW's first steps are as long as the rate,
however small the gradient: ten of 2e-4 took a quarter of a good detector's mAP50-95."""

NEW_RATE = 1e-3
"""Where a part of the head is new."""

SETTLED = 32
"""Pictures that give batch norms their statistics."""

COMPARED = 4
"""Pictures on which a network made of a graph must detect what the graph does."""


@dataclass(frozen=True)
class Tuned:
    """What `--tune` searches over. Shares and degrees are Ultralytics' own settings of those names."""

    rate: float
    batch: int = 16
    mosaic: float = 0.5
    scale: float = 0.3
    degrees: float = 10.0
    hsv_v: float = 0.4


@dataclass(frozen=True)
class Recipe:
    """How to train. image_size: pixels along the letterbox. patience: epochs without a better one."""

    epochs: int
    image_size: int
    patience: int
    seed: int


def prepare(weights: str, dataset: Dataset, run: Run, seed: int, progress: Progress) -> float:
    """Writes the network to begin with into the run, with the dataset's classes in its head.

    Args:
        weights: an exported folder, a checkpoint, or an official name.

    Returns:
        The learning rate that suits what the weights know of the classes.

    Raises:
        TrainingError: there is no such network.
    """
    for split in ("train", "val"):
        if not dataset.split(split):
            raise TrainingError(
                f"{dataset.folder} has no image in its {split} split; import it anew with shares for train and val"
            )
    source, names = _source(weights, dataset, progress)
    classes = dataset.classes
    with seeded(seed):
        network = DetectionModel({**source.yaml, "nc": len(classes)}, nc=len(classes), verbose=False)
    _take_over(network, source, [names.index(name) if name in names else None for name in classes])
    network.names = dict(enumerate(classes))
    aside = run.folder / f".{START}"
    torch.save({"model": network.float(), "epoch": -1, "train_args": {}}, aside)
    aside.replace(run.folder / START)
    return KNOWN_RATE if set(classes) <= set(names) else NEW_RATE


def validate(start: Path, dataset: Dataset, recipe: Recipe, folder: Path) -> dict[str, float]:
    """Figures on the validation split."""
    found = YOLO(start).val(
        data=str(dataset.folder / "data.yaml"),
        split="val",
        imgsz=recipe.image_size,
        device="cpu",
        workers=0,
        plots=False,
        verbose=False,
        project=str(folder.resolve()),
        name=WORK,
        exist_ok=True,
    )
    return {name: float(found.results_dict[key]) for name, key in METRICS.items()}


def train(
    run: Run,
    dataset: Dataset,
    recipe: Recipe,
    tuned: Tuned,
    report: Callable[[Step], None],
    on_epoch: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """Trains what is left, and gives the record of every epoch; that of the start is epoch 0."""
    cores.use_all()
    records = run.records()
    if not records:
        started = time.monotonic()
        figures = validate(run.folder / START, dataset, recipe, run.folder)
        records = [{"epoch": 0, "loss": None, **figures, "seconds": time.monotonic() - started}]
        run.keep(records)
    for record in records:
        on_epoch(record)
    checkpoint = _checkpoint(run)
    if checkpoint is None or _is_going_on(checkpoint, recipe):
        model = YOLO(checkpoint or run.folder / START)
        _watch(model, run, records, recipe, report, on_epoch)
        model.train(**_arguments(run, dataset, recipe, tuned), resume=checkpoint is not None)
    return records


def best(records: list[dict[str, Any]]) -> int:
    """The epoch to keep: the first of the highest mAP50-95."""
    return int(max(records, key=lambda record: (record["mAP50-95"], -record["epoch"]))["epoch"])


def package(run: Run, dataset: Dataset, records: list[dict[str, Any]], progress: Progress) -> Package:
    """What is kept, through the export's gate, compared on photos of the dataset.

    Raises:
        ExportError: it does not pass.
    """
    photos = [image for image in dataset.images if image.objects]
    pictures = letterboxes(dataset, tuple(photos[: DETECTOR.default_max_batch_size]))
    kept = exported.load(str(run.folder / (BEST if best(records) else START)))
    return conversion.convert_detector(
        kept, pictures, exported.Thresholds(), gpu=None, store_int8=False, progress=progress
    )


def letterboxes(dataset: Dataset, images: tuple[AnnotatedImage, ...]) -> Gallery:
    """Photos as the service gives them to the detector."""
    pixels = np.empty((len(images), IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    for place, image in zip(pixels, images, strict=True):
        letterbox(crops.read(dataset.path(image)).pixels, place, crops.PAD_VALUE)
    return Gallery(tuple(image.file for image in images), pixels)


def _source(weights: str, dataset: Dataset, progress: Progress) -> tuple[Any, tuple[str, ...]]:
    """The network that the weights are of, and the names of its classes."""
    if not Path(weights).is_dir():
        try:
            found = exported.load(weights)
        except ExportError as error:
            raise TrainingError(str(error)) from error
        return found.network, found.class_names
    images = dataset.split("train")
    network = recovery.detector(Path(weights), letterboxes(dataset, images[:COMPARED]), progress)
    progress("giving batch norms statistics", 0, 1)
    pictures = letterboxes(dataset, images[:SETTLED]).pixels
    batches = (
        torch.from_numpy(pictures[n : n + 8]).permute(0, 3, 1, 2).float() / 255 for n in range(0, len(pictures), 8)
    )
    recovery.settle(network, batches)
    return network, tuple(network.names.values())


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]  # the checks run without torch
def _take_over(network: Any, source: Any, places: list[int | None]) -> None:
    """Copies all that fits, and of the layers that give a number for each class the rows of the known ones."""
    heads = list(zip(_class_layers(network), _class_layers(source), strict=True))
    ours, theirs = network.state_dict(), source.state_dict()
    by_row = {id(parameter) for head, _ in heads for parameter in head.parameters()}
    rows = {name for name, parameter in network.named_parameters() if id(parameter) in by_row}
    for name, tensor in ours.items():
        if name not in rows and name in theirs and theirs[name].shape == tensor.shape:
            tensor.copy_(theirs[name])
    for head, known in heads:
        for row, place in enumerate(places):
            if place is not None:
                head.weight[row].copy_(known.weight[place])
                head.bias[row].copy_(known.bias[place])


def _class_layers(network: Any) -> list[torch.nn.Conv2d]:
    head = network.model[-1]
    branches = [head.cv3] + ([head.one2one_cv3] if getattr(head, "one2one_cv3", None) is not None else [])
    return [layers[-1] for branch in branches for layers in branch]


def _arguments(run: Run, dataset: Dataset, recipe: Recipe, tuned: Tuned) -> dict[str, Any]:
    augmentation = {name: value for name, value in asdict(tuned).items() if name not in ("rate", "batch")}
    return {
        "data": str((dataset.folder / "data.yaml").resolve()),
        "imgsz": recipe.image_size,
        "epochs": recipe.epochs,
        "patience": recipe.patience,
        "seed": recipe.seed,
        "batch": tuned.batch,
        # Ultralytics gathers gradients up to this many images: with fewer images a step would wait for another epoch.
        "nbs": tuned.batch,
        "optimizer": "AdamW",
        "lr0": tuned.rate,
        "cos_lr": True,
        "warmup_epochs": min(1.0, recipe.epochs / 10),
        "warmup_bias_lr": 0.0,
        "close_mosaic": max(1, recipe.epochs // 3),
        "device": "cpu" if not torch.cuda.is_available() else 0,
        "amp": torch.cuda.is_available(),
        "workers": 0,
        "plots": False,
        "verbose": False,
        "project": str(run.folder.resolve()),
        "name": WORK,
        "exist_ok": True,
        **augmentation,
    }


def _watch(
    model: Any,
    run: Run,
    records: list[dict[str, Any]],
    recipe: Recipe,
    report: Callable[[Step], None],
    on_epoch: Callable[[dict[str, Any]], None],
) -> None:
    begun = {"step": 0, "at": time.monotonic(), "epoch": time.monotonic()}

    def on_batch(trainer: Any) -> None:
        begun["step"] += 1
        steps = len(trainer.train_loader)
        number = (int(begun["step"]) - 1) % steps + 1
        left = steps * (recipe.epochs - trainer.epoch) - number
        each = (time.monotonic() - begun["at"]) / begun["step"]
        report(Step(trainer.epoch + 1, number, steps, each * left))

    def on_save(trainer: Any) -> None:
        now = time.monotonic()
        figures = {name: float(trainer.metrics[key]) for name, key in METRICS.items()}
        loss = float(sum(float(value) for value in trainer.tloss.values()))
        record = {"epoch": trainer.epoch + 1, "loss": loss, **figures, "seconds": now - begun["epoch"]}
        begun["epoch"] = now
        # A run that was killed between its checkpoint and its record trains no epoch twice, and records none twice.
        records[:] = [each for each in records if each["epoch"] < record["epoch"]] + [record]
        run.keep(records)
        on_epoch(record)

    model.add_callback("on_train_start", lambda trainer: cores.use_all())
    model.add_callback("on_train_batch_end", on_batch)
    model.add_callback("on_model_save", on_save)


def _checkpoint(run: Run) -> Path | None:
    """What to go on from: the last epoch or, where that is in pieces, the best one; None where the first has not ended.

    Ultralytics writes the last epoch's checkpoint and then the best one's in place, and in that order takes the
    optimiser out of them at the end, so a kill may leave either in pieces, and not both. The best one is put back where
    the last epoch is the best, or the start is, and nothing is made of the other.

    Raises:
        TrainingError: there are checkpoints, and none can be read, or not the one that is to be kept.
    """
    last, kept, records = run.folder / LAST, run.folder / BEST, run.records()
    checkpoint = _read(last)
    if checkpoint is None:
        if _read(kept) is not None:
            return kept
        # The first epoch's is the first that is written: where that is in pieces, there is no epoch to lose.
        if last.exists() and len(records) > 1:
            raise TrainingError(f"the checkpoints of {run.folder} can't be read; begin anew with another --output")
        return None
    if _read(kept) is None:
        if best(records) and _figure(checkpoint) < max(record["mAP50-95"] for record in records):
            raise TrainingError(
                f"the checkpoint of the best epoch, {kept}, can't be read, and the last epoch is not as good; begin "
                "anew with another --output"
            )
        aside = kept.with_name(f".{kept.name}")
        shutil.copyfile(last, aside)
        aside.replace(kept)
    return last


def _read(path: Path) -> Mapping[str, Any] | None:
    """A checkpoint; None where there is none, or not a whole one."""
    try:
        checkpoint: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError):
        return None
    return checkpoint


def _figure(checkpoint: Mapping[str, Any]) -> float:
    """The mAP50-95 of a checkpoint's epoch, of which there is no record yet where the run was killed meanwhile."""
    return float(checkpoint["train_metrics"][METRICS["mAP50-95"]])


def _is_going_on(path: Path, recipe: Recipe) -> bool:
    """Whether a checkpoint is of a training that has not ended: at its end Ultralytics takes the optimiser out, which a
    kill after the last epoch may have kept it from."""
    checkpoint: Mapping[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    return checkpoint.get("optimizer") is not None and checkpoint["epoch"] + 1 < recipe.epochs

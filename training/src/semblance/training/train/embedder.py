"""Fine-tuning a ResNet-50 to give crops of one item nearly the same vector, and crops of others other vectors.

The loss is supervised contrastive (Khosla et al. 2020, arXiv:2004.11362): of all crops in a batch, those of the same
item are to be near. Items that are confused with each other stand in one batch: telling these apart is what is hard.
Batch norms stay in evaluation mode: what a network that is nearly right computes does not depend on who else is in the
batch, and its first step starts from the very vectors that are served.

What the network has become then gets a head, in closed form, which makes most of the difference where crops are few.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_metric_learning.losses import SupConLoss

from semblance.export import conversion
from semblance.export import embedder as exported
from semblance.export import gallery as galleries
from semblance.export.contract import CROP_SIZE, EMBEDDER
from semblance.export.embedder import DEVIATION, MEAN, Embedder
from semblance.export.errors import ExportError
from semblance.export.gallery import Gallery
from semblance.export.package import Package
from semblance.export.session import Progress
from semblance.export.weights import state_source
from semblance.training.train import cores, heads, recovery
from semblance.training.train.batches import Batches, Confusions
from semblance.training.train.confusion import merged, near
from semblance.training.train.errors import TrainingError
from semblance.training.train.heads import Head, Headed
from semblance.training.train.material import Material, Squares
from semblance.training.train.run import Run, Step
from semblance.training.train.views import STILL, Augmentation, view

STATE = "state.pt"
"""All that going on needs."""

BEST = "best.pt"
"""The state dict of the epoch that was best in validation, in torchvision's names; the head is not in it."""

HEAD_VIEWS = (STILL, Augmentation())
"""The views of each crop that a head is fitted to: as it is served, and in another light."""

TEMPERATURE = 0.07
WEIGHT_DECAY = 0.02
LONGEST_GRADIENT = 5.0
WARMUP = 10
"""Steps."""

EMBEDDED = 32
"""Crops that are embedded together in validation."""

COMPARED = 4
"""Crops for which a network made of a graph must give the graph's vectors."""

LAYERS = ("layer4", "layer3", "layer2", "layer1", "conv1")
"""Of a ResNet-50, the last first."""


@dataclass(frozen=True)
class Recipe:
    """How to train.

    rate: the highest learning rate. items: in a batch, two crops each. side: pixels along the crops of training.
    layers: how many of the network's parts learn, counted from the last. patience: epochs without a better one.
    """

    epochs: int
    rate: float
    items: int
    side: int
    layers: int
    patience: int
    seed: int


def start(weights: str | None, material: Material, progress: Progress) -> torch.nn.Module:
    """The network to begin with: a file's, that of an exported folder, or torchvision's with its ImageNet weights.

    Raises:
        TrainingError: there is no such network.
    """
    cores.use_all()
    progress("loading the weights", 0, 1)
    try:
        if weights is None:
            return exported.official().trunk
        if Path(weights).is_dir():
            return recovery.embedder(Path(weights), gallery(material, COMPARED), progress)
        return exported.load(Path(weights)).trunk
    except ExportError as error:
        raise TrainingError(str(error)) from error


def package(run: Run, material: Material, head: Head | None, progress: Progress) -> Package:
    """What is kept, through the export's gate, compared on crops of the catalogue.

    Raises:
        ExportError: it does not pass.
    """
    pictures = gallery(material, EMBEDDER.default_max_batch_size)
    kept = exported.load(run.folder / BEST)
    if head is not None:
        network = Headed(kept.trunk, head).eval()
        kept = Embedder(network, state_source(f"{run.folder.name}/{BEST} with a head", network))
    return conversion.convert_embedder(kept, pictures, gpu=None, store_int8=False, progress=progress)


def gallery(material: Material, count: int) -> Gallery:
    """Crops of different items, and where there are too few, drawn pictures."""
    squares = material.gallery
    places = list({item: place for place, item in enumerate(squares.item_ids)}.values())[:count]
    crops = Gallery(tuple(squares.item_ids[place] for place in places), squares.pixels[places])
    drawn = galleries.drawn(count - len(places), CROP_SIZE) if len(places) < count else None
    if drawn is None:
        return crops
    return Gallery(crops.names + drawn.names, np.concatenate([crops.pixels, drawn.pixels]))


class Training:
    """A training that can be stopped anywhere, and goes on from the end of its last whole epoch."""

    def __init__(
        self,
        run: Run,
        trunk: torch.nn.Module,
        material: Material,
        rivals: Confusions,
        recipe: Recipe,
        report: Callable[[Step], None],
    ) -> None:
        """Args: rivals: items taken for each other, as people and the index say; the network's own are added."""
        if len(material.items) < 2:
            raise TrainingError(
                "an embedder learns to tell items apart, and there is only one; add items to --catalogue"
            )
        self._run = run
        self._trunk = trunk.to(memory_format=torch.channels_last)
        self._material = material
        self._rivals = rivals
        self._recipe = recipe
        self._report = report
        self._batches = Batches(material, recipe.items, recipe.side, recipe.seed)
        self._learning = _unfreeze(trunk, recipe.layers)
        self._loss = SupConLoss(temperature=TEMPERATURE)
        self._optimizer = torch.optim.AdamW(self._learning, lr=recipe.rate, weight_decay=WEIGHT_DECAY)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, self._share)
        self._records: list[dict[str, Any]] = []
        self._own: dict[str, list[str]] = {}

    def train(self, on_epoch: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
        """Trains what is left, and gives the record of every epoch; that of the start is epoch 0."""
        if not self._resumed():
            self._finish(0, None, time.monotonic())
        for record in self._records:
            on_epoch(record)
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            while (done := self._records[-1]["epoch"]) < self._recipe.epochs:
                if self._is_tired():
                    break
                started = time.monotonic()
                loss = self._epoch(done + 1, pool)
                on_epoch(self._finish(done + 1, loss, started))
        return self._records

    def _epoch(self, epoch: int, pool: ThreadPoolExecutor) -> float:
        steps = len(self._batches)
        rivals = merged(self._rivals, self._own)
        losses: list[float] = []
        started = time.monotonic()
        self._trunk.eval()
        for number in range(steps):
            pixels, items = self._batches.batch((epoch - 1) * steps + number, rivals, pool)
            with torch.autocast("cpu", torch.bfloat16):
                vectors = self._trunk(scaled(pixels))
            loss = self._loss(torch.nn.functional.normalize(vectors.float()), torch.from_numpy(items))
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._learning, LONGEST_GRADIENT)
            self._optimizer.step()
            self._schedule.step()
            losses.append(float(loss.detach()))
            each = (time.monotonic() - started) / (number + 1)
            left = steps * (self._recipe.epochs - epoch + 1) - number - 1
            self._report(Step(epoch, number + 1, steps, each * left))
        return float(np.mean(losses))

    def _finish(self, epoch: int, loss: float | None, started: float) -> dict[str, Any]:
        """Validates, and keeps all that going on needs, and the network where it is the best so far."""
        vectors = embed(self._trunk, self._material.gallery)
        self._own = near(vectors, self._material.gallery.item_ids)
        recall = None
        if self._material.queries.item_ids:
            recall = recall_at_1(
                vectors, self._material.gallery, embed(self._trunk, self._material.queries), self._material.queries
            )
        record = {
            "epoch": epoch,
            "loss": loss,
            "recall@1": recall,
            "rate": self._schedule.get_last_lr()[0],
            "seconds": time.monotonic() - started,
        }
        self._records.append(record)
        if best(self._records) == epoch:
            _save(self._trunk.state_dict(), self._run.folder / BEST)
        state = {
            "trunk": self._trunk.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "own": self._own,
            "records": self._records,
        }
        _save(state, self._run.folder / STATE)
        self._run.keep(self._records)
        return record

    def _resumed(self) -> bool:
        path = self._run.folder / STATE
        if not path.exists():
            return False
        state = torch.load(path, map_location="cpu", weights_only=True)
        self._trunk.load_state_dict(state["trunk"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._own, self._records = state["own"], state["records"]
        return True

    def _is_tired(self) -> bool:
        return int(self._records[-1]["epoch"]) - best(self._records) >= self._recipe.patience

    def _share(self, step: int) -> float:
        """The share of the highest rate: a linear rise, then a cosine down to a hundredth."""
        steps = max(1, self._recipe.epochs * len(self._batches))
        return min(1.0, (step + 1) / WARMUP) * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, step / steps))) / 2)


def headed(run: Run, material: Material, seed: int, progress: Progress) -> tuple[Head | None, dict[str, Any]]:
    """A head for the network that is kept, and its record; None where validation says that it is better without."""
    started = time.monotonic()
    trunk = exported.load(run.folder / BEST).trunk.to(memory_format=torch.channels_last)
    crops = _learnt(material, seed)
    vectors = embed(trunk, crops, lambda done: progress("embedding crops for the head", done, len(crops.item_ids)))
    numbers = {item.item_id: number for number, item in enumerate(material.items)}
    head = heads.fit(vectors, np.array([numbers[item_id] for item_id in crops.item_ids], np.int64))
    record: dict[str, Any] = {"loss": None, "rate": None, "recall@1": None}
    kept: Head | None = head
    if material.queries.item_ids:
        references, queries = embed(trunk, material.gallery), embed(trunk, material.queries)
        without, record["recall@1"] = (
            recall_at_1(change(references), material.gallery, change(queries), material.queries)
            for change in (np.asarray, head.apply_to)
        )
        kept = head if record["recall@1"] > without else None
    return kept, record | {"seconds": time.monotonic() - started}


def _learnt(material: Material, seed: int) -> Squares:
    """Views of every crop that there is to learn from."""
    owners = [(patch, item.item_id) for item in material.items for patch in (*item.references, *item.photographed)]
    pixels = np.empty((len(owners) * len(HEAD_VIEWS), CROP_SIZE, CROP_SIZE, 3), np.uint8)
    for place, (patch, _) in enumerate(owners):
        random = np.random.default_rng([seed, patch])
        other = material.patches[int(random.integers(len(material.patches)))]
        for number, widest in enumerate(HEAD_VIEWS):
            shown = view(random, material.patches[patch], other, CROP_SIZE, widest)
            pixels[place * len(HEAD_VIEWS) + number] = shown
    return Squares(pixels, tuple(item_id for _, item_id in owners for _ in HEAD_VIEWS))


def best(records: list[dict[str, Any]]) -> int:
    """The epoch to keep: the first of the highest recall, or the last where nothing validates."""
    if records[-1]["recall@1"] is None:
        return int(records[-1]["epoch"])
    return int(max(records, key=lambda record: (record["recall@1"], -record["epoch"]))["epoch"])


def scaled(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """UINT8 [B,S,S,3] to what the trunk takes: FP32 [B,3,S,S], normalised as ImageNet's."""
    mean, deviation = (255 * torch.tensor(each).view(1, 3, 1, 1) for each in (MEAN, DEVIATION))
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    return ((values - mean) / deviation).contiguous(memory_format=torch.channels_last)


def embed(
    trunk: torch.nn.Module, squares: Squares, on_batch: Callable[[int], None] = lambda done: None
) -> NDArray[np.float32]:
    """FP32 [N,dim], L2-normalised, in bfloat16 arithmetic."""
    trunk.eval()
    vectors = []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(squares.pixels), EMBEDDED):
            on_batch(start)
            vectors.append(trunk(scaled(squares.pixels[start : start + EMBEDDED])).float())
    return np.asarray(torch.nn.functional.normalize(torch.cat(vectors)), np.float32)


def recall_at_1(
    references: NDArray[np.float32], gallery: Squares, vectors: NDArray[np.float32], queries: Squares
) -> float:
    """The share of queries whose nearest reference is of their item."""
    nearest = (vectors @ references.T).argmax(axis=1)
    return float(np.mean([gallery.item_ids[n] == item for n, item in zip(nearest, queries.item_ids, strict=True)]))


def _unfreeze(trunk: torch.nn.Module, layers: int) -> list[torch.nn.Parameter]:
    """Lets the last layers learn, and nothing else; gives their parameters."""
    learning = LAYERS[:layers] if layers < len(LAYERS) else ("",)
    for name, parameter in trunk.named_parameters():
        parameter.requires_grad_(name.startswith(learning))
    return [parameter for parameter in trunk.parameters() if parameter.requires_grad]


def _save(value: object, path: Path) -> None:
    """Whole or not at all."""
    aside = path.with_name(f".{path.name}.part")
    torch.save(value, aside)
    os.replace(aside, path)

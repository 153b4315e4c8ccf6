"""Train the demo's embedder from nothing: `python -m demo.training.embedder --out embedder.pt`.

A ResNet-50 learns by InfoNCE (van den Oord et al. 2018, arXiv:1807.03748) to give two crops of one item, from a
product photo and from a scene, nearly the same vector, and crops of other items of the same kind other vectors.
Most steps are taken at a quarter of the served area; the last ones at full size, as a network's features
and batch norms are not the same at another resolution (Touvron et al. 2019, arXiv:1906.06423).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset
from torchvision.models import resnet50

from demo.items import KINDS, Item
from demo.training.views import Views

COLLECTION = 1_000_007
"""Seeds the items to train on; the demo's catalogue comes from other seeds."""

POOL = 1500
"""Different items of each kind to train on."""

PIXELS = 288
"""Height at which items are drawn."""

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

TEMPERATURE = 0.07
WEIGHT_DECAY = 0.02
HARDNESS = (0.2, 0.2, 0.6)
"""How often each kind is the one that most of a batch is of: figurines are the hardest to tell apart."""

SAVE_EVERY = 10
"""Steps."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the training.

    `pairs` is the batch size, and `alike` the share of a batch that is of one kind. The rate rises to
    `rate` over `warmup` steps, then falls on a cosine that would end at `horizon`, so that a stage which stops
    earlier hands over a network that still learns fast.
    """

    side: int
    pairs: int
    alike: float
    steps: int
    rate: float
    warmup: int
    horizon: int


STAGES = (
    Stage(side=112, pairs=40, alike=0.8, steps=100, rate=5e-4, warmup=30, horizon=320),
    Stage(side=224, pairs=16, alike=0.8, steps=20, rate=3e-4, warmup=3, horizon=20),
    Stage(side=112, pairs=40, alike=0.8, steps=280, rate=5e-4, warmup=10, horizon=280),
    Stage(side=224, pairs=24, alike=0.8, steps=80, rate=2e-4, warmup=5, horizon=80),
    Stage(side=112, pairs=48, alike=0.8, steps=230, rate=5e-4, warmup=10, horizon=230),
    Stage(side=224, pairs=24, alike=0.8, steps=50, rate=2e-4, warmup=5, horizon=50),
    Stage(side=112, pairs=48, alike=0.8, steps=130, rate=4e-4, warmup=10, horizon=130),
    Stage(side=224, pairs=24, alike=0.8, steps=45, rate=2e-4, warmup=5, horizon=45),
    Stage(side=112, pairs=48, alike=0.5, steps=260, rate=4e-4, warmup=10, horizon=260),
    Stage(side=224, pairs=24, alike=0.5, steps=60, rate=2e-4, warmup=5, horizon=60),
)


class Pairs(IterableDataset[Tensor]):  # type: ignore[misc, unused-ignore]  # Any where torch is not installed
    """Endless batches: uint8 [2 × pairs,3,side,side], first the photos, then the scenes of the same items."""

    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage = stage
        self._seed = seed

    def __iter__(self) -> Iterator[Tensor]:
        cv2.setNumThreads(1)
        rng = np.random.default_rng([COLLECTION, STAGES.index(self._stage), self._seed])
        views = Views(self._stage.side)
        while True:
            items = _alike(rng, self._stage)
            sprites = [_drawn(item) for item in items]
            photos = [views.photo(rng, sprite) for sprite in sprites]
            scenes = [views.scene(rng, (sprites[i], sprites[i - 1])) for i in range(len(sprites))]
            yield torch.from_numpy(np.stack(photos + scenes)).permute(0, 3, 1, 2)


class Embedder(nn.Module):  # type: ignore[misc, unused-ignore]  # Any where torch is not installed
    """ResNet-50 without its classifier: uint8 or float [B,3,S,S] pixels (0 to 255) to unit vectors [B,2048]."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = resnet50(weights=None, zero_init_residual=True)
        self.trunk.fc = nn.Identity()
        self._mean = 255 * torch.tensor(MEAN).view(1, 3, 1, 1)
        self._deviation = 255 * torch.tensor(DEVIATION).view(1, 3, 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Embed a batch."""
        scaled = ((pixels.float() - self._mean) / self._deviation).contiguous(memory_format=torch.channels_last)
        vectors: Tensor = self.trunk(scaled).float()
        return functional.normalize(vectors, dim=1)


def contrast(vectors: Tensor) -> tuple[Tensor, float]:
    """InfoNCE in both directions over [2 × pairs,D] unit vectors, and the share of scenes that find their photo."""
    photos, scenes = vectors.chunk(2)
    scores = scenes @ photos.T / TEMPERATURE
    truth = torch.arange(len(scores))
    loss = (functional.cross_entropy(scores, truth) + functional.cross_entropy(scores.T, truth)) / 2
    return loss, float((scores.argmax(1) == truth).float().mean())


def run(model: Embedder, stage: Stage, out: Path, seed: int) -> None:
    """Train one stage, saving the trunk as it goes."""
    loader = DataLoader(Pairs(stage, seed), batch_size=None, num_workers=1, prefetch_factor=4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=stage.rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, stage))
    model.train()
    start, losses, found = time.monotonic(), [], []
    for step, batch in zip(range(1, stage.steps + 1), loader, strict=False):
        with torch.autocast("cpu", torch.bfloat16):
            vectors = model(batch)
        loss, share = contrast(vectors)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        found.append(share)
        if step % 10 == 0:
            left = (time.monotonic() - start) / step * (stage.steps - step)
            recent = f"loss {np.mean(losses[-10:]):.3f}, recall@1 in the batch {np.mean(found[-10:]):.3f}"
            click.echo(f"{stage.side} pixels, step {step}/{stage.steps}: {recent}, {left / 60:.1f} minutes left")
        if step % SAVE_EVERY == 0 or step == stage.steps:
            _save(model, out)


@click.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="State dict to write.")
@click.option("--weights", type=click.Path(path_type=Path, exists=True), help="State dict to start from.")
@click.option("--first-stage", default=1, show_default=True, help="Leave out the stages before this one.")
@click.option("--threads", default=2, show_default=True, help="Threads of torch.")
@click.option("--seed", default=0, show_default=True, help="Seeds the initial weights and the crops.")
def main(out: Path, weights: Path | None, first_stage: int, threads: int, seed: int) -> None:
    """Train in stages, from small crops to those that are served."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    model = Embedder().to(memory_format=torch.channels_last)
    if weights is not None:
        model.trunk.load_state_dict(torch.load(weights, weights_only=True))
    for stage in STAGES[first_stage - 1 :]:
        run(model, stage, out, seed)
    click.echo(f"wrote {out}")


@cache
def _drawn(item: Item) -> NDArray[np.uint8]:
    return item.draw(PIXELS)


def _alike(rng: np.random.Generator, stage: Stage) -> list[Item]:
    """Different items, many of them of one kind, as telling these apart is what is hard."""
    kind = int(rng.choice(len(KINDS), p=HARDNESS))
    numbers = rng.choice(POOL, stage.pairs, replace=False)
    kinds = [kind if rng.random() < stage.alike else int(rng.integers(len(KINDS))) for _ in numbers]
    return [Item(KINDS[k], COLLECTION, int(number)) for k, number in zip(kinds, numbers, strict=True)]


def _rate(step: int, stage: Stage) -> float:
    """The share of the stage's rate: linear warm-up, then cosine decay to a hundredth at the horizon."""
    if step < stage.warmup:
        return (step + 1) / stage.warmup
    done = (step - stage.warmup) / max(1, stage.horizon - stage.warmup)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2


def _save(model: Embedder, out: Path) -> None:
    """Write the trunk's state dict with torchvision's names, whole or not at all."""
    aside = out.with_suffix(".part")
    torch.save(model.trunk.state_dict(), aside)
    aside.replace(out)


if __name__ == "__main__":
    main()

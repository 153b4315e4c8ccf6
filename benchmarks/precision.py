"""What each precision costs and gains: the table of `docs/models.md`.

    .venv/triton/bin/python benchmarks/precision.py --write docs/models.md FOLDER...

FOLDER is what `semblance export … --output` wrote; of each model the first is what the others are compared with.
Accuracy is read from the manifests, where the gate left it. Speed is measured here, in the environment that serves,
since that has OpenVINO: all sessions of a model take turns, round after round, and each round gives one ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

PROVIDERS = {"ONNX Runtime": "CPUExecutionProvider", "OpenVINO": "OpenVINOExecutionProvider"}

# A photo is detected in alone, and its crops come together; see the design of the chain.
BATCH_SIZES = {"detector": 1, "embedder": 8}
ROUNDS = 9

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True)
class Exported:
    """An exported folder, and its manifest as JSON."""

    folder: Path
    manifest: dict[str, Any]

    @property
    def variant(self) -> str:
        names = [self.manifest["precision"]]
        if projection := self.manifest.get("projection"):
            names.append(f"{self.manifest['output']['dims'][0]} numbers")
            names += ["whitened"] * projection.get("whitened", False)
        return ", ".join(names)

    @property
    def accuracy(self) -> str:
        """The figures of every step from fp32 to here."""
        figures = self.manifest["parity"]["figures"]
        parts = []
        for step in ("projected", self.manifest["precision"]):
            if f"{step}_mean_cosine" in figures:
                parts.append(f"cosine {figures[f'{step}_mean_cosine']:.4f} (least {figures[f'{step}_min_cosine']:.4f})")
            if f"{step}_recall_at_1" in figures:
                before, after = (figures[f"{step}_recall_at_1{suffix}"] for suffix in ("_before", ""))
                parts.append(f"recall@1 {before:.3f} → {after:.3f}")
            if f"{step}_mean_iou" in figures:
                loss = figures[f"{step}_map50_loss"]
                parts.append(f"IoU {figures[f'{step}_mean_iou']:.4f}, mAP50 loss {loss:.4f}")
        return "; ".join(parts) or "the reference"


def read(folder: Path) -> Exported:
    return Exported(folder, json.loads((folder / "manifest.json").read_text(encoding="utf-8")))


def speeds(models: list[Exported]) -> dict[tuple[Path, str], list[float]]:
    """For each folder and provider: how many times as fast as the first folder on ONNX Runtime's own provider, in each
    round."""
    sessions = {
        (model.folder, provider): onnxruntime.InferenceSession(
            model.folder / model.manifest["model_file"]["name"], providers=[name]
        )
        for model in models
        for provider, name in PROVIDERS.items()
    }
    for (folder, provider), session in sessions.items():
        if session.get_providers()[0] != PROVIDERS[provider]:
            raise SystemExit(f"{folder}: ONNX Runtime gave {session.get_providers()} instead of {provider}")
    described = models[0].manifest
    shape = BATCH_SIZES[described["model"]], *described["input"]["dims"]
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    reference = models[0].folder, "ONNX Runtime"
    ratios: dict[tuple[Path, str], list[float]] = {key: [] for key in sessions}
    for session in sessions.values():
        session.run(None, {described["input"]["name"]: pixels})
    for _ in range(ROUNDS):
        seconds = {}
        for key, session in sessions.items():
            started = time.perf_counter()
            session.run(None, {described["input"]["name"]: pixels})
            seconds[key] = time.perf_counter() - started
        for key, taken in seconds.items():
            ratios[key].append(seconds[reference] / taken)
    return ratios


def table(models: list[Exported]) -> list[str]:
    ratios = speeds(models)
    name = models[0].manifest["model"]
    columns = f"{name}, batch of {BATCH_SIZES[name]}", "MB", *PROVIDERS, "against what it was made from"
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for model in models:
        cells = [model.variant, f"{int(model.manifest['model_file']['bytes']) / 1e6:.1f}"]
        for provider in PROVIDERS:
            of = ratios[model.folder, provider]
            cells.append(f"{np.median(of):.2f} ({min(of):.2f}–{max(of):.2f})")
        lines.append("| " + " | ".join([*cells, model.accuracy]) + " |")
    return lines


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure exported models side by side.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--write", type=Path, metavar="FILE", help="Put the tables between the marks in this page.")
    arguments = parser.parse_args()
    models = [read(folder) for folder in arguments.folders]
    lines = []
    for name in BATCH_SIZES:
        if of_name := [model for model in models if model.manifest["model"] == name]:
            lines += [*table(of_name), ""]
    lines.append(
        f"Median of {ROUNDS} interleaved rounds (least–greatest) on {processor()}, "
        f"{len(os.sched_getaffinity(0))} cores, ONNX Runtime {onnxruntime.__version__}."
    )
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        page = arguments.write.read_text(encoding="utf-8")
        before, rest = page.split(BEGIN)
        arguments.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()

"""An exported folder: a graph that passed the gate, and its manifest. This is what gets published or committed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx

from semblance.export import gate, graph, manifest
from semblance.export.contract import DETECTOR, EMBEDDER, MODEL_FILE, OPSET, Contract
from semblance.export.detector import Detector, Thresholds
from semblance.export.embedder import Embedder
from semblance.export.gallery import Gallery
from semblance.export.weights import Source
from semblance.v1.manifest_pb2 import Manifest

TOOLS = ("semblance-export", "torch", "onnx", "onnxruntime")


def write_detector(
    folder: Path,
    detector: Detector,
    gallery: Gallery,
    thresholds: Thresholds,
    *,
    store_int8: bool,
    progress: gate.Progress,
) -> Manifest:
    """Exports a detector for batches of up to as many images as the gallery has.

    Raises:
        GateFailed: nothing is written then.
    """
    exported = detector.rounded() if store_int8 else detector
    progress("tracing the network", 0, 1)
    model = detector.graph(thresholds, store_int8=store_int8)
    graph.check(model, DETECTOR)
    parity = gate.check_detector(exported, model, gallery, thresholds, progress)
    if store_int8:
        compared = replace(thresholds, score=parity.figures.get("lowered_score_threshold", thresholds.score))
        parity.figures |= gate.measure_rounded_detector(detector, exported, gallery, compared, progress)
    result = _describe(DETECTOR, detector.source, parity, store_int8, (*TOOLS, "ultralytics"))
    result.class_names.extend(detector.class_names)
    result.score_threshold = thresholds.score
    if not detector.is_end_to_end:
        result.iou_threshold = thresholds.iou
    return _write(folder, model, result)


def write_embedder(
    folder: Path, embedder: Embedder, gallery: Gallery, *, store_int8: bool, progress: gate.Progress
) -> Manifest:
    """Exports an embedder for batches of up to as many crops as the gallery has.

    Raises:
        GateFailed: nothing is written then.
    """
    exported = embedder.rounded() if store_int8 else embedder
    progress("tracing the network", 0, 1)
    model = embedder.graph(store_int8=store_int8)
    graph.check(model, EMBEDDER)
    parity = gate.check_embedder(exported, model, gallery, gate.MIN_COSINE, progress)
    if store_int8:
        parity.figures |= gate.check_rounded_embedder(embedder, exported, gallery, progress)
        parity.bounds["rounding_min_cosine"] = gate.MIN_COSINE_REDUCED
    return _write(folder, model, _describe(EMBEDDER, embedder.source, parity, store_int8, (*TOOLS, "torchvision")))


def _describe(
    contract: Contract, source: Source, parity: gate.Parity, store_int8: bool, tools: tuple[str, ...]
) -> Manifest:
    return Manifest(
        model=contract.model,
        input=manifest.tensor_entry(contract.input),
        output=manifest.tensor_entry(contract.output),
        max_batch_size=parity.batch_sizes[-1],
        source=Manifest.Source(weights=source.weights, sha256=source.sha256),
        pad_value=contract.pad_value,
        precision="fp32",
        weights_precision="int8" if store_int8 else "fp32",
        opset=OPSET,
        tools=manifest.tool_versions(tools),
        parity=Manifest.Parity(
            batch_sizes=parity.batch_sizes, images=parity.images, figures=parity.figures, bounds=parity.bounds
        ),
    )


def _write(folder: Path, model: onnx.ModelProto, described: Manifest) -> Manifest:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / MODEL_FILE
    file.write_bytes(model.SerializeToString(deterministic=True))
    described.model_file.CopyFrom(manifest.file_entry(file))
    manifest.write(described, folder)
    return described

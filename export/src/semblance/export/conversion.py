"""Weights to packages: traced in fp32, and compared with PyTorch."""

from __future__ import annotations

from dataclasses import replace

from semblance.export import gate, golden, graph, manifest, tensorrt
from semblance.export.contract import DETECTOR, OPSET, Contract
from semblance.export.detector import Detector, Thresholds
from semblance.export.embedder import Embedder
from semblance.export.gallery import Gallery
from semblance.export.package import Package
from semblance.export.session import Progress
from semblance.export.weights import Source
from semblance.v1.manifest_pb2 import Manifest

TOOLS = ("semblance-export", "torch", "onnx", "onnxruntime")


def convert_detector(
    detector: Detector,
    gallery: Gallery,
    thresholds: Thresholds,
    *,
    gpu: Manifest.Gpu | None,
    store_int8: bool,
    progress: Progress,
) -> Package:
    """A detector for batches of up to as many images as the gallery has, on a CPU or on a GPU.

    Raises:
        GateFailed: the graph does not compute what the network does.
    """
    exported = detector.rounded() if store_int8 else detector
    progress("tracing the network", 0, 1)
    model = detector.graph(thresholds, store_int8=store_int8)
    if gpu is not None:
        model = tensorrt.adapt(model, len(detector.class_names))
    graph.check(model, DETECTOR)
    parity = gate.check_detector(exported, model, gallery, thresholds, progress)
    if store_int8:
        compared = replace(thresholds, score=parity.figures.get("lowered_score_threshold", thresholds.score))
        parity.figures |= gate.measure_rounded_detector(detector, exported, gallery, compared, progress)
    described = _describe(DETECTOR, detector.source, parity, gpu, store_int8, (*TOOLS, "ultralytics"))
    described.class_names.extend(detector.class_names)
    described.score_threshold = thresholds.score
    if not detector.is_end_to_end:
        described.iou_threshold = thresholds.iou
    return Package(model, described, golden.record(model, DETECTOR, gallery.pixels, progress))


def convert_embedder(
    embedder: Embedder, gallery: Gallery, *, gpu: Manifest.Gpu | None, store_int8: bool, progress: Progress
) -> Package:
    """An embedder for batches of up to as many crops as the gallery has, on a CPU or on a GPU.

    Raises:
        GateFailed: the graph does not compute what the network does.
    """
    exported = embedder.rounded() if store_int8 else embedder
    progress("tracing the network", 0, 1)
    model = embedder.graph(store_int8=store_int8)
    if gpu is not None:
        model = tensorrt.adapt(model)
    graph.check(model, embedder.contract)
    parity = gate.check_embedder(exported, model, gallery, gate.MIN_COSINE, progress)
    if store_int8:
        parity.figures |= gate.check_rounded_embedder(embedder, exported, gallery, progress)
        parity.bounds["rounding_min_cosine"] = gate.MIN_COSINE_REDUCED
    described = _describe(embedder.contract, embedder.source, parity, gpu, store_int8, (*TOOLS, "torchvision"))
    return Package(model, described, golden.record(model, embedder.contract, gallery.pixels, progress))


def _describe(
    contract: Contract,
    source: Source,
    parity: gate.Parity,
    gpu: Manifest.Gpu | None,
    store_int8: bool,
    tools: tuple[str, ...],
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
        gpu=gpu,
        tools=manifest.tool_versions(tools),
        parity=Manifest.Parity(
            batch_sizes=parity.batch_sizes, images=parity.images, figures=parity.figures, bounds=parity.bounds
        ),
    )

"""From a package to one for a GPU, of reduced precision or of fewer numbers a vector, judged against what it was made
from."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from semblance.export import fidelity, fp16, golden, int8, projection, tensorrt
from semblance.export.blocks import blocks_of
from semblance.export.contract import Precision, embedder_of
from semblance.export.errors import GateFailed
from semblance.export.fidelity import Change, Fidelity
from semblance.export.gallery import JUDGED, LEARNT, Gallery
from semblance.export.manifest import tensor_entry
from semblance.export.package import Package
from semblance.export.recall import Retrieval
from semblance.export.session import Progress, answers
from semblance.v1.manifest_pb2 import Manifest

# Pictures, spread over the folder: principal components are learnt from all that there are, within reason; a precision
# is judged on some hundreds, since each step of the search for sensitive blocks looks at them again.
PROJECTION_PICTURES = 4096
PRECISION_PICTURES = {"detector": 128, "embedder": 512}

# The mean range of an activation settles after some dozens.
RANGE_PICTURES = 128

WAY_OUT = "Give --calibrate more pictures of what the model will see, or choose another --precision."

Judge = Callable[[onnx.ModelProto], Fidelity]


def project(package: Package, size: int, whiten: bool, pictures: Gallery, progress: Progress) -> Package:
    """An embedder whose vectors are the `size` first principal components of what they were.

    Raises:
        ExportError: the pictures are too few to learn from, or the embedder gives no more numbers than `size`.
        GateFailed: too many disturbed copies do not find their picture any more, or the graph does not project.
    """
    retrieval = Retrieval.of(pictures, package.manifest.pad_value)
    largest = package.manifest.max_batch_size
    vectors = answers(package.model, retrieval.pixels, largest, progress, "vectors to project")
    progress("principal components", 0, 1)
    fitted = projection.fit(vectors[: retrieval.count][LEARNT], size, whiten=whiten)
    projected = fitted.apply(vectors)
    model = projection.append(package.model, fitted)
    some = slice(largest * (largest + 1) // 2)
    found = answers(model, retrieval.pixels[some], largest, progress, "the projected graph")
    result = fidelity.of_projection(
        projected[some], found, retrieval.names, retrieval.recall_at_1(vectors), retrieval.recall_at_1(projected)
    )
    result.check(f"projecting to {size} numbers loses too much", "Project to more numbers, or give more pictures.")
    reduced = _judged(package, model, result, pictures, progress)
    reduced.manifest.output.CopyFrom(tensor_entry(embedder_of(size).output))
    reduced.manifest.projection.CopyFrom(
        Manifest.Projection(
            from_dims=len(fitted.matrix),
            whitened=whiten,
            explained_variance=fitted.explained_variance,
            calibration=_calibration(pictures),
        )
    )
    return reduced


def adapt(package: Package, gpu: Manifest.Gpu, pictures: Gallery, progress: Progress) -> Package:
    """An fp32 package for a GPU: the same network as TensorRT takes it.

    Raises:
        ContractError: the graph was not traced by `semblance export`.
        GateFailed: it answers otherwise.
    """
    model = tensorrt.adapt(package.model, len(package.manifest.class_names))
    _, judging = _judges(package, "tensorrt", pictures, progress)
    result = judging(model)
    result.check("TensorRT's graph answers otherwise", "That is a defect of the export; please report it.")
    adapted = _judged(package, model, result, pictures, progress)
    adapted.manifest.gpu.CopyFrom(gpu)
    return adapted


def reduce(package: Package, precision: Precision, pictures: Gallery, progress: Progress) -> Package:
    """A package whose network computes in fp16 or int8.

    int8 is learnt from one half of the pictures, which also say what blocks stay in fp32. The other half judges.

    Raises:
        ExportError: int8 would leave nearly all of the network in fp32.
        GateFailed: it loses more than it may.
    """
    if precision == "int8":
        int8.check_convolved(package.model)
    searching, judging = _judges(package, precision, pictures, progress)
    blocks = blocks_of(package.model, package.contract)
    kept: list[str] = []
    if precision == "fp16":
        progress("rounding to fp16", 0, 1)
        model = fp16.halve(package.model, [node for nodes in blocks.values() for node in nodes])
        fp16.check_loads(model)
    else:
        with tempfile.TemporaryDirectory(prefix="semblance-int8-") as folder:
            progress("ranges of activations", 0, 1)
            learnt = pictures.pixels[LEARNT]
            spread = np.linspace(0, len(learnt) - 1, min(len(learnt), RANGE_PICTURES)).astype(int)
            for_tensorrt = package.manifest.HasField("gpu")
            quantiser = int8.Quantiser(package.model, learnt[spread], Path(folder), for_tensorrt=for_tensorrt)
            model, kept = _search(quantiser, blocks, searching, progress)
    result = judging(model)
    result.check(f"{precision} loses too much", WAY_OUT)
    reduced = _judged(package, model, result, pictures, progress)
    reduced.manifest.calibration.CopyFrom(_calibration(pictures))
    reduced.manifest.precision = reduced.manifest.weights_precision = precision
    reduced.manifest.fp32_blocks.extend(kept)
    return reduced


def _judges(package: Package, change: Change, pictures: Gallery, progress: Progress) -> tuple[Judge, Judge]:
    """What says how far a graph is from the package's: on the pictures to learn from, and on the others.

    The search for sensitive blocks asks the first, so that the second stays a stranger to what it judges.
    """
    largest = package.manifest.max_batch_size
    if package.manifest.model == "detector":
        detections = answers(package.model, pictures.pixels, largest, progress, "the fp32 graph")

        def of_part(part: slice) -> Judge:
            names, pixels = pictures.names[part], pictures.pixels[part]
            return lambda model: fidelity.of_detections(
                detections[part], answers(model, pixels, largest, progress, f"the {change} graph"), names, change
            )

        return of_part(LEARNT), of_part(JUDGED)

    retrieval = Retrieval.of(pictures, package.manifest.pad_value)
    vectors = answers(package.model, retrieval.pixels, largest, progress, "the fp32 graph")

    def searching(model: onnx.ModelProto) -> Fidelity:
        found = answers(model, pictures.pixels[LEARNT], largest, progress, f"the {change} graph")
        return fidelity.of_vectors(vectors[: retrieval.count][LEARNT], found, pictures.names[LEARNT], change)

    def judging(model: onnx.ModelProto) -> Fidelity:
        found = answers(model, retrieval.pixels, largest, progress, f"the {change} graph")
        before, after = retrieval.recall_at_1(vectors), retrieval.recall_at_1(found)
        return fidelity.of_vectors(vectors, found, retrieval.names, change).with_recall(before, after, change)

    return searching, judging


def _search(
    quantiser: int8.Quantiser, blocks: dict[str, list[str]], judge: Judge, progress: Progress
) -> tuple[onnx.ModelProto, list[str]]:
    """The graph in int8, and the blocks that stay in fp32 so that it meets the bounds.

    Greedy: where all blocks in int8 cost too much, each is quantised alone, and the dearest leave one after another.

    Raises:
        GateFailed: not even the cheapest block alone meets the bounds.
    """

    def quantise(names: list[str]) -> tuple[onnx.ModelProto, Fidelity]:
        model = quantiser.quantise([node for name in names for node in blocks[name]])
        return model, judge(model)

    model, result = quantise(list(blocks))
    if not result.failures:
        return model, []
    costs = {}
    for number, name in enumerate(blocks):
        progress(f"what {name} costs in int8", number, len(blocks))
        costs[name] = quantise([name])[1].cost
    cheapest_first = sorted(blocks, key=lambda name: costs[name])
    for count in range(len(blocks) - 1, 0, -1):
        progress(f"{len(blocks) - count} blocks in fp32", len(blocks) - count, len(blocks))
        model, result = quantise(cheapest_first[:count])
        if not result.failures:
            return model, [name for name in blocks if name in cheapest_first[count:]]
    raise GateFailed(f"int8 loses too much in every block: {'; '.join(result.failures)}; worst on {result.worst}")


def _judged(
    package: Package, model: onnx.ModelProto, result: Fidelity, pictures: Gallery, progress: Progress
) -> Package:
    """A package of another graph, with the figures that it was judged by, and its answers to pictures that did."""
    described = Manifest()
    described.CopyFrom(package.manifest)
    described.parity.figures.update(result.figures)
    described.parity.bounds.update(result.least | result.most)
    return Package(model, described, golden.record(model, package.contract, pictures.pixels[JUDGED], progress))


def _calibration(pictures: Gallery) -> Manifest.Calibration:
    return Manifest.Calibration(images=len(pictures.names), sha256=pictures.sha256)

"""Whether a model that is served answers as it did when it was exported."""

import numpy as np
from numpy.typing import NDArray

from semblance.orchestrator.errors import ContractMismatch
from semblance.orchestrator.ports import Golden, InferenceServer
from semblance.orchestrator.release import ModelVersion

# Another runtime, or bf16 arithmetic, turns a vector by far less (a cosine of 0.99999), and int8 in other kernels by a
# few degrees at most; another model, or other preprocessing, turns it by tens.
MIN_COSINE = 0.99
# Detections that must have a partner: surer ones than these are no borderline cases of the threshold in the graph.
MIN_SCORE = 0.5
# bf16 has eight bits of mantissa: it moves an edge by up to four pixels, which is a tenth of a small object's side.
MIN_IOU = 0.8
MAX_SCORE_DIFFERENCE = 0.1


async def compare_golden(server: InferenceServer, model: ModelVersion, golden: Golden, timeout: float) -> None:
    """Raises ContractMismatch, naming the picture and the figure, where the answers are others, and as `Batch.infer`
    does; `timeout`, in seconds, is for each batch."""
    answers = await _answers(server, model, golden.inputs, timeout)
    is_embedder = len(model.output.dims) == 1
    for number, (expected, found) in enumerate(zip(golden.outputs, answers, strict=True), 1):
        problem = _turned(expected, found) if is_embedder else _missed(expected, found)
        if problem:
            raise ContractMismatch(
                f"{model.name} version {model.version} does not answer golden picture {number} of {len(answers)} as it "
                f"did when it was exported: {problem}. Triton computes something else than what was published: see "
                "its log, load the version again, or export the weights anew"
            )


async def _answers(
    server: InferenceServer, model: ModelVersion, inputs: NDArray[np.uint8], timeout: float
) -> NDArray[np.float32]:
    answers = []
    for first in range(0, len(inputs), model.max_batch_size):
        some = inputs[first : first + model.max_batch_size]
        with server.batch(model, len(some)) as batch:
            batch.pixels[:] = some
            answers.append(await batch.infer(timeout))
    return np.concatenate(answers)


def _turned(expected: NDArray[np.float32], found: NDArray[np.float32]) -> str:
    """What is wrong with a vector, float32 [dim]."""
    lengths = np.linalg.norm(expected) * np.linalg.norm(found)
    cosine = float(expected @ found / lengths) if lengths > 0 else 0.0
    # A cosine that is no number is wrong too.
    return "" if cosine >= MIN_COSINE else f"the cosine of its vectors is {cosine:.4f}, at least {MIN_COSINE} expected"


def _missed(expected: NDArray[np.float32], found: NDArray[np.float32]) -> str:
    """What is wrong with detections, float32 [N, 6]."""
    for rows, others, verb in ((expected, found, "is missing"), (found, expected, "is new")):
        for row in rows[~(rows[:, 4] < MIN_SCORE)]:
            if not _has_partner(row, others):
                x1, y1, x2, y2, score, index = row
                return (
                    f"the detection [{x1:.0f} {y1:.0f} {x2:.0f} {y2:.0f}] of class {index:.0f} with score {score:.2f} "
                    f"{verb}; one with an IoU of at least {MIN_IOU} and a score within {MAX_SCORE_DIFFERENCE} expected"
                )
    return ""


def _has_partner(row: NDArray[np.float32], others: NDArray[np.float32]) -> bool:
    alike = (others[:, 5] == row[5]) & (np.abs(others[:, 4] - row[4]) <= MAX_SCORE_DIFFERENCE)
    return bool((_ious(row, others[alike]) >= MIN_IOU).any())


def _ious(row: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of one box with others [N, 6]: float32 [N]."""
    sides = np.minimum(row[2:4], others[:, 2:4]) - np.maximum(row[:2], others[:, :2])
    shared = sides.clip(min=0).prod(axis=1)
    total = _area(row) + _area(others) - shared
    return np.asarray(np.divide(shared, total, out=np.zeros_like(shared), where=total > 0), np.float32)


def _area(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray((rows[..., 2] - rows[..., 0]) * (rows[..., 3] - rows[..., 1]), np.float32)

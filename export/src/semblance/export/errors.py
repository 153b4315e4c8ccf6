"""What can go wrong between weights and a published version. Every message says what to do."""

from __future__ import annotations


class ExportError(Exception):
    """Base of what this package raises on purpose."""


class WeightsError(ExportError):
    """The weights are missing, unreachable, or not of the network they should be of; or the network is unfit."""


class ContractError(ExportError):
    """A graph, a manifest or a configuration does not meet the model's contract."""


class GateFailed(ExportError):
    """The ONNX graph does not compute what the PyTorch network does."""


class EngineError(ExportError):
    """TensorRT's builder is not there, or could not build the engine."""


class DigestMismatch(ExportError):
    """A file's bytes are not those that its manifest names."""


class VersionExists(ExportError):
    """The version is there already; a published version never changes."""


def summary(error: BaseException) -> str:
    """The type and the first line of an error from elsewhere, to be part of a message of ours."""
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])

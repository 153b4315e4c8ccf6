"""An exported folder: a graph that passed the gate, and its manifest. This is what gets published or committed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from semblance.export import graph, int8_weights, manifest
from semblance.export.contract import GOLDEN_FILE, MODEL_FILE, Contract
from semblance.export.errors import ContractError
from semblance.v1.manifest_pb2 import Manifest

if TYPE_CHECKING:
    from semblance.export.golden import Golden


@dataclass(frozen=True)
class Package:
    """A graph, what its manifest will say once the graph is a file, and what goes beside it."""

    model: onnx.ModelProto
    manifest: Manifest
    golden: Golden | None = None

    @property
    def contract(self) -> Contract:
        return manifest.contract_of(self.manifest)

    def write(self, folder: Path) -> Manifest:
        """Writes `model.onnx`, `golden.npz` and `manifest.json`, and gives the manifest.

        Raises:
            ContractError: the graph does not meet its contract; nothing is written then.
        """
        graph.check(self.model, self.contract)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / MODEL_FILE
        file.write_bytes(self.model.SerializeToString(deterministic=True))
        described = Manifest()
        described.CopyFrom(self.manifest)
        described.model_file.CopyFrom(manifest.file_entry(file))
        if self.golden is not None:
            self.golden.write(folder / GOLDEN_FILE)
            described.golden_file.CopyFrom(manifest.file_entry(folder / GOLDEN_FILE))
        manifest.write(described, folder)
        return described


def read(folder: Path, *, for_gpu: bool = False) -> Package:
    """The fp32 graph of an exported folder or a published version; int8 weights are written out as fp32.

    Raises:
        ContractError: the folder holds no such graph, one that is reduced already, or one for GPUs where none is to be.
        DigestMismatch: the model's bytes are not those of the manifest.
    """
    described = manifest.verify(folder)
    if described.precision != "fp32" or described.HasField("projection"):
        raise ContractError(
            f"{folder} holds an {described.model} of {described.output.dims[0]} numbers at precision "
            f"{described.precision}; only what was exported in fp32 and whole is reduced. Give that folder."
        )
    if described.HasField("gpu") and (manifest.is_engine(described) or not for_gpu):
        kind = "an engine of TensorRT" if manifest.is_engine(described) else "a graph for GPUs"
        raise ContractError(f"{folder} holds {kind}; give the folder of the graph that it was made from")
    model = onnx.load(folder / described.model_file.name, load_external_data=False)
    int8_weights.expand(model)
    for field in ("version", "published_at", "exported_file", "model_file", "golden_file"):
        described.ClearField(field)
    return Package(model, described)

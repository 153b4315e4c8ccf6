"""The manifest of an exported model: written once, read back whole, checked against the bytes that it names."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

from google.protobuf import json_format

from semblance.export.contract import CONTRACTS, MANIFEST_FILE, Contract, Tensor, embedder_of
from semblance.export.errors import ContractError, DigestMismatch
from semblance.v1.manifest_pb2 import Manifest


def file_entry(path: Path) -> Manifest.File:
    with path.open("rb") as file:
        return Manifest.File(
            name=path.name, sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=path.stat().st_size
        )


def tensor_entry(tensor: Tensor) -> Manifest.Tensor:
    return Manifest.Tensor(name=tensor.name, data_type=f"TYPE_{tensor.data_type}", dims=tensor.dims)


def tool_versions(distributions: Iterable[str]) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in distributions}


def write(manifest: Manifest, folder: Path) -> None:
    text = json_format.MessageToJson(manifest, preserving_proto_field_name=True, ensure_ascii=False)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> Manifest:
    """The manifest in a folder.

    Raises:
        ContractError: there is none, or it can't be read.
    """
    path = folder / MANIFEST_FILE
    try:
        return json_format.Parse(path.read_text(encoding="utf-8"), Manifest())
    except OSError as error:
        raise ContractError(
            f"{folder} has no readable {MANIFEST_FILE} ({error.strerror}); expected a folder that "
            "`semblance export … --output` wrote"
        ) from error
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} is not a manifest: {error}; export the weights again") from error


def verify(folder: Path) -> Manifest:
    """Reads the manifest of a folder and compares the files that it names with it: the model, and golden pictures.

    Raises:
        ContractError: no manifest, or one of another contract.
        DigestMismatch: a file has other bytes, or is not there.
    """
    manifest = read(folder)
    contract_of(manifest)
    _verify_file(folder, "model", manifest.model_file)
    if manifest.HasField("golden_file"):
        _verify_file(folder, "golden", manifest.golden_file)
    return manifest


def _verify_file(folder: Path, role: str, expected: Manifest.File) -> None:
    if Path(expected.name).name != expected.name:
        raise ContractError(
            f"{folder / MANIFEST_FILE} names the {role} file {expected.name!r}; expected the name of a file beside it. "
            "Export the weights again."
        )
    path = folder / expected.name
    if not path.is_file():
        raise DigestMismatch(f"{path} is not there, but {folder / MANIFEST_FILE} names it; export the weights again")
    found = file_entry(path)
    if found != expected:
        raise DigestMismatch(
            f"{path} has {found.bytes} bytes with SHA-256 {found.sha256}; {MANIFEST_FILE} says {expected.bytes} bytes "
            f"with {expected.sha256}. One of the two was changed; restore it or export again."
        )


def contract_of(manifest: Manifest) -> Contract:
    """The contract that the manifest says its model meets: an embedder's has the length of its vectors.

    Raises:
        ContractError: it names no model of ours, or other tensors.
    """
    contract = CONTRACTS.get(manifest.model)
    if contract is None:
        raise ContractError(f"the manifest is of the model {manifest.model!r}; expected one of {', '.join(CONTRACTS)}")
    if manifest.model == "embedder" and len(manifest.output.dims) == 1 and manifest.output.dims[0]:
        contract = embedder_of(manifest.output.dims[0])
    for role, found, tensor in (
        ("input", manifest.input, contract.input),
        ("output", manifest.output, contract.output),
    ):
        expected = tensor_entry(tensor)
        if found != expected:
            raise ContractError(
                f"the manifest's {role} is {_describe(found)}; the {contract.model}'s contract says "
                f"{_describe(expected)}"
            )
    if manifest.max_batch_size < 1:
        raise ContractError("the manifest's max_batch_size is 0; expected at least 1")
    return contract


def is_engine(manifest: Manifest) -> bool:
    """Whether the model is an engine of TensorRT, and not a graph."""
    return bool(manifest.gpu.HasField("onnx_file"))


def _describe(tensor: Manifest.Tensor) -> str:
    return f"{tensor.name} {tensor.data_type} {list(tensor.dims)}"

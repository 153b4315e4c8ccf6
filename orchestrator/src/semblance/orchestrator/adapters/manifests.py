"""The model repository as the service sees it: what the manifests say, and whether the files are what they say."""

import asyncio
import hashlib
import io
import re
import zipfile
import zlib
from typing import Any

import fsspec
import numpy as np
from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from semblance.orchestrator.address import without_password
from semblance.orchestrator.errors import ContractMismatch, DependencyUnavailable, NotFound
from semblance.orchestrator.ports import Golden
from semblance.orchestrator.release import ModelVersion, Tensor
from semblance.v1.manifest_pb2 import Manifest

CHUNK = 2**20

# What a folder of a model adds to its name: the length of its vectors, and what computes them.
KIND = "(_[0-9]+)?(_gpu_(fp32|fp16|int8)|_engine)?"


class FileModelRepository:
    """`<root>/<folder>/<version>/manifest.json` and the files beside it, read through fsspec.

    The folder is called as the model, `<model>_<numbers>` where its vectors have another length, and by what computes
    it where that is a GPU: `embedder_gpu_fp16`, or `embedder_384_engine` with engines of TensorRT.
    """

    def __init__(self, url: str) -> None:
        """Raises ValueError where fsspec has no such protocol."""
        self._files: Any
        try:
            # Versions are published while the service runs.
            self._files, self._root = fsspec.url_to_fs(url, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            shown = without_password(url)
            raise ValueError(f"the model repository is {shown!r}, which can't be read: {error}") from None

    async def describe(self, model: str, version: int) -> ModelVersion:
        return await asyncio.to_thread(self._describe, model, version)

    async def newest(self, model: str) -> ModelVersion:
        return await asyncio.to_thread(self._newest, model)

    async def config(self, name: str) -> str:
        return await asyncio.to_thread(self._config, name)

    async def golden(self, model: ModelVersion) -> Golden | None:
        return await asyncio.to_thread(self._golden, model)

    async def verify(self, model: ModelVersion) -> None:
        await asyncio.to_thread(self._verify, model)

    async def size(self, model: ModelVersion) -> int:
        """Bytes of its file, as the manifest says. Raises as `describe` does."""
        manifest = await asyncio.to_thread(self._manifest, model.name, model.version)
        return int(manifest.model_file.bytes)

    def _describe(self, model: str, version: int) -> ModelVersion:
        folders = self._folders(model)
        if version not in folders:
            there = ", ".join(map(str, sorted(folders)))
            raise NotFound(
                f"{self._root} has no {model} version {version}"
                f"{f' (it has {there})' if there else ', nor any other'}; publish it with `semblance publish`, or "
                "export it with `semblance export`"
            )
        name, *others = folders[version]
        if others:
            raise ContractMismatch(
                f"{model} version {version} is in {name} and in {', '.join(others)} of {self._root}; remove the one "
                "that `semblance publish` did not make"
            )
        manifest = self._manifest(name, version)
        if (manifest.model, manifest.version) != (model, version):
            raise ContractMismatch(
                f"{self._path(name, version)}/manifest.json describes {manifest.model} version {manifest.version}; "
                "publish the model again with `semblance publish`"
            )
        return ModelVersion(
            name=name,
            version=version,
            sha256=manifest.model_file.sha256,
            input=_tensor(manifest.input),
            output=_tensor(manifest.output),
            max_batch_size=manifest.max_batch_size,
            pad_value=manifest.pad_value,
            class_names=tuple(manifest.class_names),
        )

    def _newest(self, model: str) -> ModelVersion:
        folders = self._folders(model)
        if not folders:
            raise NotFound(
                f"{self._root} has no {model}; publish one with `semblance publish`, or export it with "
                "`semblance export`"
            )
        try:
            return self._describe(model, max(folders))
        except NotFound as error:
            # A published version is whole from the moment on that it is there.
            raise ContractMismatch(str(error)) from None

    def _folders(self, model: str) -> dict[int, list[str]]:
        """The folders that have each version of a model: one, unless somebody copied some."""
        folders: dict[int, list[str]] = {}
        for name in sorted(self._names(self._root)):
            if re.fullmatch(f"{model}{KIND}", name):
                for version in self._names(f"{self._root}/{name}"):
                    # What Triton takes for a version.
                    if re.fullmatch("[1-9][0-9]*", version):
                        folders.setdefault(int(version), []).append(name)
        return folders

    def _names(self, folder: str) -> list[str]:
        try:
            entries = self._files.ls(folder, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, BotoCoreError) as error:
            raise DependencyUnavailable(f"{folder} can't be read: {error}") from None
        return [entry.rstrip("/").rpartition("/")[2] for entry in entries]

    def _config(self, name: str) -> str:
        path = f"{self._root}/{name}/config.pbtxt"
        text = self._read(path)
        try:
            config = text_format.Parse(text, model_config_pb2.ModelConfig())
        except (text_format.ParseError, UnicodeDecodeError) as error:
            raise ContractMismatch(f"{path} is not a Triton configuration: {error}") from None
        return json_format.MessageToJson(config, preserving_proto_field_name=True)

    def _golden(self, model: ModelVersion) -> Golden | None:
        manifest = self._manifest(model.name, model.version)
        if not manifest.HasField("golden_file"):
            return None
        path = self._beside(model, manifest.golden_file.name)
        try:
            content = self._read(path)
        except NotFound:
            raise _gone(path) from None
        _compare(path, hashlib.sha256(content).hexdigest(), manifest.golden_file.sha256, model)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                golden = Golden(arrays["inputs"], arrays["outputs"])
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
            raise ContractMismatch(f"{path} holds no golden pictures: {error}; export the weights again") from None
        rows = len(golden.inputs) if golden.inputs.ndim else 0
        for array, kind, dims in (
            (golden.inputs, "uint8", model.input.dims),
            (golden.outputs, "float32", model.output.dims),
        ):
            if not rows or (array.dtype, array.shape) != (np.dtype(kind), (rows, *dims)):
                raise ContractMismatch(
                    f"{path} holds {array.dtype} {list(array.shape)}, and {kind} {[rows, *dims]} was expected; export "
                    "the weights again"
                )
        return golden

    def _verify(self, model: ModelVersion) -> None:
        path = self._beside(model, self._manifest(model.name, model.version).model_file.name)
        _compare(path, self._digest(path), model.sha256, model)

    def _beside(self, model: ModelVersion, file: str) -> str:
        """The path of a file that the manifest names."""
        folder = self._path(model.name, model.version)
        if file in ("", ".", "..") or "/" in file:
            raise ContractMismatch(
                f"{folder}/manifest.json names {file!r}, which is not a file beside it; publish the model again with "
                "`semblance publish`"
            )
        return f"{folder}/{file}"

    def _manifest(self, name: str, version: int) -> Manifest:
        path = f"{self._path(name, version)}/manifest.json"
        try:
            return json_format.Parse(self._read(path), Manifest(), ignore_unknown_fields=True)
        except json_format.ParseError as error:
            raise ContractMismatch(
                f"{path} is not a manifest: {error}; publish the model again with `semblance publish`"
            ) from None

    def _read(self, path: str) -> bytes:
        try:
            content: bytes = self._files.cat_file(path)
            return content
        except FileNotFoundError:
            raise NotFound(
                f"{path} is not there; publish the model with `semblance publish`, or export it with `semblance export`"
            ) from None
        except (OSError, BotoCoreError) as error:
            raise DependencyUnavailable(f"{path} can't be read: {error}") from None

    def _digest(self, path: str) -> str:
        digest = hashlib.sha256()
        try:
            with self._files.open(path, "rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
        except FileNotFoundError:
            raise _gone(path) from None
        except (OSError, BotoCoreError) as error:
            raise DependencyUnavailable(f"{path} can't be read: {error}") from None
        return digest.hexdigest()

    def _path(self, name: str, version: int) -> str:
        return f"{self._root}/{name}/{version}"


def _compare(path: str, digest: str, published: str, model: ModelVersion) -> None:
    if digest != published:
        raise ContractMismatch(
            f"{path} has the SHA-256 {digest}, and {published} was published as {model.name} version {model.version}; "
            "restore the file, or publish a new version with `semblance publish`"
        )


def _gone(path: str) -> ContractMismatch:
    return ContractMismatch(
        f"{path} is not there, and its manifest says so; restore it, or publish a new version with `semblance publish`"
    )


def _tensor(tensor: Manifest.Tensor) -> Tensor:
    return Tensor(tensor.name, tensor.data_type.removeprefix("TYPE_"), tuple(tensor.dims))

"""The model repository as the service sees it: what the manifests say, and whether the files are what they say."""

import asyncio
import hashlib
from typing import Any

import fsspec
from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]
from google.protobuf import json_format

from semblance.orchestrator.address import without_password
from semblance.orchestrator.errors import ContractMismatch, DependencyUnavailable, NotFound
from semblance.orchestrator.release import ModelVersion, Tensor
from semblance.v1.manifest_pb2 import Manifest

CHUNK = 2**20


class FileModelRepository:
    """`<root>/<model>/<version>/manifest.json` and the model file beside it, read through fsspec."""

    def __init__(self, url: str) -> None:
        """Raises ValueError where fsspec has no such protocol."""
        self._files: Any
        try:
            self._files, self._root = fsspec.url_to_fs(url)
        except (ValueError, ImportError) as error:
            shown = without_password(url)
            raise ValueError(f"the model repository is {shown!r}, which can't be read: {error}") from None

    async def describe(self, name: str, version: int) -> ModelVersion:
        return await asyncio.to_thread(self._describe, name, version)

    async def verify(self, model: ModelVersion) -> None:
        await asyncio.to_thread(self._verify, model)

    def _describe(self, name: str, version: int) -> ModelVersion:
        manifest = self._manifest(name, version)
        if (manifest.model, manifest.version) != (name, version):
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

    def _verify(self, model: ModelVersion) -> None:
        folder = self._path(model.name, model.version)
        file = self._manifest(model.name, model.version).model_file.name
        if file in ("", ".", "..") or "/" in file:
            raise ContractMismatch(
                f"{folder}/manifest.json names {file!r}, which is not a file beside it; publish the model again with "
                "`semblance publish`"
            )
        path = f"{folder}/{file}"
        digest = self._digest(path)
        if digest != model.sha256:
            raise ContractMismatch(
                f"{path} has the SHA-256 {digest}, and {model.sha256} was published as {model.name} version "
                f"{model.version}; restore the file, or publish a new version with `semblance publish`"
            )

    def _manifest(self, name: str, version: int) -> Manifest:
        path = f"{self._path(name, version)}/manifest.json"
        try:
            text = self._files.cat_file(path)
        except FileNotFoundError:
            raise NotFound(
                f"{path} is not there; publish the model with `semblance publish`, or export it with `semblance export`"
            ) from None
        except (OSError, BotoCoreError) as error:
            raise DependencyUnavailable(f"{path} can't be read: {error}") from None
        try:
            return json_format.Parse(text, Manifest(), ignore_unknown_fields=True)
        except json_format.ParseError as error:
            raise ContractMismatch(
                f"{path} is not a manifest: {error}; publish the model again with `semblance publish`"
            ) from None

    def _digest(self, path: str) -> str:
        digest = hashlib.sha256()
        try:
            with self._files.open(path, "rb") as file:
                while chunk := file.read(CHUNK):
                    digest.update(chunk)
        except FileNotFoundError:
            raise ContractMismatch(
                f"{path} is not there, and its manifest says so; restore it, or publish a new version with "
                "`semblance publish`"
            ) from None
        except (OSError, BotoCoreError) as error:
            raise DependencyUnavailable(f"{path} can't be read: {error}") from None
        return digest.hexdigest()

    def _path(self, name: str, version: int) -> str:
        return f"{self._root}/{name}/{version}"


def _tensor(tensor: Manifest.Tensor) -> Tensor:
    return Tensor(tensor.name, tensor.data_type.removeprefix("TYPE_"), tuple(tensor.dims))

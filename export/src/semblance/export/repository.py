"""Triton's model repository: atomic publication of the next version.

    model_repository/
      detector/
        config.pbtxt
        1/model.onnx, manifest.json, golden.npz
      embedder/
      embedder_384/
      embedder_gpu_fp16/
        config.pbtxt
        4/model.onnx, manifest.json, golden.npz
      embedder_engine/
        config.pbtxt
        5/model.plan, manifest.json, golden.npz

Triton has one configuration for all versions of a model folder, and it names the output's dimensions and what computes.
So versions of an embedder that give vectors of another length than those in `embedder` have a folder of their own, and
so have those for GPUs. Version numbers are unique over all folders of a model.

A version is written aside, under a name that Triton does not take for a version, flushed to disk, checked, and moved
into place by one rename. Whatever is killed when, Triton sees whole versions only.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import onnx

from semblance.export import graph, int8_weights, manifest, model_config
from semblance.export.contract import ENGINE_FILE, GOLDEN_FILE, MODEL_FILE, Contract
from semblance.export.errors import ContractError, VersionExists
from semblance.v1.manifest_pb2 import Manifest

STAGING_PREFIX = ".publishing-"
LOCK_FILE = ".lock"

# What a folder of a model adds to its name: the length of the vectors, and what computes them.
KIND = "(_[0-9]+)?(_gpu_(fp32|fp16|int8)|_engine)?"


@dataclass(frozen=True)
class Published:
    """`is_new` is false where the same bytes stood already, and nothing was published."""

    folder: Path
    manifest: Manifest
    is_new: bool


def publish(exported: Path, repository: Path, version: int | None = None) -> Published:
    """Publishes an exported folder (its model and `manifest.json`) as the next version, or as the one named.

    int8 weights are written out as fp32, see `int8_weights`; the manifest then names the exported file too. Where no
    version is named and one with the same bytes stands, that one is given back.

    Raises:
        ContractError: the folder holds no model that meets its contract, or one for smaller batches than the
            versions that stand.
        DigestMismatch: the bytes of model or golden pictures are not those of the manifest.
        VersionExists: the version named is there.
    """
    staged = manifest.verify(exported)
    contract = manifest.contract_of(staged)
    model = None if manifest.is_engine(staged) else _load(exported / staged.model_file.name)
    if model is not None:
        graph.check(model, contract)
    with _lock(repository, contract):
        standing = published_versions(repository, contract.model)
        following = max(standing, default=0) + 1
        if version in standing:
            raise VersionExists(
                f"{standing[version]} is published already, and a published version never changes. Leave --version "
                f"out to publish version {following}."
            )
        if version is None:
            for folder in reversed(standing.values()):
                if _is_same(manifest.read(folder), staged):
                    return Published(folder, manifest.verify(folder), is_new=False)
        home = home_of(repository, staged)
        home.mkdir(exist_ok=True)
        staged.version = version or following
        staged.published_at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        with _staging(home) as staging:
            _write(staging, model, exported, staged)
            gpu = staged.gpu if staged.HasField("gpu") else None
            model_config.write(home, contract, _max_batch_size(home, staged), staged.precision, gpu)
            folder = home / str(staged.version)
            staging.rename(folder)
            _flush(home)
    return Published(folder, staged, is_new=True)


def home_of(repository: Path, staged: Manifest) -> Path:
    """The folder for versions with this output on such a processor: that of the model, where none with another output
    stands in it."""
    contract = manifest.contract_of(staged)
    kind = "" if not staged.HasField("gpu") else "_engine" if manifest.is_engine(staged) else f"_gpu_{staged.precision}"
    home = repository / f"{contract.model}{kind}"
    if all(manifest.contract_of(manifest.read(home / str(number))) == contract for number in versions(home)):
        return home
    return repository / f"{contract.model}_{contract.output.dims[0]}{kind}"


def published_versions(repository: Path, model: str) -> dict[int, Path]:
    """The folder of each version of a model, ascending, in whichever of the model's folders it is."""
    homes = [path for path in repository.iterdir() if re.fullmatch(f"{model}{KIND}", path.name) and path.is_dir()]
    return dict(sorted((number, home / str(number)) for home in homes for number in versions(home)))


def versions(home: Path) -> list[int]:
    """The versions in a model's folder, ascending: what Triton takes for one, a positive number without leading 0."""
    names = (path.name for path in home.glob("*") if path.is_dir())
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and not name.startswith("0"))


def _max_batch_size(home: Path, staged: Manifest) -> int:
    """Of the configuration, which serves all versions: none gets a larger batch than it was checked with.

    Raises:
        ContractError: the new version takes less than those that stand, and a release may count on theirs.
    """
    smallest = min((manifest.read(home / str(number)).max_batch_size for number in versions(home)), default=0)
    if staged.max_batch_size < smallest:
        raise ContractError(
            f"the new version takes batches of {staged.max_batch_size}, and those in {home} take {smallest}, which the "
            f"releases that use them count on; export it with --max-batch-size {smallest} or more"
        )
    return smallest or int(staged.max_batch_size)


def _load(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own error class is not public
        raise ContractError(f"{path} is not an ONNX file: {error}") from error


def _is_same(published: Manifest, staged: Manifest) -> bool:
    """Whether a version was published from the very file, for the same batch sizes."""
    exported = published.exported_file if published.HasField("exported_file") else published.model_file
    return (exported, published.max_batch_size, published.gpu) == (staged.model_file, staged.max_batch_size, staged.gpu)


def _write(staging: Path, model: onnx.ModelProto | None, exported: Path, staged: Manifest) -> None:
    """Writes model, golden pictures and manifest, completes the manifest, flushes all to disk and reads them back.

    `model` is None for an engine, which is copied as it is.
    """
    file = staging / (ENGINE_FILE if model is None else MODEL_FILE)
    # At precision int8 the graph computes with its integers.
    if model is not None and staged.precision != "int8" and int8_weights.expand(model):
        file.write_bytes(model.SerializeToString(deterministic=True))
        staged.exported_file.CopyFrom(staged.model_file)
        staged.model_file.CopyFrom(manifest.file_entry(file))
    else:
        shutil.copyfile(exported / staged.model_file.name, file)
        staged.model_file.name = file.name
    if staged.HasField("golden_file"):
        shutil.copyfile(exported / staged.golden_file.name, staging / GOLDEN_FILE)
        staged.golden_file.name = GOLDEN_FILE
    manifest.write(staged, staging)
    for path in (*staging.iterdir(), staging):
        if path.is_file():
            path.chmod(0o444)
        _flush(path)
    manifest.verify(staging)


@contextmanager
def _lock(repository: Path, contract: Contract) -> Iterator[None]:
    """One publisher of a model at a time, for all its folders; the kernel releases the lock of one that is killed."""
    home = repository / contract.model
    home.mkdir(parents=True, exist_ok=True)
    with (home / LOCK_FILE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _staging(home: Path) -> Iterator[Path]:
    """A folder aside, in place of what a killed publisher left; gone at the end unless it was renamed."""
    for left in home.glob(f"{STAGING_PREFIX}*"):
        shutil.rmtree(left)
    staging = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=home))
    staging.chmod(0o755)
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

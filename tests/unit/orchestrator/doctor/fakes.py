"""What the doctor looks at, all well until it is told otherwise."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from google.protobuf import json_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from semblance.export.contract import CONTRACTS
from semblance.export.model_config import model_config
from semblance.orchestrator.doctor.finding import Finding, Outcome
from semblance.orchestrator.doctor.live import Live
from semblance.orchestrator.doctor.looks import Clocks, CollectionState, Tables
from semblance.orchestrator.doctor.triton import VERSION, Server
from semblance.orchestrator.errors import ContractMismatch, DependencyUnavailable, NotFound
from semblance.orchestrator.item import CatalogSize
from semblance.orchestrator.ports import Golden
from semblance.orchestrator.release import ModelVersion, Presence, Registered, Release, ReleaseState
from semblance.orchestrator.settings import Settings
from semblance.orchestrator.testing import FakeInferenceServer, example_release

RELEASE = example_release(2048, "items")
MODELS = (RELEASE.detector, RELEASE.embedder)
PRESENT = (Presence("a:1:0:ff", "r1"),)
VECTORS = 300


def registered(state: ReleaseState = ReleaseState.ACTIVE, release: Release = RELEASE) -> Registered:
    moment = datetime(2026, 1, 31, tzinfo=UTC)
    return Registered(release, state, moment, moment)


def live(present: Sequence[Presence] = PRESENT, unsettled: int = 0) -> Live:
    """r1, with 300 vectors."""
    return Live((registered(),), tuple(present), {"items": (CatalogSize(100, 100, VECTORS), unsettled)})


NOTHING = Live()
UNKNOWN = Live(problem="the database can't be read")


@cache
def config(model: str) -> ModelConfig:
    """As `semblance publish` renders it, and Triton completes it."""
    contract = CONTRACTS[model]
    made = model_config(model, contract, contract.default_max_batch_size)
    made.dynamic_batching.preferred_batch_size.append(made.max_batch_size)
    made.runtime = "model.py"
    return made


def changed(model: str, **keys: Any) -> ModelConfig:
    """The same, with other keys; None takes one away."""
    made = ModelConfig()
    made.CopyFrom(config(model))
    for name, value in keys.items():
        made.ClearField(name)
        if value is not None:
            json_format.ParseDict({name: value}, made)
    return made


class FakeTriton:
    """`down` raises on every call."""

    def __init__(self) -> None:
        self.down = False
        self.configs = {model: config(model) for model in CONTRACTS}
        self.known_version = VERSION
        self.explicit = True
        self.refused = ""
        self.names = frozenset(CONTRACTS)

    def _call(self) -> None:
        if self.down:
            raise DependencyUnavailable("Triton does not answer")

    async def version(self, timeout: float) -> str:
        self._call()
        return self.known_version

    async def folders(self, timeout: float) -> frozenset[str]:
        self._call()
        return self.names

    async def is_explicit(self, timeout: float) -> bool:
        self._call()
        return self.explicit

    async def config(self, model: ModelVersion, timeout: float) -> ModelConfig:
        self._call()
        return self.configs[model.name]

    async def refusal(self, timeout: float) -> str:
        self._call()
        return self.refused


class FakeRepository:
    """`RELEASE`'s models, without golden pictures."""

    def __init__(self) -> None:
        self.models = {model.name: model for model in MODELS}
        self.configs = {model: config(model) for model in CONTRACTS}
        self.files_changed = False
        self.goldens: dict[str, Golden] = {}

    async def describe(self, model: str, version: int) -> ModelVersion:
        if model not in self.models or self.models[model].version != version:
            raise NotFound(f"there is no {model} version {version}")
        return self.models[model]

    async def config(self, name: str) -> str:
        if name not in self.configs:
            raise NotFound(f"there is no {name}/config.pbtxt")
        return json_format.MessageToJson(self.configs[name], preserving_proto_field_name=True)

    async def newest(self, model: str) -> ModelVersion:
        if model not in self.models:
            raise NotFound(f"there is no {model}")
        return self.models[model]

    async def golden(self, model: ModelVersion) -> Golden | None:
        return self.goldens.get(model.name)

    async def verify(self, model: ModelVersion) -> None:
        if self.files_changed:
            raise ContractMismatch(f"{model.name}: the SHA-256 is another one")

    async def size(self, model: ModelVersion) -> int:
        return 100 * 2**20


STATE = CollectionState(RELEASE.dimension, RELEASE.embedder.sha256, True, "COSINE", "HNSW", 16, 200)


class FakeMilvus:
    def __init__(self) -> None:
        self.down = False
        self.known_version = "v2.6.4"
        self.state: CollectionState | None = STATE
        self.rows = VECTORS

    async def version(self, timeout: float) -> str:
        if self.down:
            raise DependencyUnavailable("Milvus does not answer")
        return self.known_version

    async def describe(self, collection: str, timeout: float) -> CollectionState:
        if self.state is None:
            raise ContractMismatch(f"Milvus has no collection {collection}")
        return self.state

    async def count(self, release: Release, timeout: float) -> int:
        return self.rows

    def has(self, **values: Any) -> None:
        self.state = replace(STATE, **values)


class FakeDatabase:
    def __init__(self) -> None:
        self.known = Tables(frozenset({"items"}))
        self.known_clocks = Clocks(0.1, -2.0)
        self.hangs = False

    async def tables(self) -> Tables:
        if self.hangs:
            await asyncio.Event().wait()
        return self.known

    async def clocks(self) -> Clocks:
        return self.known_clocks


class FakeImages:
    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.hangs = False

    async def probe(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.failure:
            raise self.failure


def settings(**values: Any) -> Settings:
    """The defaults but these."""
    return Settings(**values)


def server(look: FakeTriton, inference: FakeInferenceServer | None = None, local: bool = True) -> Server:
    return Server("Triton at t:8001", look, inference or FakeInferenceServer(*MODELS), local)


def only(findings: Sequence[Finding], check: str) -> Finding:
    [found] = [finding for finding in findings if finding.check == check]
    return found


def outcomes(findings: Sequence[Finding]) -> dict[str, Outcome]:
    """By check, of those that are not well; each that is wrong says why it matters and how to mend it."""
    for finding in findings:
        wrong = finding.outcome in (Outcome.WARNING, Outcome.FAILURE)
        assert bool(finding.why and finding.mend) is wrong, finding
    return {finding.check: finding.outcome for finding in findings if finding.outcome is not Outcome.OK}

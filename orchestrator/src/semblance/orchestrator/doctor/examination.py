"""All parts looked at, at once: what is missing of one holds up no other."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace

from semblance.orchestrator.adapters.transport import Mode
from semblance.orchestrator.doctor import agreement, database, host, images, milvus, repository, triton
from semblance.orchestrator.doctor.finding import Check, Finding, Outcome, amount
from semblance.orchestrator.doctor.host import Footprint, Host
from semblance.orchestrator.doctor.live import Live
from semblance.orchestrator.doctor.looks import ImageLook, MilvusLook, RepositoryLook
from semblance.orchestrator.errors import SemblanceError
from semblance.orchestrator.release import ModelVersion
from semblance.orchestrator.settings import Settings
from semblance.orchestrator.sizing import memory_of_row

# For each part, in seconds: a Triton on a slow host takes long for all golden pictures.
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What is looked at; `milvus_local` where Milvus runs on this host."""

    host: Host
    repository: RepositoryLook
    tritons: Sequence[triton.Server]
    milvus: MilvusLook
    milvus_local: bool
    database: database.Stores
    images: ImageLook


@dataclass(frozen=True, slots=True)
class Known:
    """What is live, and the newest published models; with what was found on the way."""

    live: Live
    newest: list[ModelVersion]
    database: list[Finding]
    repository: list[Finding]

    @property
    def models(self) -> list[ModelVersion]:
        """Those that Triton should serve: until a release is live, those that the first one is made of."""
        return self.live.models or self.newest


async def examine(settings: Settings, parts: Parts) -> list[Finding]:
    """In an order to read them in. It takes no longer than PATIENCE, whatever hangs."""
    known = asyncio.create_task(_known(settings, parts))

    async def live() -> Live:
        return (await asyncio.shield(known)).live

    async def of_host() -> list[Finding]:
        memory = await _memory(settings, parts, await asyncio.shield(known))
        return [memory, *host.examine(parts.host, settings)]

    async def of_repository() -> list[Finding]:
        found = await asyncio.shield(known)
        return found.repository + await repository.examine(parts.repository, found.live, found.newest)

    async def of_triton(server: triton.Server) -> list[Finding]:
        findings = await triton.examine(server, Mode(settings.transport))
        if findings[0].outcome is Outcome.FAILURE:
            return findings
        found = await asyncio.shield(known)
        return findings + await triton.examine_models(server, found.live, found.models, parts.repository)

    async def of_database() -> list[Finding]:
        return (await asyncio.shield(known)).database

    async def of_settings() -> list[Finding]:
        return await asyncio.to_thread(agreement.examine, settings)

    looks: list[tuple[str, Awaitable[list[Finding]]]] = [
        ("host", of_host()),
        ("settings", of_settings()),
        (repository.PART, of_repository()),
        *((server.part, of_triton(server)) for server in parts.tritons),
        ("Milvus", milvus.examine(parts.milvus, settings, live)),
        ("database", of_database()),
        ("image store", images.examine(settings.image_store, parts.images)),
    ]
    try:
        found = await asyncio.gather(*(_bounded(part, look) for part, look in looks))
    finally:
        known.cancel()
    return [finding for findings in found for finding in findings]


async def _known(settings: Settings, parts: Parts) -> Known:
    (of_database, live), (of_repository, newest) = await asyncio.gather(
        database.examine(settings.metadata_url, parts.database), repository.newest(parts.repository)
    )
    return Known(live, newest, of_database, of_repository)


async def _memory(settings: Settings, parts: Parts, known: Known) -> Finding:
    sizes: dict[ModelVersion, int] = {}
    for model in known.models:
        try:
            sizes[model] = await parts.repository.size(model)
        except SemblanceError:
            return host.memory(parts.host, settings, Footprint(problem="the model repository can't be read"))
    triton_local = any(server.local for server in parts.tritons)
    footprint = footprint_of(known.live, sizes, parts.milvus_local, triton_local)
    return host.memory(parts.host, settings, footprint)


def footprint_of(live: Live, sizes: Mapping[ModelVersion, int], milvus_local: bool, triton_local: bool) -> Footprint:
    """Of two live releases: where there is one, the next is taken to be like it. `sizes`: bytes of each model's file,
    which its weights take at least."""
    rows = {
        each.release.collection: live.sizes[each.release.collection][0].vectors
        * memory_of_row(each.release.dimension, each.release.index)
        for each in live.releases
    }
    collections = _of_two(list(rows.values()))
    models = sum(
        _of_two([size for model, size in sizes.items() if model.name.partition("_")[0] == role])
        for role in repository.ROLES
    )
    footprint = Footprint(collections, models, problem=live.problem)
    if not milvus_local:
        footprint = replace(footprint, collections=0, counted=f" (Milvus' host needs {amount(collections)})")
    if not triton_local:
        footprint = replace(footprint, models=0, counted=f"{footprint.counted} (Triton runs elsewhere)")
    return footprint


def _of_two(sizes: list[int]) -> int:
    return sum(sizes) * (2 if len(sizes) == 1 else 1)


async def _bounded(part: str, look: Awaitable[list[Finding]]) -> list[Finding]:
    check = Check(part, "time", "what was not looked at may be wrong")
    try:
        async with asyncio.timeout(PATIENCE):
            return await look
    except TimeoutError:
        return [check.failure(f"not all was looked at within {PATIENCE:g} s", "see what hangs, and try again")]

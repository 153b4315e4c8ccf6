"""What the service serves with when it starts: the active release, checked against everything that it names."""

import logging
from secrets import token_hex

from semblance.orchestrator.errors import ContractMismatch, DependencyUnavailable, NotFound
from semblance.orchestrator.ports import InferenceServer, MetadataStore, ModelRepository, VectorIndex
from semblance.orchestrator.release import IndexParameters, ModelVersion, Release

log = logging.getLogger(__name__)

# Of one call, in seconds: making and loading a collection takes Milvus a while.
CALL_TIMEOUT = 30.0


async def activate(
    metadata: MetadataStore, models: InferenceServer, repository: ModelRepository, index: VectorIndex
) -> Release:
    """The active release, or r1 of the newest published models where there is none yet.

    Raises ContractMismatch where a model or the collection is not what the release says, DependencyUnavailable where
    something is not there yet; it may be called again then.
    """
    release = await metadata.active_release()
    if release is None:
        release = await metadata.add_first_release(await _first(models, repository))
        log.info("release %s is active", release.release_id)
    for model in (release.detector, release.embedder):
        await _check_model(model, release, models, repository)
    if not await metadata.indexed():
        await index.create(release, CALL_TIMEOUT)
    await index.check(release, CALL_TIMEOUT)
    return release


async def _first(models: InferenceServer, repository: ModelRepository) -> Release:
    return Release(
        release_id="r1",
        detector=await _newest("detector", models, repository),
        embedder=await _newest("embedder", models, repository),
        index=IndexParameters(),
        collection=new_collection("r1"),
    )


def new_collection(release_id: str) -> str:
    """A name that nothing else has: another catalogue may be in the same Milvus."""
    return f"semblance_{release_id}_{token_hex(4)}"


async def _newest(name: str, models: InferenceServer, repository: ModelRepository) -> ModelVersion:
    """The newest version that Triton has ready and a manifest describes."""
    ready = await models.ready_versions(name, CALL_TIMEOUT)
    if not ready:
        raise DependencyUnavailable(f"Triton has no version of {name} ready; publish one and load it")
    for version in reversed(ready):
        try:
            return await repository.describe(name, version)
        except NotFound as error:
            missing = error
    raise ContractMismatch(f"Triton serves {name} without a manifest: {missing}")


async def _check_model(
    model: ModelVersion, release: Release, models: InferenceServer, repository: ModelRepository
) -> None:
    try:
        published = await repository.describe(model.name, model.version)
    except NotFound as error:
        raise ContractMismatch(
            f"release {release.release_id} needs {model.name} version {model.version}: {error}"
        ) from None
    if published != model:
        raise ContractMismatch(
            f"release {release.release_id} was made with {_differences(model, published)}; restore the files of "
            f"{model.name} version {model.version} as they were published"
        )
    await repository.verify(model)
    ready = await models.ready_versions(model.name, CALL_TIMEOUT)
    if model.version not in ready:
        raise DependencyUnavailable(
            f"release {release.release_id} needs {model.name} version {model.version}, and Triton has "
            f"{', '.join(map(str, ready)) or 'none'} ready; load that version"
        )
    await models.check(model, CALL_TIMEOUT)


def _differences(expected: ModelVersion, found: ModelVersion) -> str:
    return "; ".join(
        f"{name} {getattr(expected, name)} of {expected.name} version {expected.version}, and its manifest says "
        f"{getattr(found, name)}"
        for name in ModelVersion.__slots__
        if getattr(expected, name) != getattr(found, name)
    )

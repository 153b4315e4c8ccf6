"""Whether a release can be served with: it is checked against everything that it names."""

from secrets import token_hex

from semblance.orchestrator.errors import ContractMismatch, DependencyUnavailable, NotFound
from semblance.orchestrator.golden import compare_golden
from semblance.orchestrator.ports import InferenceServer, ModelRepository, VectorIndex
from semblance.orchestrator.release import IndexParameters, ModelVersion, Release

# Of one call, in seconds: making and loading a collection takes Milvus a while.
CALL_TIMEOUT = 30.0
# Of the inferences of a model's golden inputs, in seconds.
GOLDEN_TIMEOUT = 60.0


async def first_release(repository: ModelRepository) -> Release:
    """r1, of the newest published models. Raises DependencyUnavailable where a model has none."""
    try:
        return Release(
            release_id="r1",
            detector=await repository.newest("detector"),
            embedder=await repository.newest("embedder"),
            index=IndexParameters(),
            collection=new_collection("r1"),
        )
    except NotFound as error:
        raise DependencyUnavailable(str(error)) from None


def new_collection(release_id: str) -> str:
    """A name that nothing else has: another catalogue may be in the same Milvus."""
    return f"semblance_{release_id}_{token_hex(4)}"


async def check_release(
    release: Release, models: InferenceServer, repository: ModelRepository, index: VectorIndex
) -> None:
    """Raises ContractMismatch where a model or the collection is not what the release says, DependencyUnavailable where
    something is not there yet; it may be called again then."""
    for model in (release.detector, release.embedder):
        await check_published(model, release.release_id, repository)
        await check_served(model, models, repository)
    await index.check(release, CALL_TIMEOUT)


async def check_published(model: ModelVersion, release_id: str, repository: ModelRepository) -> None:
    """Raises ContractMismatch unless the files of the model are those that the release was made with."""
    role = model.name.partition("_")[0]
    try:
        published = await repository.describe(role, model.version)
    except NotFound as error:
        raise ContractMismatch(f"release {release_id} needs {model.name} version {model.version}: {error}") from None
    if published != model:
        raise ContractMismatch(
            f"release {release_id} was made with {_differences(model, published)}; restore the files of "
            f"{model.name} version {model.version} as they were published"
        )
    await repository.verify(model)


async def check_ready(model: ModelVersion, models: InferenceServer) -> None:
    """Raises DependencyUnavailable unless Triton has the model ready."""
    ready = await models.ready_versions(model.name, CALL_TIMEOUT)
    if model.version not in ready:
        has = f"version {', '.join(map(str, ready))}" if ready else "no version"
        raise DependencyUnavailable(
            f"Triton has {has} of {model.name} ready, and {model.version} is needed; it is loaded by itself, unless "
            "that fails: the keeper's log tells"
        )


async def check_served(model: ModelVersion, models: InferenceServer, repository: ModelRepository) -> None:
    """Raises DependencyUnavailable unless the model is ready, ContractMismatch where its answers are not its own."""
    await check_ready(model, models)
    await models.check(model, CALL_TIMEOUT)
    if golden := await repository.golden(model):
        await compare_golden(models, model, golden, GOLDEN_TIMEOUT)


def _differences(expected: ModelVersion, found: ModelVersion) -> str:
    return "; ".join(
        f"{name} {getattr(expected, name)} of {expected.name} version {expected.version}, and its manifest says "
        f"{getattr(found, name)}"
        for name in ModelVersion.__slots__
        if getattr(expected, name) != getattr(found, name)
    )

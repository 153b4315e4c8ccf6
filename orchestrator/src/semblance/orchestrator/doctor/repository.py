"""The model repository: what is published, and whether the files are what was."""

from google.protobuf import json_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from semblance.orchestrator.activation import check_published
from semblance.orchestrator.doctor import configuration
from semblance.orchestrator.doctor.finding import Check, Finding
from semblance.orchestrator.doctor.live import Live
from semblance.orchestrator.doctor.looks import RepositoryLook
from semblance.orchestrator.errors import NotFound, SemblanceError
from semblance.orchestrator.release import ModelVersion

PART = "model repository"
ROLES = ("detector", "embedder")

NEWEST = Check(PART, "newest", "the first start pins the newest versions, and a release is made of what is published")
FILES = Check(
    PART,
    "files",
    "a version's bytes never change: what Triton computes with must be what was tested and what indexed the catalogue",
)
CONFIGURATION = Check(PART, "configuration", "Triton loads no model whose config.pbtxt it can't read")

_LOAD_ANEW = "; it counts when the model is loaded the next time"


async def newest(repository: RepositoryLook) -> tuple[list[Finding], list[ModelVersion]]:
    """Of both models; those that can be described."""
    findings, models = [], []
    for role in ROLES:
        check = Check(PART, f"{NEWEST.noun} {role}", NEWEST.why)
        try:
            model = await repository.newest(role)
        except NotFound as error:
            mend = f"`semblance publish`, or `semblance export {role}`; or correct SEMBLANCE_MODEL_REPOSITORY"
            findings.append(check.failure(str(error), mend))
        except SemblanceError as error:
            findings.append(check.failure(str(error), "correct SEMBLANCE_MODEL_REPOSITORY, or publish the model again"))
        else:
            models.append(model)
            findings.append(check.ok(f"version {model.version}, in {model.name}"))
    return findings, models


async def examine(repository: RepositoryLook, live: Live, published: list[ModelVersion]) -> list[Finding]:
    """`published`: the newest ones. Files of those and of what is live, and configurations of their folders."""
    findings = []
    releases = {
        model: each.release_id for each in live.releases for model in (each.release.detector, each.release.embedder)
    }
    models = list(dict.fromkeys([*releases, *published]))
    for model in models:
        findings.append(await files(repository, model, releases.get(model, "")))
    for name in dict.fromkeys(model.name for model in models):
        # Triton has one configuration for all versions of a folder.
        findings += await configured(repository, next(model for model in models if model.name == name))
    return findings


async def files(repository: RepositoryLook, model: ModelVersion, release_id: str) -> Finding:
    """`release_id`: a live release that has the model, or ""."""
    check = Check(PART, f"{FILES.noun} of {model.name} version {model.version}", FILES.why)
    try:
        if release_id:
            await check_published(model, release_id, repository)
        else:
            await repository.verify(model)
        golden = await repository.golden(model)
    except SemblanceError as error:
        return check.failure(
            str(error), "restore the version's folder from a backup, or publish and release a new version"
        )
    used = f"as in release {release_id}" if release_id else "in no live release"
    return check.ok(f"SHA-256 {model.sha256[:12]}…, {used}{'' if golden else ', without golden pictures'}")


async def configured(repository: RepositoryLook, model: ModelVersion) -> list[Finding]:
    try:
        config = json_format.Parse(await repository.config(model.name), ModelConfig())
    except SemblanceError as error:
        check = Check(PART, f"{CONFIGURATION.noun} of {model.name}", CONFIGURATION.why)
        return [check.failure(str(error), f"restore {model.name}/config.pbtxt, or publish the model again")]
    return configuration.examine(configuration.Subject(PART, model, config, _LOAD_ANEW))

"""A Triton: whether it answers, does what the service asks of it, and computes."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from google.protobuf import json_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from semblance.orchestrator.adapters.transport import Mode
from semblance.orchestrator.doctor import configuration
from semblance.orchestrator.doctor.finding import Check, Finding, Outcome
from semblance.orchestrator.doctor.live import Live
from semblance.orchestrator.doctor.looks import TritonLook
from semblance.orchestrator.errors import SemblanceError
from semblance.orchestrator.golden import compare_golden
from semblance.orchestrator.ports import InferenceServer, ModelRepository
from semblance.orchestrator.release import ModelVersion

# The one that everything was measured and tested with: NVIDIA's container 24.10, and the wheel nvidia-pytriton 0.7.0.
VERSION = "2.51.0"
# Of a call, and of an inference, in seconds.
CALL_TIMEOUT = 5.0
INFER_TIMEOUT = 30.0

REACH = Check("Triton", "reach", "every search and put needs both models")
CONTROL = Check("Triton", "control", "the service loads what its releases need, again after each restart of Triton")
REPOSITORY = Check("Triton", "repository", "Triton loads a model from its own view of the repository")
TRANSPORT = Check(
    "Triton", "shared memory", "pictures in messages cost the orchestrator several times the CPU for each"
)
READY = Check("Triton", "models", "requests of a release whose models are not loaded are refused")
LOADED = Check("Triton", "freshness", "Triton runs a model as it was configured when it was loaded")
OUTPUTS = Check(
    "Triton", "outputs", "a model that answers with an empty or a wrong output finds nothing, or the wrong items"
)

_LOAD_ANEW = "; then restart Triton: the service has it load what is needed"


@dataclass(frozen=True, slots=True)
class Server:
    """A Triton, `local` where it runs on this host: what is looked at, and inferences, with inputs in messages."""

    part: str
    look: TritonLook
    inference: InferenceServer
    local: bool


async def examine(server: Server, mode: Mode) -> list[Finding]:
    """One failure where it does not answer."""
    reached = await reach(server)
    if reached.outcome is Outcome.FAILURE:
        return [reached]
    return [reached, await control(server), await shared_memory(server, mode)]


async def examine_models(
    server: Server, live: Live, models: Collection[ModelVersion], repository: ModelRepository
) -> list[Finding]:
    """`models`: those that it should serve."""
    findings = await folders(server, models)
    for model in models:
        findings += await served(server, live, model, repository)
    return findings


async def reach(server: Server) -> Finding:
    check = REACH.of(server.part)
    try:
        version = await server.look.version(CALL_TIMEOUT)
    except SemblanceError as error:
        return check.failure(
            str(error), "start Triton, or correct SEMBLANCE_TRITON_URL; nothing else of it could be looked at"
        )
    if version != VERSION:
        return check.warning(f"version {version}, and {VERSION} is what was tested", "use NVIDIA's container 24.10")
    return check.ok(f"version {version}")


async def control(server: Server) -> Finding:
    check = CONTROL.of(server.part)
    try:
        explicit = await server.look.is_explicit(CALL_TIMEOUT)
    except SemblanceError as error:
        return check.unknown(str(error))
    if not explicit:
        return check.failure("it loads no models on request", "start Triton with --model-control-mode=explicit")
    return check.ok("explicit")


async def shared_memory(server: Server, mode: Mode) -> Finding:
    check = TRANSPORT.of(server.part)
    if mode is Mode.BYTES:
        return check.ok("not used: SEMBLANCE_TRANSPORT is bytes")
    try:
        refusal = await server.look.refusal(CALL_TIMEOUT)
    except SemblanceError as error:
        return check.unknown(str(error))
    if not refusal:
        return check.ok("it takes a page of this host's")
    mend = (
        "let both have one /dev/shm (in containers `ipc: shareable` of one and `ipc: container:…` of the other) and "
        "one user; or set SEMBLANCE_TRANSPORT=bytes"
    )
    if mode is Mode.SHARED_MEMORY:
        return check.failure(f"SEMBLANCE_TRANSPORT is shared_memory, and it takes none: {refusal}", mend)
    if server.local:
        return check.warning(f"it takes none, and pictures go in messages: {refusal}", mend)
    return check.ok("it runs elsewhere, and pictures go in messages")


async def folders(server: Server, models: Collection[ModelVersion]) -> list[Finding]:
    if not models:
        return []
    check = REPOSITORY.of(server.part)
    try:
        there = await server.look.folders(CALL_TIMEOUT)
    except SemblanceError as error:
        return [check.unknown(str(error))]
    missing = sorted({model.name for model in models} - there)
    if missing:
        return [
            check.failure(
                f"Triton does not see {', '.join(missing)}; it sees {', '.join(sorted(there)) or 'nothing'}",
                "start Triton with --model-repository naming the folder that SEMBLANCE_MODEL_REPOSITORY names, or "
                "mount it there",
            )
        ]
    return [check.ok(f"has {', '.join(sorted({model.name for model in models}))}")]


async def served(server: Server, live: Live, model: ModelVersion, repository: ModelRepository) -> list[Finding]:
    title = f"{model.name} version {model.version}"
    check = Check(server.part, title, READY.why)
    try:
        ready = await server.inference.ready_versions(model.name, CALL_TIMEOUT)
        if model.version not in ready:
            return [absent(check, live)]
        config = await server.look.config(model, CALL_TIMEOUT)
    except SemblanceError as error:
        return [check.unknown(str(error))]
    subject = configuration.Subject(server.part, model, config, _LOAD_ANEW)
    findings = configuration.examine(subject)
    whole = await outputs(server, model, config)
    findings.append(whole)
    if whole.outcome is Outcome.OK:
        findings.append(await answers(server, model, repository))
    try:
        written = json_format.Parse(await repository.config(model.name), ModelConfig())
    except SemblanceError:
        # What is wrong with the repository has a finding there.
        return findings
    if changed := configuration.differences(config, written):
        findings.append(
            Check(server.part, f"{LOADED.noun} of {model.name}", LOADED.why).warning(
                f"it was loaded before {', '.join(changed)} changed in its config.pbtxt",
                "restart Triton: the service has it load what is needed",
            )
        )
    return findings


def absent(check: Check, live: Live) -> Finding:
    found = "not loaded"
    if live.problem:
        return check.unknown(f"{found}; whether it should be is not known: {live.problem}")
    if live.present:
        return check.failure(
            f"{found}, though an orchestrator runs that should have had it loaded",
            "see that orchestrator's log, and Triton's",
        )
    if live.releases:
        return check.warning(found, "start the service: it has Triton load what its releases need")
    return check.ok(f"{found} yet; the first start has it loaded")


async def outputs(server: Server, model: ModelVersion, config: ModelConfig) -> Finding:
    """Whether one is whole, of a black picture."""
    check = Check(server.part, f"output of {model.name} version {model.version}", OUTPUTS.why)
    try:
        await server.inference.check(model, CALL_TIMEOUT)
        with server.inference.batch(model, 1) as batch:
            batch.pixels[:] = np.zeros(batch.pixels.shape, np.uint8)
            await batch.infer(INFER_TIMEOUT)
    except SemblanceError as error:
        # `runtime` is a file of Python where the backend is one.
        if config.runtime.endswith(".py"):
            return check.failure(
                str(error),
                "have numpy 1.26 in the environment of Triton's Python backend, where numpy 2 makes every output empty "
                "(`make setup` builds such a one), and restart Triton; if it is not that, see its log",
            )
        return check.failure(str(error), "see Triton's log; restart it, or publish the model again")
    return check.ok("whole")


async def answers(server: Server, model: ModelVersion, repository: ModelRepository) -> Finding:
    check = Check(server.part, f"answers of {model.name} version {model.version}", OUTPUTS.why)
    try:
        golden = await repository.golden(model)
        if golden is None:
            return check.unknown("it was exported without golden pictures; export the weights anew to have them")
        await compare_golden(server.inference, model, golden, INFER_TIMEOUT)
    except SemblanceError as error:
        return check.failure(
            str(error), "see that Triton reads the repository that was published to, and restart it; or export anew"
        )
    return check.ok(f"those of its {len(golden.inputs)} golden pictures")

"""A model's Triton configuration, the repository's or the loaded one: what is known to cost throughput or latency."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from tritonclient.grpc import model_config_pb2
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup

from semblance.orchestrator.doctor.finding import Check, Finding
from semblance.orchestrator.release import ModelVersion, Tensor

# A lone request waits so long twice, in the detector's queue and in the embedder's, in microseconds.
LONGEST_DELAY = 5000
# Every batch size up to this one occurs at any time; larger ones under load.
SMALL_BATCHES = 8

SHAPE = Check("", "contract", "what the service sends and expects is what the manifest says; Triton refuses the rest")
BATCHING = Check(
    "", "batching", "requests of different callers share a batch where they wait for each other, and not for too long"
)
INSTANCES = Check(
    "",
    "instances",
    "each instance on a CPU computes with all its cores: several take them from each other, and without a number "
    "ONNX Runtime's backend makes two",
)
WARM_UP = Check("", "warm-up", "the first request of each batch size that was not warmed up takes seconds")


@dataclass(frozen=True, slots=True)
class Subject:
    """A configuration of a model, and of which `part` it is; `mend` says what to do once the file is corrected."""

    part: str
    model: ModelVersion
    config: ModelConfig
    mend: str = ""

    def of(self, check: Check) -> Check:
        return Check(self.part, f"{check.noun} of {self.model.name}", check.why)


def examine(subject: Subject) -> list[Finding]:
    """What is wrong, or one finding that says what is configured."""
    checks: tuple[Callable[[Subject], Finding | None], ...] = (shape, batching, instances, warm_up)
    wrong = [found for check in checks if (found := check(subject))]
    if wrong:
        return wrong
    config = subject.config
    return [
        Check(subject.part, f"configuration of {subject.model.name}", "").ok(
            f"batches up to {config.max_batch_size}, requests wait "
            f"{config.dynamic_batching.max_queue_delay_microseconds:,} µs for others, {_instances(config)}, "
            f"{len(config.model_warmup)} batch sizes warmed up"
        )
    ]


def shape(subject: Subject) -> Finding | None:
    model, config = subject.model, subject.config
    wrong = []
    if config.max_batch_size < model.max_batch_size:
        wrong.append(f"max_batch_size {config.max_batch_size}, and {model.max_batch_size} expected")
    for side, given, expected in (("input", config.input, model.input), ("output", config.output, model.output)):
        described = [Tensor(each.name, _type(each.data_type), tuple(each.dims)) for each in given]
        if described != [expected]:
            wrong.append(f"{side} {_texts(described)}, and {_texts([expected])} expected")
    if not wrong:
        return None
    return subject.of(SHAPE).failure("; ".join(wrong), _publish_again(subject))


def batching(subject: Subject) -> Finding | None:
    config, check = subject.config, subject.of(BATCHING)
    if not config.HasField("dynamic_batching"):
        return check.warning(
            "no dynamic_batching: every request is computed alone", _correct(subject, "dynamic_batching { }")
        )
    delay = config.dynamic_batching.max_queue_delay_microseconds
    if delay > LONGEST_DELAY:
        return check.warning(
            f"a lone request waits {delay:,} µs for others",
            _correct(subject, "max_queue_delay_microseconds: 500"),
        )
    # Triton itself adds the largest size.
    preferred = [size for size in config.dynamic_batching.preferred_batch_size if size != config.max_batch_size]
    if preferred:
        return check.warning(
            f"preferred_batch_size {', '.join(map(str, preferred))}: requests wait for such a batch though the model "
            "is idle",
            _correct(subject, "no preferred_batch_size, the delay alone"),
        )
    return None


def instances(subject: Subject) -> Finding | None:
    config, check = subject.config, subject.of(INSTANCES)
    if not config.instance_group:
        return check.warning(
            "no instance_group", _correct(subject, "instance_group { count: 1 kind: KIND_CPU }, or KIND_GPU")
        )
    on_cpu = sum(group.count for group in config.instance_group if group.kind == ModelInstanceGroup.KIND_CPU)
    if on_cpu > 1 and "intra_op_thread_count" not in config.parameters:
        return check.warning(
            f"{on_cpu} instances on the CPU, each with all its cores",
            _correct(subject, "count: 1, or parameters intra_op_thread_count with a share of the cores"),
        )
    return None


def warm_up(subject: Subject) -> Finding | None:
    largest = subject.config.max_batch_size
    warmed = {sample.batch_size for sample in subject.config.model_warmup}
    missing = [size for size in (*range(1, min(largest, SMALL_BATCHES) + 1), largest) if size not in warmed]
    if not missing:
        return None
    return subject.of(WARM_UP).warning(
        f"none at batch size {', '.join(map(str, dict.fromkeys(missing)))}",
        _correct(subject, "model_warmup for each batch size"),
    )


def differences(config: ModelConfig, other: ModelConfig) -> Collection[str]:
    """The keys in which a configuration that was loaded is not the repository's any more."""
    compared: dict[str, Callable[[ModelConfig], object]] = {
        "max_batch_size": lambda each: each.max_batch_size,
        "max_queue_delay_microseconds": lambda each: each.dynamic_batching.max_queue_delay_microseconds,
        "instance_group": lambda each: [(group.kind, group.count, *group.gpus) for group in each.instance_group],
        "execution_accelerators": lambda each: each.optimization.execution_accelerators,
        "model_warmup": lambda each: {sample.batch_size for sample in each.model_warmup},
        "parameters": lambda each: {name: value.string_value for name, value in each.parameters.items()},
    }
    return [name for name, value in compared.items() if value(config) != value(other)]


def _correct(subject: Subject, wanted: str) -> str:
    return f"in config.pbtxt of {subject.model.name} have {wanted}{subject.mend}"


def _publish_again(subject: Subject) -> str:
    return (
        f"restore config.pbtxt of {subject.model.name}; `semblance publish` renders it with the next version"
        f"{subject.mend}"
    )


def _instances(config: ModelConfig) -> str:
    count = sum(group.count * max(1, len(group.gpus)) for group in config.instance_group)
    return "1 instance" if count == 1 else f"{count} instances"


def _type(number: int) -> str:
    return str(model_config_pb2.DataType.Name(number)).removeprefix("TYPE_")


def _texts(tensors: Collection[Tensor]) -> str:
    return ", ".join(f"{each.name} {each.data_type} {list(each.dims)}" for each in tensors) or "none"

"""What a model's configuration asks of ONNX Runtime."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Config = Mapping[str, Any]

OPENVINO = "openvino"

# The scheduler, the version policy and the like are the business of Triton's core, whatever the backend.
CORE_KEYS = frozenset(
    {
        "name",
        "platform",
        "backend",
        "runtime",
        "version_policy",
        "max_batch_size",
        "input",
        "output",
        "optimization",
        "dynamic_batching",
        "instance_group",
        "default_model_filename",
        "metric_tags",
        "parameters",
        "model_warmup",
        "response_cache",
        "scheduling_choice",
        "model_metrics",
    }
)
CORE_OPTIMIZATION_KEYS = frozenset(
    {
        "priority",
        "input_pinned_memory",
        "output_pinned_memory",
        "gather_kernel_buffer_threshold",
        "eager_batching",
        "execution_accelerators",
        "graph",
    }
)
TENSOR_KEYS = frozenset({"name", "data_type", "dims", "format", "label_filename"})
# The C++ backend reads these on GPU instances only, and so do we: never.
GPU_PARAMETERS = frozenset({"cudnn_conv_algo_search", "gpu_mem_limit", "arena_extend_strategy"})
# `optimization.graph.level` as the C++ backend maps it to ORT's levels; 0 is its default.
GRAPH_LEVELS = {-1: "ORT_ENABLE_BASIC", 0: "ORT_ENABLE_ALL", 1: "ORT_ENABLE_EXTENDED", 2: "ORT_DISABLE_ALL"}


class ConfigError(ValueError):
    """The model's config.pbtxt asks for what this backend can't give."""


@dataclass(frozen=True)
class Settings:
    """The settings of one session. Thread counts of 0 leave the choice to ONNX Runtime."""

    filename: str
    openvino: bool
    graph_level: str
    parallel: bool
    intra_op_threads: int
    inter_op_threads: int
    memory_arena: bool
    memory_pattern: bool
    arena_shrinkage: str
    device_allocator_for_initializers: bool

    @classmethod
    def of(cls, config: Config, kind: str) -> "Settings":
        """Reads the configuration that Triton hands to a model instance of `kind` ("CPU").

        Raises:
            ConfigError: a key, parameter or accelerator that this backend does not support, or a bad value.
        """
        if kind != "CPU":
            raise ConfigError(f"instance_group kind KIND_{kind} needs another backend: this one serves KIND_CPU only")
        check_keys(config)
        optimization = config.get("optimization", {})
        parameters = Parameters(config.get("parameters", {}))
        settings = cls(
            filename=config.get("default_model_filename") or "model.onnx",
            openvino=wants_openvino(optimization),
            graph_level=graph_level(optimization),
            parallel=parameters.choice("execution_mode", {"0": False, "1": True}, False),
            intra_op_threads=parameters.count("intra_op_thread_count"),
            inter_op_threads=parameters.count("inter_op_thread_count"),
            memory_arena=parameters.flag("enable_mem_arena", True),
            memory_pattern=parameters.flag("enable_mem_pattern", True),
            arena_shrinkage=parameters.text("memory.enable_memory_arena_shrinkage"),
            device_allocator_for_initializers=parameters.choice(
                "session.use_device_allocator_for_initializers", {"0": False, "1": True}, False
            ),
        )
        parameters.refuse_the_rest()
        return settings


class Parameters:
    """The `parameters` of a config; each is read once, and one that nobody read is refused."""

    def __init__(self, parameters: Mapping[str, Mapping[str, str]]) -> None:
        self._values = {name: value["string_value"] for name, value in parameters.items()}
        self._known: list[str] = []

    def text(self, name: str) -> str:
        self._known.append(name)
        return self._values.get(name, "")

    def choice(self, name: str, choices: Mapping[str, bool], default: bool) -> bool:
        text = self.text(name)
        if not text:
            return default
        if text.lower() not in choices:
            raise ConfigError(f"parameter {name} is {text!r}; expected one of {', '.join(choices)}")
        return choices[text.lower()]

    def flag(self, name: str, default: bool) -> bool:
        return self.choice(name, {"true": True, "1": True, "false": False, "0": False}, default)

    def count(self, name: str) -> int:
        text = self.text(name) or "0"
        if not text.isdecimal():
            raise ConfigError(f"parameter {name} is {text!r}; expected a number of threads, or 0 for the default")
        return int(text)

    def refuse_the_rest(self) -> None:
        unknown = sorted(self._values.keys() - set(self._known) - GPU_PARAMETERS)
        if unknown:
            raise ConfigError(
                f"unsupported parameter {', '.join(unknown)}; this backend supports {', '.join(sorted(self._known))}"
            )


def check_keys(config: Config) -> None:
    """Refuses keys that are set and that neither Triton's core nor this backend would honour."""
    refuse_unknown("", config, CORE_KEYS)
    refuse_unknown("optimization.", config.get("optimization", {}), CORE_OPTIMIZATION_KEYS)
    for direction in ("input", "output"):
        for tensor in config.get(direction, []):
            refuse_unknown(f"{direction} {tensor['name']!r}: ", tensor, TENSOR_KEYS)


def refuse_unknown(prefix: str, message: Config, known: frozenset[str]) -> None:
    unknown = sorted(key for key, value in message.items() if key not in known and is_set(value))
    if unknown:
        raise ConfigError(f"unsupported key {', '.join(prefix + key for key in unknown)} in config.pbtxt")


def is_set(value: Any) -> bool:
    """Whether a field has another value than protobuf's default; Triton writes the defaults out."""
    if isinstance(value, Mapping):
        return any(is_set(field) for field in value.values())
    return bool(value)


def wants_openvino(optimization: Config) -> bool:
    accelerators = optimization.get("execution_accelerators", {})
    refuse_unknown(
        "optimization.execution_accelerators.",
        accelerators,
        frozenset({"cpu_execution_accelerator", "gpu_execution_accelerator"}),
    )
    wanted = accelerators.get("cpu_execution_accelerator", [])
    for accelerator in wanted:
        name = accelerator["name"]
        if name != OPENVINO:
            raise ConfigError(f"unknown cpu_execution_accelerator {name!r}; this backend has {OPENVINO}")
        if parameters := accelerator.get("parameters"):
            raise ConfigError(
                f"unsupported parameter {', '.join(sorted(parameters))} of cpu_execution_accelerator {OPENVINO}; "
                "it takes none (precision is a property of the model file)"
            )
    return bool(wanted)


def graph_level(optimization: Config) -> str:
    level = int(optimization.get("graph", {}).get("level", 0))
    if level not in GRAPH_LEVELS:
        raise ConfigError(f"optimization.graph.level is {level}; expected one of {sorted(GRAPH_LEVELS)}")
    return GRAPH_LEVELS[level]

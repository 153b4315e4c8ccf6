"""Opens the ONNX Runtime session that the settings ask for, and proves that it is that one."""

import json
from pathlib import Path

import onnxruntime

from semblance.serving.backend.settings import ConfigError, Settings

CPU_PROVIDER = "CPUExecutionProvider"
OPENVINO_PROVIDER = "OpenVINOExecutionProvider"
# A thread that is tied to a core holds up all others of its model while another process has that core. Without that,
# fp32 models on two cores gave 1.04 to 1.1 times as many photos.
OPENVINO_SETTINGS = {"CPU": {"ENABLE_CPU_PINNING": "NO"}}


def open_session(path: Path, settings: Settings) -> onnxruntime.InferenceSession:
    """The session of a model file (or of `model.onnx` in a folder, as the C++ backend has it).

    Raises:
        ConfigError: no such file, or the accelerator is not in this build or took no part of the graph.
    """
    if path.is_dir():
        path = path / "model.onnx"
    if not path.is_file():
        raise ConfigError(f"there is no model file {path}")
    wanted = OPENVINO_PROVIDER if settings.openvino else CPU_PROVIDER
    if wanted not in onnxruntime.get_available_providers():
        raise ConfigError(f"onnxruntime {onnxruntime.__version__} of this environment was built without {wanted}")
    session = onnxruntime.InferenceSession(path, session_options(settings), providers=[provider(settings)])
    session.disable_fallback()
    if session.get_providers()[0] != wanted:
        raise ConfigError(f"ONNX Runtime gave {session.get_providers()} instead of {wanted}")
    if settings.openvino and not nodes_of(session, OPENVINO_PROVIDER):
        raise ConfigError("OpenVINO took no node of the model; remove cpu_execution_accelerator from config.pbtxt")
    return session


def session_options(settings: Settings) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, settings.graph_level)
    options.execution_mode = (
        onnxruntime.ExecutionMode.ORT_PARALLEL if settings.parallel else onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    )
    options.intra_op_num_threads = settings.intra_op_threads
    options.inter_op_num_threads = settings.inter_op_threads
    options.enable_cpu_mem_arena = settings.memory_arena
    options.enable_mem_pattern = settings.memory_pattern
    options.add_session_config_entry(
        "session.use_device_allocator_for_initializers", str(int(settings.device_allocator_for_initializers))
    )
    # Threads that spin while they wait for work take the cores from the other model and from the service: with int8
    # models on two cores a fifth of the throughput.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def provider(settings: Settings) -> str | tuple[str, dict[str, str]]:
    if not settings.openvino:
        return CPU_PROVIDER
    options = {"device_type": "CPU", "load_config": json.dumps(OPENVINO_SETTINGS)}
    if settings.intra_op_threads:
        options["num_of_threads"] = str(settings.intra_op_threads)
    return OPENVINO_PROVIDER, options


def nodes_of(session: onnxruntime.InferenceSession, provider: str) -> int:
    """How many nodes of the graph a provider runs."""
    subgraphs = session.get_provider_graph_assignment_info()
    return sum(len(subgraph.get_nodes()) for subgraph in subgraphs if subgraph.ep_name == provider)


def run_options(settings: Settings) -> onnxruntime.RunOptions:
    options = onnxruntime.RunOptions()
    if settings.arena_shrinkage:
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", settings.arena_shrinkage)
    return options

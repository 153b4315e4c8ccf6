import pytest

from semblance.serving.backend.settings import ConfigError, Settings

# As Triton hands a configuration to the backend: with protobuf's defaults written out.
DEFAULTS = {
    "name": "m",
    "backend": "onnxruntime",
    "max_batch_size": 8,
    "input": [{"name": "x", "data_type": "TYPE_UINT8", "dims": [4], "is_shape_tensor": False, "optional": False}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [4], "label_filename": "", "is_shape_tensor": False}],
    "batch_input": [],
    "batch_output": [],
    "optimization": {
        "priority": "PRIORITY_DEFAULT",
        "input_pinned_memory": {"enable": True},
        "output_pinned_memory": {"enable": True},
        "gather_kernel_buffer_threshold": 0,
        "eager_batching": False,
    },
    "dynamic_batching": {"max_queue_delay_microseconds": 500},
    "instance_group": [{"count": 1, "kind": "KIND_CPU"}],
    "default_model_filename": "",
    "model_transaction_policy": {"decoupled": False},
    "model_warmup": [],
}


def parameters(**values: str) -> dict[str, object]:
    return DEFAULTS | {"parameters": {name: {"string_value": value} for name, value in values.items()}}


def accelerators(*cpu: dict[str, object], **more: object) -> dict[str, object]:
    return DEFAULTS | {"optimization": {"execution_accelerators": {"cpu_execution_accelerator": list(cpu), **more}}}


def test_defaults_are_those_of_the_cpp_backend() -> None:
    assert Settings.of(DEFAULTS, "CPU") == Settings(
        filename="model.onnx",
        openvino=False,
        graph_level="ORT_ENABLE_ALL",
        parallel=False,
        intra_op_threads=0,
        inter_op_threads=0,
        memory_arena=True,
        memory_pattern=True,
        arena_shrinkage="",
        device_allocator_for_initializers=False,
    )


def test_every_parameter_is_read() -> None:
    config = parameters(
        **{
            "execution_mode": "1",
            "intra_op_thread_count": "3",
            "inter_op_thread_count": "2",
            "enable_mem_arena": "false",
            "enable_mem_pattern": "0",
            "memory.enable_memory_arena_shrinkage": "cpu:0",
            "session.use_device_allocator_for_initializers": "1",
        }
    )
    config |= {"default_model_filename": "net.onnx", "optimization": {"graph": {"level": -1}}}
    assert Settings.of(config, "CPU") == Settings(
        filename="net.onnx",
        openvino=False,
        graph_level="ORT_ENABLE_BASIC",
        parallel=True,
        intra_op_threads=3,
        inter_op_threads=2,
        memory_arena=False,
        memory_pattern=False,
        arena_shrinkage="cpu:0",
        device_allocator_for_initializers=True,
    )


def test_openvino_is_wanted() -> None:
    assert Settings.of(accelerators({"name": "openvino"}), "CPU").openvino


def test_gpu_settings_are_skipped() -> None:
    assert not Settings.of(accelerators(gpu_execution_accelerator=[{"name": "tensorrt"}]), "CPU").openvino
    Settings.of(parameters(gpu_mem_limit="1", cudnn_conv_algo_search="1", arena_extend_strategy="0"), "CPU")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (parameters(share_session_between_instances="true"), "unsupported parameter share_session_between_instances"),
        (parameters(enable_mem_arena="perhaps"), "parameter enable_mem_arena is 'perhaps'; expected one of true"),
        (parameters(inter_op_thread_count="-1"), "parameter inter_op_thread_count is '-1'"),
        (DEFAULTS | {"optimization": {"graph": {"level": 5}}}, "optimization.graph.level is 5"),
        (DEFAULTS | {"optimization": {"cuda": {"graphs": True}}}, "unsupported key optimization.cuda"),
        (DEFAULTS | {"sequence_batching": {"state": [{"input_name": "s"}]}}, "unsupported key sequence_batching"),
        (DEFAULTS | {"model_transaction_policy": {"decoupled": True}}, "unsupported key model_transaction_policy"),
        (DEFAULTS | {"input": [{"name": "x", "allow_ragged_batch": True}]}, "key input 'x': allow_ragged_batch"),
        (accelerators({"name": "xnnpack"}), "unknown cpu_execution_accelerator 'xnnpack'; this backend has openvino"),
        (accelerators({"name": "openvino", "parameters": {"num_of_threads": "1"}}), "parameter num_of_threads of"),
        (accelerators(npu_execution_accelerator=[{"name": "x"}]), "unsupported key .*npu_execution_accelerator"),
    ],
)
def test_what_is_not_supported_is_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings.of(config, "CPU")


def test_other_instance_kinds_are_refused() -> None:
    with pytest.raises(ConfigError, match="KIND_GPU"):
        Settings.of(DEFAULTS, "GPU")

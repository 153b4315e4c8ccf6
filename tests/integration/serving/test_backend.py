"""The Python-based `onnxruntime` backend inside a real Triton."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from semblance.serving.process import StartError
from semblance.serving.triton import Triton

Add = Callable[..., str]


def tensor(values: np.ndarray[Any, Any]) -> InferInput:
    made = InferInput("x", list(values.shape), np_to_triton_dtype(values.dtype))
    made.set_data_from_numpy(values)
    return made


def infer(server: Triton, name: str, values: np.ndarray[Any, Any], version: str = "") -> Any:
    with InferenceServerClient(server.grpc) as client:
        return client.infer(name, [tensor(values)], model_version=version, client_timeout=10).as_numpy("y")


def log_since(server: Triton, name: str) -> str:
    """What Triton logged from the first mention of a model on."""
    text = server.log.read_text(errors="replace")
    return text[text.index(name) :]


def bytes_of(rows: int, first: int = 1) -> np.ndarray[Any, Any]:
    return np.arange(first, first + 4 * rows, dtype=np.uint8).reshape(rows, 4)


async def test_dynamic_batching_merges_requests_and_gives_each_its_own_rows(
    server: Triton, add: Add, graphs: SimpleNamespace
) -> None:
    batching = "dynamic_batching { max_queue_delay_microseconds: 200000 }"
    name = add(graphs.config(batching), graphs.scaling(2.0))
    server.load(name)
    requests = [bytes_of(1 + number % 2, 3 * number) for number in range(12)]
    async with aio.InferenceServerClient(server.grpc) as client:
        before = (await client.get_inference_statistics(name, as_json=True))["model_stats"][0]
        answers = await asyncio.gather(*(client.infer(name, [tensor(request)]) for request in requests))
        after = (await client.get_inference_statistics(name, as_json=True))["model_stats"][0]
    for request, answer in zip(requests, answers, strict=True):
        np.testing.assert_array_equal(answer.as_numpy("y"), 2.0 * request)
    executions = int(after["execution_count"]) - int(before["execution_count"])
    assert int(after["inference_count"]) - int(before["inference_count"]) == 18
    assert executions < 12, "no two requests were merged"


async def test_merged_requests_are_one_run_of_the_session(server: Triton, add: Add, graphs: SimpleNamespace) -> None:
    batching = "dynamic_batching { max_queue_delay_microseconds: 200000 }"
    name = add(graphs.config(batching), graphs.counting())
    server.load(name)
    async with aio.InferenceServerClient(server.grpc) as client:
        answers = await asyncio.gather(*(client.infer(name, [tensor(bytes_of(1))]) for _ in range(16)))
    assert max(answer.as_numpy("y").max() for answer in answers) == 8


def test_versions_serve_at_once(server: Triton, add: Add, graphs: SimpleNamespace) -> None:
    name = add(graphs.config("version_policy { all {} }"), graphs.scaling(2.0), graphs.scaling(3.0))
    server.load(name)
    np.testing.assert_array_equal(infer(server, name, bytes_of(1), "1"), [[2, 4, 6, 8]])
    np.testing.assert_array_equal(infer(server, name, bytes_of(1), "2"), [[3, 6, 9, 12]])


def test_only_the_newest_version_is_loaded_by_default(server: Triton, add: Add, graphs: SimpleNamespace) -> None:
    name = add(graphs.config(), graphs.scaling(2.0), graphs.scaling(3.0))
    server.load(name)
    np.testing.assert_array_equal(infer(server, name, bytes_of(1)), [[3, 6, 9, 12]])
    with pytest.raises(InferenceServerException, match="version 1"):
        infer(server, name, bytes_of(1), "1")


def test_the_model_file_may_have_another_name(server: Triton, add: Add, graphs: SimpleNamespace) -> None:
    name = add(graphs.config('default_model_filename: "weights.onnx"'), graphs.scaling(2.0), file="weights.onnx")
    server.load(name)
    np.testing.assert_array_equal(infer(server, name, bytes_of(1)), [[2, 4, 6, 8]])


def test_a_model_without_batching(server: Triton, add: Add, graphs: SimpleNamespace) -> None:
    name = add(graphs.config(batch=0, dims="[2, 4]", y="[2, 4]"), graphs.scaling(2.0, symbol=(2, 4), out=(2, 4)))
    server.load(name)
    np.testing.assert_array_equal(infer(server, name, bytes_of(2)), 2.0 * bytes_of(2))


@pytest.mark.parametrize(
    ("declared", "graph_dims", "accepted"),
    [
        ("[4]", ("B", 4), True),
        ("[-1]", ("B", "N"), True),
        ("[4]", ("B", "N"), False),
        ("[-1]", ("B", 4), False),
        ("[4, 1]", ("B", 4), False),
    ],
)
def test_output_dims_must_be_equal(
    server: Triton, add: Add, graphs: SimpleNamespace, declared: str, graph_dims: tuple[int | str, ...], accepted: bool
) -> None:
    """As the C++ backend has it: dynamic equals dynamic, and nothing else matches it."""
    symbol = graph_dims if "N" in graph_dims else ("B", 4)
    graph = graphs.scaling(2.0, symbol=symbol, out=graph_dims)
    name = add(graphs.config(y=declared, dims="[4]"), graph)
    if accepted:
        if "N" not in graph_dims:
            server.load(name)
        else:
            with InferenceServerClient(server.grpc) as client:
                client.load_model(name)
        np.testing.assert_array_equal(infer(server, name, bytes_of(1)), [[2, 4, 6, 8]])
    else:
        with pytest.raises(StartError, match=r"output 'y': the model's shape is \[-1,(4|-1)\], and config.pbtxt says"):
            server.load(name)


@pytest.mark.parametrize(
    ("extra", "changes", "message"),
    [
        ('parameters { key: "intra_ops" value { string_value: "1" } }', {}, "unsupported parameter intra_ops"),
        ('parameters { key: "execution_mode" value { string_value: "2" } }', {}, "execution_mode is '2'"),
        ('parameters { key: "intra_op_thread_count" value { string_value: "many" } }', {}, "is 'many'"),
        (
            'optimization { execution_accelerators { cpu_execution_accelerator { name: "onednn" } } }',
            {},
            "unknown cpu_execution_accelerator 'onednn'",
        ),
        (
            'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" '
            'parameters { key: "precision" value: "bf16" } } } }',
            {},
            "unsupported parameter precision",
        ),
        ('model_operations { op_library_filename: "ops.so" }', {}, "unsupported key model_operations"),
        ("", {"y": "[4] reshape { shape: [4] }"}, "unsupported key output 'y': reshape"),
        ("", {"x": "TYPE_INT8"}, "config.pbtxt says TYPE_INT8, and the model has TYPE_UINT8"),
        ("", {"output": "z"}, "output 'z' of config.pbtxt is not in the model, which has y"),
        ("", {"dims": "[5]"}, r"input 'x': the model's shape is \[-1,4\]"),
        ("", {"group": "count: 1 kind: KIND_GPU"}, "KIND_GPU"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    server: Triton, add: Add, graphs: SimpleNamespace, extra: str, changes: dict[str, str], message: str
) -> None:
    name = add(graphs.config(extra, **changes), graphs.scaling(2.0))
    with pytest.raises(StartError, match=message):
        server.load(name)


def test_gpu_settings_are_skipped_on_a_cpu(server: Triton, add: Add, graphs: SimpleNamespace) -> None:
    extra = (
        'optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } } '
        'parameters { key: "gpu_mem_limit" value { string_value: "1" } }'
    )
    name = add(graphs.config(extra, group="count: 1 kind: KIND_AUTO"), graphs.scaling(2.0))
    server.load(name)
    np.testing.assert_array_equal(infer(server, name, bytes_of(1)), [[2, 4, 6, 8]])


OPENVINO = 'optimization { execution_accelerators { cpu_execution_accelerator { name: "openvino" } } }'


def test_openvino_runs_the_graph(server: Triton, add: Add, graphs: SimpleNamespace) -> None:
    name = add(graphs.config(OPENVINO), graphs.scaling(2.0))
    server.load(name)
    np.testing.assert_array_equal(infer(server, name, bytes_of(3)), 2.0 * bytes_of(3))
    assert f"{name}_0_0 version 1: OpenVINOExecutionProvider" in log_since(server, name)


def test_openvino_is_refused_where_it_takes_no_part_of_the_graph(
    server: Triton, add: Add, graphs: SimpleNamespace
) -> None:
    plain = add(graphs.config(x="TYPE_FP32"), graphs.foreign(), domain="ai.onnx.ml")
    server.load(plain)
    name = add(graphs.config(OPENVINO, x="TYPE_FP32"), graphs.foreign(), domain="ai.onnx.ml")
    with pytest.raises(StartError, match="OpenVINO took no node of the model"):
        server.load(name)


def stubs(server: Triton, name: str) -> list[psutil.Process]:
    children = psutil.Process(server.pid).children()
    return [child for child in children if f"models/{name}/" in " ".join(child.cmdline())]


def test_instance_count_and_threads_are_honoured(server: Triton, add: Add, graphs: SimpleNamespace) -> None:
    threads = []
    for count in (1, 4):
        parameter = f'parameters {{ key: "intra_op_thread_count" value {{ string_value: "{count}" }} }}'
        name = add(graphs.config(parameter, group="count: 2 kind: KIND_CPU"), graphs.scaling(2.0))
        server.load(name)
        assert len(stubs(server, name)) == 2
        threads.append(stubs(server, name)[0].num_threads())
    assert threads[1] - threads[0] == 3


def test_warm_up_runs(server: Triton, add: Add, graphs: SimpleNamespace) -> None:
    warm_up = (
        'model_warmup { name: "eight" batch_size: 8 count: 3 '
        'inputs { key: "x" value { data_type: TYPE_UINT8 dims: [4] random_data: true } } }'
    )
    name = add(graphs.config(warm_up), graphs.scaling(2.0))
    with InferenceServerClient(server.grpc) as client:
        client.update_log_settings({"log_verbose_level": 1})
        client.load_model(name)
        client.update_log_settings({"log_verbose_level": 0})
    assert log_since(server, name).count(f"model {name}, instance {name}_0_0, executing 8 requests") == 3


async def test_an_error_is_answered_to_every_merged_request_and_serving_goes_on(
    server: Triton, add: Add, graphs: SimpleNamespace
) -> None:
    batching = "dynamic_batching { max_queue_delay_microseconds: 200000 }"
    name = add(graphs.config(batching, x="TYPE_INT64", dims="[1]", y="[1]"), graphs.picking())
    async with aio.InferenceServerClient(server.grpc) as client:
        await client.load_model(name)
        answers = await asyncio.gather(
            *(client.infer(name, [tensor(np.array([[index]]))]) for index in (0, 7)), return_exceptions=True
        )
        assert isinstance(answers[1], InferenceServerException)
        assert "indices element out of data bounds" in str(answers[1])
        assert (await client.infer(name, [tensor(np.array([[1]]))])).as_numpy("y").item() == 20.0


def test_only_the_outputs_asked_for_are_sent(server: Triton, add: Add, graphs: SimpleNamespace) -> None:
    graph = graphs.scaling(2.0)
    graph.output.append(helper.make_tensor_value_info("absolute", TensorProto.FLOAT, ["B", 4]))
    name = add(graphs.config('output { name: "absolute" data_type: TYPE_FP32 dims: [4] }'), graph)
    server.load(name)
    with InferenceServerClient(server.grpc) as client:
        answer = client.infer(name, [tensor(bytes_of(1))], outputs=[InferRequestedOutput("absolute")])
    np.testing.assert_array_equal(answer.as_numpy("absolute"), bytes_of(1))
    assert answer.as_numpy("y") is None


@pytest.mark.parametrize(("length", "message"), [(2.0, "lengths 2.0000 to 2.0000"), (float("nan"), "not finite")])
def test_an_output_that_is_not_whole_is_refused(
    server: Triton, add: Add, graphs: SimpleNamespace, length: float, message: str
) -> None:
    good = add(graphs.config(dims="[2]", y="[2]", output="embedding"), graphs.lengthy(1.0))
    server.load(good)
    bad = add(graphs.config(dims="[2]", y="[2]", output="embedding"), graphs.lengthy(length))
    with pytest.raises(StartError, match=message):
        server.load(bad)

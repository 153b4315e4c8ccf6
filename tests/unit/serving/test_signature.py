from dataclasses import dataclass, field

import pytest

from semblance.serving.backend.settings import ConfigError
from semblance.serving.backend.signature import check_signature


@dataclass
class Arg:
    name: str
    type: str = "tensor(float)"
    shape: list[int | str | None] = field(default_factory=lambda: ["batch", 4])


def config(dims: list[int | str], output: list[int | str], batch: int = 8) -> dict[str, object]:
    return {
        "max_batch_size": batch,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": dims}],
        "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": output}],
    }


@pytest.mark.parametrize(
    ("declared", "model"),
    [([4], ["batch", 4]), (["4"], [None, 4]), ([-1], ["batch", 4]), ([4], ["batch", "n"]), ([-1], ["batch", None])],
)
def test_a_dynamic_dimension_of_an_input_matches_any(declared: list[int | str], model: list[int | str | None]) -> None:
    check_signature(config(declared, [4]), [Arg("x", shape=model)], [Arg("y")])


@pytest.mark.parametrize(("declared", "model"), [([-1], ["batch", 4]), ([4], ["batch", "n"])])
def test_a_dynamic_dimension_of_an_output_matches_a_dynamic_one_only(
    declared: list[int | str], model: list[int | str | None]
) -> None:
    with pytest.raises(ConfigError, match="export with static output dims"):
        check_signature(config([4], declared), [Arg("x")], [Arg("y", shape=model)])
    check_signature(config([4], [-1]), [Arg("x")], [Arg("y", shape=["batch", "n"])])


def test_a_batching_model_has_a_dynamic_batch() -> None:
    with pytest.raises(ConfigError, match=r"the model's first dimension must be dynamic, and its shape is \[1,4\]"):
        check_signature(config([4], [4]), [Arg("x", shape=[1, 4])], [Arg("y")])
    check_signature(config([1, 4], [1, 4], batch=0), [Arg("x", shape=[1, 4])], [Arg("y", shape=[1, 4])])


def test_every_input_is_in_the_config_and_some_outputs_may_not_be() -> None:
    with pytest.raises(ConfigError, match=r"config.pbtxt has 1 inputs \(x\), and the model has 2 \(x, mask\)"):
        check_signature(config([4], [4]), [Arg("x"), Arg("mask")], [Arg("y")])
    check_signature(config([4], [4]), [Arg("x")], [Arg("y"), Arg("z")])


def test_types_are_compared_and_strings_not_served() -> None:
    with pytest.raises(ConfigError, match=r"config\.pbtxt says TYPE_FP32, and the model has TYPE_FP16"):
        check_signature(config([4], [4]), [Arg("x", "tensor(float16)")], [Arg("y")])
    with pytest.raises(ConfigError, match=r"is a tensor\(string\), which this backend does not serve"):
        check_signature(config([4], [4]), [Arg("x", "tensor(string)")], [Arg("y")])

"""Which nodes reduced precision may touch."""

import pytest
from onnx import helper

from semblance.export.blocks import blocks_of
from semblance.export.contract import DETECTOR, EMBEDDER, Contract
from semblance.export.errors import ContractError


def blocks(contract: Contract, *names: str) -> dict[str, list[str]]:
    nodes = [helper.make_node(name.rpartition("/")[2] or "Relu", ["x"], ["y"], name=name) for name in names]
    return blocks_of(helper.make_model(helper.make_graph(nodes, "graph", [], [])), contract)


def test_the_stages_of_a_resnet_are_told_apart() -> None:
    assert blocks(EMBEDDER, "/Sub", "/trunk/conv1/Conv", "/trunk/layer1/layer1.0/conv1/Conv", "/ReduceL2", "") == {
        "conv1": ["/trunk/conv1/Conv"],
        "layer1.0": ["/trunk/layer1/layer1.0/conv1/Conv"],
    }


def test_of_a_detectors_head_only_the_predicting_layers_are_blocks() -> None:
    decoding = ["/network/model.22/Concat", "/network/model.22/dfl/conv/Conv", "/network/model.22/Sigmoid"]
    assert blocks(
        DETECTOR,
        "/Div",
        "/network/model.4/m.0/cv1/conv/Conv",
        "/network/model.4/cv2/conv/Conv",
        "/network/model.22/cv2.0/cv2.0.2/Conv",
        "/network/model.22/one2one_cv3.1/one2one_cv3.1.2/Conv",
        *decoding,
        "nms/scores",
    ) == {
        "model.4": ["/network/model.4/m.0/cv1/conv/Conv", "/network/model.4/cv2/conv/Conv"],
        "model.22/cv2.0": ["/network/model.22/cv2.0/cv2.0.2/Conv"],
        "model.22/one2one_cv3.1": ["/network/model.22/one2one_cv3.1/one2one_cv3.1.2/Conv"],
    }


def test_what_has_no_weights_belongs_to_the_block_before_it() -> None:
    assert blocks(EMBEDDER, "/trunk/conv1/Conv", "/trunk/relu/Relu", "/trunk/conv2/Conv", "/trunk/pool/MaxPool") == {
        "conv1": ["/trunk/conv1/Conv", "/trunk/relu/Relu"],
        "conv2": ["/trunk/conv2/Conv", "/trunk/pool/MaxPool"],
    }


def test_modules_around_the_whole_network_are_looked_into() -> None:
    first, second = "/trunk/net/trunk/conv1/Conv", "/trunk/net/trunk/layer1/layer1.0/conv1/Conv"
    assert blocks(EMBEDDER, first, second, "/trunk/pool/MaxPool") == {
        "conv1": [first],
        "layer1.0": [second, "/trunk/pool/MaxPool"],
    }


def test_layers_that_are_no_modules_are_a_block() -> None:
    assert blocks(EMBEDDER, "/trunk/Conv", "/trunk/Conv_1/Conv", "/trunk/Flatten") == {
        "trunk": ["/trunk/Conv"],
        "Conv_1": ["/trunk/Conv_1/Conv"],
    }


def test_a_graph_from_elsewhere_is_refused() -> None:
    with pytest.raises(ContractError, match="no nodes named /trunk/"):
        blocks(EMBEDDER, "Conv_1")

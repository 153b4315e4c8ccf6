"""The blocks of a traced network: what may compute at reduced precision, and what has to stay in fp32.

The tracer names a node for the module that it came from: `/trunk/layer1/layer1.0/conv1/Conv` in an embedder,
`/network/model.4/m.0/cv1/conv/Conv` in a detector. Whatever lies outside `trunk` and `network` scales pixels,
suppresses boxes or normalises vectors, and stays in fp32.
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import takewhile

import onnx

from semblance.export.contract import Contract
from semblance.export.errors import ContractError

NETWORK = {"embedder": "trunk", "detector": "network"}

# In Ultralytics' heads: the layers that predict distances and classes, one sequence for each scale. What else is in a
# head turns their numbers into boxes in pixels, which eight bits can't count.
HEAD_LAYERS = re.compile(r"(one2one_)?cv\d+\.\d+")

WEIGHTY = {"Conv", "Gemm", "MatMul"}


def blocks_of(model: onnx.ModelProto, contract: Contract) -> dict[str, list[str]]:
    """Names of nodes by block, in the graph's order.

    Modules that hold all weights, one within another, are not told apart: the first level is the one within them.
    A block is a module of the network's first level (`model.4`) or of its second (`layer1.0`); a YOLO head has one for
    each branch and scale (`model.22/cv2.0`). Modules without weights belong to the block before them.

    Raises:
        ContractError: the graph was not traced by `semblance export`.
    """
    scopes = {node.name: node.name.split("/")[1:-1] for node in model.graph.node if node.name}
    network = {name: scope[1:] for name, scope in scopes.items() if scope[:1] == [NETWORK[contract.model]]}
    weighty = {node.name for node in model.graph.node if node.op_type in WEIGHTY}
    network = _unwrapped(network, weighty)
    blocks: dict[str, list[str]] = defaultdict(list)
    head = max((_number(scope[0]) for scope in network.values() if scope), default=-1)
    for name, scope in network.items():
        if contract.model == "detector" and scope and _number(scope[0]) == head:
            if len(scope) > 1 and HEAD_LAYERS.fullmatch(scope[1]):
                blocks["/".join(scope[:2])].append(name)
        elif scope:
            # A sequence repeats its name in those of its members: layer1/layer1.0.
            nested = len(scope) > 1 and scope[1].startswith(f"{scope[0]}.")
            blocks[scope[1] if nested else scope[0]].append(name)
        elif name in weighty:
            blocks[NETWORK[contract.model]].append(name)
    if not blocks:
        raise ContractError(
            f"the graph has no nodes named /{NETWORK[contract.model]}/…, so its layers can't be told from what decodes "
            "their output. Export the weights with `semblance export`."
        )
    whole: dict[str, list[str]] = {}
    for block, names in blocks.items():
        if whole and weighty.isdisjoint(names):
            whole[next(reversed(whole))] += names
        else:
            whole[block] = names
    return whole


def _unwrapped(scopes: dict[str, list[str]], weighty: set[str]) -> dict[str, list[str]]:
    """Scopes of nodes without the modules around all nodes with weights, as where a network only holds another."""
    holders = [scope[:-1] for name, scope in scopes.items() if name in weighty]
    wrapper = [names[0] for names in takewhile(lambda names: len(set(names)) == 1, zip(*holders, strict=False))]
    depth = len(wrapper)
    return {name: scope[depth:] if scope[:depth] == wrapper else scope for name, scope in scopes.items()}


def _number(module: str) -> int:
    return int(module.rpartition(".")[2]) if module.startswith("model.") else -1

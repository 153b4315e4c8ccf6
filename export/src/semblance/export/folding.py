"""Networks as int8 storage needs them: batch norms folded into their convolutions, convolutions rounded."""

from __future__ import annotations

import copy

import torch
from torch.fx.experimental.optimization import fuse

from semblance.export import int8_weights


def fold_batch_norms(network: torch.nn.Module) -> torch.nn.Module:
    """A copy in which each convolution carries the batch norm behind it. For evaluation only."""
    folded: torch.nn.Module = fuse(network.eval())
    return folded


def round_convolutions(network: torch.nn.Module) -> torch.nn.Module:
    """A copy whose convolutions have the weights that int8 storage keeps."""
    rounded = copy.deepcopy(network)
    with torch.no_grad():
        for module in rounded.modules():
            if isinstance(module, torch.nn.Conv2d):
                weights = int8_weights.dequantise(*int8_weights.quantise(module.weight.numpy()))
                module.weight.copy_(torch.from_numpy(weights))
    return rounded

"""Rounding to int8 and back."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from semblance.export import int8_weights
from tests.unit.export import graphs

finite = st.floats(-1e3, 1e3, width=32)


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 3), st.just(3), st.just(3)), elements=finite)
)
def test_a_weight_moves_by_half_a_step_at_most(weights: np.ndarray) -> None:
    integers, scales = int8_weights.quantise(weights)
    moved = np.abs(int8_weights.dequantise(integers, scales) - weights)
    step = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / 127
    assert np.all(moved <= step * 0.5001 + 1e-38)


def test_zero_channels_stay_zero() -> None:
    weights = np.zeros((2, 3, 1, 1), np.float32)
    weights[1] = 1
    np.testing.assert_array_equal(int8_weights.dequantise(*int8_weights.quantise(weights)), weights)


def test_stored_weights_take_a_quarter_of_the_bytes_and_expand_to_the_rounded_ones() -> None:
    model = graphs.embedder()
    original = model.graph.initializer[0].raw_data
    rounded = int8_weights.dequantise(
        *int8_weights.quantise(np.frombuffer(original, np.float32).reshape(2048, 3, 1, 1))
    )
    int8_weights.store(model)
    assert len(model.graph.initializer[0].raw_data) * 4 == len(original)
    assert int8_weights.expand(model) == 1
    assert model.graph.initializer[0].raw_data == rounded.tobytes()
    assert int8_weights.expand(model) == 0

"""Preprocessing: exact values, geometry there and back, and images that nobody would send."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radpipe.card import InputSpec
from radpipe.errors import ImageError
from radpipe.preprocess import LARGEST_STRETCH, model_input, place, window

SPEC = InputSpec(("CR",), "CHEST", ("PA",), 224, 224, 1, (0.45,), (0.225,), (0.5, 99.5), (18, 85))
SIZES = st.integers(1, 700)


def _ramp(rows: int, columns: int) -> np.ndarray:
    return np.add.outer(np.arange(rows), np.arange(columns)).astype(np.float32)


def test_an_image_of_the_models_size_keeps_its_pixels() -> None:
    pixels = np.random.default_rng(0).random((224, 224), np.float32)
    prepared, _ = model_input(pixels, SPEC)
    low, high = window(pixels, SPEC.percentiles)
    expected = (np.clip((pixels - low) / (high - low), 0, 1) - 0.45) / 0.225
    np.testing.assert_allclose(prepared[0], expected, atol=1e-5)


def test_halving_averages_and_stretches_between_the_percentiles() -> None:
    pixels = np.zeros((448, 448), np.float32)
    pixels[:, 224:] = 4095
    prepared, _ = model_input(pixels, SPEC)
    grey = prepared[0] * 0.225 + 0.45
    np.testing.assert_allclose(grey[:, :109], 0, atol=1e-6)
    np.testing.assert_allclose(grey[:, 115:], 1, atol=1e-6)


def test_every_channel_is_normalised_by_its_own_mean_and_deviation() -> None:
    spec = InputSpec(("CR",), "CHEST", ("PA",), 32, 32, 3, (0.5, 0.4, 0.3), (0.5, 0.25, 0.2), (0, 100), (18, 85))
    prepared, _ = model_input(_ramp(32, 32), spec)
    assert prepared.shape == (3, 32, 32)
    np.testing.assert_allclose(prepared[0] * 0.5 + 0.5, prepared[2] * 0.2 + 0.3, atol=1e-6)


def test_brightness_and_contrast_of_the_source_do_not_matter() -> None:
    pixels = np.random.default_rng(1).random((300, 280), np.float32)
    np.testing.assert_allclose(model_input(pixels, SPEC)[0], model_input(pixels * 3000 - 1000, SPEC)[0], atol=2e-3)


def test_a_constant_image_becomes_black() -> None:
    np.testing.assert_allclose(model_input(np.full((50, 60), 7, np.float32), SPEC)[0], (0 - 0.45) / 0.225, rtol=1e-6)


def test_values_that_are_not_finite_count_as_dark() -> None:
    pixels = _ramp(256, 256) / 512
    broken = pixels.copy()
    broken[40:60, 40:60] = np.nan
    broken[200, 200] = np.inf
    prepared, _ = model_input(broken, SPEC)
    assert np.isfinite(prepared).all()
    assert prepared[0, 43, 43] == pytest.approx((0 - 0.45) / 0.225, abs=1e-3)
    nothing, _ = model_input(np.full((9, 9), np.nan, np.float32), SPEC)
    assert np.isfinite(nothing).all()


@pytest.mark.parametrize("shape", [(0, 10), (10,), (3, 10, 10)])
def test_what_is_no_single_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="rows and columns"):
        model_input(np.zeros(shape, np.float32), SPEC)


@settings(deadline=None, max_examples=60)
@given(rows=SIZES, columns=SIZES)
def test_any_size_gives_the_models_shape(rows: int, columns: int) -> None:
    prepared, placement = model_input(_ramp(rows, columns), SPEC)
    assert prepared.shape == (1, 224, 224)
    assert prepared.dtype == np.float32
    assert np.isfinite(prepared).all()
    assert not prepared.flags.writeable
    top, left, bottom, right = placement.content
    assert 0 <= top < bottom <= 1
    assert 0 <= left < right <= 1


@given(rows=st.integers(1, 5000), columns=st.integers(1, 5000), row=st.floats(0, 1), column=st.floats(0, 1))
def test_a_point_comes_back_to_where_it_was(rows: int, columns: int, row: float, column: float) -> None:
    placement = place(rows, columns, SPEC)
    there = placement.to_model(row * rows, column * columns)
    assert 0 <= there[0] <= 224 + 1e-9  # the last bit of a float is not held against it
    assert 0 <= there[1] <= 224 + 1e-9
    np.testing.assert_allclose(placement.to_source(*there), (row * rows, column * columns), atol=1e-6 * max(rows, columns))


@given(rows=st.integers(1, 4000), columns=st.integers(1, 4000), box=st.tuples(*[st.floats(-0.2, 1.2)] * 4))
def test_a_box_lies_in_the_source_and_is_never_empty(
    rows: int, columns: int, box: tuple[float, float, float, float]
) -> None:
    low_row, high_row = sorted((box[0], box[2]))
    low_column, high_column = sorted((box[1], box[3]))
    top, left, bottom, right = place(rows, columns, SPEC).box_px((low_row, low_column, high_row, high_column))
    assert 0 <= top < bottom <= rows
    assert 0 <= left < right <= columns


@given(rows=st.integers(1, 4000), columns=st.integers(1, 4000))
def test_the_content_of_the_frame_is_the_whole_source(rows: int, columns: int) -> None:
    placement = place(rows, columns, SPEC)
    assert placement.box_px(placement.content) == (0, 0, rows, columns)


def test_up_to_a_ratio_of_1_3_the_frame_is_filled_and_beyond_it_is_padded() -> None:
    assert place(2500, 2048, SPEC).content == (0, 0, 1, 1)
    tall = place(2000, 1000, SPEC)
    assert tall.top == 0
    assert tall.left > 20
    assert tall.row_scale / tall.column_scale == pytest.approx(1 / LARGEST_STRETCH, rel=0.02)
    prepared, _ = model_input(_ramp(2000, 1000) + 1, SPEC)
    assert (prepared[0, :, : int(tall.left)] == prepared.min()).all()


def test_a_bright_spot_is_found_again_where_it_was() -> None:
    pixels = np.zeros((1000, 600), np.float32)
    pixels[700:740, 400:430] = 1
    prepared, placement = model_input(
        pixels, InputSpec(*(SPEC.modalities, "CHEST", ("PA",), 224, 224, 1, (0.0,), (1.0,), (0, 100), (18, 85)))
    )
    row, column = np.unravel_index(int(prepared[0].argmax()), (224, 224))
    found = placement.to_source(row + 0.5, column + 0.5)
    assert 695 <= found[0] <= 745
    assert 395 <= found[1] <= 435


def test_a_large_radiograph_is_prepared_quickly() -> None:
    pixels = np.random.default_rng(0).random((2048, 2048), np.float32)
    times = []
    for _ in range(7):
        started = time.process_time()
        model_input(pixels, SPEC)
        times.append(time.process_time() - started)
    assert min(times) < 0.025, "a 2048 x 2048 radiograph shall take at most 25 ms of one core"

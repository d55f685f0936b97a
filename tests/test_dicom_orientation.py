"""Turning pictures upright and boxes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radpipe import dicom
from radpipe.study import Image
from tests.dicom_instances import described

ORIENTATIONS = [(a, b) for a in "LRHFAP" for b in "LRHFAP"] + [(), ("L",), ("LH", "FP"), ("L", "F")]


def image(rows: int, columns: int, orientation: tuple[str, ...]) -> Image:
    found = described().image
    assert found is not None
    return replace(found, rows=rows, columns=columns, patient_orientation=orientation)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (("L", "F"), [[1, 2, 3], [4, 5, 6]]),
        ((), [[1, 2, 3], [4, 5, 6]]),
        (("R", "F"), [[3, 2, 1], [6, 5, 4]]),
        (("L", "H"), [[4, 5, 6], [1, 2, 3]]),
        (("R", "H"), [[6, 5, 4], [3, 2, 1]]),
        (("F", "L"), [[1, 4], [2, 5], [3, 6]]),
        (("H", "R"), [[6, 3], [5, 2], [4, 1]]),
        (("L", "R"), [[1, 2, 3], [4, 5, 6]]),
        (("A", "F"), [[1, 2, 3], [4, 5, 6]]),
        (("P", "H"), [[4, 5, 6], [1, 2, 3]]),
    ],
)
def test_the_head_is_up_and_the_right_side_at_the_left(orientation: tuple[str, ...], expected: list[list[int]]) -> None:
    turned = dicom.upright(np.array([[1, 2, 3], [4, 5, 6]]), image(2, 3, orientation))
    assert turned.tolist() == expected
    assert not turned.flags.writeable


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from(ORIENTATIONS), st.data())
def test_a_box_marks_the_same_pixels_before_and_after(
    rows: int, columns: int, orientation: tuple[str, ...], data: st.DataObject
) -> None:
    source = image(rows, columns, orientation)
    pixels = np.arange(rows * columns).reshape(rows, columns)
    turned = dicom.upright(pixels, source)
    top, left = data.draw(st.integers(0, turned.shape[0] - 1)), data.draw(st.integers(0, turned.shape[1] - 1))
    bottom = data.draw(st.integers(top + 1, turned.shape[0]))
    right = data.draw(st.integers(left + 1, turned.shape[1]))
    box = dicom.source_box((top, left, bottom, right), source)
    marked = pixels[box[0] : box[2], box[1] : box[3]]
    assert sorted(marked.ravel()) == sorted(turned[top:bottom, left:right].ravel())
    assert dicom.upright_box(box, source) == (top, left, bottom, right)


def test_the_array_given_stays_writable() -> None:
    pixels = np.zeros((2, 3))
    dicom.upright(pixels, image(2, 3, ()))
    assert pixels.flags.writeable

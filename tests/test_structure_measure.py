"""Sizes, distances and stretches of time, as reports write them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radpipe.observation import Size
from radpipe.structure.measure import LARGEST_MM, Kind, distances, durations, measurements, number, sizes
from radpipe.structure.text import sentences


def words(text: str) -> list[str]:
    return next(iter(sentences(f"There is a {text} there."))).words


@pytest.mark.parametrize(
    ("written", "mm", "least"),
    [
        ("8 mm", (8.0,), None),
        ("8mm", (8.0,), None),
        ("a 10-mm nodule", (10.0,), None),
        ("1.5 cm", (15.0,), None),
        ("1,5 cm", (15.0,), None),
        ("1,500 mm", (1500.0,), None),
        ("1.2 x 0.9 cm", (12.0, 9.0), None),
        ("1.2 cm x 9mm x 1cm", (12.0, 9.0, 10.0), None),
        ("12 by 9 by 7 mm", (12.0, 9.0, 7.0), None),
        ("12×9 mm", (12.0, 9.0), None),
        ("2 cm x 15 mm", (20.0, 15.0), None),
        ("5 millimeter", (5.0,), None),
        ("two centimetre", (20.0,), None),
        ("1 inch", (25.4,), None),
        ("4-6 mm", (6.0,), 4.0),
        ("4 to 6 mm", (6.0,), 4.0),
        ("4mm to 6mm", (6.0,), 4.0),
        ("between 4 and 6 mm", (6.0,), 4.0),
        ("ranging from 4 to 6 mm", (6.0,), 4.0),
        ("8 mm to 1.2 cm", (12.0,), 8.0),
        ("less than 5 mm", (5.0,), 0.0),
        ("< 5 mm", (5.0,), 0.0),
        ("up to 3 cm", (30.0,), None),
        ("0.333 cm", (3.3,), None),
        ("pneumothorax measuring 1.8 cm from the apex", (18.0,), None),
        ("5 mm x 2", (5.0,), None),
    ],
)
def test_a_size_is_read_in_mm(written: str, mm: tuple[float, ...], least: float | None) -> None:
    assert [size for _, _, size in sizes(words(written))] == [Size(mm, least)]


@pytest.mark.parametrize(
    "written",
    [
        "T10",
        "2 views",
        "cm",
        "subcentimeter nodule",
        "on 1/2/2020 mm",
        "0 mm",
        "9000 mm",
        "9" * 500 + " mm",
        "5 mm axial slices",
        "slice thickness of 5 mm",
        "120 mm Hg",
        "3 mm/s",
        "1.2.3 mm",
        "series 3 image 45",
    ],
)
def test_what_is_no_size_is_none(written: str) -> None:
    assert sizes(words(written)) == []


def test_the_range_of_words_covers_the_number_its_unit_and_less_than() -> None:
    found = words("nodule of less than 5 mm")
    ((first, end, _),) = sizes(found)
    assert found[first:end] == ["less", "than", "5", "mm"]


@pytest.mark.parametrize(
    "written",
    [
        "tube tip 3.1 cm from the carina",
        "tip 4 cm above the carina",
        "line retracted by 2 cm",
        "tip 1 cm distal to the inlet",
    ],
)
def test_a_distance_is_no_size(written: str) -> None:
    assert sizes(words(written)) == []
    assert len(distances(words(written))) == 1


@pytest.mark.parametrize(
    "written",
    [
        "8 mm, previously 6 mm",
        "nodule increased from 6 mm to 8 mm",
        "8 mm nodule (6 mm on the prior)",
        "8 mm compared to 6 mm",
    ],
)
def test_an_earlier_size_is_not_todays(written: str) -> None:
    assert [size.mm for _, _, size in sizes(words(written))] == [(8.0,)]
    assert [found.size.mm for found in measurements(words(written)) if found.kind is Kind.EARLIER] == [(6.0,)]


def test_a_part_of_the_words_can_be_read() -> None:
    assert [size.mm for _, _, size in sizes(["5", "mm", "and", "7", "mm"], 2)] == [(7.0,)]
    assert sizes(["5", "mm", "and", "7", "mm"], 1, 4) == []


@pytest.mark.parametrize(
    ("written", "least", "most"),
    [
        ("CT in 3-6 months", 90, 180),
        ("CT in 6 weeks", 42, 42),
        ("CT in 6-8 weeks", 42, 56),
        ("CT within 24 hours", 0, 1),
        ("CT in 24 to 48 hours", 1, 2),
        ("3-month CT", 90, 90),
        ("CT in one year", 365, 365),
        ("CT in a week", 7, 7),
        ("CT at 3, 6 and 12 months", 90, 360),
        ("CT in 6 months to 1 year", 180, 365),
        ("CT after at least 2 years", 730, None),
    ],
)
def test_a_time_to_come_is_read_in_days(written: str, least: int, most: int | None) -> None:
    (found,) = durations(words(written))
    assert (found.least_days, found.most_days) == (least, most)


@pytest.mark.parametrize(
    "written", ["CT 3 months ago", "65 year old man", "stable for 2 years", "over the past 6 months", "in 99999999 years"]
)
def test_a_time_gone_by_is_no_time_to_come(written: str) -> None:
    assert durations(words(written)) == []


@pytest.mark.parametrize(
    ("written", "value"),
    [("8", 8.0), (".5", 0.5), ("1,5", 1.5), ("1,200", 1200.0), ("0,125", 0.125), ("1.2.3", None), ("mm", None), ("", None)],
)
def test_numbers_have_points_or_commas(written: str, value: float | None) -> None:
    assert number(written) == value


PIECES = (
    "8 1.2 1,5 0 99999999999999999999 ٣ two a x × by - – to or and between from ranging less than < mm cm inch "
    "weeks months / . , ( now previously prior above from retracted measuring slice the within at least nodule xxxx"
)
WORDS = st.sampled_from(PIECES.split())


@given(st.lists(WORDS | st.text(min_size=1, max_size=5), max_size=40), st.integers(0, 40))
def test_any_words_are_read(found: list[str], first: int) -> None:
    for one in measurements(found, min(first, len(found))):
        assert first <= one.first < one.end <= len(found)
        assert all(0.0 < mm <= LARGEST_MM for mm in one.size.mm)
    for time_to_come in durations(found):
        assert 0 <= time_to_come.first < time_to_come.end <= len(found)


def test_long_text_takes_linear_time() -> None:
    started = time.perf_counter()
    measurements(["5", "x", "6", "mm", "7", "-", "8", "x", "9", "cm"] * 10_000)
    assert time.perf_counter() - started < 5.0

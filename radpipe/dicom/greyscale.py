"""From stored values to what a reader sees: PS3.3 C.11.1 (modality LUT), C.11.2 (VOI LUT), C.11.6 (presentation LUT shape).

Functions from float64 values to float64 values. They are applied to the table of all values that a pixel can have, not to
the pixels, wherever pixels have at most 16 bits; see `presentation`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from radpipe.dicom import text
from radpipe.errors import ImageError

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Lut:
    """A lookup table (PS3.3 C.11.1.1): the entry for input `first`, the next for `first` + 1, ...; ends are extended."""

    first: int
    entries: Values
    bits: int

    def __call__(self, values: Values) -> Values:
        index = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        found: Values = self.entries[index.astype(np.intp)]
        return found

    @property
    def top(self) -> float:
        """The output that stands for white: all bits set, unless the table itself shows that the bits are misstated.

        Some senders state 16 bits for 12-bit entries, which would make the picture nearly black, or too few.
        """
        stated, largest = float((1 << self.bits) - 1), float(self.entries.max())
        if largest <= 0:
            return stated
        if largest > stated or largest * 8 < stated:
            return float((1 << int(largest).bit_length()) - 1)
        return stated


@dataclass(frozen=True, slots=True)
class Window:
    """A linear or sigmoid window (PS3.3 C.11.2.1)."""

    centre: float
    width: float
    function: str  # LINEAR, LINEAR_EXACT, SIGMOID

    def __call__(self, values: Values) -> Values:
        """Values to 0..1."""
        if self.function == "SIGMOID":  # C.11.2.1.3.1
            exponent = np.clip(-4.0 * (values - self.centre) / self.width, -700.0, 700.0)
            sigmoid: Values = 1.0 / (1.0 + np.exp(exponent))
            return sigmoid
        if self.function == "LINEAR_EXACT":  # C.11.2.1.3.2
            return np.clip((values - self.centre) / self.width + 0.5, 0.0, 1.0)
        if self.width == 1.0:  # C.11.2.1.2.1: a step
            return (values > self.centre - 0.5).astype(np.float64)
        return np.clip((values - (self.centre - 0.5)) / (self.width - 1.0) + 0.5, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Shown:
    """How one frame's stored values become 0..1."""

    slope: float
    intercept: float
    modality_lut: Lut | None
    voi: Lut | Window | None
    inverted: bool
    padding: tuple[float, float] | None  # stored values from, to (inclusive) that are no picture

    def modality(self, values: Values) -> Values:
        """Stored values to those of the modality (PS3.3 C.11.1)."""
        if self.modality_lut is not None:
            return self.modality_lut(values)
        return values * self.slope + self.intercept

    def grey(self, values: Values, low: float, high: float) -> Values:
        """Values of the modality to 0..1. `low` and `high` are the extremes in the picture: the range where no VOI is
        stated, or where the stated one would show one flat grey though the picture is not flat."""
        ends = np.array([low, high])
        if isinstance(self.voi, Lut):
            white = self.voi.top
            shown = np.clip(self.voi(values) / white, 0.0, 1.0)
            # a table need not be monotonic: flat means flat for all values between the ends
            inside = shown[(values >= low) & (values <= high)]
            flat = inside.size == 0 or inside.min() == inside.max()
        elif self.voi is not None:
            shown = self.voi(values)
            bounds = self.voi(ends)
            flat = bool(bounds[1] - bounds[0] < 1e-6)
        else:
            shown, flat = values, True
        if flat:
            shown = np.clip((values - low) / (high - low), 0.0, 1.0) if high > low else np.zeros_like(values)
        return 1.0 - shown if self.inverted and (high > low) else shown

    def is_padding(self, values: Values) -> npt.NDArray[np.bool_] | None:
        """Which stored values are padding (PS3.3 C.7.5.1.1.2), or None if there is none."""
        if self.padding is None:
            return None
        mask: npt.NDArray[np.bool_] = (values >= self.padding[0]) & (values <= self.padding[1])
        return mask


def shown(dataset: Dataset, photometric: str, frame: int, *, signed: bool) -> Shown:
    """Collect how frame `frame` (from 1) is to be shown. Raises ImageError for a rescale slope of 0."""
    groups = _frame_groups(dataset, frame)
    slope, intercept = 1.0, 0.0
    modality_lut = _first_lut(dataset, "ModalityLUTSequence", signed=signed)
    for source in (_within(groups, "PixelValueTransformationSequence"), [dataset]):
        found = next((item for item in source if text.decimal(item, "RescaleSlope") is not None), None)
        if found is not None:
            slope, intercept = text.decimal(found, "RescaleSlope") or 0.0, text.decimal(found, "RescaleIntercept") or 0.0
            if slope == 0.0:
                raise ImageError("its rescale slope is 0, which makes all pixels equal: send it again from the modality")
            break
    sources = [*_within(groups, "FrameVOILUTSequence"), dataset]
    negative = signed or intercept < 0 or slope < 0
    voi: Lut | Window | None = None
    for source_item in sources:
        voi = _first_lut(source_item, "VOILUTSequence", signed=negative and modality_lut is None) or _window(source_item)
        if voi is not None:
            break
    shape = text.first(dataset, "PresentationLUTShape").upper()
    return Shown(
        slope, intercept, modality_lut, voi, photometric == "MONOCHROME1" or shape == "INVERSE", _padding(dataset, signed)
    )


def _window(dataset: Dataset) -> Window | None:
    centres, widths = text.decimals(dataset, "WindowCenter"), text.decimals(dataset, "WindowWidth")
    if not centres or not widths:
        return None
    function = text.first(dataset, "VOILUTFunction").upper()
    function = function if function in ("LINEAR_EXACT", "SIGMOID") else "LINEAR"
    least = 1.0 if function == "LINEAR" else 0.0
    if widths[0] < least or widths[0] == 0.0:
        return None
    return Window(centres[0], widths[0], function)


def _first_lut(dataset: Dataset, keyword: str, *, signed: bool) -> Lut | None:
    """The first usable table of a sequence. `signed`: how its first mapped input is to be understood (US or SS)."""
    for item in text.items(dataset, keyword):
        descriptor = [int(number) for number in text.decimals(item, "LUTDescriptor")]
        if len(descriptor) != 3:
            continue
        count, first, bits = descriptor
        count = count % 65536 or 65536
        first = first - 65536 if signed and first >= 32768 else first + 65536 if first < 0 and not signed else first
        entries = _entries(item, count, bits)
        if entries is not None and 1 <= bits <= 16:
            return Lut(first, entries, bits)
    return None


def _entries(item: Dataset, count: int, bits: int) -> Values | None:
    found = text.value(item, "LUTData")
    if isinstance(found, bytes):
        if bits <= 8 and len(found) in (count, count + 1):
            words = np.frombuffer(found, np.uint8).astype(np.float64)
        else:
            order = "<" if getattr(item, "is_little_endian", True) is not False else ">"
            words = np.frombuffer(found[: len(found) // 2 * 2], f"{order}u2").astype(np.float64)
    else:
        words = np.array(text.decimals(item, "LUTData"), np.float64)
        words[words < 0] += 65536.0
    if len(words) == 0:
        return None
    if bits <= 8 and len(words) * 2 in (count, count + 1):  # two entries of 8 bits packed in a word
        words = words.astype("<u2").view(np.uint8).astype(np.float64)
    return words[:count]


def _padding(dataset: Dataset, signed: bool) -> tuple[float, float] | None:
    value, limit = text.integer(dataset, "PixelPaddingValue"), text.integer(dataset, "PixelPaddingRangeLimit")
    if value is None:
        return None
    ends = [value, value if limit is None else limit]
    if signed:
        ends = [end - 65536 if end >= 32768 else end for end in ends]
    else:
        ends = [end + 65536 if end < 0 else end for end in ends]
    return float(min(ends)), float(max(ends))


def _frame_groups(dataset: Dataset, frame: int) -> list[Dataset]:
    """The functional groups of one frame (PS3.3 C.7.6.16), its own before the shared ones."""
    own = list(text.items(dataset, "PerFrameFunctionalGroupsSequence"))[frame - 1 : frame]
    return own + list(text.items(dataset, "SharedFunctionalGroupsSequence"))[:1]


def _within(groups: list[Dataset], keyword: str) -> list[Dataset]:
    return [item for group in groups for item in text.items(group, keyword)]

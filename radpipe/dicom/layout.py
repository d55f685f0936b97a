"""How pixels are laid out: the Image Pixel module (PS3.3 C.7.6.3), checked."""

from __future__ import annotations

from dataclasses import dataclass

from radpipe.dicom import text
from radpipe.dicom.extent import MAX_PIXELS
from radpipe.dicom.parse import Parsed
from radpipe.errors import ImageError


@dataclass(frozen=True, slots=True)
class Layout:
    """The Image Pixel module's attributes (PS3.3 C.7.6.3), checked."""

    rows: int
    columns: int
    samples: int
    frames: int
    photometric: str
    planar: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    keyword: str

    @property
    def is_colour(self) -> bool:
        """True for pixels of three samples; PALETTE COLOR has one."""
        return self.samples > 1


def read_layout(parsed: Parsed) -> Layout:
    """The layout that the header states. Raises ImageError if it makes no sense."""
    dataset = parsed.dataset
    if parsed.pixels is None:
        raise ImageError("it has no pixel data: export it again with its pixels")
    rows, columns = text.integer(dataset, "Rows") or 0, text.integer(dataset, "Columns") or 0
    if rows < 1 or columns < 1:
        raise ImageError("it does not say how large its picture is (Rows, Columns): send it again from the PACS")
    if rows * columns > MAX_PIXELS:
        raise ImageError(f"its picture of {rows} x {columns} is too large: send it at a lower resolution")
    samples = text.integer(dataset, "SamplesPerPixel") or 1
    photometric = text.first(dataset, "PhotometricInterpretation").upper()
    allocated = {"FloatPixelData": 32, "DoubleFloatPixelData": 64}.get(parsed.pixels.keyword)
    allocated = allocated or text.integer(dataset, "BitsAllocated") or 0
    stored = text.integer(dataset, "BitsStored") or allocated
    if samples not in (1, 3) or allocated not in (1, 8, 16, 32, 64) or not 1 <= stored <= allocated:
        raise ImageError(
            f"its pixels are of an unknown form ({samples} samples of {stored} in {allocated} bits): "
            "send it again from the PACS"
        )
    high_bit = text.integer(dataset, "HighBit")
    if high_bit is None or not stored - 1 <= high_bit < allocated:
        high_bit = stored - 1
    return Layout(
        rows=rows,
        columns=columns,
        samples=samples,
        frames=max(1, text.integer(dataset, "NumberOfFrames") or 1),
        photometric=photometric or ("RGB" if samples == 3 else "MONOCHROME2"),
        planar=1 if text.integer(dataset, "PlanarConfiguration") == 1 else 0,
        allocated=allocated,
        stored=stored,
        high_bit=high_bit,
        signed=text.integer(dataset, "PixelRepresentation") == 1,
        keyword=parsed.pixels.keyword,
    )

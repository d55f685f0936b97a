"""Every file at hand, whole and cut: read or refused with a reason, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from radpipe import dicom
from radpipe.errors import ImageError
from radpipe.sources.folder import FolderSource
from radpipe.study import FileRef, SetAside

data_store = pytest.importorskip("data_store", reason="pydicom-data is not installed: part of the test data is there")

BUNDLED = [Path(pydicom.__file__).parent / "data", Path(data_store.__file__).parent / "data"]


def sweep(paths: list[Path]) -> tuple[int, int, int]:
    """(images shown, other instances, set aside) of all files below."""
    source = FolderSource(paths)
    shown = others = aside = 0
    for ref in source.files():
        if isinstance(ref, SetAside):
            aside += 1
            continue
        content = source.read(ref)
        found = dicom.look(content, ref)
        if isinstance(found, SetAside):
            assert len(found.reason) > 20, ref.name
            aside += 1
        elif found.image is None:
            assert found.why_no_image, ref.name
            others += 1
        else:
            try:
                picture = dicom.presentation(content)
            except ImageError as error:
                assert len(str(error)) > 20, ref.name  # noqa: PT017
                aside += 1
                continue
            assert picture.shape == (found.image.rows, found.image.columns), ref.name
            shown += 1
    return shown, others, aside


def test_every_bundled_file() -> None:
    shown, others, aside = sweep(BUNDLED)
    assert shown >= 150
    assert others >= 60
    assert aside >= 30


def test_every_odd_file(shared: Path) -> None:
    shown, others, aside = sweep([shared / "dicom" / "odd"])
    assert (shown, others, aside) == (41, 18, 10)


@pytest.mark.parametrize("name", ["CT_small.dcm", "JPGExtended.dcm", "SC_rgb_jpeg_dcmtk.dcm", "image_dfl.dcm",
                                  "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "reportsi.dcm", "rtdose.dcm",
                                  "693_J2KI.dcm", "examples_ybr_color.dcm"])  # fmt: skip
def test_a_file_cut_at_every_tenth(name: str) -> None:
    (path,) = BUNDLED[0].rglob(name)
    content = path.read_bytes()
    for tenth in range(10):
        cut = content[: len(content) * tenth // 10]
        found = dicom.look(cut, FileRef(path))
        if isinstance(found, SetAside):
            assert len(found.reason) > 20
        else:
            assert found.image is None, f"{name} cut at {tenth}/10 passes for whole"
        with pytest.raises(ImageError):
            dicom.presentation(cut)

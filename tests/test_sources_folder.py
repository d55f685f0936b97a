"""Files, folders, zips and DICOMDIRs."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import pydicom
import pytest

from radpipe.errors import InputError, UsageError
from radpipe.sources.folder import FolderSource
from radpipe.study import FileRef, SetAside

DICOMDIRS = Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests"


def found(*paths: Path) -> list[FileRef | SetAside]:
    return list(FolderSource(paths).files())


def refs(*paths: Path) -> list[str]:
    every = found(*paths)
    assert not [one for one in every if isinstance(one, SetAside)]
    return [one.name for one in every if isinstance(one, FileRef)]


def aside(*paths: Path) -> list[tuple[str, str]]:
    return [(Path(one.file).name, one.reason) for one in found(*paths) if isinstance(one, SetAside)]


def test_a_folder_is_walked_in_order_and_junk_is_passed_over(tmp_path: Path) -> None:
    for name in ("b/2.dcm", "b/1.dcm", "a.dcm", ".hidden", "Thumbs.db", "__MACOSX/x", "b/.DS_Store", "c/README.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" + name.encode())
    expected = [str(tmp_path / name) for name in ("a.dcm", "b/1.dcm", "b/2.dcm", "c/README.txt")]
    assert refs(tmp_path) == expected
    assert refs(tmp_path / "b", tmp_path, tmp_path / "a.dcm") == [expected[n] for n in (0, 1, 2, 3)]


def test_links_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.dcm").write_bytes(b"x")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "same.dcm").symlink_to(tmp_path / "a" / "x.dcm")
    assert len(refs(tmp_path)) == 1


def test_what_cannot_be_looked_at_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken.zip").write_bytes(b"not a zip")
    assert aside(tmp_path) == [
        ("broken.zip", "is not a zip, or a damaged one: copy or download it again"),
        ("gone.dcm", "is not there, or a link that leads nowhere: check the path, or copy the file again"),
        ("pipe", "not a regular file (a pipe, socket or device): give the file itself"),
    ]


def test_a_path_that_does_not_exist_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        FolderSource([tmp_path / "nothing"])
    with pytest.raises(UsageError, match="no path given"):
        FolderSource([])


def test_a_zip_gives_its_members(tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("s/2.dcm", b"two")
        archive.writestr("s/1.dcm", b"one")
        archive.writestr("__MACOSX/s/._1.dcm", b"junk")
        archive.writestr("inner.zip", b"PK\x03\x04")
        archive.writestr("DICOMDIR", (DICOMDIRS / "DICOMDIR").read_bytes())
        archive.writestr("zeros.dcm", b"\0" * (17 << 20))
    with FolderSource([path]) as source:
        every = list(source.files())
        assert [one.name for one in every if isinstance(one, FileRef)] == [f"{path}!s/1.dcm", f"{path}!s/2.dcm"]
        assert [source.read(one) for one in every if isinstance(one, FileRef)] == [b"one", b"two"]
    reasons = {Path(one.file).name: one.reason for one in every if isinstance(one, SetAside)}
    assert reasons["study.zip!inner.zip"] == "is a zip within a zip: unpack the outer one and give the inner one"
    assert reasons["study.zip!zeros.dcm"].endswith("times its size: it looks like a zip bomb")


def test_an_encrypted_or_damaged_zip_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.dcm", b"x" * 100)
    content = bytearray(path.read_bytes())
    for flag in (content.find(b"PK\x03\x04") + 6, content.find(b"PK\x01\x02") + 8):
        content[flag] |= 1
    (tmp_path / "locked.zip").write_bytes(content)
    assert aside(tmp_path / "locked.zip") == [
        ("locked.zip!x.dcm", "is encrypted: unpack the zip with its password and give the folder")
    ]
    damaged = path.read_bytes().replace(b"x" * 100, b"x" * 50 + b"y" * 50)
    (tmp_path / "damaged.zip").write_bytes(damaged)
    (reference,) = found(tmp_path / "damaged.zip")
    if isinstance(reference, FileRef):
        with pytest.raises(InputError, match="damaged within its zip"):
            FolderSource([tmp_path / "damaged.zip"]).read(reference)


def test_a_dicomdir_gives_the_files_it_names() -> None:
    assert len(refs(DICOMDIRS / "DICOMDIR")) == 31
    assert refs(DICOMDIRS / "DICOMDIR") == refs(DICOMDIRS / "DICOMDIR-bigEnd") == refs(DICOMDIRS / "DICOMDIR-implicit")
    assert aside(DICOMDIRS / "DICOMDIR-empty.dcm") == [
        ("DICOMDIR-empty.dcm", "a DICOMDIR that names no file: give the folder that its files are in instead")
    ]


def test_a_dicomdir_met_in_a_folder_is_an_index() -> None:
    names = [Path(name).name for name in refs(DICOMDIRS)]
    assert not [name for name in names if name.startswith("DICOMDIR")]
    assert len(names) == 83


def test_a_file_that_a_dicomdir_names_and_that_is_missing_is_set_aside_in_its_study(tmp_path: Path) -> None:
    shutil.copytree(DICOMDIRS / "77654033", tmp_path / "77654033")
    shutil.copy(DICOMDIRS / "DICOMDIR", tmp_path / "DICOMDIR")
    (tmp_path / "77654033" / "CR1" / "6154").unlink()
    (tmp_path / "77654033" / "CR2").rename(tmp_path / "77654033" / "cr2")
    every = found(tmp_path / "DICOMDIR")
    missing = [one for one in every if isinstance(one, SetAside)]
    (gone,) = [one for one in missing if one.file.endswith("6154")]
    assert gone.reason == "named by the DICOMDIR but not there: copy the whole disc, or have it sent again"
    original = pydicom.dcmread(DICOMDIRS / "77654033" / "CR1" / "6154")
    assert (gone.study_instance_uid, gone.sop_instance_uid) == (original.StudyInstanceUID, original.SOPInstanceUID)
    assert [one.name for one in every if isinstance(one, FileRef) and one.name.endswith("cr2/6247")]


def test_a_damaged_dicomdir_is_set_aside(tmp_path: Path) -> None:
    whole = (DICOMDIRS / "DICOMDIR").read_bytes()
    for tenth in range(4, 10):
        (tmp_path / "DICOMDIR").write_bytes(whole[: len(whole) * tenth // 10])
        assert all(isinstance(one, SetAside) for one in found(tmp_path / "DICOMDIR"))


def test_reading_what_went_away_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        FolderSource([tmp_path]).read(FileRef(tmp_path / "gone.dcm"))

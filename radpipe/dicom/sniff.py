"""What a file that is not DICOM looks like, in words that help its owner."""

from __future__ import annotations

import struct

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 codestream"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\x00", "an xz file"),
    (b"NRRD", "an NRRD volume"),
    (b"n+1\x00", "a NIfTI volume"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SQLite format 3", "an SQLite database"),
    (b"{\\rtf", "an RTF document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
    (b"MSH|", "an HL7 v2 message"),
)

_ARCHIVES = ("archive", "gzip", "bzip2", "xz")

_FIRST_GROUPS = (0x0000, 0x0002, 0x0004, 0x0008, 0x0010, 0x0018, 0x0020)
"""Groups with which a data set without preamble may begin."""


def appearance(content: bytes) -> str:
    """What the bytes look like: "a PNG picture", "text", ..., or "" when nothing is known about them."""
    for magic, words in _MAGIC:
        if content.startswith(magic):
            return words
    if content[257:262] == b"ustar":
        return "a tar archive"
    if len(content) >= 352 and content[344:347] == b"n+1":
        return "a NIfTI volume"
    head = content[:2048]
    lowered = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if lowered.startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if lowered.startswith(b"<?xml"):
        return "an XML file"
    if lowered.startswith((b"{", b"[")) and _is_text(head):
        return "a JSON file"
    return "text" if head and _is_text(head) else ""


def what_to_do(words: str) -> str:
    """The advice that goes with an appearance."""
    if any(archive in words for archive in _ARCHIVES):
        return "unpack it, or give a .zip file"
    if "picture" in words or "volume" in words or words == "a NumPy array":
        return "export the image as DICOM"
    if words == "a PDF document":
        return "a document is not read; export the images of the study as DICOM"
    if words == "text":
        return "if it should be an image, export it as DICOM; a report in plain text: `radpipe report import`"
    return "if it should be an image, export it as DICOM"


def looks_like_data_set(content: bytes) -> bool:
    """True if the bytes may be a DICOM data set without preamble: they begin with an element of a low group whose VR
    or length makes sense, in any of the three encodings of PS3.5 section 7.1."""
    if len(content) < 16:
        return False
    for order in ("<", ">"):
        group, element, first, second = struct.unpack_from(f"{order}HHHH", content)
        if group not in _FIRST_GROUPS or element > 0x9999 or (group == 0 and element > 0x1000):
            continue
        vr = content[4:6]
        if vr.isalpha() and vr.isupper():
            return True
        length = first | second << 16 if order == "<" else first << 16 | second
        if order == "<" and 0 < length <= min(len(content) - 8, 1024) and length % 2 == 0 and (group, element) != (0, 0):
            return True
    return False


def _is_text(head: bytes) -> bool:
    if b"\x00" in head:
        return False
    control = sum(byte < 32 and byte not in (9, 10, 12, 13, 27) for byte in head)
    if control:
        return False
    try:
        head[: max(1, len(head) - 4)].decode("utf-8")
    except UnicodeDecodeError:
        return sum(byte > 127 for byte in head) * 10 < len(head)
    return True

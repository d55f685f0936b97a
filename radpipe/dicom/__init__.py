"""The DICOM room: a file's bytes in, values out. Pure: no file is opened here.

describe, look    bytes -> one described instance; `look` gives a SetAside where `describe` raises
group             described instances -> studies
header            a file's bytes -> the same without the pixels; `read_header` gives the data set
choose            a study -> which of its images the model may read, and why not the others
why_not_read      the same as one sentence, when it is none of them
presentation      bytes -> the picture as a reader sees it, (rows, columns) float32 0..1, bright is dense
picture           bytes -> the same for a screen, uint8, colour where there is colour
upright           a picture turned so that the patient's head is up and the right side is at the left
source_box        a box of the upright picture in the pixels of the file; `upright_box` is the way back
"""

from __future__ import annotations

from radpipe.dicom.choose import choose, why_not_read
from radpipe.dicom.describe import Described, describe, look
from radpipe.dicom.group import group
from radpipe.dicom.header import header, read_header
from radpipe.dicom.orientation import source_box, upright, upright_box
from radpipe.dicom.parse import InstanceError, quiet
from radpipe.dicom.presentation import picture, presentation

__all__ = [
    "Described", "InstanceError", "choose", "describe", "group", "header", "look", "picture", "presentation", "quiet",
    "read_header", "source_box", "upright", "upright_box", "why_not_read",
]  # fmt: skip

"""CT series to volumes, masks to findings. Pure: bytes come from whoever calls, networks run in `models.bundle`.

survey            headers -> series with the place of every slice
choose_series     series -> the one to read, and why not the others
read_volume       the chosen series -> one block of Hounsfield units with its affine (LPS)
regions           a mask -> its connected parts with volume, diameters, slices
findings_of_mask  a segmentation -> measured channels and findings with evidence
read_with         all of it, with the network as a function
"""

from __future__ import annotations

from radpipe.volume.block import read_volume
from radpipe.volume.measure import Measured, Region, findings_of_mask, measured_channels, regions
from radpipe.volume.reading import VolumeReading, read_with, sentences
from radpipe.volume.series import Series, SeriesChoice, choose_series, survey
from radpipe.volume.stack import Stack, stack

__all__ = [
    "Measured", "Region", "Series", "SeriesChoice", "Stack", "VolumeReading", "choose_series", "findings_of_mask",
    "measured_channels", "read_volume", "read_with", "regions", "sentences", "stack", "survey",
]  # fmt: skip

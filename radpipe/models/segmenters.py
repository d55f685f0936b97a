"""The door to segmenters: which there are, and one opened. torch and monai are imported only when one is opened."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from radpipe.errors import BackendUnavailable
from radpipe.models import must_be_whole
from radpipe.segmenter import ROLE, SegmenterCard, read_segmenter_card

if TYPE_CHECKING:
    from radpipe.models.bundle import BundleModel


def list_segmenters(weights_dir: Path) -> tuple[SegmenterCard, ...]:
    """The cards of role "segmenter" under `weights_dir`, by name. Raises WeightsError for a bad one."""
    return tuple(read_segmenter_card(path) for path in sorted(weights_dir.glob("*/card.toml")) if _role(path) == ROLE)


def open_segmenter(card: SegmenterCard, backend: str = "auto", device: str = "auto", threads: int = 0) -> BundleModel:
    """Load the card's weights, after checking every file against the card. See `BundleModel` for the arguments.

    Raises BackendUnavailable if torch or monai is not installed, or the device is not there; WeightsError for a file that is
    missing or not the one that the card names.
    """
    for needed in ("torch", "monai"):
        if importlib.util.find_spec(needed) is None:
            raise BackendUnavailable(
                f"{card.name} is a MONAI bundle and needs {needed}, which is not installed; install 'radpipe[gpu]' in an "
                "environment of its own"
            )
    must_be_whole(card, "import the bundle again")
    from radpipe.models.bundle import BundleModel

    return BundleModel(card, backend=backend, device=device, threads=threads)


def _role(path: Path) -> str:
    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8")).get("role", "reader"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return ""

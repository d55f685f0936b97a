"""Everything that is looked at, with its features: the collections, repeated views, foreign and made images."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.train.collection import Radiographs, normal_files, read_grey, read_radiographs
from radpipe.train.features import Extractor
from radpipe.train.outside import Made, foreign_images, projections, spoilt
from radpipe.train.repeats import repeated_view

Floats = npt.NDArray[np.float32]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Group:
    """Named images with their features (N, F)."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    features: Floats


@dataclass(frozen=True, slots=True)
class Material:
    """What the recipe works on."""

    radiographs: Radiographs
    features: Floats  # (N, F) of radiographs
    small: Radiographs
    small_features: Floats
    normal: tuple[Path, ...]
    normal_features: Floats
    repeated: npt.NDArray[np.int64]  # which radiographs were looked at again
    repeated_features: Floats  # (images, views, F)
    lateral: Group  # projections to learn from
    lateral_check: Group  # other projections of the same CT
    foreign: Group
    elsewhere: Group  # chests of other hospitals


def gather(data: Path, recipe: dict[str, Any], extractor: Extractor) -> Material:
    """Read the collections under `data` (`../shared/data`; DICOM files are expected beside it) and compute features."""
    seed = int(recipe["seed"])
    radiographs, small = read_radiographs(data, "nih"), read_radiographs(data, "nih64")
    normal = normal_files(data, recipe["heads"]["normal_images"], seed=0)
    again = np.sort(np.random.default_rng(seed).permutation(len(radiographs))[: recipe["repeatability"]["images"]])
    views = int(recipe["repeatability"]["views"])
    pairs = [(int(image), view) for image in again for view in range(views)]

    def repeated(number: int) -> Floats:
        image, view = pairs[number]
        return repeated_view(read_grey(radiographs.files[image]), np.random.default_rng([seed, image, view]))

    dicom = data.parent / "dicom"
    count = int(recipe["views"]["lateral_projections"])
    turned = tuple(radiographs.files[int(i)] for i in again[: recipe["distance"]["spoilt_images"]])
    foreign = [*foreign_images(dicom), *spoilt(turned, read_grey)]
    elsewhere = [
        *(Made("Hannover", p.name, lambda p=p: read_grey(p)) for p in sorted((data / "cxr" / "serial").glob("*.jpg"))[::2]),  # type: ignore[misc]
        *(
            Made("OpenIST", p.name, lambda p=p: read_grey(p))  # type: ignore[misc]
            for p in sorted((data / "cxr" / "lungs").glob("*.jpg"))[::4]
            if "mask" not in p.name
        ),
    ]
    material = Material(
        radiographs=radiographs,
        features=extractor.features("nih", _names(radiographs.files), lambda n: read_grey(radiographs.files[n])),
        small=small,
        small_features=extractor.features("nih64", _names(small.files), lambda n: read_grey(small.files[n])),
        normal=normal,
        normal_features=extractor.features("normal", _names(normal), lambda n: read_grey(normal[n])),
        repeated=again,
        repeated_features=extractor.features("repeated", [f"{seed} {pair}" for pair in pairs], repeated).reshape(
            len(again), views, -1
        ),
        lateral=_group(extractor, "lateral", list(projections(dicom, count, seed))),
        lateral_check=_group(extractor, "lateral-check", list(projections(dicom, max(count // 4, 8), seed + 1))),
        foreign=_group(extractor, "foreign", foreign),
        elsewhere=_group(extractor, "elsewhere", elsewhere),
    )
    _log.info("%d radiographs, %d small, %d normal, %d foreign", len(radiographs), len(small), len(normal), len(foreign))
    return material


def _group(extractor: Extractor, name: str, items: list[Made]) -> Group:
    return Group(
        names=tuple(item.name for item in items),
        groups=tuple(item.group for item in items),
        features=extractor.features(name, [f"{item.group}: {item.name}" for item in items], lambda n: items[n].load()),
    )


def _names(files: tuple[Path, ...]) -> list[str]:
    return [file.name for file in files]

"""Everything that is looked at, with its features: the collections, repeated views, foreign and made images."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.train.collection import Radiographs, normal_files, read_grey, read_radiographs
from radpipe.train.features import Extractor
from radpipe.train.outside import Made, foreign_images, projections, spoilt
from radpipe.train.pairs import Pairs, paint_pairs
from radpipe.train.repeats import processed_view, repeated_view

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
    processed_of: npt.NDArray[np.int64]  # (N,) which radiograph each processed one was made from
    processed: Group  # radiographs as other equipment may show them, to learn what may vary
    spoilt: Group  # turned and inverted radiographs, to learn what to refuse
    spoilt_check: Group  # others, of images that are not learnt from
    foreign: Group  # real images of other things, only to check
    elsewhere: Group  # chests of Hannover, half of the patients: to learn what may vary
    elsewhere_check: Group  # of the other half, and of OpenIST
    pairs: Pairs  # without and with a painted lesion


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
    turned = [radiographs.files[int(i)] for i in again[: recipe["distance"]["spoilt_images"]]]
    changed = np.random.default_rng(seed + 1).permutation(len(radiographs))[: recipe["distance"]["processed_images"]]

    def processed(image: int) -> Callable[[], Floats]:
        return lambda: processed_view(read_grey(radiographs.files[image]), np.random.default_rng([seed, image]))

    def read(path: Path) -> Callable[[], Floats]:
        return lambda: read_grey(path)

    hannover = sorted((data / "cxr" / "serial").glob("*.jpg"))
    patients = sorted({path.name.split("_")[0] for path in hannover})
    learnt = frozenset(patients[::2])
    seen = [path for path in hannover if path.name.split("_")[0] in learnt]
    unseen = [path for path in hannover if path.name.split("_")[0] not in learnt]
    openist = [path for path in sorted((data / "cxr" / "lungs").glob("*.jpg")) if "mask" not in path.name][::4]
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
        processed_of=changed,
        processed=_group(extractor, "processed", [Made("processed", f"{seed} {i}", processed(int(i))) for i in changed]),
        spoilt=_group(extractor, "spoilt", list(spoilt([*turned, *seen[::5]], read_grey))),
        spoilt_check=_group(extractor, "spoilt-check", list(spoilt([*normal[:15], *openist[::5], *unseen[::5]], read_grey))),
        foreign=_group(extractor, "foreign", list(foreign_images(dicom))),
        elsewhere=_group(extractor, "elsewhere", [Made("Hannover", p.name, read(p)) for p in seen]),
        elsewhere_check=_group(
            extractor,
            "elsewhere-check",
            [
                *(Made("Hannover", p.name, read(p)) for p in unseen),
                *(Made("OpenIST", p.name, read(p)) for p in openist),
            ],
        ),
        pairs=paint_pairs(data, radiographs, recipe, extractor),
    )
    _log.info("%d radiographs, %d small, %d normal, %d processed", len(radiographs), len(small), len(normal), len(changed))
    return material


def _group(extractor: Extractor, name: str, items: list[Made]) -> Group:
    return Group(
        names=tuple(item.name for item in items),
        groups=tuple(item.group for item in items),
        features=extractor.features(name, [f"{item.group}: {item.name}" for item in items], lambda n: items[n].load()),
    )


def _names(files: tuple[Path, ...]) -> list[str]:
    return [file.name for file in files]

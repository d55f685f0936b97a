"""Everything that is looked at, with its features: the collections, repeated views, foreign and made images.

`features` are of the tokens; what the label heads see (`looks`) are these and the measures of lungs and heart, in standard
deviations among the radiographs, 0 where one could not be taken.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.models.dinov2 import MEASURE_LIMIT
from radpipe.train.collection import Radiographs, normal_files, read_grey, read_radiographs
from radpipe.train.features import Extractor
from radpipe.train.outside import Made, foreign_images, projections, spoilt
from radpipe.train.repeats import processed_view, repeated_view

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Group:
    """Named images with their features (N, F)."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    features: Floats


@dataclass(frozen=True, slots=True)
class Scaling:
    """Measures in standard deviations, as `dinov2.Reader` computes them."""

    centre: Doubles  # (M,)
    scale: Doubles

    @classmethod
    def of(cls, raw: Floats) -> Scaling:
        """From the measures (N, M) of all radiographs; no label is looked at. Outliers are cut first."""
        low, high = np.nanpercentile(raw, (1, 99), axis=0)
        kept = np.clip(raw, low, high)
        return cls(np.nanmean(kept, axis=0), 1 / (np.nanstd(kept, axis=0) + 1e-6))

    def __call__(self, raw: Floats) -> Floats:
        """(N, M) to (N, M), without NaN."""
        standard = np.clip((raw - self.centre) * self.scale, -MEASURE_LIMIT, MEASURE_LIMIT)
        return np.nan_to_num(standard).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Material:
    """What the recipe works on."""

    radiographs: Radiographs
    features: Floats  # (N, F) of radiographs
    looks: Floats  # (N, F + M)
    raw: Floats  # (N, M): their measures as they were taken
    scaling: Scaling
    small: Radiographs
    small_features: Floats
    small_looks: Floats
    normal: tuple[Path, ...]
    normal_features: Floats
    normal_looks: Floats
    repeated: npt.NDArray[np.int64]  # which radiographs were looked at again
    repeated_features: Floats  # (images, views, F)
    repeated_looks: Floats  # (images, views, F + M)
    lateral: Group  # projections to learn from
    lateral_check: Group  # other projections of the same CT
    processed_of: npt.NDArray[np.int64]  # (N,) which radiograph each processed one was made from
    processed: Group  # radiographs as other equipment may show them, to learn what may vary
    processed_looks: Floats
    spoilt: Group  # turned and inverted radiographs, to learn what to refuse
    spoilt_check: Group  # others, of images that are not learnt from
    foreign: Group  # real images of other things, only to check
    elsewhere: Group  # chests of Hannover, half of the patients: to learn what may vary
    elsewhere_check: Group  # of the other half, and of OpenIST


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
    turned = [
        radiographs.files[int(i)]
        for i in np.random.default_rng(seed + 2).permutation(len(radiographs))[: recipe["distance"]["spoilt_images"]]
    ]
    changed = np.random.default_rng(seed + 1).permutation(len(radiographs))[: recipe["distance"]["processed_images"]]

    def processed(image: int) -> Callable[[], Floats]:
        return lambda: processed_view(read_grey(radiographs.files[image]), np.random.default_rng([seed, image]))

    def read(path: Path) -> Callable[[], Floats]:
        return lambda: read_grey(path)

    def look(name: str, items: list[str], load: Callable[[int], Floats], half: bool = False) -> tuple[Floats, Floats]:
        return extractor.features(name, items, load, half=half), extractor.measures(name, items, load)

    hannover = sorted((data / "cxr" / "serial").glob("*.jpg"))
    patients = sorted({path.name.split("_")[0] for path in hannover})
    learnt = frozenset(patients[::2])
    seen = [path for path in hannover if path.name.split("_")[0] in learnt]
    unseen = [path for path in hannover if path.name.split("_")[0] not in learnt]
    openist = [path for path in sorted((data / "cxr" / "lungs").glob("*.jpg")) if "mask" not in path.name][::4]
    features, raw = look("nih", _names(radiographs.files), lambda n: read_grey(radiographs.files[n]))
    scaling = Scaling.of(raw)
    small_features, small_raw = look("nih64", _names(small.files), lambda n: read_grey(small.files[n]), half=True)
    normal_features, normal_raw = look("normal", _names(normal), lambda n: read_grey(normal[n]), half=True)
    repeated_features, repeated_raw = look("repeated", [f"{seed} {pair}" for pair in pairs], repeated)
    made = [Made("processed", f"{seed} {i}", processed(int(i))) for i in changed]
    processed_group = _group(extractor, "processed", made, half=True)
    processed_raw = extractor.measures("processed", list(processed_group.names), lambda n: made[n].load())
    repeated_looks = np.concatenate([repeated_features, scaling(repeated_raw)], axis=1)
    material = Material(
        radiographs=radiographs,
        features=features,
        looks=np.concatenate([features, scaling(raw)], axis=1),
        raw=raw,
        scaling=scaling,
        small=small,
        small_features=small_features,
        small_looks=np.concatenate([small_features, scaling(small_raw)], axis=1),
        normal=normal,
        normal_features=normal_features,
        normal_looks=np.concatenate([normal_features, scaling(normal_raw)], axis=1),
        repeated=again,
        repeated_features=repeated_features.reshape(len(again), views, -1),
        repeated_looks=repeated_looks.reshape(len(again), views, -1),
        lateral=_group(extractor, "lateral", list(projections(dicom, count, seed))),
        lateral_check=_group(extractor, "lateral-check", list(projections(dicom, max(count // 4, 8), seed + 1))),
        processed_of=changed,
        processed=processed_group,
        processed_looks=np.concatenate([processed_group.features, scaling(processed_raw)], axis=1),
        spoilt=_group(extractor, "spoilt", list(spoilt([*turned, *seen[::3]], read_grey)), half=True),
        spoilt_check=_group(extractor, "spoilt-check", list(spoilt([*normal[:40], *openist[::3], *unseen[::3]], read_grey))),
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
    )
    _log.info("%d radiographs, %d small, %d normal, %d processed", len(radiographs), len(small), len(normal), len(changed))
    return material


def _group(extractor: Extractor, name: str, items: list[Made], *, half: bool = False) -> Group:
    return Group(
        names=tuple(item.name for item in items),
        groups=tuple(item.group for item in items),
        features=extractor.features(
            name, [f"{item.group}: {item.name}" for item in items], lambda n: items[n].load(), half=half
        ),
    )


def _names(files: tuple[Path, ...]) -> list[str]:
    return [file.name for file in files]

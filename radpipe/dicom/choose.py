"""Which images of a study a model may read, in order of preference, and why not the others. In words for the reader."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

from radpipe.card import InputSpec
from radpipe.dicom.words import mentions
from radpipe.reading import ImageChoice
from radpipe.study import Image, Study, View

REPEAT_WITHIN_MINUTES = 30
"""Two exposures of the same projection within this time, or of unknown times, are a repeat; later ones are follow-up."""

DEVIATION_INDEX_LIMIT = 3.0
"""IEC 62494-1 and AAPM TG-116: beyond +-3 (half or twice the exposure aimed at) an exposure counts as out of range."""

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"

_HARMLESS_STEPS = frozenset({"113040", "113086", "113087", "113088", "113089", "121327", "113085"})
"""CID 7203 and 7201: lossy compression, edge enhancement, smoothing, blur, unsharp mask, full fidelity, resampling of the
whole image: a film stays the film. All other coded steps make a different picture."""

_OTHER_PICTURE = (
    "bone suppressed|bone suppression|bone suppress|bonesuppression|soft tissue image|soft tissue only|bone image|bone only|"
    "dual energy|de soft|de bone|clearread|subtraction|subtracted|dsa|tomosynthesis|tomosynth|stitched|stitching|composed|"
    "mpr|reformat|reformatted|mip|minip|3d|volume rendering|cad|heatmap|heat map|saliency|annotated|annotation|annotations|"
    "overlay|screenshot|screen save|screen shot|report page|key image|collage|line enhanced|tube enhanced|tube and line|"
    "catheter enhanced|gridview|companion|ai result|ai results|tube view"
)
_OTHER_PICTURE_TYPES = frozenset(
    {"MPR", "REFORMATTED", "RESAMPLED", "PROJECTION IMAGE", "MIP", "MINIP", "CAD", "SUBTRACTION", "BONE_SUPPRESSED",
     "DUAL_ENERGY", "SCREEN SAVE", "SCREENSAVE", "CSA MPR", "VOLUME", "STITCHED", "COMPOSED", "TOMOSYNTHESIS", "AI"}
)  # fmt: skip
_LOCALISER = "localizer|localiser|scout|topogram|surview|scanogram"
_VIEW_ORDER = {View.PA: 0, View.AP: 1, None: 2, View.LATERAL: 3}


def choose(study: Study, spec: InputSpec) -> tuple[ImageChoice, ...]:
    """One choice for every image of the study: the readable ones first, the best first; then the others as they stand."""
    whys = {image.sop_instance_uid: _why_not(image, spec) for image in study.images}
    readable = sorted((image for image in study.images if not whys[image.sop_instance_uid]), key=_preference)
    chosen: list[Image] = []
    for image in readable:
        better = next((other for other in chosen if _is_repeat(image, other)), None)
        if better is None:
            chosen.append(image)
        else:
            whys[image.sop_instance_uid] = _why_better(better, image)
    choices = [ImageChoice(image.sop_instance_uid, True, _why(image)) for image in chosen]
    taken = {image.sop_instance_uid for image in chosen}
    choices += [
        ImageChoice(image.sop_instance_uid, False, whys[image.sop_instance_uid])
        for image in study.images
        if image.sop_instance_uid not in taken
    ]
    return tuple(choices)


def why_not_read(study: Study, choices: tuple[ImageChoice, ...], spec: InputSpec) -> str:
    """Why no image of a study is read, as one sentence; "" if one is."""
    if any(choice.chosen for choice in choices):
        return ""
    reads = f"this model reads {', '.join(spec.modalities)} of the {spec.body_part}"
    if not study.images:
        if study.other_instances:
            return f"no image in this study, only {len(study.other_instances)} other objects such as reports ({reads})"
        return f"no image of this study could be used: see what was set aside ({reads})"
    modalities = sorted({image.modality or "an unstated modality" for image in study.images})
    if not set(modalities) & set(spec.modalities):
        return f"no model for {', '.join(modalities)} ({reads})"
    images = [image for image in study.images if image.modality in spec.modalities]
    parts = sorted({image.body_part for image in images})
    if "" not in parts and spec.body_part not in parts:
        return f"no model for {', '.join(f'{_of_part(part, images)}' for part in parts)} ({reads})"
    chest = [image for image in images if image.body_part in ("", spec.body_part)]
    unread_views = [image.other_projection or (image.view.value.lower() if image.view else "") for image in chest]
    if all(unread_views) and not any(image.view and image.view.value in spec.views for image in chest):
        seen = " and ".join(sorted(set(unread_views)))
        kind = "frontal " if View.LATERAL.value not in spec.views else ""
        return f"no {kind}{spec.body_part.lower()} image: only {_article(seen)} {seen} view"
    whys = Counter(choice.why for choice in choices)
    return f"no readable {spec.body_part.lower()} image: " + "; ".join(why for why, _ in whys.most_common(3))


def _of_part(part: str, images: list[Image]) -> str:
    modalities = sorted({image.modality for image in images if image.body_part == part})
    return f"{', '.join(modalities)} of the {part}"


def _why_not(image: Image, spec: InputSpec) -> str:
    """Why the model may not read this image, or ""."""
    words = image.series_description
    derivation = " ".join(meaning for _, meaning in image.derivations)
    kinds = set(image.image_type)
    if image.rejected:
        return f"{image.rejected}"
    if "LOCALIZER" in kinds or "SCOUT" in kinds or mentions(words, _LOCALISER):
        return "a localiser, which is for planning and not for reading"
    if image.sop_class_uid == _SECONDARY_CAPTURE or image.sop_class_uid.startswith(_SECONDARY_CAPTURE + "."):
        return "a secondary capture or scanned document: send the original CR or DX object"
    if image.modality not in spec.modalities:
        return f"modality {image.modality or 'not stated'}: this model reads {', '.join(spec.modalities)}"
    if image.photometric_interpretation and not image.photometric_interpretation.startswith("MONOCHROME"):
        return f"in colour ({image.photometric_interpretation}): the model reads greyscale radiographs"
    if image.number_of_frames > 1:
        return f"{image.number_of_frames} frames: the model reads single radiographs"
    if image.presentation_intent == "FOR PROCESSING" or image.sop_class_uid == _FOR_PROCESSING:
        return "raw data of the detector (FOR PROCESSING): send the image FOR PRESENTATION"
    if other := _other_picture(image, kinds, words, derivation):
        return other
    if image.body_part and image.body_part != spec.body_part:
        return f"shows the {image.body_part}: this model reads the {spec.body_part}"
    if image.other_projection:
        return f"{_article(image.other_projection)} {image.other_projection} view: this model reads {_views(spec)}"
    if image.view is not None and image.view.value not in spec.views:
        return f"{_article(image.view.value.lower())} {_view_words(image.view)} view: this model reads {_views(spec)}"
    return ""


def _other_picture(image: Image, kinds: set[str], words: str, derivation: str) -> str:
    """Derived by more than compression and ordinary processing (PS3.3 C.7.6.1.1.2, CID 7203), or said to be."""
    if phrase := mentions(words, _OTHER_PICTURE):
        return f'not the film itself but made from it ("{phrase}" in its series description)'
    if kind := min(kinds & _OTHER_PICTURE_TYPES, default=""):
        return f"not the film itself but made from it (Image Type {kind})"
    if image.image_type[:1] != ("DERIVED",):
        return ""
    if image.image_type[1:2] == ("SECONDARY",):
        return "made from another image after the examination (DERIVED, SECONDARY): send the original"
    for code, meaning in image.derivations:
        if code and code not in _HARMLESS_STEPS:
            return f"derived by {meaning.lower() or code}: send the original"
    if phrase := mentions(derivation, _OTHER_PICTURE):
        return f'derived ("{phrase}" in its derivation description): send the original'
    return ""


def _preference(image: Image) -> tuple[object, ...]:
    """Frontal before lateral, PA before AP; then a good exposure, the larger matrix, the later one; then as they stand."""
    bad_exposure = abs(image.deviation_index or 0.0) > DEVIATION_INDEX_LIMIT
    later_first = tuple(-ord(character) for character in image.acquisition_time[:20])
    place = (image.series_number or 0, image.instance_number or 0, image.sop_instance_uid)
    return _VIEW_ORDER[image.view], bad_exposure, -image.rows * image.columns, not later_first, later_first, place


def _is_repeat(image: Image, other: Image) -> bool:
    """True if both show the same known projection, described alike, at nearly the same time."""
    same = ("view", "image_laterality", "body_part", "modality")
    if image.view is None or any(getattr(image, name) != getattr(other, name) for name in same):
        return False
    if _plain(image.series_description) != _plain(other.series_description):
        return False
    times = [_moment(one.acquisition_time) for one in (image, other)]
    if times[0] is None or times[1] is None:
        return True
    return abs((times[0] - times[1]).total_seconds()) <= REPEAT_WITHIN_MINUTES * 60


def _plain(description: str) -> str:
    return " ".join(word for word in description.lower().split() if word not in ("repeat", "rpt", "wdh", "2"))


def _moment(acquisition_time: str) -> datetime | None:
    try:
        return datetime.strptime(acquisition_time[:14], "%Y%m%d%H%M%S")
    except ValueError:
        return None


def _why_better(better: Image, image: Image) -> str:
    limit = DEVIATION_INDEX_LIMIT
    if abs(image.deviation_index or 0.0) > limit >= abs(better.deviation_index or 0.0):
        how = "the other is better exposed"
    elif better.rows * better.columns > image.rows * image.columns:
        how = "the other has the larger matrix"
    elif better.acquisition_time > image.acquisition_time:
        how = "the other is later"
    else:
        how = "the other comes first"
    return f"a second exposure of the same {_view_words(image.view)} view: {how} ({better.sop_instance_uid})"


def _why(image: Image) -> str:
    by = {"tags": "by its tags", "description": "by its description", "image": "by the image"}
    part = image.body_part.lower()
    part_words = part if part else "body part to be told from the image"
    if part and image.body_part_basis is not None and image.body_part_basis.value != "tags":
        part_words += f" {by[image.body_part_basis.value]}"
    view_words = "view to be told from the image"
    if image.view is not None:
        view_words = f"{_view_words(image.view)}" + (f" {by[image.view_basis.value]}" if image.view_basis else "")
    return f"{image.modality}, {part_words}, {view_words}"


def _view_words(view: View | None) -> str:
    return "" if view is None else "lateral" if view is View.LATERAL else view.value


def _views(spec: InputSpec) -> str:
    return ", ".join("lateral" if view == View.LATERAL.value else view for view in spec.views)


def _article(word: str) -> str:
    return "an" if word[:1] in "aeiou" and word != "ap" else "an" if word == "ap" else "a"

"""What becomes of a study's images once the model has looked at one: what was told from the image, which was read, where
its boxes lie in the file. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from radpipe import dicom, sanity
from radpipe.card import ModelCard
from radpipe.finding import Finding
from radpipe.ports import Prediction
from radpipe.reading import ImageChoice
from radpipe.study import Basis, Image, SetAside, Study, View


def told_from_image(image: Image, prediction: Prediction, index: int, card: ModelCard) -> tuple[Image, str | None]:
    """What tags did not say, from the pixels; and why the model may not read this image, if so."""
    if reason := sanity.why_not(prediction, index, card):
        return image, reason
    if image.view is None and card.view_labels:
        view = View(card.view_labels[int(prediction.views[index].argmax())])
        image = replace(image, view=view, view_basis=Basis.IMAGE)
        if view.value not in card.input.views:
            return (
                image,
                f"by its look the image is a {view.value.lower()} view; this model reads {', '.join(card.input.views)}",
            )
    if not image.body_part:
        image = replace(image, body_part=card.input.body_part, body_part_basis=Basis.IMAGE)
    return image, None


def with_image(study: Study, image: Image | None, aside: tuple[SetAside, ...]) -> Study:
    """The study with what was learnt of one image, and what was set aside while decoding."""
    images = tuple(image if image and i.sop_instance_uid == image.sop_instance_uid else i for i in study.images)
    return replace(study, images=images, set_aside=(*study.set_aside, *aside))


def settled(choices: Iterable[ImageChoice], read: Image) -> tuple[ImageChoice, ...]:
    """The choices after reading: only the image that was read stays chosen."""
    return tuple(
        choice
        if choice.sop_instance_uid == read.sop_instance_uid or not choice.chosen
        else replace(choice, chosen=False, why=f"{choice.why}; not needed, a better image of the study was read")
        for choice in choices
    )


def in_source_pixels(found: Iterable[Finding], image: Image) -> tuple[Finding, ...]:
    """Boxes from the upright image back to the pixels of the file."""
    return tuple(
        replace(
            finding,
            evidence=tuple(
                replace(e, box_px=dicom.source_box(e.box_px, image)) if e.box_px else e for e in finding.evidence
            ),
        )
        for finding in found
    )

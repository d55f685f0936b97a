"""What an image's attributes say of it: spacing, body part, projection, side, derivation. Nothing is guessed.

Every function takes a data set without pixels and never raises.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from radpipe.codes import Laterality
from radpipe.dicom import text
from radpipe.dicom.words import body_part_of_term, body_part_of_words, view_of_words
from radpipe.study import Basis, View

SMALLEST_SPACING_MM, LARGEST_SPACING_MM = 0.005, 50.0
"""Outside these, a spacing is a mistake: mammography has 0.05 mm, nuclear medicine up to about 10 mm."""

PROJECTION_MODALITIES = frozenset({"CR", "DX", "DR", "RG", "RF", "XA", "MG", "PX", "IO", "RTIMAGE"})

_VIEW_CODES = {
    "272479007": View.PA, "R-10214": View.PA,
    "399348003": View.AP, "R-10206": View.AP,
    "399067008": View.LATERAL, "R-10236": View.LATERAL, "399173006": View.LATERAL, "399198007": View.LATERAL,
    "R-10232": View.LATERAL, "399260004": View.LATERAL, "R-10224": View.LATERAL, "399352003": View.LATERAL,
    "R-10228": View.LATERAL,
}  # fmt: skip
"""DICOM PS3.16 CID 4010 DX View, SNOMED CT codes and their retired SNOMED RT forms."""

_VIEW_POSITIONS = {"PA": View.PA, "AP": View.AP, "LL": View.LATERAL, "RL": View.LATERAL, "LAT": View.LATERAL}
"""(0018,5101), defined terms of PS3.3 C.8.11.5."""

_OTHER_POSITIONS = {"RLD": "decubitus", "LLD": "decubitus", "RLO": "oblique", "LLO": "oblique"}

_REGION_CODES = {
    "43799004": "CHEST", "51185008": "CHEST", "T-D3000": "CHEST", "39607008": "CHEST", "T-28000": "CHEST",
    "113197003": "CHEST", "816094009": "CHEST", "78904004": "CHEST",
    "818981001": "ABDOMEN", "113345001": "ABDOMEN", "T-D4000": "ABDOMEN", "69536005": "HEAD", "T-D1100": "HEAD",
    "12921003": "PELVIS", "T-D6000": "PELVIS", "416550000": "CHESTABDOMEN",
}  # fmt: skip
"""PS3.16 Annex L: codes of body regions that BodyPartExamined terms stand for. Others are told by their meaning."""


def spacing(dataset: Dataset, modality: str) -> tuple[tuple[float, float] | None, str]:
    """Distance between pixel centres in mm (row, column) and where it comes from. See PS3.3 section 10.7.

    For projections: what was calibrated, else what holds at the detector, corrected for magnification if that is
    stated. (None, "") when nothing usable is stated.
    """
    own = _pair(dataset, "PixelSpacing")
    imager = _pair(dataset, "ImagerPixelSpacing")
    calibration = text.first(dataset, "PixelSpacingCalibrationType").upper()
    if own and calibration:
        return own, f"PixelSpacing, calibrated ({calibration})"
    if own and imager and own != imager:
        return own, "PixelSpacing, calibrated by unstated means"
    if imager:
        magnification = text.decimal(dataset, "EstimatedRadiographicMagnificationFactor")
        if magnification and 1.0 < magnification <= 10.0:
            corrected = (imager[0] / magnification, imager[1] / magnification)
            return corrected, f"ImagerPixelSpacing, divided by the estimated magnification {magnification:g}"
        return imager, "ImagerPixelSpacing, at the detector"
    if own:
        return own, "PixelSpacing, calibration not stated" if modality in PROJECTION_MODALITIES else "PixelSpacing"
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in text.items(dataset, groups):
            for measures in text.items(group, "PixelMeasuresSequence"):
                if pair := _pair(measures, "PixelSpacing"):
                    return pair, "PixelSpacing"
            break
    scanned = _pair(dataset, "NominalScannedPixelSpacing")
    return (scanned, "NominalScannedPixelSpacing, at the film or paper that was scanned") if scanned else (None, "")


def _pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    numbers = text.decimals(dataset, keyword)
    if len(numbers) != 2 or not all(SMALLEST_SPACING_MM <= number <= LARGEST_SPACING_MM for number in numbers):
        return None
    return (numbers[0], numbers[1]) if 0.1 <= numbers[0] / numbers[1] <= 10.0 else None


def body_part(dataset: Dataset) -> tuple[str, Basis | None]:
    """The body part as a defined term of BodyPartExamined, and how it is known."""
    if term := text.first(dataset, "BodyPartExamined"):
        return body_part_of_term(term), Basis.TAGS
    for region in _anatomic_regions(dataset):
        for code, meaning in text.code_meanings(region, "AnatomicRegionSequence"):
            if part := _REGION_CODES.get(code) or body_part_of_words(meaning):
                return part, Basis.TAGS
    for words in descriptions(dataset):
        if part := body_part_of_words(words):
            return part, Basis.DESCRIPTION
    return "", None


def view(dataset: Dataset, modality: str) -> tuple[View | None, Basis | None, str]:
    """Projection, how it is known, and the name of another projection ("oblique", "decubitus") if it is such a one."""
    position = text.first(dataset, "ViewPosition").upper()
    if position in _VIEW_POSITIONS:
        return _VIEW_POSITIONS[position], Basis.TAGS, ""
    if position in _OTHER_POSITIONS:
        return None, Basis.TAGS, _OTHER_POSITIONS[position]
    stated = [(_VIEW_CODES.get(code), meaning) for code, meaning in text.code_meanings(dataset, "ViewCodeSequence")]
    for known, meaning in [*stated, (None, position)]:
        found, other = (known, "") if known else view_of_words(meaning)
        if found or other:
            return found, Basis.TAGS, other
    if modality not in PROJECTION_MODALITIES:
        return None, None, ""
    if _shows_depth(patient_orientation(dataset)):
        return View.LATERAL, Basis.TAGS, ""
    for words in descriptions(dataset):
        found, other = view_of_words(words)
        if found or other:
            return found, Basis.DESCRIPTION, other
    return None, None, ""


def _shows_depth(orientation: tuple[str, ...]) -> bool:
    """True if the picture's rows or columns run between front and back, head or foot the other way: a lateral."""
    if len(orientation) != 2:
        return False
    principal = {direction[:1] for direction in orientation}
    return bool(principal & set("AP")) and bool(principal & set("HF"))


def laterality(dataset: Dataset) -> Laterality | None:
    """The side of the body that is shown; None when unpaired or not stated."""
    sides = {"L": Laterality.LEFT, "R": Laterality.RIGHT, "B": Laterality.BILATERAL}
    stated = [text.first(dataset, keyword) for keyword in ("ImageLaterality", "Laterality")]
    stated += [text.first(anatomy, "FrameLaterality") for anatomy in _frame_anatomies(dataset)]
    return next((sides[side.upper()] for side in stated if side.upper() in sides), None)


def patient_orientation(dataset: Dataset) -> tuple[str, ...]:
    """(0020,0020) as two directions in capitals, or () if it is not that. Biped terms only (PS3.3 C.7.6.1.1.1)."""
    directions = tuple(direction.upper() for direction in text.texts(dataset, "PatientOrientation"))
    usable = len(directions) == 2 and all(direction and set(direction) <= set("LRAPHF") for direction in directions)
    return directions if usable else ()


def descriptions(dataset: Dataset) -> Iterator[str]:
    """What people and scanners wrote of the image, nearest to it first."""
    for keyword in ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription"):
        if words := text.text(dataset, keyword):
            yield words
    for keyword in ("PerformedProcedureStepDescription", "RequestedProcedureDescription", "StudyDescription"):
        if words := text.text(dataset, keyword):
            yield words
    for keyword in ("ProcedureCodeSequence", "PerformedProtocolCodeSequence"):
        for _, meaning in text.code_meanings(dataset, keyword):
            if meaning:
                yield meaning


def derivations(dataset: Dataset) -> tuple[tuple[str, str], ...]:
    """(code, words) for each step by which the image was derived (PS3.3 C.7.6.1.1.3), the free text last."""
    steps = [(code, meaning) for code, meaning in text.code_meanings(dataset, "DerivationCodeSequence")]
    if words := text.text(dataset, "DerivationDescription"):
        steps.append(("", words))
    return tuple(steps)


def reason_for_study(dataset: Dataset) -> str:
    """The indication: from the request, else from the study, else the admitting diagnoses."""
    requests = list(text.items(dataset, "RequestAttributesSequence"))
    for source in (dataset, *requests):
        if words := text.text(source, "ReasonForTheRequestedProcedure"):
            return words
    for source in (dataset, *requests):
        meanings = [meaning for _, meaning in text.code_meanings(source, "ReasonForRequestedProcedureCodeSequence")]
        if any(meanings):
            return "; ".join(meaning for meaning in meanings if meaning)
    if words := text.text(dataset, "ReasonForStudy"):
        return words
    diagnoses = text.texts(dataset, "AdmittingDiagnosesDescription")
    coded = [meaning for _, meaning in text.code_meanings(dataset, "AdmittingDiagnosesCodeSequence") if meaning]
    return "; ".join([words for words in diagnoses if words] or coded)


def _frame_anatomies(dataset: Dataset) -> Iterator[Dataset]:
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in text.items(dataset, groups):
            yield from text.items(group, "FrameAnatomySequence")
            break


def _anatomic_regions(dataset: Dataset) -> Iterator[Dataset]:
    yield dataset
    yield from _frame_anatomies(dataset)

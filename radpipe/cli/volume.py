"""Command: volume. Reads CT studies with an imported MONAI bundle; no store, no flow."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radpipe.cli import DONE, SET_ASIDE, model_options
from radpipe.cli.outlets import Replacement
from radpipe.errors import DraftError, InputError, UsageError
from radpipe.settings import Settings

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from radpipe.models.bundle import BundleModel
    from radpipe.segmenter import SegmenterCard
    from radpipe.sources.folder import FolderSource
    from radpipe.study import FileRef, SetAside, Study
    from radpipe.volume import VolumeReading

Commands = Any  # argparse._SubParsersAction, which is private


def add_commands(commands: Commands, common: argparse.ArgumentParser, formatter: type[argparse.HelpFormatter]) -> None:
    """volume."""
    volume = commands.add_parser(
        "volume",
        parents=[common, model_options()],
        formatter_class=formatter,
        help="read CT volumes with an imported MONAI bundle: volumes in mL, a DICOM SEG",
        description="Chooses the CT series of each study, runs the bundle's network on it, and prints what it draws: "
        "volume in mL, diameters, slices. Writes the mask as a DICOM SEG that lies over the original slices.",
        epilog="examples:\n  radpipe weights import spleen_ct_segmentation.zip --name spleen\n"
        "  radpipe volume /mnt/ct --model spleen --seg spleen.dcm\n"
        "  radpipe volume /mnt/ct --model spleen --json | jq .measured\n\nSee docs/ct-bundles.md.",
    )
    volume.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="folders, files, zips or DICOMDIRs")
    volume.add_argument("--seg", type=Path, metavar="OUT.dcm", help="write the mask there; a folder for several studies")
    volume.set_defaults(command=_volume)


def _volume(options: argparse.Namespace, settings: Settings) -> int:
    from radpipe.models.segmenters import open_segmenter
    from radpipe.sources.folder import FolderSource

    card = _card(options, settings)
    source = FolderSource(options.paths)
    studies, headers, orphans = _studies(source)
    if not studies:
        raise InputError("no DICOM study was found there" + (f" ({orphans[0].reason})" if orphans else ""))
    folder = options.seg is not None and (options.seg.is_dir() or len(studies) > 1 or str(options.seg).endswith(os.sep))
    if folder and not options.seg.is_dir():
        raise UsageError(f"{len(studies)} studies were found: give --seg the name of a folder that exists")
    model = open_segmenter(card, settings.backend, settings.device, settings.threads)
    aside = list(orphans)
    for study in studies:
        aside += study.set_aside
        reading = _read(study, headers, source, card, model)
        written = None
        if options.seg is not None and reading.segmentation is not None:
            target = options.seg / f"{study.study_key}.dcm" if folder else options.seg
            written = _write_seg(reading, card, headers, study, target)
        _show(options, study, reading, model, written)
    for item in aside:
        sys.stderr.write(f"set aside: {item.file}: {item.reason}\n")
    return SET_ASIDE if aside else DONE


def _card(options: argparse.Namespace, settings: Settings) -> SegmenterCard:
    """The segmenter that --model names; without it the only one there is."""
    from radpipe.cli.assemble import weights_folder
    from radpipe.models.segmenters import list_segmenters
    from radpipe.segmenter import read_segmenter_card

    folder = weights_folder(settings)
    if options.model is not None:
        return read_segmenter_card(folder / options.model / "card.toml")
    cards = list_segmenters(folder)
    if len(cards) != 1:
        names = ", ".join(card.name for card in cards) or "none: import a bundle with `radpipe weights import`"
        raise UsageError(f"say with --model which segmenter is to read ({names})")
    return cards[0]


def _studies(source: FolderSource) -> tuple[tuple[Study, ...], dict[str, Dataset], tuple[SetAside, ...]]:
    """Studies, the header of each image by its file's name, and files that belong to no study."""
    from radpipe import dicom
    from radpipe.dicom.parse import parse
    from radpipe.study import SetAside

    described: list[dicom.Described] = []
    aside: list[SetAside] = []
    headers: dict[str, Dataset] = {}
    for item in source.files():
        if isinstance(item, SetAside):
            aside.append(item)
            continue
        try:
            content = source.read(item)
        except InputError as error:
            aside.append(SetAside(item.name, str(error)))
            continue
        found = dicom.look(content, item)
        if isinstance(found, SetAside):
            aside.append(found)
            continue
        described.append(found)
        if found.image is not None:
            with dicom.quiet():
                headers[item.name] = parse(content).dataset
    studies, orphans = dicom.group(described, aside)
    return studies, headers, orphans


def _read(
    study: Study, headers: dict[str, Dataset], source: FolderSource, card: SegmenterCard, model: BundleModel
) -> VolumeReading:
    from radpipe import volume

    refs: dict[str, FileRef] = {image.file.name: image.file for image in study.images if not image.rejected}
    series = volume.survey((name, headers[name]) for name in refs)
    choice = volume.choose_series(series, modality=card.modality, body_part=card.body_part)
    return volume.read_with(choice, lambda name: source.read(refs[name]), model.segment)


def _write_seg(
    reading: VolumeReading, card: SegmenterCard, headers: dict[str, Dataset], study: Study, target: Path
) -> Path | None:
    from radpipe.sinks import dicom_seg

    assert reading.segmentation is not None
    assert reading.volume is not None
    wanted = set(reading.volume.sop_instance_uids)
    sources = {
        image.sop_instance_uid: headers[image.file.name] for image in study.images if image.sop_instance_uid in wanted
    }
    try:
        content = dicom_seg.render(reading.segmentation, reading.volume, card, sources)
    except DraftError as error:
        sys.stderr.write(f"no segmentation written for study {study.study_key}: {error}\n")
        return None
    new, whole = Replacement(target), False
    try:
        new.stream.write(content)
        whole = True
    finally:
        new.close(whole=whole)
    return target


def _show(
    options: argparse.Namespace, study: Study, reading: VolumeReading, model: BundleModel, written: Path | None
) -> None:
    from radpipe.volume import sentences

    if options.json:
        sys.stdout.write(json.dumps(_record(study, reading, model, written), ensure_ascii=False) + "\n")
        return
    lines = [f"study {study.study_key}"]
    if reading.not_read_reason is not None:
        lines.append(f"  not read: {reading.not_read_reason}")
    elif reading.volume is not None:
        lines.append(f"  {reading.volume.why}")
        lines += [f"  note: {note}" for note in reading.volume.notes]
        lines += [f"  {sentence}" for sentence in sentences(reading)]
        lines.append(
            f"  by {model.card.identity} on {model.backend} ({model.provider}), {dict(reading.seconds)['total']:.1f} s"
        )
    if written is not None:
        lines.append(f"  segmentation: {written}")
    sys.stdout.write("\n".join(lines) + "\n")


def _record(study: Study, reading: VolumeReading, model: BundleModel, written: Path | None) -> dict[str, Any]:
    from radpipe.record import code_record, finding_record

    volume = reading.volume
    uids = volume.sop_instance_uids if volume else ()
    card = model.card
    return {
        "study_key": study.study_key,
        "study_instance_uid": study.study_instance_uid,
        "accession_number": study.accession_number,
        "study_date": study.study_date.isoformat() if study.study_date else None,
        "modality": list(study.modalities),
        "status": "read" if reading.not_read_reason is None else "not_read",
        "not_read_reason": reading.not_read_reason,
        "series": None
        if volume is None
        else {
            "series_instance_uid": volume.series_instance_uid,
            "why": volume.why,
            "slices": len(uids),
            "spacing_mm": [round(value, 4) for value in volume.spacing_mm],
            "notes": list(volume.notes),
        },
        "other_series": [{"series": series.name, "why": why} for series, why in reading.choice.others],
        "findings": [finding_record(finding) for finding in reading.findings],
        "measured": [
            {
                "channel": one.channel.name,
                "finding": one.channel.finding,
                "kind": one.channel.kind.value,
                "code": code_record(one.channel.code),
                "volume_ml": round(one.volume_ml, 3),
                "parts": one.stated,
                "parts_left_out": one.left_out,
                "regions": [
                    {
                        "volume_ml": round(region.volume_ml, 3),
                        "diameter_mm": round(region.diameter_mm, 1),
                        "axial_diameter_mm": round(region.axial_diameter_mm, 1),
                        "centroid_mm": [round(value, 1) for value in region.centroid_mm],
                        "first_sop_instance_uid": uids[region.first_slice],
                        "last_sop_instance_uid": uids[region.last_slice],
                        "largest_sop_instance_uid": uids[region.largest_slice],
                        "slices": [region.first_slice + 1, region.last_slice + 1],
                        "box_px": list(region.box_px),
                    }
                    for region in one.regions
                ],
            }
            for one in reading.measured
        ],
        "segmentation": str(written) if written else None,
        "model": {
            "name": card.name,
            "version": card.version,
            "sha256": card.sha256,
            "backend": model.backend,
            "provider": model.provider,
        },
        "set_aside": _aside(study.set_aside),
        "seconds": dict(reading.seconds),
    }


def _aside(items: Iterable[SetAside]) -> list[dict[str, str]]:
    from radpipe.record import set_aside_record

    return [set_aside_record(item) for item in items]

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image as Picture

from radpipe.errors import ImageError
from radpipe.finding import Evidence, Registration
from radpipe.report import PRELIMINARY, Section, SectionName, Sentence
from radpipe.sinks import html, overlay, picture
from radpipe.study import Patient, SetAside
from tests.sample_reading import (
    COLUMNS,
    FRONTAL,
    LATERAL,
    PRIOR_FRONTAL,
    ROWS,
    SIGNED_AT,
    amended,
    not_read,
    not_read_report,
    phantom,
    sample_reading,
    sample_report,
    signed,
)

CURRENT_PNG = picture.png(phantom(effusion=0.9))
PRIOR_PNG = picture.png(phantom(effusion=0.3))
HOSTILE = "\"'><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)></style>{{7*7}}"


class Page(HTMLParser):
    """A page as tags with attributes, and its text without styles."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.style = ""
        self._in_style = False
        self.feed(content.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.style += data
        else:
            self.text += f" {data}"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())


def page(reading=None, report=None, *, pictures=None, prior_pictures=None) -> Page:
    pictures = {FRONTAL: CURRENT_PNG} if pictures is None else pictures
    prior_pictures = {PRIOR_FRONTAL: PRIOR_PNG} if prior_pictures is None else prior_pictures
    return Page(html.render(reading or sample_reading(), report or sample_report(), pictures, prior_pictures, now=SIGNED_AT))


def test_the_page_asks_for_nothing_from_outside_and_runs_no_script():
    shown = page()
    for tag, attributes in shown.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "action", "data"):
                assert value is not None
                assert value.startswith("data:image/png;base64,")
    assert "url(" not in shown.style
    assert "@import" not in shown.style
    policy = next(meta["content"] for meta in shown.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_the_page_is_marked_until_it_is_signed():
    assert PRELIMINARY in page().words
    final = page(report=amended(signed(sample_report())))
    assert PRELIMINARY not in final.words
    assert "Addendum signed by Maja Lindqvist, Example Hospital, 2026-01-31 08:41 UTC." in final.words
    assert "not a medical device" in final.words


def test_the_patients_name_is_on_the_page_but_not_in_its_title():
    content = html.render(sample_reading(), sample_report(), {}, now=SIGNED_AT).decode()
    title = re.search(r"<title>(.*?)</title>", content)
    assert title is not None
    assert title[1] == f"Draft {sample_report().report_key}"
    assert "Åsa Testperson" in content


def test_both_images_stand_beside_each_other_with_boxes_in_source_pixels():
    shown = page()
    images = shown.all("img")
    assert [image["alt"] for image in images] == ["Current image", "Prior image"]
    assert shown.all("svg")[0]["viewbox"] == f"0 0 {COLUMNS} {ROWS}"
    outlines = [rect for rect in shown.all("rect") if "outline" in (rect.get("class") or "")]
    assert len(outlines) == 6  # three on the current image, the same three places on the prior
    assert [float(outlines[0][name] or "") for name in ("x", "y", "width", "height")] == [930, 1480, 630, 420]
    assert [box["id"] for box in shown.all("input")] == ["boxes", "labels", "invert"]
    assert "#boxes:not(:checked)" in shown.style


def test_an_uncertain_box_is_dashed_and_an_absent_finding_has_none():
    drawn = overlay.boxed(sample_reading().findings)
    assert [finding.finding for finding in drawn] == ["pleural_effusion", "lung_opacity", "pneumonia"]
    boxes = overlay.boxes_on(FRONTAL, drawn, (COLUMNS, ROWS))
    assert [box.dashed for box in boxes] == [False, False, True]
    assert len({box.colour for box in boxes}) == 3


def test_labels_of_boxes_in_one_place_do_not_cover_each_other():
    findings = tuple(
        replace(finding, evidence=(replace(finding.evidence[0], box_px=(5, 10, 400, 500)),))
        for finding in overlay.boxed(sample_reading().findings)
    )
    boxes = overlay.boxes_on(FRONTAL, findings, (COLUMNS, ROWS))
    baselines = sorted(box.label_y for box in boxes)
    assert all(later - earlier >= boxes[0].font_size for earlier, later in pairwise(baselines))
    assert baselines[0] >= boxes[0].font_size


def test_places_on_the_prior_go_through_the_registration_and_stay_inside():
    drawn = overlay.boxed(sample_reading().findings)[:1]
    shifted = Registration(0.9, True, "aligned", (1.0, 0.0, 0.5, 0.0, 1.0, 0.0))
    box = overlay.boxes_on_prior(FRONTAL, drawn, (COLUMNS, ROWS), (100, 200), shifted)[0]
    assert box.x == 100.0  # 930 / 1760 + 0.5 is beyond the right edge
    assert box.y == pytest.approx(1480 / ROWS * 200, abs=0.01)
    assert box.x + box.width <= 100.0


def test_no_place_is_drawn_on_the_prior_when_the_stored_image_is_not_upright():
    reading = sample_reading()
    turned = tuple(replace(image, patient_orientation=("F", "R")) for image in reading.study.images)
    shown = page(replace(reading, study=replace(reading.study, images=turned)))
    assert len([rect for rect in shown.all("rect") if "outline" in (rect.get("class") or "")]) == 3


def test_every_sentence_stands_with_its_evidence():
    shown = page()
    for sentence in sample_report().sentences:
        assert sentence.text in shown.words
    assert "0.91 ≥ 0.40" in shown.words
    assert "height 81.5 mm" in shown.words
    assert "rows 1480 to 1900, columns 930 to 1560 px" in shown.words
    assert shown.words.count("SOP Instance UID") == sum(len(s.evidence) for s in sample_report().sentences)


def test_scores_changes_choices_files_set_aside_and_provenance_are_shown():
    words = page().words
    for expected in (
        "URGENT", "new lung opacity 0.61", "Uncertain", "▲ increased", "not comparable", "aligned, correlation 0.87",
        "not read : lateral; the model reads PA and AP", "inbox/study.zip!scan0003.dcm", "send it again from the modality",
        "3f9ac1d27be04455" * 4, "onnx, CPUExecutionProvider", LATERAL,
    ):  # fmt: skip
        assert expected.replace(" :", ":") in words.replace(" :", ":"), expected


def test_a_correction_is_shown_beside_the_finding():
    assert "rejected by Maja Lindqvist: no consolidation on the lateral" in page(report=signed(sample_report())).words


def test_a_label_that_is_scored_but_not_stated_stands_apart_without_a_decision():
    report = sample_report()
    sections = tuple(
        replace(section, sentences=tuple(s for s in section.sentences if s.finding != "cardiomegaly"))
        for section in report.sections
    )
    words = page(report=replace(report, sections=sections)).words
    assert "Scored, but not stated in this report cardiomegaly – – 0.14" in words
    assert "Scored, but not stated" not in page().words


def test_hostile_values_stay_text():
    reading = sample_reading(patient_name=HOSTILE)
    study = replace(
        reading.study,
        patient=Patient(HOSTILE, HOSTILE, HOSTILE),
        study_description=HOSTILE,
        accession_number=HOSTILE,
        referring_physician_name=HOSTILE,
        institution_name=HOSTILE,
        modalities=(HOSTILE,),
        set_aside=(SetAside(HOSTILE, HOSTILE),),
    )
    reading = replace(
        reading,
        study=study,
        priority=replace(reading.priority, reasons=(HOSTILE,)),
        choices=tuple(replace(choice, why=HOSTILE) for choice in reading.choices),
        prior=replace(reading.prior, why=HOSTILE) if reading.prior else None,
        changes=tuple(replace(change, why=HOSTILE) for change in reading.changes),
    )
    evidence = Evidence(FRONTAL, source=HOSTILE, model=HOSTILE)
    report = replace(
        sample_report(),
        report_key=HOSTILE,
        sections=(Section(SectionName.FINDINGS, (Sentence(HOSTILE, (evidence,)),)),),
    )
    harmless, hostile = page(), page(reading, report)
    assert "script" not in {tag for tag, _ in hostile.tags}
    assert len(hostile.all("img")) == len(harmless.all("img"))
    assert len(hostile.all("style")) == 1
    assert not any(name.startswith("on") for _, attributes in hostile.tags for name in attributes)
    assert "{{7*7}}" in hostile.text
    assert "49" not in hostile.words.split()


def test_a_missing_picture_and_a_missing_prior_are_said():
    assert page(pictures={}, prior_pictures={}).words.count("No picture of this image") == 2
    reading = replace(
        sample_reading(), prior=None, changes=(), why_no_prior="no earlier study of this patient is in the store"
    )
    alone = page(reading)
    assert len(alone.all("img")) == 1
    assert "No prior: no earlier study of this patient is in the store." in alone.words


def test_a_study_that_was_not_read_says_why():
    words = page(not_read(), not_read_report(), pictures={}).words
    assert "NOT READ no model reads a radiograph of the HAND" in words
    assert "No finding was scored." in words


def test_the_same_input_gives_the_same_page():
    pages = {html.render(sample_reading(), sample_report(), {FRONTAL: CURRENT_PNG}, now=SIGNED_AT) for _ in range(2)}
    assert len(pages) == 1


def test_a_picture_is_brought_down_never_up():
    large = Picture.open(BytesIO(picture.png(np.zeros((3000, 2000), np.uint8), 1200)))
    assert (large.size, large.mode) == ((800, 1200), "L")
    assert Picture.open(BytesIO(picture.png(np.zeros((30, 20, 3), np.uint8)))).size == (20, 30)
    assert picture.png_size(picture.png(np.zeros((30, 20), np.uint8))) == (20, 30)


@pytest.mark.parametrize("shown", [np.zeros((4, 4), np.uint16), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4), np.uint8)])
def test_an_array_that_is_no_picture_is_refused(shown):
    with pytest.raises(ImageError):
        picture.png(shown)


def test_bytes_that_are_no_png_are_refused():
    with pytest.raises(ImageError, match="PNG"):
        picture.png_size(b"\xff\xd8\xff\xe0 a JPEG, not a PNG at all")

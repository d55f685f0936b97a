"""The head CT lexicon: report-like texts of several styles, and what a neuroradiologist would take from them.

The texts and expectations are tests/head_ct_reports.toml; docs/structuring-head-ct.md is their guideline.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from radpipe.codes import Laterality
from radpipe.observation import Assertion, Observation, StructuredReport
from radpipe.structure import choose_lexicon, open_lexicon, structure_report

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ROOT / "tests" / "head_ct_reports.toml"
REPORTS: list[dict[str, Any]] = tomllib.loads(TEXTS.read_text(encoding="utf-8"))["report"]
GUIDELINE = ROOT / "docs" / "structuring-head-ct.md"
SIDES = ("left", "right", "bilateral")
SEVERITIES = ("minimal", "small", "moderate", "large")
CHANGES = ("new", "increased", "decreased", "unchanged", "resolved")

Said = tuple[str, str | None, str | None, str | None, str | None]
"""Status, laterality, severity, change, first size."""


def read(text: str) -> StructuredReport:
    return structure_report("head", text, open_lexicon("head_ct"))


def expected(line: str) -> tuple[str, Said, set[str]]:
    finding, status, *rest = line.split()
    places = {word[1:].replace("_", " ") for word in rest if word.startswith("@")}
    size = next((word for word in rest if word[0].isdigit()), None)
    side, severity, change = (next((w for w in rest if w in words), None) for words in (SIDES, SEVERITIES, CHANGES))
    assert len(rest) == len(places) + sum(word is not None for word in (size, side, severity, change)), line
    return finding, (status, side, severity, change, size), places


def said(observation: Observation) -> Said:
    size = observation.sizes[0] if observation.sizes and observation.status is not Assertion.ABSENT else None
    values = (observation.laterality, observation.severity, observation.change)
    side, severity, change = (value.value if value else None for value in values)
    return observation.status.value, side, severity, change, "x".join(f"{mm:g}" for mm in size.mm) if size else None


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report["name"])
def test_a_report_says_what_a_neuroradiologist_reads_in_it(report: dict[str, Any]) -> None:
    found = {item.finding: item for item in read(report["text"]).observations}
    missed = set(report.get("missed", ()))
    wanted = {finding: (words, places) for finding, words, places in map(expected, report["expect"])}
    assert {finding: said(item) for finding, item in found.items() if finding not in missed} == {
        finding: words for finding, (words, _) in wanted.items() if finding not in missed
    }
    for finding, (_, places) in wanted.items():
        if finding not in missed:
            assert places <= {place.name for place in found[finding].locations}, finding


def test_known_misses_included_the_figures_hold() -> None:
    agree = missing = extra = 0
    for report in REPORTS:
        wanted = {(finding, words[0]) for finding, words, _ in map(expected, report["expect"])}
        found = {(item.finding, item.status.value) for item in read(report["text"]).observations}
        agree, missing, extra = agree + len(wanted & found), missing + len(wanted - found), extra + len(found - wanted)
    assert 2 * agree / (2 * agree + missing + extra) >= 0.98


def test_quotes_are_verbatim() -> None:
    for report in REPORTS:
        text = report["text"]
        for observation in read(text).observations:
            for mention in observation.mentions:
                assert text[mention.span.start : mention.span.end] == mention.span.quote


NOUNS = {
    "intracranial_hemorrhage": ("intracranial hemorrhage", "ICH", "bleed", "intracranial haemorrhage"),
    "intraparenchymal_hemorrhage": (
        "intraparenchymal hemorrhage",
        "intracerebral haematoma",
        "pontine hemorrhage",
        "hemorrhagic contusion",
    ),
    "subarachnoid_hemorrhage": ("subarachnoid hemorrhage", "SAH"),
    "subdural_hemorrhage": ("subdural hematoma", "SDH", "subdural haemorrhage"),
    "epidural_hemorrhage": ("epidural hematoma", "EDH", "extradural haematoma"),
    "intraventricular_hemorrhage": ("intraventricular hemorrhage", "IVH"),
    "midline_shift": ("midline shift", "MLS", "shift of midline structures"),
    "mass_effect": ("mass effect", "sulcal effacement"),
    "cistern_effacement": ("effacement of the basal cisterns",),
    "herniation": ("herniation", "uncal herniation"),
    "cerebral_edema": ("cerebral edema", "vasogenic oedema", "brain swelling"),
    "hydrocephalus": ("hydrocephalus", "ventriculomegaly"),
    "infarct": ("infarct", "acute infarction", "acute ischaemia", "territorial infarct"),
    "chronic_infarct": ("old infarct", "lacunar infarct", "chronic right MCA territory infarct"),
    "encephalomalacia": ("encephalomalacia",),
    "hyperdense_vessel": ("hyperdense MCA sign", "hyperdense vessel"),
    "small_vessel_disease": ("small vessel disease", "chronic microvascular ischemic disease"),
    "cerebral_atrophy": ("cerebral atrophy", "volume loss"),
    "intracranial_mass": ("mass", "space-occupying lesion", "tumour"),
    "pneumocephalus": ("pneumocephalus", "intracranial air"),
    "calcification": ("calcification",),
    "fracture": ("skull fracture", "orbital floor fracture"),
    "scalp_swelling": ("scalp hematoma", "scalp swelling"),
    "sinus_disease": ("mucosal thickening", "sinus opacification"),
    "mastoid_effusion": ("mastoid effusion",),
    "support_device": ("ventriculostomy catheter", "VP shunt", "craniotomy"),
}
FRAMES = {
    "No {}.": "absent",
    "There is no {}.": "absent",
    "No CT evidence of {}.": "absent",
    "Negative for {}.": "absent",
    "{} is not seen.": "absent",
    "No definite {}.": "absent",
    "No pneumocephalus, herniation or {}.": "absent",
    "{}: None.": "absent",
    "{} has resolved.": "absent",
    "There is {}.": "present",
    "{} is again seen.": "present",
    "Findings consistent with {}.": "present",
    "Possible {}.": "uncertain",
    "{} cannot be excluded.": "uncertain",
    "Findings suspicious for {}.": "uncertain",
}


def test_every_finding_has_nouns_and_a_line_in_the_guideline() -> None:
    findings = set(open_lexicon("head_ct").findings)
    guideline = GUIDELINE.read_text(encoding="utf-8").partition("## Codes")[0]
    rows = re.findall(r"^\| ([a-z_]+) \|", guideline, re.MULTILINE)
    assert set(NOUNS) == findings
    assert set(rows) - {"name"} == findings


@pytest.mark.parametrize("finding", NOUNS)
def test_a_finding_is_stated_denied_and_doubted(finding: str) -> None:
    for noun in NOUNS[finding]:
        for frame, status in FRAMES.items():
            sentence = frame.format(noun)
            observation = read(sentence[0].upper() + sentence[1:]).observation(finding)
            assert observation is not None, sentence
            assert observation.status.value == status, sentence


@pytest.mark.parametrize("finding", sorted(NOUNS.keys() - {"support_device"}))
def test_what_is_looked_for_or_was_so_once_is_not_said(finding: str) -> None:
    for noun in NOUNS[finding]:
        assert read(f"Evaluate for {noun}. History of {noun}.").observation(finding) is None, noun


MIRROR = {"left": "right", "right": "left", "leftward": "rightward", "rightward": "leftward", "l": "r", "r": "l"}


def mirrored(text: str) -> str:
    def other(found: re.Match[str]) -> str:
        word = MIRROR[found[0].lower()]
        return word.upper() if found[0].isupper() else word.capitalize() if found[0][0].isupper() else word

    return re.sub(r"\b(?:left|right|leftward|rightward|L|R)\b", other, text, flags=re.IGNORECASE)


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report["name"])
def test_the_mirrored_report_says_the_same_of_the_other_side(report: dict[str, Any]) -> None:
    swap = {None: None, Laterality.LEFT: Laterality.RIGHT, Laterality.RIGHT: Laterality.LEFT}
    here = read(report["text"]).observations
    there = read(mirrored(report["text"])).observations
    assert [(item.finding, item.status, item.laterality) for item in there] == [
        (item.finding, item.status, swap.get(item.laterality, item.laterality)) for item in here
    ]


SPELLINGS = {
    "hemorrhag": "haemorrhag", "hematoma": "haematoma", "edema": "oedema", "ischemi": "ischaemi", "gray": "grey",
    "tumor": "tumour", "visualized": "visualised", "generalized": "generalised", "epidural": "extradural",
}  # fmt: skip


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report["name"])
def test_british_and_american_spellings_say_the_same(report: dict[str, Any]) -> None:
    text = report["text"]
    british, american = text, text
    for one, other in SPELLINGS.items():
        for ours, theirs in ((one, other), (one.capitalize(), other.capitalize())):
            american = american.replace(theirs, ours)
            british = re.sub(rf"(?<![oa]){ours}", theirs, british)
    assert [(item.finding, said(item)) for item in read(british).observations] == [
        (item.finding, said(item)) for item in read(american).observations
    ]


def test_the_lexicon_is_chosen_by_the_words_of_the_text() -> None:
    for report in REPORTS:
        assert choose_lexicon(report["text"]) == "head_ct", report["name"]
    for text in ("No acute intracranial hemorrhage.", "Calvarium intact.", "Old infarct. No midline shift."):
        assert choose_lexicon(text) == "head_ct"
    for text in (
        "The heart is normal in size. The lungs are clear.",
        "Frontal and lateral views. No pleural effusion. Degenerative change of the humeral head.",
        "VP shunt tubing overlies the right chest. No pneumothorax.",
        "Normal.",
        "",
    ):
        assert choose_lexicon(text) == "chest"


def test_codes_are_snomed_ct_or_marked_as_our_own() -> None:
    lexicon = open_lexicon("head_ct")
    for code in lexicon.codes.values():
        assert code.scheme in {"SCT", "99RADPIPE"}
        assert code.value.isdigit() if code.scheme == "SCT" else 0 < len(code.value) <= 16
    assert len(set(lexicon.codes.values())) == len(lexicon.codes)
    assert lexicon.identity.startswith("head_ct 1.0 ")
    assert lexicon.body_part == "HEAD"


def test_a_neighbour_does_not_lend_its_side_to_a_shift_or_to_blood_in_the_ventricles() -> None:
    report = read("Left subdural hematoma with midline shift. Right thalamic hemorrhage with intraventricular extension.")
    for finding in ("midline_shift", "intraventricular_hemorrhage"):
        observation = report.observation(finding)
        assert observation is not None
        assert observation.laterality is None


@pytest.mark.parametrize(
    ("sentence", "side"),
    [
        ("5 mm midline shift to the left.", "left"),
        ("6 mm of rightward midline shift.", "right"),
        ("Left-to-right midline shift of 4 mm.", "right"),
        ("4 mm R to L midline shift.", "left"),
        ("Midline structures are shifted to the right by 8 mm.", "right"),
    ],
)
def test_the_side_of_a_shift_is_its_direction(sentence: str, side: str) -> None:
    shift = read(sentence).observation("midline_shift")
    assert shift is not None
    assert said(shift)[:2] == ("present", side)
    assert len(shift.sizes) == 1

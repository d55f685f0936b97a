"""What sentences ask to be done, whom they say was told, and where devices lie."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radpipe.observation import Communication, Part, Recommendation
from radpipe.structure.action_cues import RECOMMENDATION_PATH
from radpipe.structure.actions import communications, recommendations
from radpipe.structure.positions import place_codes, position
from radpipe.structure.text import sentences


def asked(text: str) -> list[Recommendation]:
    return [found for sentence in sentences(text) for found in recommendations(sentence, text)]


def told(text: str) -> list[Communication]:
    return [found for sentence in sentences(text) for found in communications(sentence, text)]


@pytest.mark.parametrize(
    ("text", "action", "modality"),
    [
        ("Recommend CT chest in 3-6 months.", "follow_up", "CT"),
        ("Followup to resolution is recommended.", "follow_up", None),
        ("CT may be helpful to further characterize.", "further_imaging", "CT"),
        ("Consider dedicated rib series if clinical concern persists.", "further_imaging", "CR"),
        ("Clinical correlation is advised.", "clinical_correlation", None),
        ("Nodular density at the left base, correlate clinically.", "clinical_correlation", None),
        ("Comparison with outside films is recommended.", "comparison", "CR"),
        ("Correlation with prior CT would be helpful.", "comparison", "CT"),
        ("Consider correlation with CT of the chest.", "further_imaging", "CT"),
        ("PET/CT could be performed in the nonemergent setting.", "further_imaging", "PT"),
        ("MRI of the brain with and without contrast is suggested.", "further_imaging", "MR"),
        ("An echocardiogram would be useful.", "further_imaging", "US"),
        ("Bone scan may be considered.", "further_imaging", "NM"),
        ("Diagnostic mammogram is recommended.", "further_imaging", "MG"),
        ("Recommend biopsy of the mass.", "biopsy", None),
        ("CT-guided biopsy should be considered.", "biopsy", "CT"),
        ("Bronchoscopy should be considered.", "procedure", "ES"),
        ("Right lateral decubitus views would better evaluate this.", "further_imaging", "CR"),
        ("Repeat PA and lateral radiographs are recommended.", "follow_up", "CR"),
        ("Recommend repeat exam after treatment to document resolution.", "follow_up", None),
        ("This could be followed up in 6 months to confirm stability.", "follow_up", None),
        ("Follow-up chest radiograph in 6 weeks.", "follow_up", "CR"),
        ("Chest CT for further evaluation.", "further_imaging", "CT"),
        ("XXXX chest for further characterization.", "further_imaging", None),
        ("A XXXX is recommended.", "other", None),
        ("Recommend retracting the tube by 2 cm.", "device_adjustment", None),
        ("Surgical consultation is recommended.", "referral", None),
        ("Attention on follow-up is advised.", "follow_up", None),
        ("Compared to the prior CT the mass has grown and biopsy is recommended.", "biopsy", None),
        ("Given the nodules on the prior CT, recommend PET.", "further_imaging", "PT"),
    ],
)
def test_a_recommendation_has_an_action_and_a_modality(text: str, action: str, modality: str | None) -> None:
    (found,) = asked(text)
    assert (found.action, found.modality) == (action, modality)


@pytest.mark.parametrize(
    ("text", "interval", "least", "most"),
    [
        ("Recommend short-term followup radiograph in 3 to 4 months.", "in 3 to 4 months", 90, 120),
        ("Repeat radiograph in 6-8 weeks is recommended.", "in 6-8 weeks", 42, 56),
        ("Bronchoscopy is recommended within 24 hours.", "within 24 hours", 0, 1),
        ("Annual low dose CT is recommended.", "Annual", 365, 365),
        ("PET/CT could be performed in the nonemergent setting.", "in the nonemergent setting", None, None),
        ("Short interval follow-up is recommended.", "Short interval", None, None),
        ("Recommend CT, unchanged from 3 months ago.", "", None, None),
    ],
)
def test_when_it_is_to_be_done(text: str, interval: str, least: int | None, most: int | None) -> None:
    (found,) = asked(text)
    assert (found.interval, found.least_days, found.most_days) == (interval, least, most)


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("Consider dedicated rib series if clinical concern persists.", "if clinical concern persists"),
        ("If there is concern for fracture consider rib series.", "If there is concern for fracture"),
        ("If prior images are not available then CT is recommended.", "If prior images are not available"),
        ("CT could be obtained as clinically indicated.", "as clinically indicated"),
        ("Follow up after appropriate therapy is recommended to document clearing.", "after appropriate therapy"),
        ("In the absence of prior studies, chest CT is recommended.", "In the absence of prior studies"),
    ],
)
def test_under_which_condition(text: str, condition: str) -> None:
    (found,) = asked(text)
    assert found.condition == condition


def test_several_actions_in_one_sentence_are_several_recommendations() -> None:
    found = asked("Recommend clinical correlation for infection and followup to resolution.")
    assert [one.action for one in found] == ["clinical_correlation", "follow_up"]
    found = asked("Could be followed up after treatment of edema, or could be further characterized with CT.")
    assert [(one.action, one.modality) for one in found] == [("follow_up", None), ("further_imaging", "CT")]
    found = asked("CT or MRI is recommended in 6 months.")
    assert [(one.action, one.modality, one.least_days) for one in found] == [
        ("follow_up", "CT", 180),
        ("follow_up", "MR", 180),
    ]
    found = asked("Per guidelines, follow-up CT at 6-12 months, then at 18-24 months.")
    assert [(one.least_days, one.most_days) for one in found] == [(180, 360), (540, 720)]


@pytest.mark.parametrize(
    "text",
    [
        "No followup is needed.",
        "No followup is necessary.",
        "No further imaging is recommended.",
        "CT is not indicated at this time.",
        "CT was performed as recommended previously.",
        "The patient had a follow-up CT.",
        "Follow-up CT showed clearing.",
        "Findings suggest pneumonia.",
        "Consider pneumonia.",
        "Differential considerations include atelectasis.",
        "Chest CT.",
        "Considering the low lung volumes the heart is normal.",
        "Comparison is made with the prior CT.",
        "There is further increase.",
        "CT of the chest was obtained for further evaluation.",
        "Evaluation is limited by rotation.",
        "There is no CT correlate.",
        "There is no focal opacity to suggest pneumonia.",
        "Findings correlate with the CT.",
        "The nodule seen on recent CT is stable.",
        "Stable over 2 years.",
        "Status post biopsy.",
        "Please see the CT report for further details.",
        "INDICATION: Recommend CT in 3 months.",
        "COMPARISON: Follow-up CT in 6 months.",
        "TECHNIQUE: Additional views are recommended.",
    ],
)
def test_what_asks_for_nothing_is_no_recommendation(text: str) -> None:
    assert asked(text) == []


def test_a_section_of_recommendations_asks_by_itself() -> None:
    text = "FINDINGS: Normal heart.\nRECOMMENDATION:\n1. CT chest.\n2. Smoking cessation.\n3. No follow-up.\n4. None.\n"
    found = asked(text)
    assert [(one.action, one.modality, one.part) for one in found] == [
        ("further_imaging", "CT", Part.RECOMMENDATION),
        ("other", None, Part.RECOMMENDATION),
    ]
    assert [one.span.quote for one in found] == ["CT chest", "Smoking cessation"]


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("Nodule in the right lung, recommend CT chest without contrast.", "recommend CT chest without contrast"),
        ("There is a nodule and a dedicated CT is recommended.", "dedicated CT is recommended"),
        ("Effusion; clinical correlation is recommended.", "clinical correlation is recommended"),
        ("If indicated, CT could be performed.", "If indicated, CT could be performed"),
    ],
)
def test_the_quote_is_the_part_that_asks(text: str, quote: str) -> None:
    assert quote in asked(text)[0].span.quote
    assert "Nodule" not in asked(text)[0].span.quote
    assert "Effusion" not in asked(text)[0].span.quote


@pytest.mark.parametrize(
    ("text", "who", "when", "how"),
    [
        (
            "Dr. Smith was notified by telephone at 3:15 pm on 1/2/2020.",
            "Dr. Smith",
            "at 3:15 pm on 1/2/2020",
            "by telephone",
        ),
        ("Findings discussed with Dr. Smith of the ED at 1430 hours.", "Dr. Smith of the ED", "at 1430 hours", ""),
        (
            "Results were communicated to the referring physician via secure message.",
            "the referring physician",
            "",
            "via secure message",
        ),
        ("Critical result called to Jane Doe, RN at 3:15 PM.", "Jane Doe, RN", "at 3:15 PM", ""),
        (
            "Dr. XXXX XXXX was notified at XXXX hours on XXXX and acknowledged receipt.",
            "Dr. XXXX XXXX",
            "at XXXX hours on XXXX",
            "",
        ),
        (
            "The ordering physician was made aware at the time of the exam.",
            "The ordering physician",
            "at the time of the exam",
            "",
        ),
        ("The emergency department was called on January 5, 2020.", "The emergency department", "on January 5, 2020", ""),
        ("The results were telephoned to Dr. Brown by Dr. Green at 10:05.", "Dr. Brown", "at 10:05", ""),
        ("FINDINGS WERE DISCUSSED WITH DR. SMITH BY PHONE.", "DR. SMITH", "", "BY PHONE"),
        ("findings were discussed with dr smith by phone", "dr smith", "", "by phone"),
        ("Critical result notification documented through Primordial.", "", "", "through Primordial"),
        ("These findings were discussed XXXX.", "", "", ""),
        ("Drs Smith and Jones were paged.", "Drs Smith and Jones", "", ""),
        ("Discussed with the surgical team in person.", "the surgical team", "", "in person"),
    ],
)
def test_a_communication_says_to_whom_when_and_how(text: str, who: str, when: str, how: str) -> None:
    (found,) = told(text)
    assert (found.to_whom, found.when, found.how) == (who, when, how)


@pytest.mark.parametrize(
    "text",
    [
        "The patient called.",
        "If you would like to discuss this case please call.",
        "Please notify Dr. Smith.",
        "As discussed above, stable.",
        "The findings will be communicated to the ordering physician.",
        "Dr. Smith was called but could not be reached.",
        "The patient reported chest pain.",
        "The patient was called back for additional views.",
        "A so-called halo sign is present.",
        "The cavity communicates with the bronchus.",
        "INDICATION: Discussed with Dr. Smith.",
        "Findings of edema are noted.",
    ],
)
def test_what_tells_nobody_is_no_communication(text: str) -> None:
    assert told(text) == []


@pytest.mark.parametrize(
    ("text", "device", "name"),
    [
        ("Right PICC with tip in the right atrium.", "picc", "right atrium"),
        ("PICC with tip overlying the mid SVC.", "picc", "superior vena cava"),
        ("Right PICC tip mid SVC.", "picc tip", "superior vena cava"),
        ("Dialysis catheter terminates at the cavoatrial junction.", "dialysis catheter", "cavoatrial junction"),
        ("Pacemaker lead projects over the left ventricle.", "pacemaker", "left ventricle"),
        ("Endotracheal tube tip 3 cm above the carina.", "endotracheal tube", "above the carina"),
        ("Endotracheal tube at the level of the carina.", "endotracheal tube", "carina"),
        ("Single lead in the expected region of the right ventricle.", "single lead", "right ventricle"),
        ("NG tube coiled in the stomach.", "ng tube", "stomach"),
        ("Line is malpositioned.", "line", "malpositioned"),
        ("The tip of the right internal jugular catheter is in the SVC.", "internal jugular catheter", "superior vena cava"),
        (
            "Pacemaker overlies the left chest with leads in the right atrium and right ventricle.",
            "pacemaker",
            "right atrium, right ventricle",
        ),
        ("AICD with leads over the right atrium and ventricle.", "aicd", "right atrium, right ventricle"),
        ("NG tube courses below the diaphragm with tip in the stomach.", "ng tube", "stomach"),
        ("Left port is present with catheter tip at the SVC/RA junction.", "port", "cavoatrial junction"),
        ("PICC tip in the superior XXXX XXXX.", "picc", "superior vena cava"),
    ],
)
def test_a_device_lies_where_the_sentence_says(text: str, device: str, name: str) -> None:
    words = next(iter(sentences(text))).words
    of = device.split()
    first = next(at for at in range(len(words)) if words[at : at + len(of)] == of)
    found = position(words, first, first + len(of))
    assert found is not None
    assert found[2] == name


@pytest.mark.parametrize("text", ["pacemaker in stable position", "picc is unchanged", "port overlies the left chest wall"])
def test_a_position_that_names_no_place_is_none(text: str) -> None:
    assert position(text.split(), 0, 1) is None


def test_each_device_has_the_position_that_follows_it() -> None:
    words = next(iter(sentences("Endotracheal tube with tip above the carina and NG tube with tip in the stomach"))).words
    first, second = position(words, 0, 2), position(words, 9, 11)
    assert first is not None
    assert second is not None
    assert (first[2], second[2]) == ("above the carina", "stomach")


def test_a_sentence_that_speaks_on_of_a_device_is_read_from_its_start() -> None:
    found = position(["the", "tip", "is", "in", "the", "upper", "right", "atrium"], 0, 0)
    assert found is not None
    assert found[2] == "right atrium"


def test_places_are_coded_where_a_code_is_known() -> None:
    codes = place_codes()
    assert (codes["superior vena cava"].value, codes["superior vena cava"].scheme) == ("48345005", "SCT")
    assert "cavoatrial junction" not in codes


def test_the_actions_and_modalities_of_the_file_are_known() -> None:
    rows = tomllib.loads(RECOMMENDATION_PATH.read_text(encoding="utf-8"))["item"]
    assert {row["action"] for row in rows if "action" in row} <= {
        "follow_up",
        "further_imaging",
        "comparison",
        "clinical_correlation",
        "correlation",
        "biopsy",
        "referral",
        "procedure",
        "device_adjustment",
        "workup",
    }
    assert {row["modality"] for row in rows if "modality" in row} == {
        "CT",
        "MR",
        "CR",
        "US",
        "PT",
        "NM",
        "MG",
        "ES",
        "RF",
        "XA",
        "BMD",
    }


PIECES = (
    "Recommend recommended consider CT MRI follow-up in 6 months if no not is was , . ; : ( ) and or then but Dr. "
    "Smith XXXX notified discussed with by telephone at 3:15 pm 1/2/2020 the tip of catheter in SVC right atrium "
    "further evaluation for prior exam clinically indicated please correlate to document resolution needed after "
    "treatment RECOMMENDATION: may be obtained İ ß"
)
TEXTS = st.lists(st.sampled_from(PIECES.split()) | st.text(max_size=4), max_size=40).map(" ".join)


@given(TEXTS)
@settings(max_examples=300)
def test_any_text_is_read_and_every_quote_is_verbatim(text: str) -> None:
    for one in asked(text):
        assert text[one.span.start : one.span.end] == one.span.quote
        assert one.interval in text
        assert one.condition in text
    for other in told(text):
        assert text[other.span.start : other.span.end] == other.span.quote
        assert all(written in text for written in (other.to_whom, other.when, other.how))


@given(TEXTS, st.integers(0, 20), st.integers(0, 3))
def test_a_position_lies_within_the_sentence(text: str, first: int, length: int) -> None:
    for sentence in sentences(text):
        found = position(sentence.words, min(first, len(sentence.words)), min(first + length, len(sentence.words)))
        assert found is None or 0 <= found[0] < found[1] <= len(sentence.words)

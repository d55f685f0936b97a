"""What the shared space is good for: scores, percentiles, neighbours, and sentences that do not fit their image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from radpipe import retrieve
from radpipe.finding import Evidence
from radpipe.observation import Assertion
from radpipe.report import Origin, Report, Section, SectionName, Sentence, Stance
from radpipe.retrieve import (
    Statement,
    agreement,
    nearest,
    percentiles,
    score_texts,
    statements_of_report,
    statements_of_text,
)
from radpipe.structure import open_lexicon, structure_report

CHEST = open_lexicon("chest")
AXES = ("effusion", "cardiomegaly", "nodule", "mass", "normal")


@dataclass(frozen=True)
class Figures:
    prompt: str
    agreement_auc: float = 0.8
    agreement_auc_ci: tuple[float, float] = (0.7, 0.9)
    positives: int = 50
    n: int = 500

    @property
    def supported(self) -> bool:
        return self.agreement_auc_ci[0] > 0.5


@dataclass(frozen=True)
class Limits:
    low: float = 20.0
    high: float = 95.0
    present_true: float = 0.1
    present_false: float = 0.3
    absent_true: float = 0.05
    absent_false: float = 0.2


@dataclass(frozen=True)
class Words:
    """A joint model for tests: an axis a finding, a text lies on the axes that it names, an embedding is its own vector."""

    identity: str = "words 0"
    reader_sha256: str = "0" * 64
    scale: float = 10.0
    limits: Limits = field(default_factory=Limits)
    figures: dict[str, Figures] = field(
        default_factory=lambda: {
            "pleural_effusion": Figures("There is effusion."),
            "nodule": Figures("There is nodule."),
            "mass": Figures("There is mass."),
            "cardiomegaly": Figures("There is cardiomegaly.", 0.55, (0.45, 0.65)),
        }
    )

    @property
    def reference(self) -> np.ndarray:
        """100 images that show ever more of an effusion and of a nodule."""
        share = np.linspace(0, 0.99, 100)
        vectors = np.zeros((100, len(AXES)), np.float32)
        vectors[:, 0] = vectors[:, 2] = vectors[:, 3] = share / 2
        vectors[:, 4] = np.sqrt(1 - 3 * (share / 2) ** 2)
        return vectors

    def encode(self, sentences: Sequence[str]) -> np.ndarray:
        found = np.array([[axis in sentence.lower() for axis in AXES] for sentence in sentences], np.float32)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1)

    def project(self, embeddings: np.ndarray) -> np.ndarray:
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


def image(**shown: float) -> np.ndarray:
    return np.array([shown.get(axis, 0.0) for axis in AXES], np.float32)


def said(text: str) -> tuple[Statement, ...]:
    return statements_of_text(structure_report("r", text, CHEST))


def test_a_percentile_is_the_share_of_reference_images_that_score_lower() -> None:
    reference = np.array([[0.0], [1.0], [1.0], [2.0]], np.float32)
    found = percentiles(np.array([[-1.0], [0.5], [1.0], [3.0]], np.float32), reference)
    assert found[:, 0].tolist() == [0.0, 25.0, 50.0, 100.0]


def test_a_text_scores_against_a_normal_radiograph() -> None:
    ill, well = image(effusion=1.0), image(normal=1.0)
    (high,), (low,) = (score_texts(Words(), one, ["pleural effusion"], CHEST) for one in (ill, well))
    assert high.score > 0.99
    assert low.score < 0.01
    assert (high.percentile, low.percentile) == (100.0, 0.5)
    assert high.reference_images == 100
    assert high.denies == ()


def test_a_denied_text_is_scored_as_the_finding_and_says_so() -> None:
    stated, denied = score_texts(Words(), image(effusion=1.0), ["Pleural effusion.", "No pleural effusion."], CHEST)
    assert stated.score == pytest.approx(denied.score)
    assert denied.denies == ("pleural_effusion",)


def test_the_nearest_studies_are_the_likest_each_once_and_never_the_one_asked_about() -> None:
    bank = np.array([[1, 0], [0.6, 0.8], [0.8, 0.6], [0, 1], [0.8, 0.6]], np.float32)
    keys = ["self", "a", "b", "b", "c"]
    found = nearest(bank[0], bank, keys, count=5, leave_out={"self"})
    assert [(one.study_key, one.place) for one in found] == [("b", 2), ("c", 4), ("a", 1)]
    assert found[0].similarity == pytest.approx(0.8)
    assert len(nearest(bank[0], bank, keys, count=2)) == 2
    assert nearest(bank[0], np.zeros((0, 0), np.float32), [], count=5) == ()


def test_statements_take_their_polarity_from_the_words() -> None:
    found = said("FINDINGS: No pleural effusion. There is a 2 cm nodule in the left upper lobe. Possible cardiomegaly.")
    status = {item.finding: item.status for item in found}
    assert status["pleural_effusion"] is Assertion.ABSENT
    assert status["nodule"] is Assertion.PRESENT
    assert status["cardiomegaly"] is Assertion.UNCERTAIN


def test_nodule_and_mass_are_told_apart_by_their_words() -> None:
    assert [item.finding for item in said("Large mass in the right lower lobe.")] == ["mass"]
    assert [item.finding for item in said("Small nodule in the right lower lobe.")] == ["nodule"]


def test_what_is_said_of_another_day_or_asked_is_no_statement() -> None:
    text = "INDICATION: Pleural effusion?\nCOMPARISON: Prior study showed a nodule.\nFINDINGS: The heart is enlarged."
    assert [item.finding for item in said(text)] == ["cardiomegaly"]


def test_present_on_an_image_unlike_it_is_pointed_out_and_absent_on_one_like_it() -> None:
    model = Words()
    ill, well = image(effusion=1.0), image(normal=1.0)
    present, absent = said("Pleural effusion."), said("No pleural effusion.")
    assert [agreement(present, one, model)[0].at_odds for one in (ill, well)] == [False, True]
    assert [agreement(absent, one, model)[0].at_odds for one in (ill, well)] == [True, False]
    words = agreement(present, well, model)[0].why
    assert "AUC 0.80 (0.70-0.90), 50 of 500" in words
    assert "30% of such sentences that are wrong and of 10% that are right" in words


def test_what_is_uncertain_is_never_pointed_out() -> None:
    found = agreement(said("Possible pleural effusion."), image(normal=1.0), Words())
    assert found[0].statement.status is Assertion.UNCERTAIN
    assert not found[0].at_odds
    assert found[0].percentile == 0.5


def test_a_finding_whose_figures_support_nothing_is_not_judged() -> None:
    (heart,) = agreement(said("The heart is enlarged."), image(normal=1.0), Words())
    assert heart.percentile is None
    assert not heart.at_odds
    assert "not fit together well enough" in heart.why
    (rib,) = agreement(said("Fracture of the left fifth rib."), image(normal=1.0), Words())
    assert rib.percentile is None
    assert "not among the findings that were measured" in rib.why


def test_no_statement_is_no_agreement() -> None:
    assert agreement((), image(normal=1.0), Words()) == ()
    assert said("") == ()


def _report(*sentences: Sentence, section: SectionName = SectionName.FINDINGS) -> Report:
    return Report("r", "2.25.1", "run", (Section(section, sentences),))


def _sentence(text: str, stance: Stance = Stance.STATEMENT, finding: str | None = None) -> Sentence:
    return Sentence(text, (Evidence(sop_instance_uid="2.25.2", source="test"),), Origin.MODEL, stance, finding)


def test_a_stored_report_says_what_its_sentences_are_known_to_say() -> None:
    report = _report(
        _sentence("No effusion to speak of.", Stance.ABSENT, "pleural_effusion"),
        _sentence("There is a nodule at the right base."),
        _sentence("Image of poor quality."),
    )
    found = statements_of_report(report, CHEST)
    assert [(item.finding, item.status) for item in found] == [
        ("pleural_effusion", Assertion.ABSENT),
        ("nodule", Assertion.PRESENT),
    ]
    assert found[0].quote == "No effusion to speak of."


def test_sections_that_speak_of_something_else_are_left_alone() -> None:
    report = _report(_sentence("Pleural effusion was reported present."), section=SectionName.COMPARISON)
    assert statements_of_report(report, CHEST) == ()


def test_the_normal_wording_is_the_one_that_was_measured() -> None:
    sentences = pytest.importorskip("radpipe.train.sentences")
    assert sentences.prompt("normal") == retrieve.NORMAL

"""The workbench of the shared space: sentences, targets, the loss, and that a run can be repeated."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytest.importorskip("onnx")

from radpipe.evaluate.metrics import auc  # noqa: E402
from radpipe.models.text import Tower, read_text_card  # noqa: E402
from radpipe.observation import Assertion  # noqa: E402
from radpipe.retrieve import statements_of_text  # noqa: E402
from radpipe.structure import open_lexicon, structure_report  # noqa: E402
from radpipe.train.collection import LABELS, Radiographs  # noqa: E402
from radpipe.train.dual import RECIPE  # noqa: E402
from radpipe.train.dual_figures import limits, measure, retrieval, which_sentence  # noqa: E402
from radpipe.train.dual_fit import ManyPositives, Taught, fit_images, fit_text, pair_weights, unit  # noqa: E402
from radpipe.train.dual_images import Images, Painted  # noqa: E402
from radpipe.train.dual_targets import FINDINGS, concepts, drawn, known, lesson, painted_folds, shifted  # noqa: E402
from radpipe.train.minilm import rounded  # noqa: E402
from radpipe.train.sentences import HELD_OUT, TAUGHT, Concept, denial, wordings  # noqa: E402

RECIPE_TABLE = tomllib.loads(RECIPE.read_text(encoding="utf-8"))


def radiographs(truth: np.ndarray, patients: list[str] | None = None) -> Radiographs:
    count = len(truth)
    return Radiographs(
        files=tuple(Path(f"{n}.png") for n in range(count)),
        truth=truth,
        patients=np.array(patients or [f"p{n}" for n in range(count)]),
        ages=np.full(count, 50),
        sexes=np.full(count, "F"),
        views=np.array(["AP", "PA"] * count)[:count],
        filtered=np.zeros(count, bool),
        reader_normal=np.zeros(count, bool),
    )


def some_truth(count: int, seed: int = 0) -> np.ndarray:
    truth = np.random.default_rng(seed).random((count, len(LABELS))) < 0.2
    truth[:, -1] = truth[:, :-1].any(axis=1)
    return truth


def a_painted(count: int = 6) -> Painted:
    drawn_ = np.random.default_rng(1).normal(size=(2, count, 4)).astype(np.float32)
    return Painted(
        what=np.array(["pleural_effusion", "consolidation", "nodule"] * count)[:count],
        sides=np.array(["left", "right", "bilateral"] * count)[:count],
        sizes=np.linspace(0, 0.99, count),
        patients=np.array([f"p{n}" if n % 2 else f"normal/{n}.jpg" for n in range(count)]),
        before=drawn_[0],
        after=drawn_[1],
    )


def test_every_finding_has_wordings_to_learn_and_others_to_measure_with() -> None:
    assert set(TAUGHT) == set(HELD_OUT) == set(FINDINGS)
    for finding in FINDINGS:
        assert not set(TAUGHT[finding]) & set(HELD_OUT[finding])
        taught = wordings(Concept(finding), 40, 1, loose=0.3)
        assert len(set(taught)) > 20
        assert taught == wordings(Concept(finding), 40, 1, loose=0.3), "the same seed gives the same sentences"


@pytest.mark.parametrize(
    "finding", ["pleural_effusion", "pneumothorax", "cardiomegaly", "consolidation", "edema", "atelectasis"]
)
def test_sentences_say_to_the_rules_what_they_are_composed_to_say(finding: str) -> None:
    """Composed sentences are read by our own rules as the finding, and their denials as absent."""
    lexicon, random = open_lexicon("chest"), np.random.default_rng(0)
    stated = [statements_of_text(structure_report("", w, lexicon)) for w in wordings(Concept(finding), 30, 3)]
    right = [any(s.finding == finding and s.status is not Assertion.ABSENT for s in one) for one in stated]
    assert np.mean(right) >= 0.8
    denied = [statements_of_text(structure_report("", denial(finding, random), lexicon)) for _ in range(30)]
    wrong = [any(s.finding == finding and s.status is Assertion.PRESENT for s in one) for one in denied]
    assert np.mean(wrong) <= 0.1


def test_sided_sentences_name_the_side() -> None:
    for words in wordings(Concept("pleural_effusion", side="left", size="large"), 20, 0):
        assert "left" in words.lower()
        assert any(size in words.lower() for size in ("large", "massive", "marked", "extensive", "severe"))


def test_what_nobody_knows_is_not_taught() -> None:
    truth = np.zeros((2, len(LABELS)), bool)
    truth[0, [LABELS.index("pleural_effusion"), -1]] = True
    wanted = concepts(["pleural_effusion"], views=True)
    table = known(radiographs(truth), wanted)
    by_concept = dict(zip(wanted, table.T.tolist(), strict=True))
    assert by_concept[Concept("pleural_effusion")] == [1, -1]
    assert by_concept[Concept("pleural_effusion", side="left")] == [0, -1]
    assert by_concept[Concept("pleural_effusion", size="large")] == [0, -1]
    assert by_concept[Concept("pleural_effusion", view="AP")] == [1, -1]
    assert by_concept[Concept("pleural_effusion", view="PA")] == [-1, -1]
    assert by_concept[Concept("normal")] == [-1, 1]
    assert by_concept[Concept("view", view="PA")] == [-1, 1]


def test_a_painted_lesion_teaches_its_side_and_size() -> None:
    painted = a_painted()
    wanted = concepts(["pleural_effusion", "consolidation"])
    by_concept = dict(zip(wanted, drawn(painted, wanted).T.tolist(), strict=True))
    assert by_concept[Concept("pleural_effusion", side="left")] == [1, -1, -1, 1, -1, -1]
    assert by_concept[Concept("pleural_effusion", side="right")] == [-1, -1, -1, -1, -1, -1]
    assert by_concept[Concept("consolidation", side="right")] == [-1, 1, -1, -1, 1, -1]
    assert by_concept[Concept("pneumonia")] == [-1, 0, -1, -1, 0, -1], "a painted consolidation may be one: not known"
    assert by_concept[Concept("pleural_effusion", size="small")] == [1, -1, -1, -1, -1, -1]


def test_collections_are_moved_to_one_mean_and_partners_stay_partners() -> None:
    painted = a_painted(40)
    before, after = shifted(painted)
    foreign = np.char.startswith(painted.patients, "normal/")
    np.testing.assert_allclose(before[foreign].mean(0), before[~foreign].mean(0), atol=1e-5)
    np.testing.assert_allclose(after - before, painted.after - painted.before, atol=1e-5)


def test_a_painted_copy_is_held_out_with_its_patient() -> None:
    some = radiographs(some_truth(40))
    folds = np.arange(40) % 5
    painted = a_painted()
    assert painted_folds(painted, some, folds)[1::2].tolist() == [1, 3, 0]
    images = Images(some, np.zeros((40, 4), np.float32), some, np.zeros((40, 4), np.float32), painted)
    recipe = {**RECIPE_TABLE, "painted": {"weight": 1.0, "before_weight": 1.0}}
    whole = lesson(images, folds, concepts(sorted(set(painted.what.tolist()))), recipe)
    assert len(whole.folds) == 40 + 40 + 2 * 6
    assert (whole.folds[40:80] == -1).all(), "the small images are of other patients: in every fold's training"
    assert np.isfinite(whole.taught.embeddings).all()


def test_the_loss_is_open_clips_where_each_image_has_one_sentence() -> None:
    from open_clip.loss import SigLipLoss

    images, texts = (torch.nn.functional.normalize(torch.randn(6, 8), dim=-1) for _ in range(2))
    scale, bias = torch.tensor(10.0), torch.tensor(-10.0)
    theirs = SigLipLoss()(images, texts, scale, bias)
    targets = 2 * torch.eye(6) - 1
    ours = ManyPositives().pairs(images, texts, scale, bias, targets, torch.ones(6, 6))
    torch.testing.assert_close(ours * 36 / 6, theirs)  # theirs is over images, ours over pairs


def test_unknown_pairs_do_not_count() -> None:
    images, texts = (torch.nn.functional.normalize(torch.randn(4, 8), dim=-1) for _ in range(2))
    scale, bias = torch.tensor(5.0), torch.tensor(0.0)
    targets = torch.tensor([[1.0, -1, 0, 0]] * 4)
    other = texts.clone()
    other[2:] = torch.nn.functional.normalize(torch.randn(2, 8), dim=-1)
    loss = ManyPositives().pairs(images, texts, scale, bias, targets, torch.ones(4, 4))
    torch.testing.assert_close(loss, ManyPositives().pairs(images, other, scale, bias, targets, torch.ones(4, 4)))


def test_positives_may_count_as_much_as_negatives() -> None:
    taught = Taught(np.zeros((10, 2), np.float32), np.array([[1]] * 2 + [[-1]] * 8, np.int8), np.ones(10, np.float32))
    weights = pair_weights(taught, 1.0).numpy()[:, 0]
    assert weights[:2].sum() == pytest.approx(weights[2:].sum())
    np.testing.assert_allclose(pair_weights(taught, 0.0).numpy(), 1)


def _taught(seed: int) -> tuple[Taught, np.ndarray, np.ndarray]:
    """Embeddings that hold four findings, one an axis, and sentences' vectors."""
    random = np.random.default_rng(seed)
    truth = random.random((300, 4)) < 0.3
    embeddings = random.normal(size=(300, 16)).astype(np.float32)
    embeddings[:, :4] += 2.5 * truth
    centres = unit(random.normal(size=(4, 1, 24)).astype(np.float32))
    vectors = unit(centres + 0.1 * random.normal(size=(4, 6, 24)).astype(np.float32))
    return Taught(unit(embeddings), np.where(truth, 1, -1).astype(np.int8), np.ones(300, np.float32)), vectors, truth


def test_maps_learn_what_is_there_and_twice_the_same() -> None:
    torch.set_num_threads(1)
    taught, vectors, truth = _taught(0)
    settings = {**RECIPE_TABLE["image"], "steps": 120}
    fits = []
    for _ in range(2):
        text = fit_text(vectors, 8, {**RECIPE_TABLE["text"], "steps": 40}, 0)
        fits.append(fit_images(taught, vectors, text, settings, 0))
    (first, losses), (again, _) = fits
    assert losses[-1] < 0.7 * losses[0]
    np.testing.assert_array_equal(first.image_projection, again.image_projection)
    scores = first.images(taught.embeddings) @ first.texts(vectors[:, 0]).T
    assert min(auc(scores[:, k], truth[:, k]) for k in range(4)) > 0.85


def test_rounding_to_eight_bits_stays_near() -> None:
    weight = np.random.default_rng(0).normal(size=(30, 20)).astype(np.float32)
    whole, scale = rounded(weight, axis=0)
    assert whole.dtype == np.int8
    assert np.abs(whole * scale - weight).max() <= scale.max() / 2 + 1e-6


def test_figures_of_scores_that_know_everything_and_of_scores_that_know_nothing() -> None:
    some = radiographs(some_truth(300))
    weights = np.ones((3, 300))
    knowing = some.truth[:, :-1] + np.random.default_rng(0).random((300, 14)) * 0.1
    guessing = np.random.default_rng(1).random((300, 14))
    best, none = measure(knowing, some, weights), measure(guessing, some, weights)
    assert all(one.auc == 1.0 and one.agreement_auc == 1.0 and one.supported for one in best.values())
    assert 0.4 < np.mean([one.auc for one in none.values()]) < 0.6
    assert which_sentence(knowing, some, weights)["auc"] > 0.95
    assert 0.4 < which_sentence(guessing, some, weights)["auc"] < 0.6
    found = limits(knowing, some, best, RECIPE_TABLE["agreement"])
    assert found["present_true"] <= 0.10
    assert found["absent_true"] <= 0.05
    assert found["present_false"] > 0.5
    assert found["absent_false"] > 0.2
    at_all = retrieval(unit(some.truth[:, :-1].astype(np.float32) + 0.01), some, np.arange(300) % 3, weights)
    by_chance = retrieval(unit(guessing.astype(np.float32) - 0.5), some, np.arange(300) % 3, weights)
    assert at_all["all"]["precision_at_5"] > 0.9
    assert by_chance["all"]["precision_at_5"] == pytest.approx(by_chance["all"]["chance"], abs=0.08)


def test_a_patients_own_images_are_no_similar_cases() -> None:
    truth = np.zeros((8, len(LABELS)), bool)
    truth[:2, 0] = truth[:2, -1] = True  # two images of one patient share the one finding; nobody else has it
    some = radiographs(truth, ["a", "a", *"bcdefg"])
    found = retrieval(unit(np.eye(8, 4, dtype=np.float32) + 0.1), some, np.zeros(8, np.int64), np.ones((2, 8)))
    assert found["all"]["precision_at_5"] == 0.0


def test_the_shipped_record_and_card_agree(root: Path) -> None:
    folder = root / "weights" / "chest-text"
    record = json.loads((folder / "record" / "figures.json").read_text(encoding="utf-8"))
    card = read_text_card(folder)
    for finding, figure in card.figures.items():
        assert record["findings"][finding]["auc"] == pytest.approx(figure.auc, abs=1e-4)
        assert record["findings"][finding]["positives"] == figure.positives
    assert record["parity"]["least_cosine"] >= 0.99
    assert record["parity"]["mean_rank_correlation"] >= 0.99
    assert record["retrieval"]["all"]["precision_at_5"] > record["retrieval"]["all"]["chance"]


def test_the_shipped_maps_fit_the_images_of_the_collection(root: Path, shared: Path) -> None:
    """Real images, the real reader: the shipped map tells effusions from normal chests (patients it was trained on)."""
    from radpipe.card import read_card
    from radpipe.models import open_model
    from radpipe.models.text import open_text
    from radpipe.preprocess import model_input
    from radpipe.retrieve import contrast
    from radpipe.train.collection import read_grey, read_radiographs

    model = open_text(root / "weights" / "chest-text", threads=1)
    cards = (read_card(path) for path in (root / "weights").glob("*/card.toml") if path.parent.name.startswith("chest-dino"))
    reader = next((card for card in cards if card.sha256 == model.reader_sha256), None)
    if reader is None:
        pytest.fail(f"weights/chest-text was made for {model.card.reader}, which is not here: run radpipe.train.dual again")
    nih = read_radiographs(shared / "data", "nih")
    ill = np.flatnonzero(nih.truth[:, LABELS.index("pleural_effusion")])[:8]
    well = np.flatnonzero(~nih.truth[:, -1])[:8]
    batch = np.stack([model_input(read_grey(nih.files[n]), reader.input)[0] for n in (*ill, *well)])
    embeddings = open_model(reader, "onnx", "cpu", 1).predict(batch).embedding
    found = contrast(model, model.project(embeddings), ["There is pleural effusion."])[:, 0]
    assert auc(found, np.arange(16) < 8) > 0.75


def test_the_tower_gives_the_same_at_any_thread_count(root: Path) -> None:
    folder = root / "weights" / "chest-text"
    sentences = ["Left effusion.", "Normal chest."]
    np.testing.assert_allclose(Tower(folder, 64, 1)(sentences), Tower(folder, 64, 2)(sentences), atol=1e-5)

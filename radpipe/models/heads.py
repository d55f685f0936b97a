"""What the convolutional guests share: findings from the mean of a feature map, and the published operating points.

Axes: B images, C channels of the last feature map (h, w), L labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def by_map(features: Tensor, classifier: nn.Linear) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (B, L), maps (B, L, h, w) and embedding (B, C) of features (B, C, h, w).

    The classifier sees the mean of the feature map; so applied to each place of it, it gives a map of which the logit is the
    mean (class activation mapping, Zhou et al. 2016).
    """
    pooled = features.mean(dim=(2, 3))
    maps = nn.functional.conv2d(features, classifier.weight[:, :, None, None], classifier.bias)
    return classifier(pooled), maps, nn.functional.normalize(pooled, dim=1, eps=1e-6)


class OperatingPoints(nn.Module):
    """Probabilities of which the operating point lies at 0.5: p / 2t below the point t, 1 - (1 - p) / 2(1 - t) above it.

    As torchxrayvision scales its outputs (`op_norm`); a label without a point has t = 0.5 here, which changes nothing.
    """

    points: Tensor

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.register_buffer("points", torch.full((labels,), 0.5))

    def forward(self, logits: Tensor) -> Tensor:
        """(B, L) to (B, L)."""
        p, t = torch.sigmoid(logits), self.points
        return torch.where(p < t, p / (2 * t), 1 - (1 - p) / (2 * (1 - t)))

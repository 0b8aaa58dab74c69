"""Losses of dual encoders: pairs against each other, media against classes. All are sums, in float32."""

from __future__ import annotations

from typing import Any

from harness.models.temperature import Scales


def symmetric(left: Any, right: Any, scales: Scales) -> Any:
    """Each pair told from the others' texts and from the others' media; the mean of the two (Radford et al.).

    `left` and `right` have shape (pairs, dimensions) and are L2-normalised; the result is a scalar.
    """
    import torch
    from torch.nn.functional import cross_entropy

    cosines, own = left @ right.T, torch.arange(len(left), device=left.device)
    forth = cross_entropy(scales.forth * cosines + scales.bias, own, reduction="sum")
    back = cross_entropy(scales.back * cosines.T + scales.bias, own, reduction="sum")
    return (forth + back) / 2


def pairwise(left: Any, right: Any, scales: Scales) -> Any:
    """Each medium with each text: is it a pair or not (Zhai et al. 2023, before they divide by the pairs)."""
    import torch
    from torch.nn.functional import logsigmoid

    logits = scales.forth * (left @ right.T) + scales.bias
    signs = 2 * torch.eye(len(left), device=left.device) - 1
    return -logsigmoid(signs * logits).sum()


def of_classes(left: Any, classes: Any, labels: Any, scales: Scales) -> Any:
    """Cross entropy of media against classes: `left` (media, dimensions), `classes` (classes, dimensions).

    `labels` are numbers of classes, int64 (media,), or zeros and ones, float32 (media, classes): then each
    class is a decision of its own, and a medium's loss the sum of their binary cross entropies.
    """
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

    logits = scales.forth * (left @ classes.T) + scales.bias
    found = (
        binary_cross_entropy_with_logits(logits, labels, reduction="sum")
        if labels.is_floating_point()
        else cross_entropy(logits, labels, reduction="sum")
    )
    return found + 0.0 * scales.back  # in the graph, because data parallel training waits for its gradient

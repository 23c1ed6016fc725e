"""The learning-rate schedule."""

import math


def cosine_with_warmup(
    step: int, steps: int, warmup: int, final: float = 0.02, spent: float = 0.0
) -> float:
    """Factor on the learning rate: linear warmup, then a cosine down to ``final``.

    Args:
        step: number of the next step, from 0.
        steps: length of the run.
        warmup: steps of the warmup.
        final: factor at the end.
        spent: share of the run's time budget that has passed, from 0 to 1. The cosine follows the
            greater of this share and the share of steps.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, max(spent, (step - warmup) / max(1, steps - warmup)))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))

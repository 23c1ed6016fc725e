"""The learning rate over a run."""

import math


def cosine_with_warmup(
    step: int, steps: int, warmup: int, final: float = 0.02, spent: float = 0.0
) -> float:
    """Factor on the learning rate: linear up over ``warmup`` steps, cosine down to ``final``.

    Args:
        step: the step about to be taken, from 0.
        steps: length of the run.
        warmup: length of the rise.
        final: factor at the end.
        spent: share of the time given to the run that has passed, from 0 to 1; the cosine follows
            it where it is ahead of the steps.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, max(spent, (step - warmup) / max(1, steps - warmup)))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))

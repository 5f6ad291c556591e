"""What changes from step to step: learning rate, weight of the report terms, memory of the average."""

from __future__ import annotations

from rsuper import losses
from rsuper.config import OptimisationConfig

POWER = 0.9  # of the polynomial decay, as nnU-Net


def learning_rate(settings: OptimisationConfig, step: int) -> float:
    """Rate of step ``step`` (0-based): r·(1 − t)^0.9, with t from 0 to 1 over each of the two stages.

    Example:
        >>> settings = OptimisationConfig(warmup_steps=10, steps=10, learning_rate=0.5, warmup_learning_rate=1.0)
        >>> learning_rate(settings, 0), learning_rate(settings, 10)
        (1.0, 0.5)
    """
    if step < settings.warmup_steps:
        peak, share = settings.warmup_learning_rate, step / settings.warmup_steps
    else:
        peak, share = settings.learning_rate, (step - settings.warmup_steps) / settings.steps
    return float(peak * (1 - share) ** POWER)


def report_ramp(settings: OptimisationConfig, step: int) -> float:
    """Factor on the report terms at step ``step`` (0-based): 0 in the warm-up, then linearly up to 1."""
    ramp = settings.steps // 4 if settings.report_ramp_steps is None else settings.report_ramp_steps
    return losses.report_ramp(step, warmup_steps=settings.warmup_steps, ramp_steps=ramp)


def average_decay(settings: OptimisationConfig, step: int) -> float:
    """Decay of the moving average at step ``step`` (0-based): short memory at the start, then ``ema``."""
    return min(settings.ema, (step + 1) / (step + 10))

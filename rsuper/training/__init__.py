"""Training: masks-only warm-up, then masks and reports."""

from rsuper.training.loop import Interrupted, Trained, TrainProgress, train

__all__ = ["Interrupted", "TrainProgress", "Trained", "train"]

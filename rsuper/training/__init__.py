"""Training: masks-only warm-up, then masks and reports."""

from rsuper.training.loop import Trained, train
from rsuper.training.session import TrainProgress

__all__ = ["TrainProgress", "Trained", "train"]

"""The losses as Modules: settings at construction, tensors at the call; for loops that keep a list of criteria."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from jaxtyping import Bool, Float
from torch import Tensor, nn

from rsuper.losses.attenuation import attenuation_loss
from rsuper.losses.ball import BallLoss, ball_loss
from rsuper.losses.malignancy import malignancy_loss
from rsuper.losses.presence import presence_loss
from rsuper.losses.segmentation import SegmentationLoss, segmentation_loss
from rsuper.losses.volume import volume_loss
from rsuper.morphology import SpacingLike
from rsuper.supervision.types import LesionTarget, StatedAttenuation


class _Criterion(nn.Module):
    """Holds keyword settings of a loss."""

    loss: ClassVar[Callable[..., Any]]

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        possible = self.possible_settings()
        for name in settings:
            if name not in possible:
                raise TypeError(
                    f"{type(self).__name__} has no setting {name!r}; settings are {', '.join(possible) or 'none'}"
                )
        self.settings = settings

    @classmethod
    def possible_settings(cls) -> tuple[str, ...]:
        """What may be fixed at construction: the loss's keywords that the call does not take.

        >>> AttenuationCriterion.possible_settings()
        ('margin_hu', 'scale_hu')
        """
        taken = inspect.signature(cls.forward).parameters
        return tuple(
            name
            for name, parameter in inspect.signature(cls.loss).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY and name not in taken
        )

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.settings.items())


class SegmentationCriterion(_Criterion):
    """:func:`rsuper.losses.segmentation_loss` with fixed settings; call with (logits, labels, known)."""

    loss = staticmethod(segmentation_loss)

    def forward(
        self,
        logits: Float[Tensor, "B C D H W"],
        labels: Tensor,
        known: Bool[Tensor, "B C D H W"] | None = None,
        *,
        spacing_mm: SpacingLike = (1.0, 1.0, 1.0),
    ) -> SegmentationLoss:
        """Bce and dice."""
        return segmentation_loss(logits, labels, known, spacing_mm=spacing_mm, **self.settings)


class BallCriterion(_Criterion):
    """:func:`rsuper.losses.ball_loss` with fixed settings.

    >>> from rsuper.losses import BallBalance
    >>> BallCriterion(balance=BallBalance(background_weight=0.5)).settings["balance"].smooth_mm3
    1.0
    """

    loss = staticmethod(ball_loss)

    def forward(
        self,
        logits: Float[Tensor, "P D H W"],
        region: Bool[Tensor, "P D H W"],
        lesions_per_pair: Sequence[Sequence[LesionTarget]],
        *,
        spacing_mm: SpacingLike,
        weight: Float[Tensor, " P"] | None = None,
    ) -> BallLoss:
        """Bce and dice."""
        return ball_loss(
            logits, region, lesions_per_pair, spacing_mm=spacing_mm, weight=weight, **self.settings
        )


class VolumeCriterion(_Criterion):
    """:func:`rsuper.losses.volume_loss` with fixed settings."""

    loss = staticmethod(volume_loss)

    def forward(
        self,
        logits: Float[Tensor, "P D H W"],
        region: Bool[Tensor, "P D H W"],
        volume_mm3: Float[Tensor, "P 2"],
        *,
        spacing_mm: SpacingLike,
        **per_pair: Tensor | None,
    ) -> Tensor:
        """A scalar; ``weight``, ``median_mm3``, ``sigma_log`` and ``located`` of the pairs go by name."""
        return volume_loss(logits, region, volume_mm3, spacing_mm=spacing_mm, **(self.settings | per_pair))


class PresenceCriterion(_Criterion):
    """:func:`rsuper.losses.presence_loss` with fixed settings."""

    loss = staticmethod(presence_loss)

    def forward(
        self,
        logits: Float[Tensor, "P D H W"],
        region: Bool[Tensor, "P D H W"],
        *,
        spacing_mm: SpacingLike,
        present: Tensor | None = None,
        weight: Float[Tensor, " P"] | None = None,
    ) -> Tensor:
        """A scalar."""
        return presence_loss(
            logits, region, spacing_mm=spacing_mm, present=present, weight=weight, **self.settings
        )


class AttenuationCriterion(_Criterion):
    """:func:`rsuper.losses.attenuation_loss` with fixed settings."""

    loss = staticmethod(attenuation_loss)

    def forward(
        self,
        logits: Float[Tensor, "P D H W"],
        image_hu: Float[Tensor, "P D H W"],
        ball: Bool[Tensor, "P D H W"],
        parenchyma: Bool[Tensor, "P D H W"],
        attenuation: Sequence[StatedAttenuation],
        *,
        weight: Float[Tensor, " P"] | None = None,
    ) -> Tensor:
        """A scalar."""
        return attenuation_loss(
            logits, image_hu, ball, parenchyma, attenuation, weight=weight, **self.settings
        )


class MalignancyCriterion(_Criterion):
    """:func:`rsuper.losses.malignancy_loss`."""

    loss = staticmethod(malignancy_loss)

    def forward(
        self,
        logits: Float[Tensor, "P D H W"],
        lesion: Bool[Tensor, "P D H W"],
        malignant: Sequence[bool | None],
        *,
        weight: Float[Tensor, " P"] | None = None,
    ) -> Tensor:
        """A scalar."""
        return malignancy_loss(logits, lesion, malignant, weight=weight, **self.settings)

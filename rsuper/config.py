"""One frozen tree that holds every setting of a training run; YAML in, YAML out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rsuper.data.batches import SamplingConfig
from rsuper.errors import UsageError
from rsuper.losses import ReportSupervisionConfig
from rsuper.networks import NetworkConfig


class OptimisationConfig(BaseModel):
    """Steps and optimiser (LOSSES § 7: masks-only warm-up, then masks + reports at a lower rate).

    Args:
        arm: what the second stage learns from; ``masks`` is the baseline with the same number of steps.
        warmup_steps: optimiser steps of the first stage, masks only (organ masks only where there is no lesion mask).
        steps: optimiser steps of the second stage.
        warmup_learning_rate, learning_rate: peak AdamW rates of the two stages; each decays polynomially to 0. The
            second is a fifth of the first: where it began as high, the network forgot what the warm-up had found before
            the reports came in, and they locked on to wrong places (benchmarks/README.md; the paper: a tenth).
        weight_decay: AdamW weight decay.
        clip_norm: gradient norm limit.
        ema: decay of the moving average of the weights that is validated and saved.
        report_ramp_steps: steps over which the report terms grow from 0 to their weight; None is a quarter of all,
            which kept networks from locking on to wrong places (benchmarks/README.md).
        validate_every: steps between validations; 0 validates only at the end of each stage.
        checkpoint_every: steps between resumable checkpoints.
        max_bad_steps: non-finite steps in a row after which the run stops.
        precision: autocast type of the forward pass.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    arm: Literal["masks", "masks_and_reports"] = "masks_and_reports"
    warmup_steps: int = Field(default=2000, ge=0)
    steps: int = Field(default=8000, ge=0)
    warmup_learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    learning_rate: float = Field(default=2e-4, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.05, ge=0, allow_inf_nan=False)
    clip_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    ema: float = Field(default=0.99, ge=0, lt=1)
    report_ramp_steps: int | None = Field(default=None, ge=0)
    validate_every: int = Field(default=0, ge=0)
    checkpoint_every: int = Field(default=500, ge=1)
    max_bad_steps: int = Field(default=10, ge=1)
    precision: Literal["bf16", "fp32"] = "bf16"

    @property
    def total_steps(self) -> int:
        """Optimiser steps of both stages."""
        return self.warmup_steps + self.steps


class RunConfig(BaseModel):
    """Everything a training run needs besides the prepared data."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seed: int = Field(default=0, ge=0, lt=2**31)
    network: NetworkConfig = NetworkConfig()
    sampling: SamplingConfig = SamplingConfig()
    loss: ReportSupervisionConfig = ReportSupervisionConfig()
    optimisation: OptimisationConfig = OptimisationConfig()

    @model_validator(mode="after")
    def _patch_fits_network(self) -> RunConfig:
        sides = self.sampling.patch_size
        if any(side % self.network.stride for side in sides):
            raise ValueError(
                f"sampling.patch_size {sides} must be multiples of {self.network.stride} for network.levels "
                f"{self.network.levels}"
            )
        return self

    def to_yaml(self) -> str:
        """The resolved configuration, as it is written into the run folder."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_config(path: Path) -> RunConfig:
    """Read a YAML configuration.

    Raises:
        UsageError: ``config_missing``, or ``config_invalid`` naming each wrong key.
    """
    try:
        return RunConfig.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except OSError as error:
        raise UsageError(f"cannot read {path}", code="config_missing", hint="check the path") from error
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path.name}: {_problems(error)}",
            code="config_invalid",
            hint="`rsuper train --print-config` shows every key",
        ) from error


def with_network(config: RunConfig, factory: str | None) -> RunConfig:
    """The settings with a custom network, where a person names one; a file that names another is not obeyed.

    Args:
        config: settings.
        factory: ``package.module:function``, or None.
    """
    if factory is None or factory == config.network.factory:
        return config
    network = config.network.model_dump() | {"name": "custom", "factory": factory}
    return RunConfig.model_validate(config.model_dump() | {"network": network})


def _problems(error: ValidationError | yaml.YAMLError | UnicodeDecodeError) -> str:
    if not isinstance(error, ValidationError):
        return "not valid YAML"
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'settings'}: {item['msg']}" for item in error.errors()
    )

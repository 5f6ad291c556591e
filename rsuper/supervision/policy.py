"""Which lesions of a record count for which class, and how much each is trusted.

This is policy, kept apart from extraction. The presets are data, in ``policy.yaml``; a user's own file of the
same shape is read with :func:`load_policy`.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from llm_extract.anatomy import Anatomy
from llm_extract.records import Change, Lesion, LesionKind, Malignancy, Presence, ReportRecord, Status
from rsuper.errors import UsageError
from rsuper.supervision.regions import RegionRules

DEFAULT_PRESET = "tumours"
ORGAN = "{organ}"
"""Stands for the organ in the name of a class of its own."""
ACTIONS = ("count", "ignore", "drop")


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _presence_weight() -> dict[Presence, float]:
    return {"definite": 1.0, "probable": 0.7, "possible": 0.3}


def _status_weight() -> dict[Status, float]:
    return {"ok": 1.0, "ok_with_warnings": 1.0, "needs_review": 0.5, "failed": 0.0}


class PolicyRule(_Model):
    """One line of the table: it fits a lesion if every field named here holds the lesion's value.

    Args:
        kind, diagnosis, malignancy, presence, change, organ, treated: accepted values; empty accepts any.
        then: ``count``, ``ignore``, ``drop`` or the name of a class of its own, in which ``{organ}`` stands for
            the organ's name in classes, as in ``{organ}_cyst_lesion``.
    """

    kind: tuple[LesionKind, ...] = ()
    diagnosis: tuple[str, ...] = ()
    malignancy: tuple[Malignancy, ...] = ()
    presence: tuple[Presence, ...] = ()
    change: tuple[Change, ...] = ()
    organ: tuple[str, ...] = ()
    treated: tuple[bool, ...] = ()
    then: str = Field(pattern=r"^[a-z0-9_]*(\{organ\})?[a-z0-9_]+$")

    @field_validator("then")
    @classmethod
    def _action_or_class(cls, value: str) -> str:
        if value not in ACTIONS and not value.endswith("_lesion"):
            raise ValueError(
                f"{value!r} is none of {', '.join(ACTIONS)} and no class, whose name ends in _lesion"
            )
        return value

    def fits(self, lesion: Lesion) -> bool:
        """True if every field that the rule names holds the lesion's value."""
        fields = ("kind", "diagnosis", "malignancy", "presence", "change", "organ", "treated")
        return all(not getattr(self, name) or getattr(lesion, name) in getattr(self, name) for name in fields)


class SupervisionPolicy(_Model):
    """What a loss may use of a record.

    Args:
        rules: which lesions count, first fit decides.
        presence_weight: certainty weight of each degree of presence.
        status_weight: certainty weight of each record status; 0 keeps the record out.
        normalised_weight: factor for a lesion whose evidence was found only after normalising the quote.
        ungrounded_weight: factor for a lesion without any evidence; 0: ungrounded values never supervise.
        inconsistent_weight: weight of a lesion that contradicts the organ masks.
        pathology_alone: state of a class whose lesions only a pathology report states; the specimen may be
            older or younger than the CT.
        center_margin_mm: how far from its host the centre of a ball may lie.
        interior_mm: depth inside another organ from which a lesion cannot lie there.
        exophytic_factor: the margin of an exophytic or adjacent lesion is this much larger.
        fill_diameters: where a lesion states its size, gaps of the organ's masks are filled that a ball with a radius
            of this many largest diameters cannot enter: segmenters of organs leave tumours out. 0 takes masks as they
            are.
        open_diameters: and voxels within this many largest diameters of its host stay unknown, so that a tumour at
            which the mask ends is not called healthy; other organs' insides do not. 0 leaves the margin alone.
        max_searched: members of one group that are searched one by one; the others are its remainder.
    """

    rules: tuple[PolicyRule, ...] = Field(min_length=1)
    presence_weight: dict[Presence, float] = Field(default_factory=_presence_weight)
    status_weight: dict[Status, float] = Field(default_factory=_status_weight)
    normalised_weight: float = Field(default=0.9, ge=0, le=1)
    ungrounded_weight: float = Field(default=0.0, ge=0, le=1)
    inconsistent_weight: float = Field(default=0.0, ge=0, le=1)
    pathology_alone: Literal["unknown", "reported"] = "unknown"
    center_margin_mm: float = Field(default=5.0, ge=0)
    interior_mm: float = Field(default=2.0, ge=0)
    exophytic_factor: float = Field(default=1.5, ge=1)
    fill_diameters: float = Field(default=1.0, ge=0, le=2)
    open_diameters: float = Field(default=0.5, ge=0, le=2)
    max_searched: int = Field(default=10, ge=1)

    @property
    def region_rules(self) -> RegionRules:
        """How regions are made."""
        return RegionRules(
            center_margin_mm=self.center_margin_mm,
            interior_mm=self.interior_mm,
            fill_diameters=self.fill_diameters,
            open_diameters=self.open_diameters,
        )

    def action(self, lesion: Lesion) -> str:
        """What the first fitting rule says: ``count``, ``ignore`` (or none fits), ``drop`` or a class."""
        return next((rule.then for rule in self.rules if rule.fits(lesion)), "ignore")

    def lesion_class(self, lesion: Lesion, anatomy: Anatomy) -> str | None:
        """The class that the lesion supervises, or None if it does not count."""
        then = self.action(lesion)
        if then in ("ignore", "drop") or lesion.organ not in anatomy.organs:
            return None
        entry = anatomy.organs[lesion.organ]
        return entry.lesion_class if then == "count" else then.replace(ORGAN, entry.class_name)

    def own_classes(self, anatomy: Anatomy) -> frozenset[str]:
        """All classes of their own that the rules can make, beside ``<organ>_lesion``.

        >>> from llm_extract.anatomy import load_anatomy
        >>> "kidney_cyst_lesion" in load_policy("tumours_and_cysts").own_classes(load_anatomy())
        True
        """
        names = {rule.then for rule in self.rules} - {"count", "ignore", "drop"}
        organs = {entry.class_name for entry in anatomy.organs.values()}
        return frozenset(name.replace(ORGAN, organ) for name in names for organ in organs)

    def weight(self, lesion: Lesion, record: ReportRecord) -> float:
        """Certainty weight in [0, 1]: presence × record status × evidence."""
        weight = self.presence_weight[lesion.presence] * self.status_weight[record.status]
        if not lesion.evidence:
            return weight * self.ungrounded_weight
        if all(quote.match != "exact" for quote in lesion.evidence):
            return weight * self.normalised_weight
        return weight


def load_policy(preset: str | Path = DEFAULT_PRESET, *, path: Path | None = None) -> SupervisionPolicy:
    """A named preset of the shipped table, or of a user's own file of the same shape.

    Args:
        preset: its name; or a file, ``my_policy.yaml``, that holds one preset; or ``my_policy.yaml:name``.
        path: the user's own file, where ``preset`` is only the name.

    Raises:
        UsageError: ``unknown_policy`` if there is no such preset, ``bad_policy`` if the file does not fit,
            ``policy_missing`` if there is no such file.
    """
    if not isinstance(preset, str | Path):
        raise TypeError(f"a policy is loaded by the name of a preset or file, got {type(preset).__name__}")
    preset = str(preset)
    name: str | None = preset
    if path is None:
        file, _, chosen = preset.partition(":")
        if not file.endswith((".yaml", ".yml")):
            return _shipped(preset)
        path, name = Path(file), chosen or None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the policy file {path} cannot be read ({error.__class__.__name__})",
            code="policy_missing",
            hint="give a preset, a .yaml file, or FILE.yaml:NAME",
        ) from error
    return _build(text, name)


@lru_cache(maxsize=8)
def _shipped(preset: str) -> SupervisionPolicy:
    text = resources.files("rsuper.supervision").joinpath("policy.yaml").read_text(encoding="utf-8")
    return _build(text, preset)


def _build(text: str, preset: str | None) -> SupervisionPolicy:
    """One preset of a table; None takes the only one that there is."""
    try:
        table: Any = yaml.safe_load(text)
        presets = table["presets"]
        if preset is None and len(presets) == 1:
            preset = next(iter(presets))
        if preset in presets:
            entry = presets[preset]
            return SupervisionPolicy.model_validate(entry if isinstance(entry, dict) else {"rules": entry})
        names = ", ".join(sorted(presets))
    except (yaml.YAMLError, ValidationError, KeyError, TypeError) as error:
        raise UsageError(
            f"the policy{f' {preset}' if preset else ' file'} does not fit the table ({_first_error(error)})",
            code="bad_policy",
            hint="compare it with docs/policy_example.yaml",
        ) from error
    said = f"there is no policy {preset!r}" if preset else "the file holds several policies"
    raise UsageError(said, code="unknown_policy", hint=f"choose one of {names}")


def _first_error(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_url=False)[0]
        return f"{'.'.join(str(place) for place in first['loc'])}: {first['msg']}"
    if isinstance(error, KeyError):
        return f"there is no {error.args[0]}"
    return error.__class__.__name__

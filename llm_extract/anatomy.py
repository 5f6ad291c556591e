"""Organs, their parts, the words that name them and the label files that hold them: one extensible table.

The table is ``anatomy.yaml``. A user adds an organ, a part, a synonym or a language with another YAML file of
the same shape, given to :func:`load_anatomy`; lists are extended, single values replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

Side = Literal["left", "right"]
SIDES: tuple[Side, Side] = ("left", "right")
CATCH_ALL = "other"
"""The organ of whatever has none of its own; what a user names as an organ is taken out of it."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(_Table):
    """A named part of an organ, such as the pancreatic head.

    Args:
        name: identifier that carries the organ, such as ``pancreas_head``.
        organ: the organ it belongs to.
        synonyms: phrases that name the part and with it the organ.
        short: phrases that name the part only where the organ is known from elsewhere.
        structures: stems of label files whose union holds the part; empty where none is in use.
        one_of: the parts this name stands for; a lobe is one of its segments.
        side: the side of the body that the part implies.
    """

    name: str
    organ: str
    synonyms: tuple[str, ...] = ()
    short: tuple[str, ...] = ()
    structures: tuple[str, ...] = ()
    one_of: tuple[str, ...] = ()
    side: Side | None = None


class Organ(_Table):
    """An organ of the closed list.

    Args:
        name: identifier used in records.
        class_name: name used in class and file names (``adrenal`` for ``adrenal_gland``).
        paired: True if there is one on each side.
        synonyms: nouns that name the organ.
        adjectives: words that name the organ beside a finding.
        parts: part name -> part.
        structures: stems of label files of an unpaired organ.
        side_structures: stems of label files of each side of a paired organ.
        max_diameter_mm: the largest believable lesion.
        margin_mm: how far a lesion may stick out of the organ.
    """

    name: str
    class_name: str
    paired: bool = False
    synonyms: tuple[str, ...] = ()
    adjectives: tuple[str, ...] = ()
    parts: Mapping[str, Part] = Field(default_factory=dict)
    structures: tuple[str, ...] = ()
    side_structures: Mapping[Side, tuple[str, ...]] = Field(default_factory=dict)
    max_diameter_mm: float = Field(default=500.0, gt=0)
    margin_mm: float = Field(default=10.0, ge=0)

    @model_validator(mode="after")
    def _known_parts(self) -> Organ:
        for part in self.parts.values():
            unknown = set(part.one_of) - set(self.parts)
            if unknown:
                raise ValueError(
                    f"{part.name}: one_of names parts that {self.name} does not have: {sorted(unknown)}"
                )
        return self

    @property
    def lesion_class(self) -> str:
        """Name of the lesion class and of its label file, such as ``adrenal_lesion``."""
        return f"{self.class_name}_lesion"


class Anatomy(_Table):
    """The table of organs.

    >>> anatomy = load_anatomy()
    >>> anatomy.structures_for("pancreas", ("pancreas_head",))
    ('pancreas_head',)
    >>> anatomy.structures_for("kidney", (), laterality="left")
    ('kidney_left',)
    """

    organs: Mapping[str, Organ]

    def part(self, name: str) -> Part | None:
        """The part of that name, of whichever organ, or None."""
        for organ in self.organs.values():
            if name in organ.parts:
                return organ.parts[name]
        return None

    def organ_structures(self, organ: str, laterality: str = "unknown") -> tuple[str, ...]:
        """Stems of the label files whose union is the organ, of one side if that side is given."""
        entry = self.organs[organ]
        if not entry.side_structures:
            return entry.structures
        sides = tuple(side for side in SIDES if laterality not in SIDES or side == laterality)
        return tuple(stem for side in sides for stem in entry.side_structures.get(side, ()))

    def structures_for(
        self, organ: str, parts: Sequence[str] = (), laterality: str = "unknown"
    ) -> tuple[str, ...]:
        """Stems of the label files whose union hosts a lesion.

        Args:
            organ: organ of the lesion.
            parts: its parts; names that stand for several parts (``one_of``) are expanded.
            laterality: ``left`` or ``right`` keeps that side of a paired organ; anything else keeps both.

        Returns:
            The part files if every part has one, else the organ files of that side.
        """
        entry = self.organs[organ]
        stems: dict[str, None] = {}
        for name in self.expand(organ, parts):
            part = entry.parts.get(name)
            if part is None or not part.structures:
                return self.organ_structures(organ, laterality)
            stems.update(dict.fromkeys(part.structures))
        return tuple(stems) or self.organ_structures(organ, laterality)

    def expand(self, organ: str, parts: Sequence[str]) -> tuple[str, ...]:
        """Replace every name that stands for several parts by those parts; order kept, no repeats."""
        table = self.organs[organ].parts
        names: dict[str, None] = {}
        for name in parts:
            part = table.get(name)
            names.update(dict.fromkeys(part.one_of if part is not None and part.one_of else (name,)))
        return tuple(names)


def load_anatomy(extra: Path | None = None) -> Anatomy:
    """The built-in table, extended by a user's own YAML file of the same shape.

    Args:
        extra: a file whose entries are added: lists are extended, single values
            replaced; organs and parts may be new.

    Raises:
        ValueError: the table is not consistent, for example a part that stands for an unknown part.
    """
    if extra is None:
        return _default()
    added = _read(extra.read_text("utf-8"))
    return _build(_merge(_without_new_names(_read_default(), added), added))


@lru_cache(maxsize=1)
def _default() -> Anatomy:
    return _build(_read_default())


def _read_default() -> dict[str, Any]:
    return _read(resources.files("llm_extract").joinpath("anatomy.yaml").read_text("utf-8"))


def _read(text: str) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    table = yaml.load(text, Loader=loader)  # noqa: S506 - both loaders are safe ones
    if not isinstance(table, dict) or set(table) != {"organs"} or not isinstance(table["organs"], dict):
        raise ValueError("an anatomy file holds one key, organs: a mapping of organ name to organ")
    return table


def _without_new_names(base: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    """The table whose catch-all organ no longer answers to the names of the added organs."""
    named = {
        phrase
        for organ, entry in added["organs"].items()
        if organ != CATCH_ALL
        for key in ("synonyms", "adjectives")
        for phrase in (entry or {}).get(key, ())
    }
    rest = {
        key: [phrase for phrase in value if phrase not in named]
        if key in ("synonyms", "adjectives")
        else value
        for key, value in base["organs"].get(CATCH_ALL, {}).items()
    }
    return {"organs": {**base["organs"], CATCH_ALL: rest}}


def _merge(base: Any, extra: Any) -> Any:
    if isinstance(base, dict) and isinstance(extra, dict):
        return {
            key: _merge(base[key], extra[key])
            if key in base and key in extra
            else base.get(key, extra.get(key))
            for key in [*base, *(k for k in extra if k not in base)]
        }
    if isinstance(base, list) and isinstance(extra, list):
        return [*base, *(item for item in extra if item not in base)]
    return extra


def _build(table: dict[str, Any]) -> Anatomy:
    organs = {}
    for name, entry in table["organs"].items():
        fields = {"class_name": name, **(entry or {}), "name": name}
        fields["parts"] = {
            part: Part(**{**(values or {}), "name": part, "organ": name})
            for part, values in fields.get("parts", {}).items()
        }
        organs[name] = Organ(**fields)
    return Anatomy(organs=organs)

"""Which files make which organ, part and lesion class: a YAML class map, and presets for usual layouts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rsuper.errors import DataError, UsageError

LESION_SUFFIX = "_lesion"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"
_MAX_TABLE_BYTES = 4 << 20

Name = Annotated[str, Field(pattern=_NAME)]
Alternative = Name | tuple[Name, ...]


class ClassMap(BaseModel):
    """Where the files of a case lie, and what they are called.

    Patterns are relative to the dataset folder and may use ``{case_id}`` and ``{structure}``.

    Args:
        ct: pattern of the CT.
        masks: pattern of the mask files, one a structure; None if there are none.
        label_file: pattern of a multi-label file; None if there is none.
        labels: label value -> source name of the multi-label file.
        label_table: JSON, YAML or CSV file with those labels, relative to the dataset folder.
        structures: our name -> source names. The first alternative that is there is used; an alternative that
            is a list is the union of its members, all of which must be there. Source names that are not
            listed keep their own name.
        ignore: source names that are left out.

    Example:
        >>> ClassMap(structures={"kidney": (("kidney_left", "kidney_right"),)}).resolve(
        ...     {"kidney_left", "kidney_right"}
        ... )["kidney"]
        ('kidney_left', 'kidney_right')
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    ct: str = "{case_id}/ct.nii.gz"
    masks: str | None = "{case_id}/segmentations/{structure}.nii.gz"
    label_file: str | None = None
    labels: dict[Annotated[int, Field(ge=1, le=65535)], Name] = Field(default_factory=dict)
    label_table: str | None = None
    structures: dict[Name, tuple[Alternative, ...]] = Field(default_factory=dict)
    ignore: tuple[Name, ...] = ()

    @field_validator("ct", "masks", "label_file", "label_table")
    @classmethod
    def _inside(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        path = PurePosixPath(pattern)
        if path.is_absolute() or ".." in path.parts or "\\" in pattern or "\0" in pattern:
            raise ValueError(f"{pattern!r} leaves the dataset folder")
        if re.sub(r"\{case_id\}|\{structure\}", "", pattern).count("{"):
            raise ValueError(f"{pattern!r} may use {{case_id}} and {{structure}} only")
        return pattern

    @field_validator("structures", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        """``liver: hepar`` is short for ``liver: [hepar]``."""
        if not isinstance(value, Mapping):
            return value
        return {name: (item,) if isinstance(item, str) else item for name, item in value.items()}

    @model_validator(mode="after")
    def _complete(self) -> ClassMap:
        if "{case_id}" not in self.ct or any(
            pattern is not None and "{case_id}" not in pattern for pattern in (self.masks, self.label_file)
        ):
            raise ValueError("ct, masks and label_file need {case_id}")
        if self.masks is not None and "{structure}" not in PurePosixPath(self.masks).name:
            raise ValueError("masks needs {structure} in its file name")
        return self

    def resolve(self, available: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Our names -> the source names whose union they are, for what is available in one case."""
        present = set(available) - set(self.ignore)
        resolved: dict[str, tuple[str, ...]] = {}
        renamed: set[str] = set()
        for name, alternatives in self.structures.items():
            for alternative in alternatives:
                members = (alternative,) if isinstance(alternative, str) else alternative
                if members and present.issuperset(members):
                    resolved[name] = members
                    if len(members) == 1:
                        renamed.update(members)
                    break
        for name in present - renamed:
            resolved.setdefault(name, (name,))
        return dict(sorted(resolved.items()))


def preset_names() -> tuple[str, ...]:
    """Names of the class maps that come with the package."""
    folder = resources.files("rsuper.data") / "class_maps"
    return tuple(
        sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))
    )


def load_class_map(source: ClassMap | Path | str | None) -> ClassMap:
    """A class map from a preset name, a YAML file, or as it is; None is the layout of this package.

    Raises:
        UsageError: ``class_map_missing`` or ``class_map_invalid``, with what the file should hold.
    """
    if isinstance(source, ClassMap):
        return source
    if source is None:
        source = "default"
    if isinstance(source, str) and source in preset_names():
        return _parse(
            (resources.files("rsuper.data") / "class_maps" / f"{source}.yaml").read_text("utf-8"), source
        )
    path = Path(source)
    try:
        if path.stat().st_size > _MAX_TABLE_BYTES:
            raise UsageError(f"{path.name} is too large for a class map", code="class_map_invalid")
        return _parse(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"there is no class map {str(source)!r}",
            code="class_map_missing",
            hint=f"give a YAML file or one of: {', '.join(preset_names())}",
        ) from error


def _parse(text: str, name: str) -> ClassMap:
    try:
        return ClassMap.model_validate(yaml.safe_load(text) or {})
    except yaml.YAMLError as error:
        raise UsageError(f"{name} is no valid YAML", code="class_map_invalid") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{name}: {where or 'class map'}: {first['msg']}",
            code="class_map_invalid",
            hint=f"keys: {', '.join(ClassMap.model_fields)}",
        ) from error


def read_label_table(path: Path) -> dict[int, str]:
    """Read label value -> name.

    Formats: JSON or YAML ``{"1": "liver"}``, ``{"liver": 1}`` (nnU-Net), either one under ``labels`` or as
    the only other key; CSV or TSV with a value and a name column. Background (0) is left out.

    Raises:
        DataError: ``label_table_invalid`` if no pair of value and name can be read, or one is contradictory.
    """
    try:
        if path.stat().st_size > _MAX_TABLE_BYTES:
            raise DataError(f"{path.name} is too large for a label table", code="label_table_invalid")
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() in {".csv", ".tsv", ".txt"}:
            pairs = [
                tuple(re.split(r"[,;\t ]+", line.strip(), maxsplit=1))
                for line in text.splitlines()
                if line.strip()
            ]
            return _label_pairs((pair for pair in pairs if len(pair) == 2), path)
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path.name} cannot be read as a label table", code="label_table_invalid") from error
    if isinstance(content, dict) and isinstance(content.get("labels"), dict):
        content = content["labels"]
    while isinstance(content, dict) and len(content) == 1 and isinstance(next(iter(content.values())), dict):
        content = next(iter(content.values()))
    return _label_pairs(content.items() if isinstance(content, dict) else (), path)


def _label_pairs(pairs: Iterable[tuple[Any, ...]], path: Path) -> dict[int, str]:
    table: dict[int, str] = {}
    for first, second in pairs:
        value, name = (first, second) if str(first).strip().isdigit() else (second, first)
        if not isinstance(name, str) or not str(value).strip().isdigit():
            continue
        label, clean = (
            int(str(value)),
            re.sub(r"[^A-Za-z0-9_.-]+", "_", str(name).strip().strip('"')).strip("_"),
        )
        if label == 0:
            continue
        if not re.fullmatch(_NAME, clean) or table.get(label, clean) != clean:
            raise DataError(
                f"{path.name}: label {label} has no single valid name", code="label_table_invalid"
            )
        table[label] = clean
    if not table:
        raise DataError(
            f"{path.name} holds no labels",
            code="label_table_invalid",
            hint='write {"1": "liver", "2": "pancreas_lesion"}',
        )
    return table

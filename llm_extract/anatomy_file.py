"""A user's own anatomy file: organs, parts and synonyms beside the built-in ones, checked line by line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from llm_extract.anatomy import CATCH_ALL, Anatomy, Side, load_anatomy
from llm_extract.errors import UsageError
from llm_extract.records import Name

MAX_FILE_BYTES = 1 << 20
Where = tuple[str | int, ...]
Phrase = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^A-Z\n]+$")]
Structure = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
_HINT = "the comment at the top of llm_extract/anatomy.yaml says what an entry may hold"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _PartEntry(_Entry):
    synonyms: list[Phrase] = Field(default_factory=list)
    short: list[Phrase] = Field(default_factory=list)
    structures: list[Structure] = Field(default_factory=list)
    one_of: list[Name] = Field(default_factory=list)
    side: Side | None = None


class _OrganEntry(_Entry):
    class_name: Name | None = None
    paired: bool | None = None
    synonyms: list[Phrase] = Field(default_factory=list)
    adjectives: list[Phrase] = Field(default_factory=list)
    structures: list[Structure] = Field(default_factory=list)
    side_structures: dict[Side, list[Structure]] = Field(default_factory=dict)
    max_diameter_mm: Annotated[float, Field(gt=0, le=1000)] | Annotated[int, Field(gt=0, le=1000)] | None = (
        None
    )
    margin_mm: Annotated[float, Field(ge=0, le=100)] | Annotated[int, Field(ge=0, le=100)] | None = None
    parts: dict[Name, _PartEntry | None] = Field(default_factory=dict)


class _File(_Entry):
    organs: dict[Name, _OrganEntry | None]


def check_anatomy_file(path: Path) -> Anatomy:
    """Read a user's anatomy file on top of the built-in table.

    Args:
        path: YAML of the shape of ``llm_extract/anatomy.yaml``: lists are added to, single values replaced.

    Returns:
        The whole table.

    Raises:
        UsageError: ``anatomy_missing``, or ``anatomy_invalid`` with every mistake and the line that it is in.
    """
    text = _text_of(path)
    lines: dict[Where, int] = {}
    problems: list[tuple[int, str]] = []
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        problems += _places(node, (), lines)
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise _invalid(path, [((mark.line if mark else 0) + 1, "is no valid YAML")]) from error
    try:
        entries = _File.model_validate(value)
    except ValidationError as error:
        problems += [_located(item, lines) for item in error.errors(include_url=False, include_input=False)]
        raise _invalid(path, problems) from None
    problems += _contradictions(entries, load_anatomy(), lines)
    if problems:
        raise _invalid(path, problems)
    try:
        return load_anatomy(path)
    except ValueError as error:
        raise _invalid(path, [(1, type(error).__name__)]) from None


def anatomy_sha256(path: Path | None) -> str | None:
    """Hash of the file, for the key under which finished work is known; None without one."""
    return None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path} is too large for an anatomy file", code="anatomy_invalid")
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8", code="anatomy_invalid", hint="save it as UTF-8") from error
    except OSError as error:
        raise UsageError(
            f"cannot read the anatomy file {path}: {error.strerror}",
            code="anatomy_missing",
            hint="check --anatomy",
        ) from error


def _places(node: Any, where: Where, lines: dict[Where, int]) -> Iterator[tuple[int, str]]:
    """Note the line of every key and item; a key that stands twice would silently lose the first one."""
    if node is None:
        return
    lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                yield key.start_mark.line + 1, f"{_dotted((*where, name))} stands here for the second time"
            seen.add(name)
            lines[(*where, name)] = key.start_mark.line + 1
            yield from _places(value, (*where, name), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*where, index)] = value.start_mark.line + 1
            yield from _places(value, (*where, index), lines)


def _located(error: Any, lines: Mapping[Where, int]) -> tuple[int, str]:
    """Line and words of one finding; steps of the check itself (``float``, ``[key]``) are no places in the file."""
    where: Where = ()
    for step in error["loc"]:
        if (*where, step) in lines:
            where = (*where, step)
    message = {
        "extra_forbidden": f"there is no entry {(error['loc'] or ('',))[-1]!r}",
        "model_type": "must hold one key, organs, and below it the organs by name",
        "string_pattern_mismatch": "must be lower case, without capitals or line breaks, and names of a-z, 0-9 and _",
        "list_type": "must be a list, such as [first, second]",
        "missing": "the file holds one key, organs",
    }.get(error["type"], error["msg"])
    return lines.get(where, 1), f"{_dotted(where) or 'the file'}: {message}"


def _contradictions(entries: _File, known: Anatomy, lines: Mapping[Where, int]) -> Iterator[tuple[int, str]]:
    """What fits the shape of the file but not the table."""
    owners = _names_of(known)
    for organ, entry in entries.organs.items():
        here: Where = ("organs", organ)
        if entry is None:
            continue
        before = known.organs.get(organ)
        if before is None and not entry.synonyms:
            yield lines[here], f"{_dotted(here)}: a new organ needs synonyms, the nouns that name it"
        paired = entry.paired if entry.paired is not None else before is not None and before.paired
        if entry.side_structures and not paired:
            yield lines[(*here, "side_structures")], f"{_dotted(here)}: side_structures need paired: true"
        for index, phrase in enumerate(entry.synonyms):
            owner = owners.get(phrase)
            if owner not in (None, organ, CATCH_ALL):
                place: Where = (*here, "synonyms", index)
                yield (
                    lines[place],
                    f"{_dotted(place)}: {phrase!r} already names {owner!r}",
                )
            owners.setdefault(phrase, organ)
        parts = {*(before.parts if before is not None else ()), *entry.parts}
        for name, part in entry.parts.items():
            place = (*here, "parts", name)
            if not name.startswith(f"{organ}_"):
                yield lines[place], f"{_dotted(place)}: the name of a part carries its organ, {organ}_{name}"
            unknown = sorted(set(part.one_of) - parts) if part is not None else []
            if unknown:
                yield (
                    lines[place],
                    f"{_dotted(place)}: one_of names no part of this organ: {', '.join(unknown)}",
                )


def _names_of(known: Anatomy) -> dict[str, str]:
    return {phrase: organ.name for organ in known.organs.values() for phrase in organ.synonyms}


def _dotted(where: Where) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where).lstrip(".")


def _invalid(path: Path, problems: list[tuple[int, str]]) -> UsageError:
    listed = "; ".join(f"line {line}: {words}" for line, words in sorted(problems)[:10])
    more = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
    return UsageError(f"{path}, {listed}{more}", code="anatomy_invalid", hint=_HINT)

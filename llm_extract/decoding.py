"""How the bytes of an input become text: in the declared encoding, else UTF-8, else Windows-1252."""

from __future__ import annotations

from collections.abc import Mapping

from llm_extract.errors import UsageError
from llm_extract.records import IssueCode
from llm_extract.rows import Row

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def refuse_unknown_encoding(encoding: str | None) -> None:
    """Raise a UsageError for a name that is no text encoding."""
    if encoding is None:
        return
    try:
        b"a".decode(encoding)
    except UnicodeError:
        return  # it exists, and takes more than one byte a character
    except LookupError as error:
        raise UsageError(
            f"there is no text encoding {encoding!r}",
            code="unknown_encoding",
            hint="common ones are utf-8, cp1252, latin-1, utf-16, cp1250, iso8859-9",
        ) from error


def decode(data: bytes, encoding: str | None = None) -> tuple[str, tuple[IssueCode, ...]]:
    """Decode one value: as declared; else UTF-8 (or UTF-16 with its mark), else Windows-1252, else nothing.

    Returns:
        The text with its BOM as read, and what to declare about it.

    >>> decode("Läsion".encode("cp1252"))
    ('Läsion', ('fallback_encoding',))
    """
    if encoding is not None:
        return _strictly(data, encoding, ())
    if data.startswith(UTF16_MARKS):
        return _strictly(data, "utf-16", ())
    try:
        return data.decode("utf-8"), ()
    except UnicodeDecodeError:
        return _strictly(data, "cp1252", ("fallback_encoding",))


def _strictly(
    data: bytes, encoding: str, declared: tuple[IssueCode, ...]
) -> tuple[str, tuple[IssueCode, ...]]:
    try:
        return data.decode(encoding), declared
    except UnicodeError:
        return "", ("undecodable_text",)


def decoded_row(values: Mapping[str, tuple[object, str | None]]) -> Row:
    """A row of values that are bytes or not, each with its encoding, None to find out; see :func:`decode`."""
    issues: list[IssueCode] = []
    decoded: dict[str, object] = {}
    for name, (value, encoding) in values.items():
        if isinstance(value, bytes):
            text, declared = decode(value, encoding)
            decoded[name] = None if "undecodable_text" in declared else text
            issues.extend(declared)
        else:
            decoded[name] = value
    return Row(decoded, tuple(dict.fromkeys(issues)))

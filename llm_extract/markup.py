"""Take the mark-up of hospital exports out of a text: RTF documents, HL7 messages and HL7 escape sequences.

Only text that clearly is one of these is touched; anything else comes back as the very same string, since the offsets
of a record refer to the text as it was read.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

MAX_MARKUP_CHARS = 4_000_000
"""An RTF document beyond this, pictures included, is not opened."""

_RTF_START = re.compile(r"\s{0,100}\{\\rtf[0-9]?")
_RTF_TOKEN = re.compile(
    r"\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?[0-9]{1,9})?[ ]?|\\'(?P<byte>[0-9a-fA-F]{2})|\\(?P<symbol>[^a-zA-Z])"
    r"|(?P<brace>[{}])|(?P<line>[\r\n]+)|(?P<text>[^\\{}\r\n]+)|\\"
)
_HIDDEN_WORDS = (
    "annotation atnid atnauthor atndate atnref author buptim category colortbl comment company creatim datafield "
    "datastore do doccomm docvar fldinst fonttbl filetbl footer footerf footerl footerr footnote generator header "
    "headerf headerl headerr info keywords latentstyles listoverridetable listtable manager mmathPr nonshppict "
    "objdata object operator pgdsctbl pict printim private revtbl revtim rsidtbl shpinst shppict stylesheet subject "
    "template themedata title userprops wgrffmtfilter xe xmlnstbl colorschememapping"
)
_RTF_HIDDEN = frozenset(_HIDDEN_WORDS.split())
"""Destinations that hold no running text."""

_RTF_CHARACTERS = {
    "par": "\n", "sect": "\n\n", "page": "\n\n", "line": "\n", "row": "\n", "tab": "\t", "cell": "\t",
    "emdash": "\u2014", "endash": "\u2013", "emspace": " ", "enspace": " ", "qmspace": " ", "bullet": "\u2022",
    "lquote": "\u2018", "rquote": "\u2019", "ldblquote": "\u201c", "rdblquote": "\u201d",
}  # fmt: skip
_RTF_SYMBOLS = {"~": "\u00a0", "_": "-", "\\": "\\", "{": "{", "}": "}", "\n": "\n", "\r": "\n"}

_HL7_ESCAPE = re.compile(
    r"\\(?:(?P<layout>\.(?:br|sp|ce|fi|nf|in|ti|sk)(?:[+-]?[0-9]{1,4})?)|(?P<letter>[FSTREHN])"
    r"|X(?P<hex>(?:[0-9A-Fa-f]{2}){1,64})|[CMZ][0-9A-Za-z]{1,16})\\"
)
_HL7_LETTERS = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\", "H": "", "N": ""}
_HL7_LINES = {".br", ".sp", ".ce"}
_HL7_TEXT_TYPES = frozenset({"TX", "FT", "ST"})


def strip_markup(text: str) -> str:
    r"""The text without RTF or HL7 mark-up.

    Args:
        text: a report as read.

    Returns:
        The cleaned text; the same object where there was nothing to clean.

    >>> strip_markup(r"{\rtf1\ansi Liver: \b mass\b0  of 3,4 cm.\par Spleen normal.}")
    'Liver: mass of 3,4 cm.\nSpleen normal.'
    >>> strip_markup(r"Liver normal.\.br\No mass \T\ no fluid.")
    'Liver normal.\nNo mass & no fluid.'
    """
    if _RTF_START.match(text):
        return _plain_of_rtf(text)
    if text.startswith("MSH|"):
        return _plain_of_hl7(text)
    return _without_escapes(text) if "\\" in text and _HL7_ESCAPE.search(text) else text


def _without_escapes(text: str) -> str:
    def plain(match: re.Match[str]) -> str:
        layout, letter, digits = match["layout"], match["letter"], match["hex"]
        if layout is not None:
            return "\n" if layout[:3] in _HL7_LINES else (" " if layout[:3] == ".sk" else "")
        if letter is not None:
            return _HL7_LETTERS[letter]
        return bytes.fromhex(digits).decode("cp1252", "replace") if digits is not None else ""

    return _HL7_ESCAPE.sub(plain, text)


def _plain_of_hl7(message: str) -> str:
    """The text values (TX, FT, ST) of the observations of one message, one a line; a message without stays as it is."""
    lines = []
    for segment in re.split(r"[\r\n]+", message):
        fields = segment.split("|")
        if fields[0] == "OBX" and len(fields) > 5 and fields[2] in _HL7_TEXT_TYPES:
            lines += [_without_escapes(value) for value in fields[5].split("~")]
    return "\n".join(lines) if any(line.strip() for line in lines) else message


@dataclass
class _Group:
    r"""What holds within one pair of braces: characters after \u to skip, and whether it is running text."""

    skip: int = 1
    is_hidden: bool = False


class _RtfReader:
    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.groups = [_Group()]
        self.encoding = "cp1252"
        self.to_skip = 0
        self.bytes = bytearray()
        self.starred = False

    def put(self, text: str) -> None:
        if self.to_skip:
            skipped = min(self.to_skip, len(text))
            self.to_skip -= skipped
            text = text[skipped:]
        if text and not self.groups[-1].is_hidden:
            self.flush()
            self.pieces.append(text)

    def put_byte(self, value: int) -> None:
        if self.to_skip:
            self.to_skip -= 1
        elif not self.groups[-1].is_hidden:
            self.bytes.append(value)

    def flush(self) -> None:
        """Bytes are decoded together: one character may take two of them."""
        if self.bytes:
            self.pieces.append(self.bytes.decode(self.encoding, "replace"))
            self.bytes.clear()

    def brace(self, sign: str) -> None:
        self.flush()
        self.to_skip = 0
        if sign == "{":
            current = self.groups[-1]
            self.groups.append(_Group(current.skip, current.is_hidden))
        elif len(self.groups) > 1:
            self.groups.pop()

    def word(self, word: str, number: int | None) -> None:
        group = self.groups[-1]
        if word in _RTF_HIDDEN or self.starred:
            group.is_hidden = True
        elif word in _RTF_CHARACTERS:
            self.put(_RTF_CHARACTERS[word])
        elif word == "ansicpg" and number is not None:
            self.encoding = _codepage(number)
        elif word == "uc" and number is not None:
            group.skip = max(0, min(number, 16))
        elif word == "u" and number is not None:
            self.put(_character(number))
            self.to_skip = group.skip


def _plain_of_rtf(text: str) -> str:
    reader = _RtfReader()
    position = 0
    while position < len(text) and (match := _RTF_TOKEN.match(text, position)):
        position = match.end()
        was_starred, reader_word = reader.starred, match["word"]
        if reader_word is not None:
            number = int(match["number"]) if match["number"] is not None else None
            if reader_word == "bin" and number is not None:
                position += max(0, number)
            reader.word(reader_word, number)
        elif match["byte"] is not None:
            reader.put_byte(int(match["byte"], 16))
        elif match["brace"] is not None:
            reader.brace(match["brace"])
        elif match["symbol"] == "*":
            reader.starred = True
        elif match["symbol"] is not None:
            reader.put(_RTF_SYMBOLS.get(match["symbol"], ""))
        elif match["text"] is not None:
            reader.put(match["text"])
        if was_starred:
            reader.starred = False
    reader.flush()
    plain = "".join(reader.pieces)
    return _joined_surrogates(plain).strip("\x00\r\n ")


def _codepage(number: int) -> str:
    try:
        return codecs.lookup(f"cp{number}").name
    except LookupError:
        return "cp1252"


def _character(number: int) -> str:
    r"""The character of \\uN, a signed 16-bit number; half of a pair above U+FFFF is joined later."""
    return chr(number + 0x10000 if number < 0 else number) if -0x8000 <= number <= 0x10FFFF else "\ufffd"


def _joined_surrogates(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

"""Repairs of character recognition that keep every character at its place, so that offsets stay true."""

from __future__ import annotations

import re

_SAME_LENGTH = str.maketrans(
    {"\xad": "-", "·": ".", "•": "-", "\u2013": "-", "\u2014": "-", "\xa0": " ", "\t": " "}
)
_DIGIT_NEIGHBOUR = re.compile(
    r"(?<=\d[.,])[Ool](?=\d|\s?(?:cm|mm|em|x)\b)|(?<=\d)[Ool](?=[.,]\d|\d|\s?(?:cm|mm|crn)\b)"
    r"|(?<![A-Za-z\d])[lIO](?=[.,]\d\s?(?:x|cm|mm|em|crn)\b)|(?<=x\s)[lI](?=\s?[.,]\s?\d)"
    r"|(?<![A-Za-z\d])[lI](?=\d\s?(?:x\s?\d|mm\b|cm\b))|(?<=\dx)[lI](?=\s?(?:cm|mm|em)\b)"
    r"|(?<=\dx\s)[lI](?=\s?(?:cm|mm|em)\b)"
)
_DIGITS = {"O": "0", "o": "0", "l": "1", "I": "1"}
_HYPHEN = re.compile(r"(?<=[A-Za-z])·(?=[A-Za-z]|\s{0,2}(?:\n|$))")
"""A raised dot between words is a hyphen, between digits a decimal point."""
_POINT = re.compile(
    r"(?<![\d.,-])(?<=0)[-_](?=\d\s?(?:cm|mm)\b)|(?<!from 0)(?<=[\s,(]0)[-_](?=\d\s?(?:cm|mm|x\s?\d))"
)
"""Nothing measures from 0: the mark between "0-1 cm" was a decimal point."""
_COMMA = re.compile(r"(?<=[A-Za-z)]) ,(?=\d)")
_SPLIT_UNIT = re.compile(r"(?<=\d)(\s?)(?:c\sm|eM|ctn|cin|crn|ern|om|cn|cra)\b")

_LOOKS_LIKE = {
    "a": "a@o4", "c": "ceo(g", "d": "dcl", "e": "eco", "i": "i1l|!)(jt", "l": "l1i|!t", "o": "o0ecq", "r": "rnt",
    "s": "s5", "t": "tlf",
}  # fmt: skip
"""Letter -> what it is read as."""
_WIDE = {"m": r"(?:[mnh]|rn|ni|nl|in|l-i|[vu][il1])", "n": r"(?:[nmurh]|ri|ll|11)"}
"""Letter -> what it is read as, two characters among them."""
_NOUNS = ("adenocarcinoma", "carcinoma", "metastatic", "metastasis", "metastases", "leiomyoma")
"""Words that decide what a report states, each long enough to be known by most of its letters."""


def _misread(word: str) -> str:
    """Pattern of a word any of whose letters may be misread.

    Args:
        word: in lower case.
    """
    return "".join(_WIDE.get(c) or f"[{re.escape(_LOOKS_LIKE.get(c, c))}]" for c in word)


_ANY_NOUN = "|".join(f"(?P<n{number}>{_misread(noun)})" for number, noun in enumerate(_NOUNS))
_NOUN = re.compile(rf"(?<![A-Za-z])(?=\S{{9}})(?:{_ANY_NOUN})(?=(?:s|ta)?(?![A-Za-z]))", re.IGNORECASE)
_TUMOUR = re.compile(r"\b(?:T[UV][HN]OR|lumor|Tumcr)(?=S?\b)")
_TORN_NOUN = re.compile(r"(?<=\badeno)\.(?=\s{0,2}carcinoma)", re.IGNORECASE)
_STROKE = re.compile(r"(?<=omas)1(?=\s[a-z])", re.IGNORECASE)
"""A comma that was read as a digit."""


def _mend_nouns(text: str) -> str:
    """The text with the nouns of tumours spelled right; a letter read as two leaves a blank behind the word."""

    def spelled(match: re.Match[str]) -> str:
        word = _NOUNS[int((match.lastgroup or "n0")[1:])]
        held = match[0]
        if held.lower() == word:
            return held
        letters = sum(map(str.isupper, held))
        return (word.upper() if 2 * letters > len(held) else word).ljust(len(held))

    plain = _TORN_NOUN.sub("-", _NOUN.sub(spelled, text))
    plain = _TUMOUR.sub(lambda match: "TUMOR" if match[0].isupper() else "tumor", plain)
    return _STROKE.sub(",", plain)


def mend(text: str) -> str:
    """The text with look-alike characters put right, character for character.

    Args:
        text: the report as read.

    Returns:
        A text of the same length: letters inside numbers are digits, soft hyphens and raised dots plain ones,
        a comma stands before its blank.

    >>> mend("l.5 x 2.O cm"), mend("CARC)NOMA in the lumen")
    ('1.5 x 2.0 cm', 'CARCINOMA in the lumen')
    """
    plain = _POINT.sub(".", _HYPHEN.sub("-", text)).translate(_SAME_LENGTH)
    plain = _COMMA.sub(", ", _mend_nouns(plain))
    plain = _DIGIT_NEIGHBOUR.sub(lambda match: _DIGITS[match[0]], plain)
    return _SPLIT_UNIT.sub(lambda match: (match[1] + "cm").ljust(len(match[0])), plain)


_CLEAN = re.compile(
    r"[\"'(\[]?(?:(?P<word>[A-Za-z]{2,40}(?:[-/'][A-Za-z]{1,40}){0,3})|\d{1,9}(?:[.,:/-]\d{1,9}){0,3}%?(?:mm|cm)?)"
    r"[.,;:)\]\"'?]{0,2}"
)
_BAR_CODE = re.compile(r"[IilL1|^.\-_=*]{3,}")
_VOWEL = re.compile(r"[aeiouy]", re.IGNORECASE)
_MIN_TOKENS = 60
"""A shorter text says too little of how well it was read."""
_LEGIBLE_SHARE = 0.55
_LONG_WORD = 4


def is_legible(text: str) -> bool:
    """False for a scan of which so much is misread that what could be read is left to chance.

    Args:
        text: the report.

    >>> is_legible("Kidney, left, nephrectomy: no tumor. " * 20), is_legible("kl)ney 1eF^ nep(rr&t o!ny %ar ~c " * 20)
    (True, False)
    """
    tokens = [t for t in text.split() if len(t) > 2 and not _BAR_CODE.fullmatch(t)]
    if len(tokens) < _MIN_TOKENS:
        return True
    return sum(map(_is_clean, tokens)) >= _LEGIBLE_SHARE * len(tokens)


def _is_clean(token: str) -> bool:
    match = _CLEAN.fullmatch(token)
    if match is None:
        return False
    word = match["word"]
    if word is None or not word.isalpha():
        return True
    cased = word.islower() or word.isupper() or word.istitle()
    return cased and (len(word) <= _LONG_WORD or _VOWEL.search(word) is not None)

"""Mends typing errors in the words that matter: one edit away from a known long word, and no other known word."""

from __future__ import annotations

from collections.abc import Iterable

_MIN_LENGTH = 6
_MAX_LENGTH = 24
_MAX_CACHE = 100_000
_SHORT = {
    "nodul": "nodule", "noduls": "nodules", "uper": "upper", "uppper": "upper", "loer": "lower", "lowwer": "lower",
    "rigth": "right", "rihgt": "right", "lfet": "left", "letf": "left", "lober": "lobe",
}  # fmt: skip
"""Words too short, or too much like an ending, to be mended by their letters."""


class Spelling:
    """Corrections towards a closed list of words.

    Args:
        words: known words; only those of six letters and more are mended towards.
        keep: words that are no typing errors though they look like one.
    """

    def __init__(self, words: Iterable[str], keep: Iterable[str] = ()) -> None:
        self._known = {word for word in words if word.isalpha()}
        self._keep = frozenset(keep)
        self._deletions: dict[str, set[str]] = {}
        for word in self._known:
            if _MIN_LENGTH <= len(word) <= _MAX_LENGTH:
                for shortened in _shortened(word):
                    self._deletions.setdefault(shortened, set()).add(word)
        self._cache: dict[str, str] = {}

    def correct(self, word: str) -> str:
        """The known word one edit away, or the word itself.

        >>> Spelling(["lesion", "segment"]).correct("leison")
        'lesion'
        """
        if word in _SHORT and _SHORT[word] in self._known:
            return _SHORT[word]
        if word in self._known or not _MIN_LENGTH - 1 <= len(word) <= _MAX_LENGTH:
            return word
        held = self._cache.get(word)
        if held is None:
            held = self._search(word)
            if len(self._cache) < _MAX_CACHE:
                self._cache[word] = held
        return word if held == word else held

    def _search(self, word: str) -> str:
        if word in self._keep or not word.isalpha():
            return word
        candidates = {
            known
            for shortened in _shortened(word)
            for known in self._deletions.get(shortened, ())
            if known[0] == word[0] and _one_edit(word, known)
        }
        return candidates.pop() if len(candidates) == 1 else word


def _shortened(word: str) -> Iterable[str]:
    return {word, *(word[:i] + word[i + 1 :] for i in range(len(word)))}


def _one_edit(left: str, right: str) -> bool:
    """One letter too many, missing, wrong, or two neighbours swapped; endings are grammar, not typing errors."""
    if abs(len(left) - len(right)) > 1:
        return False
    first = next(
        (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right))
    )
    if first >= min(len(left), len(right)) - 1 and left[-1] != right[-1]:
        return False
    if len(left) == len(right):
        swapped = left[first] == right[first + 1] and left[first + 1] == right[first]
        return left[first + 1 :] == right[first + 1 :] or (
            swapped and left[first + 2 :] == right[first + 2 :]
        )
    longer, shorter = (left, right) if len(left) > len(right) else (right, left)
    return longer[first + 1 :] == shorter[first:]

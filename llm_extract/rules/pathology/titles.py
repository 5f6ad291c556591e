"""Titles of the parts of a pathology report, in the many wordings and spellings of scanned text."""

from __future__ import annotations

import re

_TITLES: dict[str, str] = {
    "diagnosis": (
        "diagnosis; diagnoses; final diagnosis; final diagnoses; final pathologic diagnosis; final pathological "
        "diagnosis; pathologic diagnosis; pathological diagnosis; surgical pathology diagnosis; pathology diagnosis; "
        "diagnosis details; diagnosis/diagnoses; diagnosis(es); histopathologic diagnosis; histopathological "
        "diagnosis; histological diagnosis; anatomic diagnosis; conclusion; conclusions; summary; interpretation; "
        "revised diagnosis; amended diagnosis; opinion; microscopic diagnosis; final anatomic diagnosis; "
        "pathology report; final report; final surgical pathology diagnosis; amended final diagnosis; results; "
        "impression; impressions; histology diagnosis"
    ),
    "gross": (
        "gross; gross description; gross descriptions; gross examination; gross pathology; gross findings; "
        "macroscopic; macroscopy; macro; macroscopic description; macroscopic examination; macroscopic findings; "
        "tissue description; gross and macroscopic description; description of gross; source of tissue"
    ),
    "microscopic": (
        "microscopic; microscopic description; microscopic descriptions; microscopy; light microscopy; histology; "
        "microscopic examination; microscopic findings; histological description; histopathology; micro; "
        "microscopic description and comment"
    ),
    "synoptic": (
        "synoptic report; synoptic; synoptic data; synoptic diagnosis; case synopsis; synopsis; cancer case summary; "
        "case summary; tumor summary; tumour summary; tumor synopsis; tissue checklist; checklist; cancer checklist; "
        "formatted path report; formatted path reports; synoptic worksheet; cap synoptic report; "
        "tumor characteristics; tumour characteristics; pathologic data; template; cancer staging summary"
    ),
    "specimen": (
        "specimen; specimens; specimen(s); specimen submitted; specimens submitted; specimen(s) submitted; tissue "
        "submitted; specimen received; specimens received; specimen(s) received; source of specimen; source of "
        "specimen(s); specimen source; material submitted; material received; material; type of material; "
        "nature of specimen; nature of specimens; specimen description; part(s) submitted; specimen details; "
        "submitted material; specimen type and location"
    ),
    "history": (
        "history; clinical history; clinical information; clinical data; clinical details; clinical notes; clinical "
        "diagnosis; clinical impression; clinical background; clinical indication; patient history; medical history; "
        "clinical history/diagnosis; brief clinical history; pre-op diagnosis; preop diagnosis; preoperative "
        "diagnosis; pre-operative diagnosis; pre op diagnosis; post-op diagnosis; postoperative diagnosis; "
        "post-operative diagnosis; post op diagnosis; indication; indications; anamnesis; other related clinical "
        "data; clinical diagnosis & history; clinical diagnosis and history; operative findings; clinical question; "
        "surgical history; previous pathology; previous reports; prior pathology; clinical findings; "
        "relevant history"
    ),
    "procedure": "procedure; operation; operative procedure; operative procedures; surgical procedure; procedures",
    "intraoperative": (
        "intraoperative consultation; intraoperative consultation diagnosis; intra-operative consultation; frozen "
        "section; frozen section diagnosis; frozen sections; intraoperative diagnosis; intraoperative consult "
        "diagnosis; frozen section report; intraoperative findings; frozen section consultation; "
        "intraoperative consultations; intraoperative frozen section"
    ),
    "comment": (
        "comment; comments; comment(s); note; notes; remark; remarks; addendum; addenda; addendum report; "
        "supplementary report; addendum comment; additional note; special studies; immunohistochemistry; "
        "special stains; "
        "immunohistochemical studies; ancillary studies; note(s); addendum diagnosis; procedures/addenda"
    ),
    "note": (
        "block summary; blocks; section code; section codes; summary of sections; designation of sections; cassette "
        "summary; key to cassettes; ink code; block key; key to blocks; slide key; summary of cassettes; slides; "
        "diagnosis discrepancy; hipaa discrepancy; primary tumor site discrepancy; criteria; reviewer initials; "
        "disclaimer; electronically signed; suggestion; cassettes; tcga pathologic diagnosis discrepancy form; "
        "tumor bank; gross photo; icd codes; snomed codes; billing; references; performing lab; block; "
        "sections submitted"
    ),
}
SECTION_OF = {title.strip(): name for name, titles in _TITLES.items() for title in titles.split(";")}
"""Part of a report by title, in lower case."""


def _loose(title: str) -> str:
    """A title as recognition may have broken it: one blank more inside a word, any blanks between words."""
    words = []
    for word in title.strip().split():
        letters = [r"\s?-\s?" if c == "-" else re.escape(c) for c in word]
        words.append(r"\s?".join(letters) if len(word) > 8 else "".join(letters))
    return r"\s{1,3}".join(words)


ANY_TITLE = "|".join(_loose(t) for t in sorted(SECTION_OF, key=len, reverse=True))
"""Pattern of any title."""
BRACKETED = r"\s{0,3}\([^()\n]{1,40}\)"
"""Behind a title, before its colon: "MICROSCOPY (3 March):", "DIAGNOSIS (amended):"."""

_MAJOR = (
    "final diagnosis; pathologic diagnosis; final pathologic diagnosis; histological diagnosis; impression; "
    "gross description; gross examination; macroscopic description; macroscopic examination; "
    "microscopic description; microscopic examination; clinical history; clinical information; clinical data; "
    "clinical details; intraoperative consultation; specimens received; specimens submitted; tissue submitted; "
    "synoptic report"
)
"""Titles that are looked for though letters of them are misread."""
_SPELLED = {title.strip().replace(" ", ""): title.strip() for title in _MAJOR.split(";")}
_SHORT_TITLE = 12
"""Letters of a title below which one misread letter is borne, not two."""


def misread_title(words: str) -> str | None:
    """The part of a report that a title with one or two misread letters opens, or None.

    Args:
        words: what stands before the colon of a line.

    >>> misread_title("GROSS EXANINATION"), misread_title("IMP RES S I0N"), misread_title("GROSS WEIGHT")
    ('gross', 'diagnosis', None)
    """
    letters = "".join(words.lower().split())
    for spelled, title in _SPELLED.items():
        borne = 1 if len(spelled) < _SHORT_TITLE else 2
        if abs(len(letters) - len(spelled)) <= 1 and _within(letters, spelled, borne):
            return SECTION_OF[title]
    return None


def longer_title(words: str) -> str | None:
    """The part of a report that a title with more words behind it opens: "Clinical history as provided by ..."."""
    lowered = " ".join(words.lower().split())
    found = (title for title in _SPELLED.values() if " " in title and lowered.startswith(title + " "))
    title = next(found, None)
    return SECTION_OF[title] if title is not None else None


def _within(one: str, other: str, borne: int) -> bool:
    """True if at most ``borne`` letters are changed, left out or put in."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        above, row = row, [i]
        for j, wanted in enumerate(other, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (letter != wanted)))
        if min(row) > borne:
            return False
    return row[-1] <= borne

"""Words and marks of the headings over specimens: letters, procedures, containers, what ends a heading."""

from __future__ import annotations

import re

LABEL = re.compile(
    r"\W{0,4}(?:(?P<word>PART|Part|part|SPECIMEN|Specimen|Labeled|Source of"
    r" Tissue|Container|CONTAINER|Jar|JAR)\s{0,2}[:#]?\s{0,2})?[#\"(]{0,2}"
    r"(?P<label>[A-Z](?![a-z])|\d{1,2}|[IVX]{1,4}(?![A-Za-z]))(?:(?:\s?(?:-|and|to)\s?[A-Z])?\s?[.):,#\"_]{1,3}"
    r"|\s-|(?(word)(?:\s(?!of\b)|\s?;)|(?!)))\s{0,4}(?:SP\s?:\s?)?(?=\S|$)"
)
PROCEDURE = re.compile(
    r"\b(?:\w*biops(?:y|ies)|excisions?|resections?|\w+ectom(?:y|ies)|\w+otomy|dissections?|amputation"
    r"|curett\w+"
    r"|TURBT?|TURP|turbt?|removal|debulking|transplant\w*|explant\w*|fine needle|aspirat\w+|punctures?|FNAB?|washings?"
    r"|cytology|brushings?"
    r"|shave|donuts?|polypectomy|ectomy|whipple|product of|core|cores|procedure|operation|sampling"
    r"|sectorectomy|stripping|enucleation|debridement)\b",
    re.IGNORECASE,
)
PIECE = re.compile(
    r"\b(?:biops\w+|cores?|needle|fragments?|shave|curett\w+|TUR\w*|cytology|brushings?|washings?|wedge|aspirat\w+|punctures?|FNAB?|EBUS|EUS)\b",
    re.IGNORECASE,
)
MARGIN = re.compile(r"\b(?:margins?|donuts?|doughnuts?|anastomotic rings?|resection line)\b", re.IGNORECASE)
LABELLED_AS = re.compile(
    r"(?:labell?ed(?:\s(?:as|with))?|designated(?:\sas)?|identified as|submitted as"
    r"|marked)[^\"“:]{0,70}?[:\s]?[\"“'](?P<name>[^\"”]{3,110})[\"”']"
    r"|(?:labell?ed|designated)(?:\sas)?\s(?P<bare>[^.:;\"]{3,80}?)\s(?:is|are|consists?|there|were|was)\b"
    r"|^\W{0,3}(?:[A-Z]|\d{1,2})?[.,)]?\s?[\"“](?P<first>[^\"”]{3,90}?)"
    r"(?:[\"”]|(?:ll|!!|11|II|l!|1l)?,\s(?=fresh|received|in\s))",
    re.IGNORECASE | re.MULTILINE,
)
ENDS = re.compile(r":(?!\d)|\s-{1,2}(?=\s|$|[A-Z])|(?<=[A-Z)])-{1,2}(?=\s{0,2}(?:[A-Z]|$))|-(?=\s?\n)")
KEY_ONLY = re.compile(
    r"\b(?:tumou?r|histolog\w*|grade|size|dimension|margins?|invasion|extension|stage|staging|site|location"
    r"|focality|type"
    r"|status|involve\w*|examined|findings?|extent|number|weight|distance|laterality|comment|note|treatment"
    r"|resection status"
    r"|pathologic|metasta\w+|implants?)\b",
    re.IGNORECASE,
)
NUMBERED_TUMOUR = re.compile(r"\b(?:tumou?r|mass|lesion)\s{0,2}#\s?\d", re.IGNORECASE)
SENTENCE = re.compile(
    r"\b(?:is|are|was|were|shows?|showing|free|negative|positive|identified|seen|present|invad\w+|involv\w+"
    r"|measur\w+|received|consists?"
    r"|no|not|extend\w*|infiltrat\w+|examined|appears?)\b",
    re.IGNORECASE,
)
PRIMARY = re.compile(r"\bprimary\s(?:\w+\s){1,3}tumou?rs?\b", re.IGNORECASE)
LABELLED = re.compile(
    r"\W{0,6}\w{0,4}specimen\s(?:is\s)?(?:labell?ed|designated|submitted as)\b", re.IGNORECASE
)
CONTAINER = re.compile(r"\W{0,4}(?:specimen|container|jar|part)\b", re.IGNORECASE)
INVASION = re.compile(
    r"\W{0,4}(?:lympho?-?\s?vascular|angio\w*|lymphatic|vascular|venous|perineural)\b", re.IGNORECASE
)
"""Begins a line on what a tumour invades, not one on nodes."""
STATE = re.compile(
    r"^\W{0,3}-|\b(?:(?:in)?active|atroph\w+|proliferative|secretory|normal|unremarkable|benign|chronic|acute|mild"
    r"|hyperplas\w+|metaplas\w+|negative|free)\b|[.]\s{0,2}$",
    re.IGNORECASE,
)
"""An item of a list, a finding or a sentence: no name of a specimen."""
BARE_KEY = re.compile(r"\W{0,4}[A-Za-z/& -]{3,40}:\s{0,2}$")
ABSENT = re.compile(r"\bwithout\s(?:[A-Za-z]+\s){0,2}$", re.IGNORECASE)
SPARED = re.compile(r"\s?-?\s?(?:preserving|sparing)\b", re.IGNORECASE)
"""Behind an organ that was left in place: "pylorus preserving"."""
TIMES = re.compile(
    r"\b(?:nodules?|mass(?:es)?|tumou?rs?|implants?|polyps?|lesions?)\s{0,2}\(?x\s?(?P<n>[2-9])\b",
    re.IGNORECASE,
)
"""Number of tumours that one heading names: "sigmoid nodule x3"."""
SENTINEL = re.compile(
    r"\bsentinel\b|\b(?:nodal\s)?stations?\s{0,2}#?\d{1,2}(?:\s?[A-Da-d])?\s?[RLrl]?\b"
    r"|\b(?:EBUS|TBNA|mediastinoscopy)\b[^:;\n]{0,25}?\b(?<![.,])\d{1,2}\s?[RLrl]?\b(?![.,]?\d)",
    re.IGNORECASE,
)
"""Names a node, also where the noun is left out: "sentinel left axilla", "EBUS 4L", "station 7"."""
EXCISED_WITH = re.compile(
    r"(?P<name>(?:[\w-]+\s){1,4}?(?:(?:resection|excision|biops(?:y|ies)|\w+ectomy)(?:\s(?:specimens?|material))?))"
    r"\s(?:with|showing|containing|including)\s",
    re.IGNORECASE,
)
"""Opens a diagnosis in one sentence: "Sigmoid resection specimen with an ulcerated carcinoma"."""
_ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")


def is_next(old: str, new: str) -> bool:
    """True for the letter or number after another.

    >>> is_next("A", "B"), is_next("9", "10"), is_next("III", "IV"), is_next("A", "C")
    (True, True, True, False)
    """
    if old.isdigit() and new.isdigit():
        return int(new) == int(old) + 1
    if old in _ROMAN and new in _ROMAN:
        return _ROMAN.index(new) == _ROMAN.index(old) + 1
    return len(old) == len(new) == 1 and ord(new) == ord(old) + 1

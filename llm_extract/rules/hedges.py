"""How sure a text is of a finding and of its name, and which words only give it a name."""

from __future__ import annotations

import re

from llm_extract.cues import Cue
from llm_extract.lower_case import lowered
from llm_extract.rules import readings
from llm_extract.rules.context import Hedge
from llm_extract.rules.seeing import CANNOT_BE

_HEDGED_LINK = Cue(
    r"(?:\b(?:suspicious (?:for|of)|concerning for|worrisome for|(?:concern|suspicion|question"
    r"|possibility) (?:for|of)|concern (?:is|was|remains) (?:\w+ly )?raised for"
    r"|suggest\w*(?: of)?|indicative of|characteristic (?:of|for)|typical (?:of|for)|diagnostic of"
    r"|compatible with"
    r"|consistent with|in keeping with|in line with|in (?:terms|favou?r|accordance) (?:of|with)|interpreted as"
    r"|consider(?:ed|ing|s)?(?: as| to be)?|likely(?: to be| to represent| representing)?|probabl[ey]"
    r"|possibl[ey]|perhaps|potentially|statistically"
    r"|presum\w+|favou?r(?:ed|ing|s)?(?: to be| to represent)?|represent\w*|reflect\w*|indicat\w+"
    r"|(?:may|might|could|would|can) (?:\w+ly |well )?(?:be )?(?:secondary|due|related|attribut\w+|ascribed) to"
    r"|(?:which|that) (?:is|are|was|were) (?:\w+ly )?(?:secondary|due|related|attribut\w+|ascribed) to"
    r"|(?:may|might|could|would) (?:well )?(?:be|belong to|belong\w* to|correspond to)|(?:cannot"
    r"|not) (?:be )?exclud\w+"
    r"|(?:exclusion|exclude|rule out)(?: of)?|r/o|query|d/d|ddx|versus|vs\.?|differential\w*(?: diagnosis)?"
    r"(?: (?:includes?|of))?|thought to be|suspected|correspond\w* to"
    r"|(?:diagnosed|assessed|evaluated|characteri[sz]ed) as"
    r"|(?:appearances?|features?|findings?) (?:is|are) (?:those|that|the ones) of"
    r"|mimick\w+|diagnosis of)(?:\sto (?:be|represent))?|\?)"
    r"[\s,:(]{0,3}(?:(?!(?:in|of|with|and|at|on|to|from|but|no|not|without|which|that|for|is|are|was|were"
    r"|has|have)\b)"
    r"[\w/-]+[\s,]{1,2}){0,4}$",
    "sus", "concern", "worrisome", "question", "possib", "suggest", "indicat", "charact", "typical",
    "diagnos", "those of", "that of", "ones of",
    "compatible", "consist", "keeping", "line with", "in terms", "in favo", "accordance",
    "interpreted", "consider", "likely", "perhaps", "potential", "statistic", "probab", "presum", "favo", "represent",
    "reflect", "may ",
    "might", "could", "would", "can ", "which", "that", "exclu", "rule out", "r/o", "query", "d/d", "ddx", "vs",
    "differential", "characteri", "thought", "correspond", "assessed", "evaluated", "mimick", "?",
)  # fmt: skip
"""Given lower case."""


_PLAIN_LINK = re.compile(
    r"(?:\bsuch as|\bis an?\b|\bare\b|\bin the context of|\bknown|\bi\.e\.|\bnamely|\bas an?|\bor\b"
    r"|\breferred to as|\bproven|\bof the type|\bwas a\b|\bwere\b)"
    r"[\s,:(]{0,3}(?:to\s|of\s)?(?:(?:the|a|an|is|be|as|first|primarily|mostly|most|small|simple|benign|renal|hepatic"
    r"|pancreatic|pulmonary|bone|osseous|hemorrhagic|tiny|large|possible|new|of|multiple|several|an?"
    r"|\w+al|\w+ic)\s{1,2}){0,4}$",
    re.IGNORECASE,
)


_APPOSITION = re.compile(
    r"[\s,(:–-]{1,4}(?:(?:an?|the|likely|probable|possible|presumed|benign|simple|most likely"
    r"|stable)\s){0,2}$",
    re.IGNORECASE,
)


_POSSIBLE = re.compile(
    r"\b(?:possib\w+|perhaps|potentially|questionabl[ey]|equivocal|may|might|could|would|cannot|not (?:be )?exclud\w+"
    r"|exclu(?:de|sion)"
    r"|rule out|r/o|suspected|suspicion|concern(?:ing)?|question|query|uncertain|vague|indeterminate|worrisome"
    r"|versus|vs|or|differential|d/d|ddx)\b|\?",
    re.IGNORECASE,
)


_PROBABLE = re.compile(
    r"\b(?:probabl[ey]|statistically|likely|presum\w+|favou?r\w*|thought|suspicious|compatible|consistent|keeping"
    r"|line with"
    r"|consider\w*|suggest\w*|interpreted|assessed|evaluated|indicat\w+|reflect\w*|correspond\w*|accordance)\b",
    re.IGNORECASE,
)


_SURE = re.compile(
    r"\b(?:diagnostic of|pathognomonic|proven|known|confirmed|biops\w+|definite\w*|characteristic|typical)\b",
    re.IGNORECASE,
)


_READING = Cue(
    r"\W{0,3}(?:(?:this|it|these|they|which)\s(?:\w+\s){0,2})?(?:consider\w*|suggest\w*|likely"
    r"|most likely|probabl[ey]|possibl[ey]"
    r"|suspicious|suspected|concerning|compatible|consistent|favou?r\w*|differential|may (?:be|represent))\b",
    "consider", "suggest", "likely", "probabl", "possibl", "suspicious", "suspected", "concerning", "compatible",
    "consistent", "favo", "differential", "may ",
)  # fmt: skip
"""Given lower case."""


_OPEN = Cue(
    r"\b(?:cannot|can not|could not|unable to|difficult to|too small to|not)\s(?:be\s)?(?:\w+ly\s"
    r"|further\s|well\s)?"
    r"(?:be\s)?characteri[sz]\w*|\b(?:differentiation|distinction|discrimination)\b[^.;]{0,30}\b(?:cannot"
    r"|could not)\b",
    "characteri", "differentiation", "distinction", "discrimination",
)  # fmt: skip
"""Given lower case."""


_MAYBE_MALIGNANT = re.compile(
    r"\b(?:possibl[ey]|suspected|suspicious|questionabl[ey]|potentially|may be|might be|could be)\s"
    r"(?:\w+\s){0,2}malignan"
    r"|\bmalignan\w+\s(?:\w+\s)?(?:possible|suspected|not excluded|cannot be excluded|\?)",
    re.IGNORECASE,
)


def names_other(between: str) -> bool:
    """True if a finding only names the one before it: "a mass, suspicious for carcinoma"."""
    return bool(_HEDGED_LINK.search(lowered(between)) or _PLAIN_LINK.search(between))


def is_apposition(between: str) -> bool:
    """True if nothing but punctuation stands between a finding and the name that follows it."""
    return bool(_APPOSITION.fullmatch(between))


# given lower case
_POSSIBLE_BEFORE = re.compile(
    r"(?:\b(?:(?:thickening|consolidation) or|possibl[ey]|questionabl[ey]|equivocal|suspected|question of"
    r"|query|suspicion of|vague|possibility of|pending exclusion of"
    r"|(?:cannot|not|unable to) (?:be )?(?:exclud\w+|rule out))|\?)\W{0,2}(?:\w+[\s-]){0,5}$"
)
_PROBABLE_BEFORE = re.compile(r"\b(?:probabl[ey]|likely|presumed)\W{0,2}(?:\w+[\s-]){0,4}$")
_POSSIBLE_AFTER = re.compile(
    r"\s?(?:\w+\s){0,3}" + CANNOT_BE + r"(?:excluded|ruled out)|\s?(?:is|are) (?:possible"
    r"|suspected|questionable)|\s?\?"
    r"|(?:(?!\b(?:is|are|was|were|has|have|and|but|which|that|with)\b)[^.;,]){0,90}?\s(?:is|are|was|were)\s(?:\w+ly\s)?"
    r"(?:possible|suspected|questionable|questioned|equivocal|doubtful|uncertain)(?=\W{0,3}$|[.;,])"
    r"|\s?(?:\w+\s){0,4}(?:should|must|can|could|may|might) (?:also )?be (?:considered|included|kept in mind)"
    r"\b[^.;]{0,20}\bdifferential"
)
_APPEARANCE = re.compile(
    r"(?:volume averaging|artifact|artefact|pseudolesion|focal fat|perfusion (?:anomaly|alteration))"
)


def existence(before: str, after: str) -> Hedge:
    """How sure the text is that the finding exists, from the words of its own noun phrase and a hedge on its nature."""
    window, after = lowered(before[-48:]), lowered(after)
    if _POSSIBLE_BEFORE.search(window):
        return "possible"
    if _PROBABLE_BEFORE.search(window):
        return "probable"
    if _POSSIBLE_AFTER.match(after):
        return "possible"
    behind = readings.hedge_behind(after)
    if behind is not None and not after.startswith(" possibilit"):
        return "possible" if behind == "?" else "probable"
    if _APPEARANCE.search(after) and _POSSIBLE.search(after):
        return "possible"
    return "definite"


def certainty(link: str) -> Hedge:
    """How sure the text is of a diagnosis, from the words that lead to it.

    >>> certainty(", which may be a "), certainty(" compatible with "), certainty(", a biopsy-proven ")
    ('possible', 'probable', 'definite')
    """
    match = _HEDGED_LINK.search(lowered(link.rstrip("?")))
    window = link[max(0, match.start() - 16) :] if match is not None else link[-40:]
    if link.endswith("?"):
        return "possible"
    if _SURE.search(window):
        return "definite"
    if _POSSIBLE.search(window) and not re.search(r"\bsuspicious for\b", window, re.IGNORECASE):
        return "possible"
    return "probable" if _PROBABLE.search(window) else "definite"


def opens_reading(sentence: str) -> bool:
    """True for "Consider haemangioma": a sentence that only reads the finding before it."""
    return _READING.match(lowered(sentence)) is not None


def is_suspicion(link: str) -> bool:
    """True for words that voice a suspicion, which is no finding."""
    return bool(
        re.search(r"\b(?:suspicious|suspect\w*|suspicion|concern\w*|worrisome)\b", link, re.IGNORECASE)
    )


def doubts_malignancy(stretch: str) -> bool:
    """True for "possibly malignant": a hedge of its own on the word."""
    return bool(_MAYBE_MALIGNANT.search(stretch))


def is_open(stretch: str) -> bool:
    """True if a text says that a lesion cannot be characterised."""
    return _OPEN.search(lowered(stretch)) is not None


def led_up_to(before: str) -> Hedge:
    """How sure the text is of a finding that is itself the reading of a sign: "density in the ribs, suggesting ..."."""
    return certainty(before[-90:]) if _HEDGED_LINK.search(lowered(before[-90:])) else "definite"

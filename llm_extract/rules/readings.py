"""Words that only say what a finding may be: "It may belong to A or to B", "A and B should be considered"."""

from __future__ import annotations

import re

from llm_extract.rules.seeing import CANNOT_BE

# every pattern is given lower case
_HEDGE_WORD = (
    r"(?:considered|suspected|questioned|questionable|thought of|in question|possible|less likely"
    r"|(?:not|(?:cannot|can not|could not|can't)\sbe)\s(?:\w+ly\s)?(?:excluded|ruled out)"
    r"|(?:to|should|must|needs to|has to)\sbe\s(?:excluded|ruled out|considered|kept in mind))"
)
_LIKELY_WORD = r"(?:likely|probable|presumed|assumed|favou?red)"
_CLAUSE_END = (
    r"(?=\W{0,3}$|[.,;)]|\s(?:in the (?:first|fore)|first|given|based|due to|because|but|although|though|as|versus"
    r"|vs|or|and)\b)"
)
_OPENING = r"\W{0,4}(?:(?:however|therefore|thus|so|but|also|additionally)\b,?\s){0,2}"
_PRONOUN = re.compile(
    _OPENING
    + r"(?:in the (?:appearance|finding|area|lesion)s? described,?\s)?"
    + r"(?:it|this|these|they|(?:the|these|this)\s(?:described\s)?(?:appearances?|findings?|images?|views?"
    r"|manifestations?|changes))\s(?:[\w-]+,?\s){0,9}?(?:may|might|could|can)\s(?:\w+\s)?"
    r"(?:be|belong|represent|correspond|indicate|reflect)\b"
)
_CONSIDERATION = re.compile(
    _OPENING
    + r"(?:the\s)?(?:(?:primary|main|first|leading|alternative)\s(?:diagnos\w{1,6}\s)?(?:considerations?|diagnos[ie]s"
    r"|possibilit(?:y|ies))|differentials?(?:\sdiagnos[ie]s|\sconsiderations?|\spossibilit(?:y|ies))?"
    r"\s(?:includes?|is|are|would|of))\b"
)
_CONCERN = re.compile(r"\bconcern\s(?:is|was|remains)\s(?:\w+ly\s)?raised\sfor\b")
_DIFFERENTIAL = re.compile(
    r"[^.;]{0,120}?\b(?:should|must|can|could|may|might|is|are|was|were)\s(?:also\s)?(?:be\s)?"
    r"(?:considered|included|kept in mind|thought of|evaluated)\s(?:\w+\s){0,2}(?:in|for|as)\s(?:\w+\s){0,2}"
    r"differential"
)
_NOT_EXCLUDED = re.compile(
    _OPENING + r"(?:(?!there\b|in\b)[\w-]+\s){0,6}?" + CANNOT_BE + r"(?:excluded|ruled out)\b"
)
_SUBJECTLESS = re.compile(
    r"\W{0,4}(?:it\s)?" + CANNOT_BE + r"(?:characteri[sz]|differentiat|distinguish|categori[sz])"
)
_UNDECIDED = re.compile(r"\b" + CANNOT_BE + r"(?:differentiated|distinguished|discriminated|separated)\b")
_ALTERNATIVE = re.compile(
    r"\s?(?:,|and|or|/|and/or|as well as|versus|vs\.?)\s?(?:(?:to|of|as|an?|the|from)\s){0,2}"
    r"(?:(?!(?:in|of|with|at|on|there|no)\b)[\w-]+\s){0,2}"
)
_BEHIND = re.compile(
    r"(?:\stumou?rs?|\slesions?)?\s(?:(?:is|are|was|were|be)\s)?(?:(?:\w+ly|most|more|very)\s)?"
    rf"(?:{_HEDGE_WORD}|(?P<likely>{_LIKELY_WORD})){_CLAUSE_END}|\spossibilit(?:y|ies)\b"
)
_CLAUSE_HEAD = re.compile(
    r"(?P<mark>[,;:(]|\s[-–]|\band)\s?(?:and\s)?"
    r"(?P<words>(?:(?!(?:in|of|with|at|on|no|not|without|another|other|additional|further|second|new|also|there)\b)"
    r"[\w-]+\s){0,3})$"
)
_QUERY = re.compile(r"\s?\?\s?(?:$|[.,;)])")
_OPENING_NAME = re.compile(
    r"\W{0,4}(?:(?!(?:in|of|with|at|on|no|not|without|another|other|additional|further|second|new|also|there)\b)"
    r"[\w-]+\s){0,2}"
)
_HAS_VERB = re.compile(r"(?:\stumou?rs?|\slesions?)?\s(?:is|are|was|were)\s")
_UNLIKELY = (
    r"(?:very\s|highly\s|\w+ly\s)?(?:unlikely|improbable|not\s(?:\w+ly\s)?(?:likely|probable|suspected|considered"
    r"|favou?red|thought)|ruled out|excluded)"
)
_UNLIKELY_BEHIND = re.compile(
    r"(?:\stumou?rs?|\slesions?)?(?:\s(?:is|are|was|were))?(?:\s(?:considered|felt|thought|deemed))?(?:\sto be)?\s"
    + _UNLIKELY
    + _CLAUSE_END
)
_UNLIKELY_BEFORE = re.compile(
    r"\b(?:unlikely|not\s(?:likely|thought|felt|considered|suspected|typical|suggestive|suspicious|characteristic))\s"
    r"(?:(?:to be|to represent|for|of|an?|the)\s){0,3}(?:[\w-]+\s)?$"
)
_ADVISED_FOR = re.compile(
    r"\b(?:recommend\w*|advis\w+|suggested|requir\w+|needed|necessary|indicated|appropriate|useful|should be)\b"
    r"(?:(?!\b(?:patient|who|history|operated|known|treated|case)\b)[^.;]){0,60}?\b(?:with\s(?:regards?|respect)\sto|in\s(?:respect\sof|regards?\sto|terms\sof)|regarding|for"
    r"|(?:in order )?to\s(?:exclude|rule out|confirm|verify|assess|evaluate))"
    r"\s(?:(?:an?|the|possible|possibility of|suspicion of|suspected|exclusion of|diagnosis of)\s){0,3}(?:[\w-]+\s)?$"
)
_NOT_A_READING = re.compile(
    r"\b(?:ultrasound|mri?|ct|pet\w*|examination|follow|correlat\w*|enhanced|biopsy|further|scan\w*|clinical\w*|comparison"
    r"|imaging|sonograph\w*|histor\w*|obstruct\w*|invasion|infiltrat\w*|extension|compress\w*|involvement|dilat\w*|stasis"
    r"|progress\w*|regress\w*|response|stability)\b"
)
_ENDS_NOT_EXCLUDED = re.compile(
    r"(?:(?!\b(?:is|are|was|were|with|and)\b)[^.;,]){0,140}?"
    r"\b" + CANNOT_BE + r"(?:excluded|ruled out)\b"
)
_UNNAMED = re.compile(
    r"(?:,|\bis|\bare|\bwas|\bwere|^)\s(?:\w+ly\s)?(?P<cue>possibl[ey]|suspected|suspicious for"
    r"|possibility of|pending exclusion of|considering"
    r"|considered(?: as| to be)?|probabl[ey]|likely|suggestive of|suggesting|presumably|may be|compatible with"
    r"|consistent with)\s(?P<name>(?:(?:an?|the|to be|as)\s)?[a-z][\w-]{2,}(?:\s[\w-]+){0,3})"
)
_WEAK_CUES = ("possib", "suspect", "may", "pending", "suspicious")
_DOUBTED = re.compile(
    r"\b(?:may|might|could)\s(?:\w+\s)?be\s(?:an?\s|the\s)?(?:normal|physiologic\w*|variant)\b"
)
_UNKNOWN_OTHER = re.compile(r"\b[a-z][\w-]{3,}\s(?:or|versus|vs\.?)\s(?:[\w-]+\s){0,1}$")
_NO_TUMOUR_OR = re.compile(
    r"\b(?!(?:benign|malignant|primary|secondary|solid|recurren\w*|resid\w*|rest|first|left|right|upper|lower|\w*tumou?r"
    r"|neoplasm|mass|lesion|nodule|cancer|malignancy)\b|\w+(?:ic|al|ous|ive|oid|ar)\b)[a-z][\w-]{3,}"
    r"\s(?:or|versus|vs\.?)\s(?:an?\s)?\??$"
)
_MANY = re.compile(r"\b(?:these|they|appearances?|findings?|images?|views?|manifestations?|changes)\b")


def reads_finding_before(sentence: str) -> bool:
    """True for a sentence that only offers names for what was described before it.

    >>> reads_finding_before("it may belong to an adenoma or to a metastasis.")
    True
    >>> reads_finding_before("there may be a metastasis in the liver.")
    False
    """
    return bool(
        _PRONOUN.match(sentence)
        or _CONSIDERATION.match(sentence)
        or _CONCERN.search(sentence)
        or _DIFFERENTIAL.match(sentence)
        or _NOT_EXCLUDED.match(sentence)
        or _SUBJECTLESS.match(sentence)
    )


def verb_end(sentence: str) -> int:
    """Where the names of a reading with a pronoun begin; 0 for the other readings."""
    match = _PRONOUN.match(sentence)
    return match.end() if match is not None else 0


def is_differential(sentence: str) -> bool:
    """True for "should be considered in the differential diagnosis", which places nothing."""
    return bool(_DIFFERENTIAL.match(sentence) or _CONSIDERATION.match(sentence))


def speaks_of_many(sentence: str) -> bool:
    """True for "these" and "they", whose lesion the sentence does not tell."""
    return _MANY.search(sentence[:60]) is not None


def doubts_it(sentence: str) -> bool:
    """True for "may be normal tissue", which questions that there is a lesion at all."""
    return _DOUBTED.search(sentence) is not None


def is_undecided(between: str) -> bool:
    """True for "which cannot be differentiated between", behind which only names follow."""
    return _UNDECIDED.search(between) is not None


def is_alternative(gap: str) -> bool:
    """True for the words between two names of one list: "haemangioma and cyst", "A or to B"."""
    return _ALTERNATIVE.fullmatch(gap) is not None


def hedge_behind(after: str) -> str | None:
    """The hedge that follows a name: "adenoma possibility", "metastasis not excluded", "cyst most likely".

    Returns:
        "?" for a possibility, " likely " for what is thought likely: words that lead to a name; None for no hedge.

    >>> hedge_behind(" possible."), hedge_behind(" most likely"), hedge_behind(" possible in segment 4")
    ('?', ' likely ', None)
    """
    match = _BEHIND.match(after)
    if match is None:
        return None
    return "?" if match["likely"] is None else " likely "


def clause_head(between: str, after: str) -> str | None:
    """Words before a name that with its hedge is a clause of its own: "..., and cysts are considered".

    Behind "and" only a verb makes it a clause.
    """
    match = _CLAUSE_HEAD.search(between)
    asked = match is not None and match["mark"] != "and" and _QUERY.match(after) is not None
    if match is None or (hedge_behind(after) is None and not asked):
        return None
    return match["words"] if match["mark"] != "and" or _HAS_VERB.match(after) is not None else None


def opens_hedged(before: str, after: str) -> bool:
    """True for "Metastases are suspected": a sentence of a name and its hedge alone."""
    return _OPENING_NAME.fullmatch(before) is not None and hedge_behind(after) is not None


def is_unlikely(before: str, after: str) -> bool:
    """True for what is all but excluded.

    >>> is_unlikely("", " is unlikely."), is_unlikely("it is unlikely to be a ", ""), is_unlikely("", " is likely.")
    (True, True, False)
    """
    return _UNLIKELY_BEHIND.match(after) is not None or _UNLIKELY_BEFORE.search(before[-60:]) is not None


def is_advised_for(before: str) -> bool:
    """True for the reason of an advice: "biopsy is recommended with regard to" a name.

    >>> is_advised_for("a mass in the kidney; urology consultation is recommended with regard to ")
    True
    >>> is_advised_for("a mass in the kidney, unchanged with respect to ")
    False
    """
    return _ADVISED_FOR.search(before[-140:]) is not None


def unnamed(after: str) -> str | None:
    """Certainty of a reading whose name is not known: "possible" or "probable", None where there is none.

    >>> unnamed(" in the skull base, possible meningothelial growth.")
    'possible'
    >>> unnamed(" in the skull base, suggesting further examination.") is None
    True
    """
    match = _UNNAMED.search(after)
    if match is None or _NOT_A_READING.search(match["name"]):
        return None
    return "possible" if match["cue"].startswith(_WEAK_CUES) else "probable"


def ends_not_excluded(after: str) -> bool:
    """True for a finding whose own clause ends in "cannot be excluded"."""
    return _ENDS_NOT_EXCLUDED.match(after) is not None


def leaves_out_one(link: str) -> bool:
    """True if another name, which is not known, stands before "or": "possible glomangioma or ..."."""
    return _UNKNOWN_OTHER.search(link) is not None


def is_tumour_or_not(link: str) -> bool:
    """True if what is no tumour stands before "or": an abscess or a tumour is undecided, a solid or cystic one is not.

    >>> is_tumour_or_not(", considering an abscess or "), is_tumour_or_not(", considering a benign or ")
    (True, False)
    """
    return _NO_TUMOUR_OR.search(link) is not None

"""What the words around a finding make of it: negated, hedged, past, hypothetical, or the name of another finding."""

from __future__ import annotations

import re
from typing import Literal

from llm_extract.cues import Cue
from llm_extract.lower_case import lowered
from llm_extract.rules.seeing import CANNOT_BE, SEEN

Polarity = Literal["affirmed", "negated", "no_new", "resolved", "hypothetical", "history"]
Hedge = Literal["definite", "probable", "possible"]

# a pattern without IGNORECASE is given lower case
_VERB = (
    rf"(?:{SEEN}|detected|noted|present|found|evident|appreciated|demonstrated|encountered|apparent|distinguished"
    r"|recognized|distinguishable)"
)
_NEGATION = re.compile(
    r"\b(?:no|without|none of|negative for|absence of|free of|free from|neither|nor|lack of|not (?:show"
    r"|demonstrate|reveal|contain|have)"
    r"|denies|never|devoid of|absent|lacks|excluded?|clear of|non)\b(?!-)",
)
_NOT_NEGATION = re.compile(
    r"\bno(?:t|r)?\s(?:\w+\s)?(?:\w+\s)?(?:change|difference|increase|decrease|growth|progress(?:ion)?"
    r"|longer|doubt|enlargement in|alteration)\b"
    r"|\bwithout\s(?:\w+\s)?(?:\w+\s)?(?:change|contrast|enhancement|difference|increase|interval)\b"
    r"|\bno\.\s?\d|\bno contrast\b"
    r"|\b(?:cannot|not|unable to|difficult to|impossible to)\s(?:\w+\s){0,3}(?:exclu\w+|ruled? out)\b"
    r"|\bwithout (?:iv|intravenous)\b|\bno(?: significant)? (?:contrast )?enhancement\b|\bno "
    r"(?:calcification|fat|cavitation|washout)\b",
)
_OPENING_WITH = re.compile(r"(?<!compatible)(?<!consistent)(?<!keeping)\swith\s")
_NO_NEW = re.compile(
    r"\b(?:no|without|absence of)\s(?:evidence of\s|definite\s|any\s)?(?:\w+ly\s)?"
    r"(?:new|other|additional|further|newly\s\w+|interval)\b",
)
_BREAK = re.compile(
    r"\b(?:but|however|except(?:ing)?|aside from|apart from|other than|although|though|besides|with "
    r"the exception of"
    r"|there (?:is|are|was|were)|which|while|whereas|on the other hand|instead|only|nevertheless|yet"
    r"|rather)\b|[;:•]"
    r"|\b" + _VERB + r"\b\W{1,3}(?:and\b|while|,|\()",
)
_POST_NEGATION = re.compile(
    r"\b(?:cannot|(?:(?:is|are|was|were|has been|have been|had been|be|can|could)\s)?(?:not|never))\s(?:be\s|been\s)?"
    r"(?:clearly\s|definitely\s|significantly\s|definitively\s)?" + _VERB + r"\b(?!\s(?:\w+ly\s)?from\b)"
    r"|\b(?:is|are|was|were)\s(?:absent|negative|excluded|ruled out)\b|:\s{0,2}(?:none|no|absent"
    r"|negative|not identified|not present|n/a)\b"
    r"|\b(?:can|could) be (?:excluded|ruled out)\b",
)
_POSITIVE = re.compile(
    r"\b(?:there (?:is|are|was|were)|(?:is|are|was|were|has been|have been)\s(?:also\s|again\s)?"
    + _VERB
    + r"|shows?|showing|contains?|demonstrates?"
    r"|reveals?|measures?|(?:is|are|was|were)\smeasur\w+)\b",
)
_ON_PRIOR = re.compile(r"\b(?:previous|prior|earlier|old|last|before|comparison)\b")
_RESOLVED = Cue(
    r"\b(?:no longer\s(?:clearly\s)?"
    + _VERB
    + r"|(?:has|have) (?:completely\s)?(?:resolved|disappeared)|not "
    + _VERB
    + r" anymore"
    r"|(?:previous|prior|old) (?:examination|study|ct) and (?:has |have )?(?:completely )?"
    r"(?:regressed|resolved|disappeared)"
    r"|complete(?:ly)? (?:resolution|resolved|regressed)|completely disappeared)\b",
    "no longer", "resol", "disappeared", "anymore", "regressed",
)  # fmt: skip
_TAKEN_OUT = Cue(
    r"(?:(?!\b(?:and|but|while|with)\b)[^.;,]){0,60}?\b(?:has|have)\s(?:(?:since|now|been|interval|completely|surgically)\s){0,2}been\s"
    r"(?:\w+ly\s)?(?:resected|excised|removed|taken out)\b",
    "resected", "excised", "removed", "taken out",
)  # fmt: skip
"""Behind a finding: "the 4 cm mass has been resected"."""
_RATHER = re.compile(r"\brather than\s(?:(?:an?|the|true)\s)?(?:[\w-]+\s){0,2}$")
_PENDING = re.compile(r"\b(?:pending|awaiting|requir\w+|to be|for) exclusion of\s(?:[\w-]+\s){0,4}$")
"""Reads "pending exclusion of metastasis" behind what was seen: a doubt, not a plan."""
_UNSEEN = Cue(
    r"\b(?:presence|existence) of\s(?:an?\s|any\s|the\s)?(?:[\w-]+\s){0,2}$",
    "presence of", "existence of",
)  # fmt: skip
_NOT_JUDGED = re.compile(r"[^.;]{0,80}?\b" + CANNOT_BE + r"(?:evaluated|assessed|judged)\b")
_UNDERLYING = re.compile(r"\bunderlying\s(?:\w+\s)?$")
_NOT_RULED_OUT = re.compile(r"(?:\s(?:or|and)\s\w+)?\s" + CANNOT_BE + r"(?:excluded|ruled out)\b")
_BARE_OR = Cue(r"\b(?:infiltrati\w+|effusion|consolidation) or\s(?:[\w-]+\s){0,2}$", " or")
_BARE_SEEN = re.compile(r"\s(?:was|were|is|are)\s(?:detected|observed|seen|noted|identified)\W{0,3}$")
"""Reads "infiltration or mass was detected": a denial that has lost its "no" states neither of them."""
_ONLY_BEFORE = re.compile(
    r"\s(?:lesions?\s|nodules?\s)?(?:was|were|can be|could be)\s(?:also\s)?"
    + _VERB
    + r"\s(?:in|on|at)\s(?:the\s|his\s|her\s|an?\s)?(?:previous|prior|old|earlier"
    r"|examinations?\sdated|(?:ct|mri?)\sdated)\b"
)
_HYPOTHETICAL = Cue(
    r"(?:\bif\b|\bdifferential diagnosis of\b|\bin case of\b|\bin the event\b"
    r"|\bshould (?:a|any|the)\b|\bto (?:exclude|rule out"
    r"|assess for|evaluate for|look for)\b|\brule[- ]out\b"
    r"|\br/o\b|\bevaluat\w+ (?:for|of)\b|\bexclu(?:de|sion of)\b|\bscreening for\b|\bassess(?:ment)? "
    r"(?:for|of)\b|\bconcern for\s{0,2}$"
    r"|\bin terms of\b|\b(?:recommend\w*|advis\w+|required|needed)\b[^.;]{0,40}\bwith (?:regard|respect)s? to\b"
    r"|\bsensitivity (?:for|of)\b|\bdetection of\b|\brisk (?:of|for|factors?)\b"
    r"|\bguidelines?\b|\b(?:ct|mri|pet|examination|evaluation|correlation|correlated|imaging) (?:\w+ "
    r")?(?:for|in terms of)\b|\bsociety\b|\brecommend\w*\b[^.]{0,40}\bfor\b"
    r"|\bfor (?:the )?(?:nodules?|lesions?|cysts?|masses)\b[^.]{0,20}\b(?:larger|smaller|less|greater|<"
    r"|>)|\bdiagnosis of exclusion\b)",
    "if", "for", "diagnosis of", "case of", "event", "should", "rule", "r/o", "evaluat", "exclu", "assess", "terms of",
    "with re", "sensitivity", "detection", "risk", "guideline", "society",
)  # fmt: skip
_HISTORY = Cue(
    r"(?:\bhistory of\b|\bh/o\b|\bhx\b|\bstatus[- ]post\b|\bs/p\b"
    r"|\bpost(?:operative)?\b(?!-?\s?contrast)|\bfamily history\b"
    r"|\b(?:father|mother|brother|sister|uncle|aunt|grand\w+)\s(?:has|have|had|with|died of|suffer\w+ from)\b"
    r"|\bdiagnosed with\b|\bcase of\b"
    r"|\bfollow-?up\s(?:\w+\s){0,2}$|\bpatient with\b|\bfollow(?:ed)?[- ]?up (?:for|of|with)\b"
    r"|\boperated\b|\bresected\b|\bresection "
    r"of\b|\bremoval of\b|\bexcision of\b|\bsurgery for\b"
    r"|\btreat(?:ed|ment) (?:for|of)\b|\bfor (?:known|treated|previous|prior)\b|\bchemotherapy\b"
    r"|\bit was (?:learned|learnt|understood|stated|reported) that\b"
    r"|\bwith (?:the|an?|his|her|known|this)\s(?:\w+\s)?diagnosis of\b|\bdue to\b|\bsecondary to\b|\bbecause of\b"
    r"|\bfrom (?:the |a |an |known |patient's )?(?:primary )?\s{0,2}$|\bprimary:\s{0,2}$|\bin favor "
    r"of a benign\b|\bprior to\b|\bafter\b|\bstent\w*\b"
    r"|\bhistory\b[^.]{0,30}$|\bsurveillance (?:of|for)\b|\bknown (?:case|to have|with|primary)\b"
    r"|\bprevious(?:ly)? (?:resected|treated|operated|excised)\b)"
    r"[^.,;]{0,60}$",
    "history", "it was", "h/o", "hx", "status", "s/p", "post", "diagnos", "case of", "follow", "patient with",
    "operated", "resect", "removal", "excision", "surgery", "treat", "known", "for previous", "for prior", "chemo",
    "due to", "secondary to", "because of", "from", "primary", "in favor", "prior to", "after", "stent", "surveillance",
    "excised", "father", "mother", "brother", "sister", "uncle", "aunt", "grand",
)  # fmt: skip
_ORIGIN = re.compile(
    r"\b(?:(?<!aside )(?<!apart )from|secondary to|due to|caused by|related to|because of|upstream (?:of|from|to)"
    r"|proximal to"
    r"|distal to|invad\w+ (?:by|from)"
    r"|extension of|spread (?:of|from)|involvement (?:of|by)|compression by|obstruct\w+ by|adjacent to"
    r"|next to|surrounding|around"
    r"|abutting|near|in the region of|at the level of"
    r"|(?:localization|localisation|location|site|bed) of"
    r"|margins? of|part of|portion of|center of|edge of|contiguous with|inseparable from|distance (?:to"
    r"|from)|uninvolved by|replaced by|occupied by|limited to|as well as the)\s{1,2}"
    r"(?:the\s|this\s|that\s|these\s|a\s|an\s|his\s|her\s)?(?:patient's\s)?(?:\w+\s)?(?:\w+\s)?(?:\w+\s)?$",
    re.IGNORECASE,
)
_LANDMARK_NOUN = re.compile(
    r"\b(?:adjacent to|next to|near|beside|close to|around|vicinity of|neighbou?rhood of|continu\w+ (?:to|towards|with)"
    r"|boundar(?:y|ies) with|contact with|borders? with|interface with|separated from|distinct from|posterior to"
    r"|anterior to|proximal to|distal to)\s(?:(?:the|this|that|these|those|described|adjacent|neighbou?ring)\s){1,2}"
    r"(?:[\w-]+\s){0,2}$"
    r"|\b(?:boundar(?:y|ies)|contact|interface) with\s(?:[\w-]+\s){0,2}$"
)
_EXTENDS = re.compile(
    r"\s(?:also\s)?(?:extend\w*|reach\w*|infiltrat\w+|invad\w+|narrow\w*|compress\w*|displac\w+|indent\w*"
    r"|(?:has|shows?|have|had) (?:an?\s)?(?:infiltration|invasion|extension|indentation|continuity|formed))\b"
)
_GONE = re.compile(
    r"(?:(?!\b(?:and\s(?:the|an?|no|his|her|both)|but|while|whereas|whose|of which)\s)[^.;,]){0,90}?"
    r"\b(?:is|are|was|were|can|could)\s(?:not|no longer|never)\s(?:be\s)?(?:\w+ly\s)?" + _VERB + r"\b",
)
_DISEASE = re.compile(
    r"(?:lymphoma|carcinoma|cancer|tumou?r|melanoma|sarcoma|myeloma|malignancy|mesothelioma|neoplasm)s?$",
)
_FOLLOWED = Cue(
    r"\s(?:\w+\s){0,2}(?:on|in|under)\s(?:follow[- ]?up|surveillance|treatment|remission)\b",
    "follow", "surveillance", "treatment", "remission",
)  # fmt: skip
_OPERATED_FOR = Cue(
    r"\b(?:\w+ectomy|\w+plasty|resection|excision|ablation|removal|transplant\w*|surgery|operation|radiotherapy"
    r"|chemotherapy|whipple\w*|irradiation|emboli[sz]ation)\b[^.;,]{0,40}?\b(?:for|of|due to|because of"
    r"|secondary to"
    r"|given)\b(?:(?!\b(?:there|with|now|currently|shows?|showing|demonstrat\w+|reveals?|residual"
    r"|recurren\w+|new)\b)"
    r"[^.;,]){0,80}$",
    "ectomy", "plasty", "resection", "excision", "ation", "removal", "transplant", "surgery", "therapy", "whipple",
    "emboli",
)  # fmt: skip
_DEFINITE_ARTICLE = Cue(
    r"\b(?:the|this|these|that|those|said|aforementioned|above(?:-|\s)(?:mentioned|described)|described"
    r"|known|previously (?:described|seen|noted|identified|mentioned))\s"
    r"(?:\w+\s){0,3}$",
    "th", "said", "aforementioned", "above", "described", "known", "previously",
)  # fmt: skip
_STATED_ABOVE = Cue(
    r"[^.;]{0,60}\b(?:as|described|mentioned|noted|seen|detailed|discussed)\s(?:described\s|noted\s"
    r"|mentioned\s)?(?:above|previously|earlier)\b|[^.;]{0,40}\bas described\b",
    "above", "previously", "earlier", "as described",
)  # fmt: skip
_DIGESTIVE_TRACT = Cue(
    r"\b(?:(?:gastro-?intestinal|gi|digestive)\s(?:tract|system)|gis\ssegments?|gastro-?intestinal\ssegments)\b",
    "tract", "system", "segment",
)  # fmt: skip
_RECOMMENDS = re.compile(
    r"\b(?:recommend\w*|suggested|advis\w+|should be|consider (?:further|follow|mri|ct|pet)"
    r"|follow[- ]?up (?:in|with|ct|mri|imaging|examination|is)|correlat\w+)\b",
    re.IGNORECASE,
)


def polarity(sentence: str, start: int, end: int, *, measured: bool) -> Polarity:
    """What the sentence says about the existence of the finding at ``start:end``.

    Args:
        sentence: the whole sentence.
        start: first character of the finding in it.
        end: one past its last character.
        measured: True if a current length belongs to the finding.

    >>> text = "No evidence of a hepatic mass."
    >>> polarity(text, 25, 29, measured=False)
    'negated'
    """
    sentence = lowered(sentence)
    before, after = sentence[:start], sentence[end:]
    if _RESOLVED.search(after):
        return "resolved"
    if _OPERATED_FOR.search(before) or _TAKEN_OUT.match(after):
        return "history"
    if not measured and _FOLLOWED.match(after) and _DISEASE.search(sentence[start:end]):
        return "history"
    if not measured and _HYPOTHETICAL.search(before) and not _PENDING.search(before):
        return "hypothetical"
    if "rather than" in before and _RATHER.search(before):
        return "hypothetical"
    if not measured and _not_claimed(before, after):
        return "hypothetical"
    if (
        measured
        and ("if" in before or "should" in before)
        and re.search(r"\b(?:if|should)\b", before)
        and _RECOMMENDS.search(sentence)
    ):
        return "hypothetical"
    negated = _pre_negation(before)
    if negated is not None:
        return negated
    if (not measured or _GONE.match(after)) and _post_negated(before, after):
        return "resolved" if measured else "negated"
    if not measured and _HISTORY.search(before):
        return "history"
    return "affirmed"


def _not_claimed(before: str, after: str) -> bool:
    """True if a sentence does not say whether there is a finding: it could not be judged, or its negation was lost."""
    if _UNSEEN.search(before) and _NOT_JUDGED.match(after):
        return True
    if _UNDERLYING.search(before) and _NOT_RULED_OUT.match(after):
        return True
    return bool(_BARE_OR.search(before) and _BARE_SEEN.match(after)) and _pre_negation(before) is None


def is_only_before(after: str) -> bool:
    """True for a finding that is only said to have been seen on an earlier examination."""
    return _ONLY_BEFORE.match(lowered(after)) is not None


def _pre_negation(before: str) -> Polarity | None:
    if _NEGATION.search(before) is None:
        return None
    masked = _NOT_NEGATION.sub(lambda m: "_" * len(m[0]), before)
    last = None
    for match in _NEGATION.finditer(masked):
        last = match
    if last is None:
        return None
    between = before[last.end() :]
    if _BREAK.search(between):
        return None
    tail = max(between.rfind(","), between.lower().rfind(" and "), _last_with(between))
    if tail >= 0:
        piece = between[tail + 1 :].lower().removeprefix("and ").removeprefix("with ").lstrip()
        if re.match(
            r"(?:an?|the|there|multiple|several|numerous|few|two|three|stable|unchanged|new|tiny|small|large"
            r"|left|right)\b|\d",
            piece,
        ) and not re.match(r"(?:left|right|the|an?)\b[^\d]{0,40}$", piece if "or " in between else ""):
            return None
        if re.match(r"\D{0,30}\d", piece):
            return None
    elif not last[0].lower().startswith(("neither", "none")) and re.search(
        r"\b(?:has|have|shows?|contains?)\b", between
    ):
        return None
    return "no_new" if _NO_NEW.match(before[last.start() :]) else "negated"


def _last_with(between: str) -> int:
    """Position of the last "with" that starts another phrase, or -1."""
    return max((m.start() for m in _OPENING_WITH.finditer(between)), default=-1) if "with" in between else -1


def _post_negated(before: str, after: str) -> bool:
    match = _POST_NEGATION.search(after)
    if match is None:
        return False
    between, rest = after[: match.start()], after[match.end() :]
    if _ON_PRIOR.search(rest[:40]) or re.search(
        r"\b(?:previously|characteri[sz]ed|clearly evaluated)\b", match[0]
    ):
        return False
    if _BREAK.search(between) or _POSITIVE.search(between):
        return False
    opened = re.split(r"[;:]|\bbut\b|\bhowever\b", before)[-1]
    joined = re.search(r"\band\b|,|\bwith\b", between) is not None
    return not (joined and (_POSITIVE.search(opened) or re.search(r"\bthere\b", opened, re.IGNORECASE)))


def is_origin(before: str) -> bool:
    """True if a finding is only a landmark or a cause: "dilated upstream of the mass"."""
    return bool(_ORIGIN.search(before))


def is_landmark_noun(before: str) -> bool:
    """True for "boundary with the adjacent mass": a lesion that only says where something else is."""
    return _LANDMARK_NOUN.search(lowered(before)) is not None


def extends(after: str) -> bool:
    """True for "the mass extends to ...", which says how far a known lesion reaches."""
    return _EXTENDS.match(lowered(after)) is not None


def is_back_reference(before: str) -> bool:
    """True for "the nodules", "these lesions"."""
    return _DEFINITE_ARTICLE.search(lowered(before)) is not None


def refers_to_last(sentence: str) -> bool:
    """True for a sentence that begins with a pronoun or another look back."""
    return bool(
        re.match(
            r"\W{0,3}(?:it|its|this|these|they|the|another|additional|others?)\b", sentence, re.IGNORECASE
        )
    )


def names_digestive_tract(text: str) -> bool:
    """True if the stomach and the bowel are spoken of together."""
    return _DIGESTIVE_TRACT.search(lowered(text)) is not None


def refers_back(before: str, after: str) -> bool:
    """True for a definite mention of a lesion that is stated elsewhere."""
    return is_back_reference(before) or _STATED_ABOVE.match(lowered(after)) is not None


def recommends(sentence: str) -> bool:
    """True if the sentence advises something."""
    return bool(_RECOMMENDS.search(sentence))

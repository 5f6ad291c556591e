"""Does a length belong to an earlier examination? Decided from the words right beside it."""

from __future__ import annotations

import re

_FILLER = (
    r"(?:[\s:=(-]{1,3}(?:measur\w{0,5}|was|were|had|been|it|at|of|about|approximately|approx\.?|size[ds]?"
    r"|diameter|being|the"
    r"|is|up|to|a|an|as|maximum|axial|review|observed|examination|exam|study|ct|scan|value|measurement)\b){0,5}[\s:=(]{0,3}"
)
_LEFT = re.compile(
    r"(?:\bprevious(?:ly)?|\bprev\b\.?|\bprior(?: to)?|\bformerly|\bearlier|\bbaseline|\binitially|\boriginally"
    r"|\bhad measured|\bhaving been|\bused to (?:be|measure)|[(\[]\s?(?:in\s)?(?:before|last|comparison)"
    r"|\bpreviously seen|\blast (?:study|exam|examination|ct|scan)|\bold)" + _FILLER + r"$",
)
_AT_SAMPLING = re.compile(
    r"[(\[;]\s?(?:(?:in|on|at)\s)?(?:the\s|an?\s)?(?:prior|previous|earlier)\s(?:(?:core|needle|punch|shave|surgical)\s){0,2}"
    r"(?:biopsy|excision|resection|lumpectomy|specimen)" + _FILLER + r"$",
)
"""Opens a bracket: "5 cm (prior biopsy 1 cm)"; the site of an earlier biopsy says nothing of the time of a length."""
_GREW_FROM = re.compile(
    r"\b(?:increas|decreas|grow|grew|enlarg|shr[aiu]nk|chang|progress|regress|reduc|declin|diminish|up"
    r"|down)[a-z]*(?: in (?:size|diameter))?(?: slightly)?"
    r" from(?: (?:a|about|approximately|prior|previous|previously))?\s{0,2}$",
)
_FROM = re.compile(r",?\s(?:(?:up|down)\s)?from\s(?:(?:an?|about|approximately|prior|previous)\s){0,2}")
"""Between two lengths: "grown to 22 mm from 14 mm"."""
_VERSUS = re.compile(
    r"(?:\bversus|\bvs\.?|,\sagainst|\bcompared (?:to|with)|\bin comparison (?:to|with)|\bas opposed to"
    r"|\bwhile it was|\bwhereas it was)(?: the)?(?: (?:prior|previous))?(?: (?:size|value|measurement))?"
    r"(?: of| was)?\s{0,2}$",
)
_TOLD_BEFORE = re.compile(
    r"\b(?:previously|formerly|earlier)\s(?:described|reported|seen|noted|identified|demonstrated|known|detected|observed)"
    r"\s(?:an?\s)?$"
)
_MEASURES_NOW = re.compile(
    r"\b(?:measures?|is|has become|has grown to)\s(?:(?:now|today|about|approximately)\s){0,2}$"
)
"""Reads "the previously described 11 mm nodule measures 12 mm", behind and before the next length."""
_WAS = re.compile(r"\b(?:was|were|measured|had been)\s(?:(?:about|approximately|measuring|only)\s)?$")
_AND_NOW = re.compile(
    r"(?:\s\w{2,12}){0,4}\s?,?\s{0,2}(?:(?:and|but)\s)?(?:(?:it|which)\s)?(?:(?:is|are|measures?|has become)\s)?"
    r"(?:now|today|currently|presently|at present)\b[^.;]{0,30}$"
)
"""Behind "was 8 mm" and before the next length."""
_CHANGED_TO = (
    r"\s(?:\w+ly\s)?(?:grown|grew|increased|enlarged|decreased|shrunk|shrank|regressed|reduced|progressed|become|became"
    r"|reached)\b(?:\s(?!from\b)\w{2,12}){0,3}\s{1,2}$"
)
_THEN_CHANGED = re.compile(r"(?:\s\w{2,12}){0,4}?,?(?:\s(?:and|has|have|had|is|are)){0,2}" + _CHANGED_TO)
"""Behind "which was 7 mm" and before the next length: "has grown to"."""
_HAS_CHANGED_TO = re.compile(r"[^.;,\d]{0,70}?\s(?:has|have)" + _CHANGED_TO)
"""Behind "the 7 mm nodule" and before the next length."""
_PAREN_WAS = re.compile(r"[(\[]\s{0,2}(?:was|were|measured|from)(?: \w{1,14})?\s{0,2}$")
_COMMA_WAS = re.compile(r",\s{0,2}(?:was|were)(?: (?:about|approximately))?\s{0,2}$")
_IT_WAS = re.compile(
    r"(?:[(\[]\s?(?:it|this|which|they|these|(?:its\s|the\s)?(?:size|diameter|short axis|long axis))"
    r"|,\s(?:(?:but|while|whereas|and)\s)?(?:it|its (?:size|diameter|short axis|long axis)))"
    r"\s(?:was|were|had been|had|measured)(?:\s(?:measured|measuring|about|approximately|as|only|at))?\s{0,2}$"
)
"""Behind the length of today in the same sentence: "8 mm is seen (it was 6 mm)", "is 8 mm, it was 6 mm"."""
_TODAY = re.compile(r"\b(?:is|are|has|have|measures?|shows?)\b|[(\[]")
_SECOND = re.compile(r"\b(?:another|others?|second|also|two|three|few|nodules|lesions|cysts|nodes|masses)\b")
_RIGHT = re.compile(
    r"\s{0,2}(?:(?:in )?(?:size|diameter|length|maximum dimension),?\s)?,?\s{0,2}"
    r"(?:(?:on|in|at|during|by|per)\s(?:the\s|a\s|an\s|his\s|her\s|their\s)?(?:\w{1,14}\s)?(?:\w{1,14}\s)?"
    r"(?:prior|previous|earlier|former|last|old|outside|comparison|baseline|preceding|mri?|magnetic"
    r"|ultraso\w{1,8}|us|pet\S{0,5})\b"
    r"|(?:an?|one|two|three|four|five|six|some|several|\d{1,2})\s(?:years?|months?|weeks?|days?)\s(?:ago|before|earlier)\b"
    r"|then\s?(?=[),.;]|$)"
    r"|(?:previously|prev|before|earlier|prior|formerly|at that time)\b)",
)
_DONE_TO_IT = re.compile(
    r",?\s{0,2}(?:previously|formerly|earlier)\s(?!measur|seen|not|describ|report|demonstrat|document|observ|visuali|was\b|were\b)"
    r"\w{2,14}ed\s\w",
)
"""Behind a length, what happened to the thing it measures: "3 cm previously ruptured cyst"."""
_RIGHT_DATE = re.compile(
    r"\s{0,2}(?:on|in|at)\s(?:the\s)?(?:\w{2,10}\s)?(?:of\s|dated\s|from\s)?(?:\d{1,4}[./-]\d{1,2}"
    r"|\[?date|20\d\d\b"
    r"|(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?|may \d)\b)",
)
_RIGHT_NOW = re.compile(
    r"\s{0,2},?\s{0,2}(?:(?:on|in|at)\s(?:the\s)?(?:today|current|present|this)|(?:now|today|currently"
    r"|at present)\b)",
)
_LEFT_NOW = re.compile(
    r"\b(?:now|today|currently|presently|at present|current(?:\sstudy|\sexamination)?)\b[^.;]{0,40}$",
)
_DATED_PAST = re.compile(
    r"\b(?:on|in)\s(?:the\s)?(?:\d{1,2}(?:st|nd|rd|th)?\s)?(?:[a-z]{2,9}\.?\s)?(?:\d{1,2},?\s)?"
    r"(?:\d{1,4}[./-]\d{1,2}[./-]\d{2,4}|\d{4}|\[?date\b|(?:prior|previous|last|outside)\b)"
    r"[^.;]{0,70}\b(?:measured|was|were)\b[^.;,]{0,25}$",
)
_THEN = re.compile(
    r"\b(?:when|where|at (?:which|that) time)\s(?:it|they|this|these)?\s?(?:had\s)?(?:was|were|measur\w+)"
    r"(?:\s(?:about|approximately|measuring|measured))?\s{0,2}$",
)
_OWN_PLACE_IN_TIME = re.compile(
    r"\s{0,2}(?:(?:in|with)\s\w+\s)?(?:on|in|at|during)\s(?:the\s|a\s|his\s|her\s)?(?:\w{1,14}\s)?(?:prior|previous|earlier"
    r"|last|old|outside|baseline|preceding)\s\w{1,14}(?:\s\w{1,14})?\s?(?:\band\b|\bwhile\b|\bbut\b|,|;|\(|\))",
)
_PLACED_EARLIER = re.compile(
    r"(?!.{0,90}\b(?:compar\w+|accord\w+|chang\w+|differ\w*|than|seen|present|detected|observed|noted|stable|since"
    r"|described|reported|new|not)\b)\s{1,2}in\s[^,;()]{3,80}?\s(?:in|on|at)\s(?:the|his|her|a)\s(?:previous|prior|old|last)\s",
    re.DOTALL,
)
_NOUN_THEN_DATE = re.compile(
    r"\s{0,2}(?:mass|tumou?r|lesion|nodule|cyst|node)\s(?:in|on|from|dated)\s(?:\w{3,10}\s)?"
    r"(?:(?:19|20)\d\d\b|\d{1,2}[./-]\d{1,2}[./-]\d{2,4})",
)
_OPENS_EARLIER = re.compile(
    r"\W{0,3}(?:in|on|at)\s(?:the|his|her|their|an?)\s(?:patient's\s)?(?:previous|prior|earlier|old|last)\s(?:\w+\s){0,2}"
    r"(?:examinations?|exams?|stud(?:y|ies)|cts?|scans?|imaging|mri?|pet\S{0,5}|tomograph\w+)\b"
)
"""Opens a sentence whose lengths are of an earlier study until it comes to the present one."""
_IS_AFTER = re.compile(r"\b(?:is|are|has|have|now|currently?|today)\b")
_NOUN_EARLIER = re.compile(
    r"\s{0,2}(?:mass|tumou?r|lesion|nodule|cyst|node)\s[^.;,\d]{0,60}?\b(?:in|on)\s(?:the|his|her)\s(?:previous|prior|last|old)"
    r"\s\w{2,14}\s(?:is|was|are|were|has|have)\b"
)
"""Behind "the 7 mm" and before the next length."""
_IS_MEASURED = re.compile(r",\s[^.;]{0,60}\b(?:is|are)\s(?:\w+\s)?measur\w+\b[^.;,]{0,20}$")
_MAIN_VERB = re.compile(r",\s(?:was|were|measured)\b")
_NEXT_IS_HERS = re.compile(
    r"(?:prior|previous|previously|earlier|old|before|baseline|formerly|last)\W{0,3}(?:\w{1,12}\W{0,3}){0,2}$",
)
_BOTH_BEFORE = re.compile(
    r"\d\s?(?:mm|cm)\b.*\d\s?(?:mm|cm)\b[^.;]*\b(?:previously|formerly)\s(?:measur\w+\s)?\d[\d.,x×\s]*(?:mm|cm)?,?\sand\s$"
)
"""Between the earlier lengths of two lesions: "2 cm and 1 cm, previously 1.5 cm and"."""


def _is_what_it_was(left: str, context: str) -> bool:
    """True for a length in the past tense behind one of today that is about the same lesion."""
    was = _IT_WAS.search(left)
    if was is None or _SECOND.search(left, 0, was.start()):
        return False
    return _TODAY.search(context[: len(context) - len(left) + was.start() + 1]) is not None


def is_prior(left: str, right: str, *, context: str, followed: bool) -> bool:
    """True if the words beside a length say that it is a value of an earlier examination.

    Args:
        left: text between the length before it (or the start of the sentence) and the length.
        right: text between it and the next length (or the end of the sentence).
        context: text of its sentence before it.
        followed: True if another length ends ``right``.

    >>> is_prior("A cyst, previously ", ".", context="A cyst, previously ", followed=False)
    True
    >>> is_prior("The nodule now measures ", " (previously ", context="The nodule now measures ", followed=True)
    False
    """
    if left.strip() == "(" and left is not context and right.startswith(")") and len(context) > len(left):
        return True
    if (
        _LEFT.search(left)
        or _AT_SAMPLING.search(left)
        or _THEN.search(left)
        or _VERSUS.search(left)
        or _PAREN_WAS.search(left)
        or _GREW_FROM.search(left)
        or (left is not context and _FROM.fullmatch(left))
    ):
        return True
    if followed and _WAS.search(left) and (_AND_NOW.match(right) or _THEN_CHANGED.match(right)):
        return True
    told = _TOLD_BEFORE.search(left) is not None and _MEASURES_NOW.search(right) is not None
    if followed and (told or _HAS_CHANGED_TO.match(right)):
        return True
    if _RIGHT_NOW.match(right):
        return False
    if len(context) > len(left) and (_COMMA_WAS.search(left) or _BOTH_BEFORE.search(context)):
        return True
    if len(context) > len(left) and _is_what_it_was(left, context):
        return True
    cue = _RIGHT.match(right) or _RIGHT_DATE.match(right)
    if (
        cue
        and not _DONE_TO_IT.match(right)
        and (
            not (followed and _NEXT_IS_HERS.search(right))
            or (_OWN_PLACE_IN_TIME.match(right) and "," not in right[:2])
        )
    ):
        return True
    first = len(context) <= len(left)
    if _OPENS_EARLIER.match(context) and (first or not _IS_AFTER.search(left)):
        return True
    if followed and _NOUN_EARLIER.match(right):
        return True
    if _NOUN_THEN_DATE.match(right) or _PLACED_EARLIER.match(right):
        return True
    past = _DATED_PAST.search(left)
    if past is None or _LEFT_NOW.search(left):
        return False
    return left is context or not (_MAIN_VERB.search(past[0]) or _IS_MEASURED.search(past[0]))

"""What the words around a tumour noun say in a pathology report: a tumour stated, one spoken of again, or none."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llm_extract.rules.heads import Head
from llm_extract.rules.pathology.measured import MASS
from llm_extract.rules.statements import Statement

BLOCKS = re.compile(
    r"^\W{0,3}(?:[A-Z]{0,3}\d{1,2}[A-Z]{0,3}|[A-Z]{1,3}\d{0,2})(?:\s?(?:[-&,]|to|and"
    r"|through)\s?[A-Z]{0,3}\d{1,2}[A-Z]?){0,4}\s?[:=,\"-]{1,2}(?!\d)"
    r"|\bx\s?\d{1,2}\s?$|\bcassettes?\b|\b(?:sections?|blocks?)\b[^.]{0,40}\b(?:submitted|taken|follows"
    r"|labell?ed)\b"
    r"|\bsubmitted\b[^.]{0,60}\b(?:blocks?|as follows|sections?|toto|entirety)\b|\bfrozen section\b"
    r"|\bsection code\b|\btissue procure\w+"
    r"|\btumou?r bank|\bprocured\b",
    re.IGNORECASE,
)
_COMPOUND = re.compile(
    r"[\s/-]{1,2}(?:cells?|free|markers?|bank\w*|board|necrosis|tissue|sections?|type|size|site|grade|stage"
    r"|staging|extent|extension"
    r"|focality|location|capsule|border|configuration|histology|differentiation|bed|burden|volume"
    r"|regression|quantitation"
    r"|characteristics|identified\s?:|present\s?:|multifocality|thrombus|nests?|glands?|nuclei"
    r"|nodules?\s(?:are|is)\ssubmitted"
    r"|infiltrat\w+\slymph|registry|summary|synopsis|deposits?\s\(|number|laterality|shape|color"
    r"|procurement|budding|emboli|plug"
    r"|associated|discrep\w+|history|hist\b|percentage|component|template|worksheet|checklist|features"
    r"|in[-\s]?situ|implants?\s(?:outside|size)|[+]\s?-)",
    re.IGNORECASE,
)
_KNOWN = re.compile(r"(?:^\W{0,4}|\s)(?:the|this|said|above)\s{1,3}(?:tumou?r\s|mass\s)?$", re.IGNORECASE)
_TEXTURE = re.compile(r"\b(?:areas|foci|spaces|zones|regions|cystic area)$", re.IGNORECASE)
_VERB = re.compile(
    r"\s?(?:\([^)]{0,40}\)\s?)?(?:(?:also|is|are|was|appears?|does|do|has|focally|grossly|microscopically"
    r"|not|to|directly|which|that|,)\s){0,4}"
    r"(?:extends?|extending|invades?|infiltrates|penetrates?|involves?|is|are|was|were|appears?|comes?"
    r"|abuts?|approach\w*|shows?"
    r"|demonstrates?|confined|limited|lies|located|reaches|pushes|does|has|have|grossly|occupies|consists?"
    r"|measures?|measuring"
    r"|size|obliterates|surrounds|breaches|spreads?|present at|at the|displays?|exhibits?|reveals?|arises"
    r"|retains|form|forms?|less"
    r"|in (?:block|slide)|composed|contains|bulges|protrudes|replaces|encroaches|did|had)\b",
    re.IGNORECASE,
)
_ASIDE_BEFORE = re.compile(
    r"(?:\b(?:free (?:of|from)|negative for|uninvolved by|invasion (?:by|of|from)|extension (?:of|by|from)"
    r"|invaded by|infiltrat\w+ (?:by|of)"
    r"|spread of|distance (?:of|from|to|between)|adjacent to|away from|relationship to|next to|edge of"
    r"|surface of|margins? of"
    r"|portion of|remainder of|cells of|nests? of|foci of contact|rest of|exclude|(?:clear|cleared) of"
    r"|\d\s?%\s(?:of\s)?|percent(?:age)? of"
    r"|amount of|suspicious for|type of|diagnosis of|grade of|extent of|size of|support\w* the|uninvolved"
    r"|appearance of|consistency of"
    r"|history of|known|intraepithelial|intra-?\s?epithelial|distribution of|volume of"
    r"|in[-\s]?situ|(?:dimensions?|diameters?) of"
    r"|evidence of"
    r"|periphery of|depth of|proximal to|distal to|overlying|underlying|surrounding|between|from"
    r"|outside)\s{1,2}"
    r"(?:the\s|this\s|these\s|an?\s|any\s|invasive\s|residual\s|main\s)?(?:\w+\s){0,2})$",
    re.IGNORECASE,
)
_LANDMARK_BEFORE = re.compile(
    r"\d\s?(?:cm|mm|em|crn)\.?\s(?:away\s)?(?:from|to|of)\s(?:the\s)(?:\w+\s){0,2}$"
    r"|\b(?:adjacent|next|close) to\s(?:the\s)(?:\w+\s){0,2}$"
    r"|\b(?:(?:vicinity|neighbou?rhood|proximity|region|area|edge|border) (?:of|to)|around|surrounding|bordering)"
    r"\s(?:the|this|that)\s(?:[a-z-]+\s){0,2}$"
    r"|\b(?:(?:upstream|downstream|proximal|distal|superior|inferior|lateral|medial|anterior|posterior|cranial|caudal|deep"
    r"|superficial|opposite|separate|away|apart|remote|distant)(?:ly)?\s(?:from|of|to)|above|below|beside|behind|beneath|near"
    r"|alongside)\s(?:the|this|that)\s(?:[a-z-]+\s){0,2}$",
    re.IGNORECASE,
)
_ARISING = re.compile(
    r"\b(?:adeno)?carcinoma\b[^.;:,]{0,40}\baris(?:ing|es)\s(?:in|from|within|on|out of)\s(?:an?\s)?(?:[\w-]+\s){0,3}$",
    re.IGNORECASE,
)
"""Before the lesion that a cancer arose from, which is no other one."""
_SUSPECTED = re.compile(
    r"(?:[:-]|^)\s{0,3}(?:(?:[\w-]+\s){0,4}(?:cells?|glands?|epithelium|groups?|proliferations?|fragments?|cytology)\s?,?\s)?"
    r"(?:(?:highly|strongly|very|at least|but|are|is)\s){0,2}(?:suspicious|suspect|suspected|suggestive)\s(?:for|of)\s"
    r"(?:an?\s|the\s)?(?:(?!metast)[\w-]+\s){0,2}$",
    re.IGNORECASE,
)
_EARLIER = re.compile(r"\b(?:prior|previous\w*)\s{1,2}(?:the\s|an?\s)?(?:\w+\s){0,3}$", re.IGNORECASE)
_PRESENT = re.compile(r"\bpresence of\s{1,2}(?:the\s|an?\s|any\s)?(?:[\w-]+\s){0,3}$", re.IGNORECASE)
_BACKGROUND = re.compile(
    r"\b(?:aris\w+\s(?:in|from|within|on|out of)|background of|in association with|associated with"
    r"|transition (?:to|from)|originat\w+ "
    r"(?:in|from)|derived from|with features of|differentiation|resembling|reminiscent of|similar to"
    r"|metastatic from"
    r"|component of|areas? of|features of|pattern of|subtypes? of)\s(?:an?\s|the\s)?(?:\w+[\s-]){0,3}$",
    re.IGNORECASE,
)
_CIRRHOTIC = re.compile(r"\b(?:regenerat\w+|cirrhotic|hyperplastic)\s(?:\w+\s)?$", re.IGNORECASE)
"""Before the nodules of a whole organ that is nodular."""
_IN_VESSELS = re.compile(
    r"\b(?:lymphatic|vascular|lymphovascular|perineural|venous)\s(?:\w+\s){0,2}(?:spaces?|channels?|vessels?|invasion"
    r"|permeation)\b[^.;]{0,40}\b(?:by|with|of)\s(?:\w+\s){0,3}$",
    re.IGNORECASE,
)
_REPLACED = re.compile(
    r"\b(?:involve(?:d|ment)|replaced|occupied|infiltrated|replacement|extension|infiltration)\s(?:by|with"
    r"|of)\s(?:\w+[\s-]){0,5}$",
    re.IGNORECASE,
)
_UNINVOLVED = re.compile(
    r"(?:\b(?:not|nor|without|no)\s(?:\w+\s){0,3}(?:involv\w+|infiltrat\w+|replaced|invaded)"
    r"|\buninvolved)\s(?:by|with|of)\s(?:\w+[\s-]){0,4}$",
    re.IGNORECASE,
)
_NO_STATEMENT = re.compile(
    r"primary tumou?r\s?(?:\(?p?T|:)|\(p[TNM]\)"
    r"|question|[a-z)]\s?\?\s?$|discrepan|attest|synchronous|insufficient|protocol|checklist"
    r"|\b(?:usually|typically|generally)\b|procedure:"
    r"|:\s?(?:no|none|absent|negative|unknown)\b"
    r"|\bTNM\b|AJCC|classified as|\bstage\b.{0,30}\btumou?r",
    re.IGNORECASE,
)
_STAINED = re.compile(
    r"mutation|immunohisto|immunopero|\bstain\w*|\bpositive for (?:ck|p\d|psa|ttf|cd|er\b|pr\b)",
    re.IGNORECASE,
)
_NOT_STATED = re.compile(
    r"cannot be (?:assessed|evaluated|determined)|not (?:specified|applicable|reported|identified|present|seen)",
    re.IGNORECASE,
)
"""Says that something is not there or not known, which of a measured tumour can only be a detail."""
FURTHER = re.compile(
    r"^\W{0,4}(?:additional|other)\sdimensions?\s{0,2}(?:\([^)]{0,30}\)\s{0,2})?[:=.-]?\s{0,3}(?=[\d.])",
    re.IGNORECASE,
)
_MANY = r"mul\s?ti\s?-?(?:focal|centric)"
MULTIFOCAL = re.compile(
    rf"(?:^\W{{0,4}}(?:\w{{1,2}}[.)]\s)?|(?<=[%\d]))(?:(?:tumou?r|carcinoma)\s)?(?:{_MANY}(?:ity)?(?:\sdisease|\stumou?r)?"
    rf"|focality)\s{{0,2}}[:=-]\s{{0,3}}(?:yes|present|identified|{_MANY}|multiple)"
    rf"|\b(?:tumou?r|carcinoma|disease)\s(?:is|are)\s(?:\w+\s)?{_MANY}\b"
    rf"|\bcarcinoma\b(?![ -]in[ -]situ)(?:(?!margin|situ|invasion)(?:[^.;:\n]|\.(?=\d))){{0,80}}?[,(]\s?{_MANY}\b"
    rf"(?=\s?(?:[.,;)]|$))"
    rf"|\b{_MANY}\s(?:(?!high|pin|and|with)[\w-]+\s){{0,3}}?(?:adenocarcinoma|carcinoma|tumou?rs?)\b"
    r"(?!,?[ -]in[ -]?situ)",
    re.IGNORECASE,
)
"""Says that a cancer has several foci, of which only the largest is measured."""
MARGIN_KEY = re.compile(r"[^:.;]{0,60}\bmargins?\b[^:.;]{0,30}:", re.IGNORECASE)
STAGING = re.compile(
    r"\bstag(?:e|ed|ing)\b|\bAJCC\b|\bTNM\b|\baccording to\b|\bp?T\d[a-d]?\s?:", re.IGNORECASE
)
"""A length in words on stages is the limit of a stage."""
SITE = re.compile(
    r"\W{0,4}(?:\w{1,2}[.)]\s?)?(?:tumou?r[\s.]{1,3}(?:site|location|laterality)|(?:primary )?site(?: of tumou?r)?"
    r"|lobe laterality|laterality(?: of tumou?r)?"
    r"|location(?: of tumou?r)?)\s{0,2}:",
    re.IGNORECASE,
)
SITE_LINE = re.compile(r"\W{0,4}(?:\w{1,2}[.)]\s?)?tumou?r[\s.]{1,3}(?:site|location)\W{0,3}", re.IGNORECASE)
"""A key of the site that is a line of its own, with or without a colon."""
BOTH = re.compile(
    r"\b(?:both|bilateral|right and left|left and right)\s(?:ovaries|ovarian|adnexa\w*|ovary)"
    r"|\bovaries,?\s\(?(?:bilateral|both|right and left|left and right)\b",
    re.IGNORECASE,
)
TERMS = re.compile(
    r"\([^()]{0,20}\b(?:at least|more than|less than|greater than|larger than|smaller than)\b[^()]{0,30}\)\s{0,2}:"
    r"(?!\s{0,2}(?:present|yes|identified)\s{0,2}[.;]?\s{0,2}$)",
    re.IGNORECASE,
)
"""Brackets in a key that say from which size on it is filled in, unless all that is said is that this is so."""
PRECURSOR_KEY = re.compile(r"\W{0,4}precursor lesions?(?:\s?\([^)]{0,40}\))?\W{0,4}", re.IGNORECASE)
PRECURSOR = re.compile(
    r"^\W{0,4}precursor lesions?\s{0,2}(?:\([^)]{0,40}\)\s{0,2})?:\s{0,3}\S", re.IGNORECASE
)
"""What a cancer arose from is no lesion of its own."""
PATIENT = re.compile(
    r"\byears?[- ]old\b|\bthe patient (?:is|has|had|was|underwent)\b|\b(?:wo)?man with (?:an?\s)?(?:\w+\s){0,3}"
    r"(?:cancer|carcinoma|tumou?r|mass)\b",
    re.IGNORECASE,
)
"""Speaks of what was known before the specimen."""
_POLYP_KEY = re.compile(
    r"\W{0,4}(?:\w{1,2}[.)]\s?)?polyps?[\s/](?:mucosa|\(?(?:away|distant))", re.IGNORECASE
)
_HOLDS_CANCER = re.compile(
    r"[^.;:()]{0,60}(?:\([^()]{0,120}\)[^.;:()]{0,40})?"
    r"\b(?:includ\w{1,4}|contain\w{0,4}|harbou?r\w{0,4}|with transition (?:in)?to"
    r"|with (?:focal|a focus of|foci of|early|intramucosal|invasive))"
    r"(?:\s[\w-]{1,24},?){0,4}\s(?:adeno)?carcinoma\b",
    re.IGNORECASE,
)
"""Behind an adenoma: it holds the cancer that is named next."""
CONSISTENT = re.compile(r"\b(?:consistent|compatible) with\b", re.IGNORECASE)
ORGAN_SIZE = re.compile(r"\bweight\b|\bweigh|\bspecimen\b|prostate size|\bgland\b|\bgrams?\b", re.IGNORECASE)
_OPTION = re.compile(r"^\W{0,3}(?:_+|\[\s?\]|\(\s\)|o\s|q[A-Z])")
_TUMOUR_NOUN = r"(?:tumou?r|lesion|carcinoma|adenocarcinoma|neoplasm|mass)"
TUMOUR_SIZE = re.compile(
    rf"{_TUMOUR_NOUN}'?s?\s{{0,2}}(?:sizes?|dimensions?|diameters?|(?:\w+\s){{0,2}}measur\w+|is\s\d)"
    rf"|(?:size|dimensions?|diameters?)\s(?:of\s?)?(?:the\s)?(?:\w+\s){{0,2}}{_TUMOUR_NOUN}|dominant\s(?:tumou?r\s)?(?:nodule|mass"
    rf"|lesion|tumou?r)",
    re.IGNORECASE,
)
"""A size that is named the tumour's, anywhere."""
PLAIN_SIZE = re.compile(
    r"(?:greatest|maxim(?:um|al)|largest)\s(?:tumou?r\s|nodular\s)?(?:dimension|diameter|size)"
    r"|additional\sdimensions?|other\sdimensions?"
    r"|^\W{0,3}(?:lesion\s)?size\s{0,2}(?:of (?:neoplasm|tumou?r|lesion|mass)\b[^:]{0,80})?:",
    re.IGNORECASE,
)
"""A size without a noun, which is the tumour's outside the gross description."""
NOT_TUMOUR_SIZE = re.compile(
    r"\b(?:margin|specimen|node|nodal|distance|depth|thickness|prostate\s(?:size|weight)|implants?"
    r"|metasta\w+|thick|clearance|invasion"
    r"|organ\s?size|weight|polyp)\b",
    re.IGNORECASE,
)


def is_aside(statement: Statement, head: Head) -> bool:
    """True for a tumour noun that states no tumour of its own: cells, types, margins, what the tumour invades."""
    text = statement.text
    low, high = head.mark.start - statement.start, head.mark.end - statement.start
    before, after = text[:low], text[high:]
    if _OPTION.match(text) or _COMPOUND.match(after):
        return True
    if re.search(r"\bmargins?\b[^.;]{0,60}$", before, re.IGNORECASE) and not MASS.search(before):
        return True
    specific = head.mark.value.diagnosis is not None or head.mark.value.kind == "polyp"
    measured = any(head.start <= m.start < head.end for m in statement.measurements)
    if (
        head.mark.value.kind == "polyp"
        and not measured
        and (is_known(statement, head) or _POLYP_KEY.match(text))
    ):
        return True
    if head.mark.value.diagnosis == "adenoma" and not head.mark.plural and _HOLDS_CANCER.match(after[:260]):
        return True
    if _ASIDE_BEFORE.search(before) and not (_REPLACED.search(before) or is_suspected(statement, head)):
        return True
    measured = any(head.start <= m.start < head.end for m in statement.measurements)
    earlier = _EARLIER.search(before)
    if earlier is not None and not any(
        head.start <= m.start and m.end - statement.start <= earlier.start() for m in statement.measurements
    ):
        return True
    if _CIRRHOTIC.search(before[-40:]):
        return True
    if _IN_VESSELS.search(before) or (_PRESENT.search(before) and not measured):
        return True
    if re.search(r"\b(?:non|un)-?\s?$|intra-?\s?epithelial\s$", before, re.IGNORECASE):
        return True
    if specific and _BACKGROUND.search(before) and head.mark.value.kind != "metastasis":
        return True
    if _NO_STATEMENT.search(text) is not None or _only_stains(statement, head):
        return True
    return not measured and _NOT_STATED.search(text) is not None


def _only_stains(statement: Statement, head: Head) -> bool:
    """True for a sentence on stains, which a diagnosis with its stains behind a comma is not."""
    stained = _STAINED.search(statement.text)
    if stained is None:
        return False
    listed = statement.sentence.section in {"diagnosis", "preamble"} and head.mark.value.diagnosis is not None
    between = statement.text[head.mark.end - statement.start : max(0, stained.start())]
    return not (listed and re.search(r"[,(]", between) is not None and "?" not in between)


def is_suspected(statement: Statement, head: Head) -> bool:
    """True for "biopsy: atypical cells, suspicious for carcinoma": all that a diagnosis says of its specimen."""
    before = statement.text[: head.mark.start - statement.start]
    return statement.sentence.section == "diagnosis" and _SUSPECTED.search(before) is not None


def is_known(statement: Statement, head: Head) -> bool:
    """True for "the lesion", "this tumor focus": a noun with the article of what was named before."""
    before = statement.text[: head.mark.start - statement.start]
    return _KNOWN.search(before) is not None


def without_landmarks(statement: Statement, heads: Sequence[Head]) -> list[Head]:
    """Heads without those that only say where: "a nodule, 4 mm, is seen 2 cm from the main tumor" is one finding."""
    kept: list[Head] = []
    for head in heads:
        before = statement.text[: head.mark.start - statement.start]
        beside = kept and (_LANDMARK_BEFORE.search(before) or (_ARISING.search(before) and not head.plural))
        if beside and kept[-1].polarity == "affirmed":
            kept[-1].end = head.end
        else:
            kept.append(head)
    return kept


def is_normal_body(statement: Statement, head: Head) -> bool:
    """True for a corpus luteum that is not called a cyst, which every ovary may hold."""
    noun = statement.low[head.mark.start - statement.start : head.mark.end - statement.start]
    behind = statement.low[head.mark.end - statement.start :][:12]
    return noun.endswith("corpus luteum") and "cyst" not in behind


def is_empty_key(statement: Statement, head: Head) -> bool:
    """True for a key without a value, such as "Distant metastasis (pM):" or "Mass:"."""
    return head.mark.value.diagnosis in {None, "metastasis"} and statement.text.rstrip(" *_").endswith(":")


def is_metastatic(statement: Statement, head: Head) -> bool:
    """True for "metastatic squamous cell carcinoma": it lies elsewhere than where it comes from."""
    before = statement.text[: head.mark.start - statement.start]
    return re.search(r"\bmetastatic\s(?:[\w-]+\s){0,3}$", before, re.IGNORECASE) is not None


def is_texture(statement: Statement, head: Head) -> bool:
    """True for "focal cystic areas" in a gross description: what a tumour looks like inside."""
    noun = statement.text[head.mark.start - statement.start : head.mark.end - statement.start]
    return _TEXTURE.search(noun) is not None


def speaks_again(statement: Statement, head: Head) -> bool:
    """True where a sentence begins with the tumour and says what it does: it was stated before."""
    text = statement.text
    before = text[: head.mark.start - statement.start]
    opening = re.fullmatch(
        r"\W{0,4}(?:(?:[A-Z]|\d{1,2})\s?[.):]\s{0,3})?[-*\s]{0,3}(?:(?:the|this|invasive|infiltrating|main"
        r"|entire|above|described|macroscopic)\s|"
        r"\w+(?:al|ic|ous|ar|ive|ed)\s){0,5}",
        before,
        re.IGNORECASE,
    )
    return opening is not None and _VERB.match(text[head.mark.end - statement.start :]) is not None


def is_uninvolved(statement: Statement, head: Head) -> bool:
    """True for "not involved by carcinoma" and "uninvolved by tumor": the organ is free."""
    return _UNINVOLVED.search(statement.text[: head.mark.start - statement.start]) is not None


def is_replaced(statement: Statement, head: Head) -> bool:
    """True for "ovary replaced by carcinoma": the noun is no mere cause."""
    return _REPLACED.search(statement.text[: head.mark.start - statement.start]) is not None

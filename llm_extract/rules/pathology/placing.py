"""Organ, side, part and name of a tumour: what its own words say, else what its specimen is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_extract.rules.heads import Head
from llm_extract.rules.locations import WEAK, Location
from llm_extract.rules.mentions import Mention
from llm_extract.rules.pathology import wording
from llm_extract.rules.pathology.counts import number_in_brackets
from llm_extract.rules.pathology.entries import at_entry
from llm_extract.rules.pathology.homes import (
    bowel_described,
    in_urinary_duct,
    is_from_duct,
    is_in_fat,
    is_of_tube,
    lobe_of,
    names_next_item,
    names_own_organ,
    opening_organ,
    organ_spoken_of,
)
from llm_extract.rules.pathology.sites import SiteReader
from llm_extract.rules.pathology.specimens import Specimen
from llm_extract.rules.statements import Statement

_CARCINOMAS = {
    "pancreas": "pdac", "prostate": "prostate_cancer", "colon": "colorectal_cancer", "kidney": "rcc",
    "stomach": "gastric_cancer", "bladder": "urothelial_carcinoma", "uterus": "uterine_cancer",
    "breast": "breast_cancer", "lung": "lung_cancer", "ovary": "ovarian_cancer", "thyroid": "thyroid_cancer",
    "esophagus": "esophageal_cancer", "gallbladder": "gallbladder_cancer", "bile_duct": "cholangiocarcinoma",
    "liver": "hcc",
}  # fmt: skip
_ONLY_ADENO = frozenset({"pancreas", "prostate", "colon", "stomach"})
_HOLLOW = frozenset({"colon", "stomach", "duodenum", "small_bowel", "esophagus"})
_SINGLE = frozenset({"uterus", "bladder", "liver", "pancreas", "spleen", "gallbladder"})
_SOLID = frozenset({"pancreas", "liver", "kidney", "spleen"})
_PERITONEAL = frozenset({"peritoneum", "soft_tissue", "other", "pleura"})
_NUMBERED = re.compile(
    r"\W{0,4}(?:(?:tumou?r|nodule|mass|lesion|focus)\s{0,2}(?:#|no\.?)?\s{0,2}(?:\d|[A-F])\b|#\s?\d\b)",
    re.IGNORECASE,
)
_INVOLVES = re.compile(r"\binvolv(?:ing|es)\s(?:the\s)?(?:\w+\s){0,3}$", re.IGNORECASE)
_HOST = re.compile(
    r"(?:involv(?:ing|es|ed)|in|of|within|from|replac\w+|(?:present|identified|located) in|metastatic to"
    r"|metastas[ei]s to|to)\s(?:the\s)?(?:\w+\s){0,3}$",
    re.IGNORECASE,
)
_DUCTAL = re.compile(r"\bductal\sadeno", re.IGNORECASE)
_EXTENDING = re.compile(r"\bextend\w*\s(?:from|to|into|onto|through)\s[^.;,]{0,40}$", re.IGNORECASE)
_INVADES = re.compile(
    r"\b(?:invad\w+|infiltrat\w+|penetrat\w+|extend\w*|extension|adher\w+)\s(?:in|to|into|through|onto|on|beyond)?\s?"
    r"(?:the\s|adjacent\s|adjac\w*\s\w*\s?|surrounding\s){0,3}(?:\w+\s){0,2}$",
    re.IGNORECASE,
)
_BESIDE = re.compile(
    r"\b(?:(?:deep|adjacent|next|close|proximal|distal|superior|inferior|lateral|medial|anterior|posterior)\sto"
    r"|beneath|below|above|under(?:neath)?|near|abut\w*|opposite|\d\s?(?:cm|mm|em|crn)\.?\s(?:to|from|of))"
    r"\s(?:the\s)?(?:\w+\s){0,2}$",
    re.IGNORECASE,
)
_ON_SEROSA = re.compile(r"\b(?:involv\w+|on|in|of|to)\s(?:the\s)?(?:\w+\s){0,2}seros(?:a|al)\b")
_SPREADS = re.compile(r"\b(?:involv|invad|extend|extension|infiltrat|spread|serosa)", re.IGNORECASE)
_ORIGIN_AFTER = re.compile(r"\s{0,2}(?:type|origin|primary|derivation)\b", re.IGNORECASE)
_ORIGIN_BEFORE = re.compile(
    r"\b(?:origin(?:at\w+)?|primary (?:in|of|from)|metastatic from|derived from|known)\b[^.;]{0,40}$",
    re.IGNORECASE,
)


@dataclass(slots=True)
class PlaceReader(SiteReader):
    """Places the tumours of a report."""

    def _settle(self, made: Mention, head: Head, specimen: Specimen | None) -> None:
        """Organ and side of the specimen where the statement names none, and the basis of what pathology settles."""
        organ = specimen.organ if specimen is not None and specimen.organ else self._main
        organ = opening_organ(made, specimen) or organ
        self._take_own_words(made)
        spoken_of = organ_spoken_of(made, self.reading.statements, self._index)
        if spoken_of is not None:
            made.organ, made.location = spoken_of.organ or made.organ, spoken_of
        hosted = _hosted(made, self.reading.text)
        strange = made.organ == "lymph_node" or (made.organ in WEAK and organ not in WEAK and not hosted)
        origin = bool(made.location.spans) and _is_origin(made, self.reading.text)
        vague = (
            origin
            or _is_beside(made, self.reading.text)
            or _is_invaded(made, head, self.reading.text)
            or (self._main != "ovary" and _grows_into(made, head, specimen, self.reading.text))
            or not made.location.spans
            or not (made.location.certain or hosted)
        )
        named = head.mark.value.organ
        if (
            specimen is not None
            and named is not None
            and named in specimen.organs
            and not made.location.spans
        ):
            made.organ, made.location = named, Location(named)
            organ = named
        ducts = {"pancreas"} & set(specimen.organs if specimen is not None else ())
        if (
            ducts
            and _DUCTAL.search(made.diagnosis_text or "")
            and organ in {"duodenum", "stomach", "bile_duct"}
        ):
            organ = "pancreas"
        fixed = head.mark.value.organ is not None and made.location.spans == () and organ in {None, *WEAK}
        fixed = fixed and not (specimen is not None and in_urinary_duct(specimen.location, self.reading.text))
        if names_own_organ(made, self.reading.text, anatomy=self.anatomy):
            fixed, made.organ = True, head.mark.value.organ or made.organ
            made.location = made.location if made.location.organ == made.organ else Location(made.organ)
        elif is_in_fat(made, self.reading.text):
            fixed, made.organ, made.location = True, "soft_tissue", Location("soft_tissue")
        if organ is not None and not fixed and (vague or strange) and organ != made.organ:
            keep = specimen.location if specimen is not None and specimen.organ == organ else Location(organ)
            made.organ, made.location = organ, replace(keep, side_spans=keep.side_spans)
        if specimen is not None and specimen.organ == made.organ:
            self._complete(made, lobe_of(specimen.location, self.reading.text, anatomy=self.anatomy))
        self._take_home(made, specimen)
        if made.organ == self._main and self._paired(made.organ) and made.location.laterality is None:
            made.location = replace(made.location, laterality=self._side)
        self._as_placed(made)
        self._limit(made)
        if made.location.organ == made.organ:
            made.location = at_entry(made.location, made.statement, self.reading.text, anatomy=self.anatomy)
        made.series = made.image = None
        self._number(made)
        self._name_tumour(made)

    def _take_own_words(self, made: Mention) -> None:
        """Drop places that are only landmarks or the beginning of the next item of a list."""
        if is_from_duct(made, self.reading.text):
            made.location = Location(certain=False)
        elif not made.location.parts:
            return
        elif _is_beside(made, self.reading.text):
            made.location = Location(laterality=made.location.laterality, certain=False)
        elif names_next_item(made, self.reading.text):
            made.location = replace(made.location, parts=(), relation="unknown")

    def _take_home(self, made: Mention, specimen: Specimen | None) -> None:
        """The adrenal gland on the side of its kidney, nodules of the tube, polyps of the bowel that is described."""
        gross = made.statement.sentence.section == "gross"
        if made.organ == "adrenal_gland" and self._main == "kidney" and made.location.laterality is None:
            made.location = replace(made.location, laterality=self._side)
        if made.organ == "adrenal_gland" and specimen is not None and specimen.organ == "kidney":
            side = specimen.location.laterality
            if made.location.laterality is None and side in {"left", "right"}:
                made.location = replace(made.location, laterality=side)
        elif (
            gross
            and made.kind in {"nodule", "mass", "lesion", "tumor"}
            and is_of_tube(made, self.reading.text)
        ):
            made.tentative = True  # its length is none of the ovary's cancer
        elif gross and made.kind == "polyp" and made.organ in _SOLID:
            organ = bowel_described(self.reading.statements, self._index)
            if organ is not None:
                made.organ, made.location = organ, Location(organ)

    def _limit(self, made: Mention) -> None:
        """No part where the tumour only reaches to, no two sides of one organ."""
        if made.location.parts and _reaches(made, self.reading.text):
            made.location = replace(made.location, parts=(), relation="unknown")
        if made.location.laterality == "bilateral" and made.organ in _SINGLE:
            made.location = replace(made.location, laterality=None)

    def _number(self, made: Mention) -> None:
        """The number in brackets, and two for both ovaries."""
        number = number_in_brackets(made, self.reading.text)
        if number is not None and made.is_group:
            made.count, made.count_kind = number, "exact"
        if (
            wording.BOTH.search(made.statement.text)
            and made.organ == "ovary"
            and made.kind == "tumor"
            and made.count in {1, None}
        ):
            made.count, made.count_kind = 2, "exact"
            made.location = replace(made.location, laterality="bilateral")

    def _name_tumour(self, made: Mention) -> None:
        """What pathology settles: presence, malignancy, and the carcinoma of the organ."""
        if wording.CONSISTENT.search(made.statement.text):
            made.presence = "definite"
            made.diagnosis_certainty = "definite" if made.diagnosis_certainty else None
        if made.malignancy != "unknown":
            made.malignancy_basis = "pathology"
        if made.diagnosis == "adenoma" and made.organ in _HOLLOW:
            made.kind = "polyp"
        named = made.diagnosis == "carcinoma" and made.organ in _CARCINOMAS and made.kind != "metastasis"
        if named and not (made.organ not in {self._main, "ovary"} and _spreads(made, self.reading.text)):
            made.diagnosis = _named_by_organ(made)

    def _complete(self, made: Mention, place: Location) -> None:
        if made.location.laterality is None and place.laterality is not None:
            made.location = replace(made.location, laterality=place.laterality, side_spans=place.side_spans)
        if not made.location.spans:
            made.location = replace(made.location, spans=place.spans)
        outside = made.organ == "uterus" and _ON_SEROSA.search(made.statement.low) is not None
        if not made.location.parts and place.parts and not outside:
            made.location = replace(
                made.location,
                parts=place.parts,
                relation=place.relation,
                spans=(*made.location.spans, *place.spans),
            )

    def _read_foci(self, statement: Statement, specimen: Specimen | None) -> None:
        """Reads "Multifocality: present": the organ holds more foci than the one that is measured."""
        if "focal" not in statement.low and "centric" not in statement.low:
            return
        match = wording.MULTIFOCAL.search(statement.text)
        organ = specimen.organ if specimen is not None and specimen.organ else self._main
        margin = match is not None and "margin" in statement.low[: match.start()]
        if match is not None and not margin and organ is not None and statement.sentence.section != "gross":
            self._foci.append((organ, statement, match.start(), match.end()))

    def _add_further_foci(self, kept: list[Mention]) -> None:
        """The only cancer of an organ that is called multifocal is the largest of several."""
        for organ, statement, start, end in self._foci:
            here = [m for m in kept if m.organ == organ and m.malignancy == "malignant" and m.kind == "tumor"]
            if len(here) == 1 and self._name_numbered(here[0], kept):
                continue
            if len(here) != 1 or here[0].is_group:
                continue
            index = here[0]
            if not index.sizes:
                index.count, index.count_kind = None, "multiple_unknown"
                continue
            span = (statement.start + start, statement.start + end)
            rest = replace(
                index, statement=statement, span=span, sizes=[], count=None, count_kind="multiple_unknown",
                location=Location(organ), spans=[("count", *span)],
            )  # fmt: skip
            self._link(rest, index)
            kept.append(rest)

    def _name_numbered(self, named: Mention, kept: Sequence[Mention]) -> bool:
        """True if "tumor 2: 24 mm" and the like are the further foci; they are what the named one is."""
        others = [
            m
            for m in kept
            if m is not named
            and m.organ == named.organ
            and m.malignancy == "unknown"
            and m.kind not in {"cyst", "polyp"}
            and m.sizes
            and _NUMBERED.match(m.statement.text) is not None
        ]
        for other in others:
            other.diagnosis, other.diagnosis_text = named.diagnosis, named.diagnosis_text
            other.malignancy, other.malignancy_basis = named.malignancy, named.malignancy_basis
        return bool(others)

    def _as_metastases(self, kept: Sequence[Mention]) -> None:
        """A malignant tumour on the peritoneum of an organ's cancer is its metastasis."""
        for mention in kept:
            away = mention.organ in _PERITONEAL and self._main not in _PERITONEAL
            if (
                away
                and mention.kind in {"tumor", "mass", "nodule", "lesion"}
                and mention.malignancy == "malignant"
            ):
                mention.kind = "metastasis"


def _named_by_organ(made: Mention) -> str | None:
    word = (made.diagnosis_text or "").lower()
    if made.organ in _ONLY_ADENO and "adeno" not in word and "duct" not in word:
        return made.diagnosis
    if re.search(r"neuroendocrine|squamous|small cell|serous|sarcom", word) and made.organ not in {
        "uterus",
        "ovary",
        "lung",
        "esophagus",
    }:
        return made.diagnosis
    if made.organ == "bladder" and "adeno" in word:
        return made.diagnosis
    return _CARCINOMAS[made.organ]


def _spreads(made: Mention, text: str) -> bool:
    """True for "carcinoma involving the uterine serosa": the organ does not name the cancer that reaches it."""
    after = [start for start, _ in made.location.spans if made.head is not None and start >= made.head.end]
    return (
        made.head is not None
        and bool(after)
        and _SPREADS.search(text[made.head.end : min(after)]) is not None
    )


def _hosted(made: Mention, text: str) -> bool:
    """True if the words say that the tumour lies in the organ: "involving the serosa of the colon"."""
    return any(_HOST.search(text[max(0, start - 60) : start]) for start, _ in made.location.spans)


def _reaches(made: Mention, text: str) -> bool:
    """True if the parts are only where the tumour extends from and to: "extending from the apex to the middle"."""
    starts = [start for start, _ in made.location.spans]
    return bool(starts) and all(_EXTENDING.search(text[max(0, start - 60) : start]) for start in starts)


def _grows_into(made: Mention, head: Head, specimen: Specimen | None, text: str) -> bool:
    """True for "carcinoma involving the bladder" of a specimen of the colon, where no word names another cancer."""
    if specimen is None or specimen.organ not in _CARCINOMAS or made.organ in specimen.organs:
        return False
    starts = [start for start, _ in made.location.spans]
    own = made.kind == "tumor" and head.mark.value.organ is None and made.malignancy == "malignant"
    return own and bool(starts) and _INVOLVES.search(text[head.mark.end : min(starts)][-60:]) is not None


def _is_invaded(made: Mention, head: Head, text: str) -> bool:
    """True if every place is only what a cancer grows into: "carcinoma invading the adjacent liver"."""
    starts = [start for start, _ in made.location.spans]
    grown = made.kind in {"tumor", "mass"} and all(start > head.mark.end for start in starts)
    before = [" ".join(text[max(0, start - 70) : start].split()) + " " for start in starts]
    return bool(starts) and grown and all(_INVADES.search(words) for words in before)


def _is_beside(made: Mention, text: str) -> bool:
    """True if every place is only what the tumour lies beside: "just deep to the ampulla is a mass"."""
    before = [" ".join(text[max(0, start - 60) : start].split()) + " " for start, _ in made.location.spans]
    return bool(before) and all(_BESIDE.search(words) for words in before)


def _is_origin(made: Mention, text: str) -> bool:
    """True if the place is where a metastasis comes from: "of colonic type", "primary in the pancreas"."""
    return all(
        _ORIGIN_AFTER.match(text[end : end + 24]) or _ORIGIN_BEFORE.search(text[max(0, start - 50) : start])
        for start, end in made.location.spans
    )

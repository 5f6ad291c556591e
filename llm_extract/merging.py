"""Mentions of one lesion in findings, impression and addendum become one lesion; contradictions are kept as conflicts.

Two mentions are one lesion when organ, side and part fit and the sizes agree within max(1 mm, 5 %). A size or a side
that contradicts, on the only candidate there is, is a conflict: the findings' value stays, a contradicted side becomes
unknown. An addendum overrides.
"""

from __future__ import annotations

from collections.abc import Sequence

from llm_extract.candidates import (
    KINDS_APART,
    Candidate,
    fits,
    is_bound,
    is_guess,
    kind_gap,
    of_other_stations,
    overlap,
    sizes_agree,
)
from llm_extract.drafts import LesionDraft

_SUMMARIES = frozenset({"impression", "addendum", "diagnosis", "synoptic", "microscopic"})

_SLACK = 1.25
"""How much larger than the bound of a summary a lesion may be that it sums up."""
_MIN_QUOTE = 30
"""Characters from which a repeated quote is a repeated text."""


def merge_mentions(candidates: Sequence[Candidate]) -> list[Candidate]:
    """One candidate a lesion, in order of first mention."""
    kept: list[Candidate] = []
    addressed: dict[int, set[int]] = {}
    for candidate in _sized_first(candidates):
        target = _target(candidate, kept, addressed, candidates)
        if target is None:
            kept.append(candidate)
            continue
        addressed.setdefault(id(target), set()).add(_block(candidate))
        _merge(target, candidate)
    kept.sort(key=lambda c: c.order)
    _bound_groups(kept)
    return kept


def _sized_first(candidates: Sequence[Candidate]) -> list[Candidate]:
    """In a summary the mentions with a size find their lesion first, then the ones without."""
    place = {c.section: c.order for c in reversed(candidates)}
    return sorted(
        candidates,
        key=lambda c: (
            (place[c.section], not c.sizes, c.order) if c.section in _SUMMARIES else (c.order, False, 0)
        ),
    )


def _block(candidate: Candidate) -> int:
    """Mentions of one section are different lesions, so one section merges into a lesion once at most."""
    return hash(candidate.section) if candidate.section in _SUMMARIES else -1


def _target(
    new: Candidate, kept: Sequence[Candidate], addressed: dict[int, set[int]], every: Sequence[Candidate]
) -> Candidate | None:
    later = new.section in _SUMMARIES
    pool = [c for c in kept if _may_mean(new, c, kept)]
    if not later:
        pool = [c for c in pool if c.section != new.section and new.draft.refers_back] or (
            pool if new.draft.refers_back else []
        )
    pool = [
        c
        for c in pool
        if _block(new) not in addressed.get(id(c), set()) or new.is_group or new.section == c.section
    ]
    twin = _twin(new, kept) or _stated_again(new, kept)
    if twin is not None:
        return twin
    if not pool:
        return None
    if new.section == "addendum" and new.draft.refers_back:
        return _addendum_target(new, pool)
    pieces = _pieces(new, pool)
    if pieces:
        return pieces[0]
    exact = [c for c in pool if fits(new, c) and sizes_agree(new, c) and not is_guess(new, c)]
    if exact:
        return min(exact, key=lambda c: (kind_gap(new, c) > 1, -overlap(new, c), kind_gap(new, c), c.order))
    sums_up = later or new.draft.refers_back
    if new.sizes and not all(map(is_bound, new.sizes)):
        upper = new.is_group and all(m.qualifier == "upper_bound" for m in new.sizes)
        return _contradicted(new, pool, every) or (_summed_up(new, pool) if upper and sums_up else None)
    if not sums_up:
        return None
    return _summed_up(new, pool) or _swapped(new, pool, every)


def _may_mean(new: Candidate, old: Candidate, kept: Sequence[Candidate]) -> bool:
    """True if a mention can mean a lesion: of its organ, said elsewhere or looked back on, not of its own group."""
    if not _same_organ(new, old, kept) or (
        new.draft.group is not None and new.draft.group == old.draft.group
    ):
        return False
    if of_other_stations(new, old):
        return False
    if old.section != new.section:
        return True
    return new.draft.refers_back and {old.draft.kind, new.draft.kind} not in KINDS_APART


def _same_organ(new: Candidate, old: Candidate, kept: Sequence[Candidate]) -> bool:
    """True for one organ, or a mention without a place where lesions of its kind lie in one organ alone."""
    if old.draft.organ == new.draft.organ:
        return True
    if new.draft.organ != "other" or new.draft.location_text is not None:
        return False
    return {c.draft.organ for c in kept if c.draft.kind == new.draft.kind} == {old.draft.organ}


def _twin(new: Candidate, kept: Sequence[Candidate]) -> Candidate | None:
    """A lesion of the same place and the very same two or three diameters, stated once more."""
    mine = [v for m in new.sizes for v in m.values_mm]
    if len(mine) < 2 or new.is_group:
        return None
    for old in kept:
        same = [v for m in old.sizes for v in m.values_mm] == mine and not old.is_group
        placed = (
            old.draft.organ == new.draft.organ
            and old.side == new.side
            and set(old.draft.parts) == set(new.draft.parts)
        )
        apart = new.evidence[0].start >= old.evidence[0].end
        if same and placed and apart and kind_gap(new, old) < 2 and new.draft.parts:
            return old
    return None


def _summed_up(new: Candidate, pool: Sequence[Candidate]) -> Candidate | None:
    """Reads "Nodules in both lungs" in an impression after the nodules were stated one by one."""
    single = [c for c in pool if not c.is_group and kind_gap(new, c) < 2 and _covers(new, c)]
    if new.draft.count is not None:
        single = [c for c in single if new.draft.parts and c.draft.parts == new.draft.parts]
    if not new.is_group or new.draft.count not in {None, len(single)}:
        return None
    wide = set(new.draft.parts)
    inside = not wide or any(wide & set(c.draft.parts) for c in single)
    return single[0] if len(single) > 1 and inside else None


def _pieces(new: Candidate, pool: Sequence[Candidate]) -> list[Candidate]:
    """The lesions whose parts make up the parts of a group: "in both lower lobes" after one lobe and the other."""
    wide = set(new.draft.parts)
    if not new.is_group or new.draft.count is not None or not all(map(is_bound, new.sizes)):
        return []
    near = [c for c in pool if c.draft.parts and kind_gap(new, c) < 2 and _covers(new, c)]
    inside = [c for c in near if set(c.draft.parts) < wide and c.draft.part_relation == "within"]
    whole = any(set(c.draft.parts) >= wide for c in near)
    return [] if whole or set[str]().union(*(c.draft.parts for c in inside)) != wide else inside


def _covers(new: Candidate, old: Candidate) -> bool:
    """True if a lesion lies on the side of a group that sums up, and is no larger than it says."""
    if new.side in {"left", "right"} and old.side not in {new.side, "unknown"}:
        return False
    most = max((v for m in new.sizes for v in m.values_mm), default=None)
    return most is None or old.longest_mm is None or old.longest_mm <= _SLACK * most


def _stated_again(new: Candidate, kept: Sequence[Candidate]) -> Candidate | None:
    """The lesion or the group of the very same words further up: a report whose text is there twice."""
    quote = " ".join(new.evidence[0].text.split())
    if len(quote) < _MIN_QUOTE:
        return None
    for old in kept:
        first = old.evidence[0]
        apart = new.evidence[0].start >= first.end
        alike = new.longest_mm == old.longest_mm and new.draft.group_role == old.draft.group_role
        if apart and alike and new.draft.organ == old.draft.organ and " ".join(first.text.split()) == quote:
            return old
    return None


def _swapped(new: Candidate, pool: Sequence[Candidate], every: Sequence[Candidate]) -> Candidate | None:
    """The only lesion of that name and organ, which a summary puts on the other side."""
    if new.sizes or new.is_group or new.draft.diagnosis is None:
        return None
    rivals = [
        c for c in every if c is not new and c.draft.organ == new.draft.organ and c.section == new.section
    ]
    found = [c for c in every if c.draft.organ == new.draft.organ and c.section != new.section]
    if rivals or len(found) != 1 or found[0] not in pool:
        return None
    old = found[0]
    same = old.draft.diagnosis == new.draft.diagnosis and old.draft.count == 1
    return old if same and {old.side, new.side} == {"left", "right"} else None


def _addendum_target(new: Candidate, pool: Sequence[Candidate]) -> Candidate | None:
    fitting = [c for c in pool if kind_gap(new, c) < 2]
    if len(fitting) > 1:
        same = [c for c in fitting if fits(new, c)]
        fitting = same or fitting
    return fitting[0] if fitting else None


def _contradicted(new: Candidate, pool: Sequence[Candidate], every: Sequence[Candidate]) -> Candidate | None:
    """The only lesion that a mention with another size or side can mean."""
    same_kind = [
        c
        for c in pool
        if kind_gap(new, c) < 2 and c.is_group == new.is_group and c.sizes and c.section != new.section
    ]
    rivals = [
        c
        for c in every
        if c is not new and c.section == new.section and c.draft.organ == new.draft.organ and c.sizes
    ]
    if len(same_kind) != 1 or rivals:
        return None
    old = same_kind[0]
    parts_fit = not (new.draft.parts and old.draft.parts) or bool(set(new.draft.parts) & set(old.draft.parts))
    other_side = {new.side, old.side} == {"left", "right"}
    if other_side:
        return old if sizes_agree(new, old) and parts_fit else None
    named = bool(set(new.draft.parts) & set(old.draft.parts)) or (not new.draft.parts and not old.draft.parts)
    return old if parts_fit and named else None


def _merge(old: Candidate, new: Candidate) -> None:
    if new.is_group and not old.is_group and new.draft.group_role == "individual":
        old.mentions += new.mentions
        old.evidence += [e for e in new.evidence if e.field == "diameters_mm"]
        return
    override = new.section == "addendum"
    if {old.side, new.side} == {"left", "right"}:
        if override:
            old.laterality = new.draft.laterality
        else:
            old.laterality = "unknown"
            old.conflict.append("laterality")
    elif (
        (old.side == "unknown" or (old.side == "bilateral" and not old.is_group))
        and new.side in {"left", "right"}
        and "laterality" not in old.conflict
    ):
        old.laterality = new.draft.laterality
    if new.sizes and old.sizes and not sizes_agree(new, old):
        if override:
            old.sizes = new.sizes
        else:
            old.conflict.append("diameters_mm")
    elif new.sizes and _fuller(new, old):
        old.sizes = new.sizes
    old.priors = old.priors or new.priors
    old.draft = _enriched(old.draft, new.draft, override=override)
    known = {(e.field, e.start, e.end) for e in old.evidence}
    old.evidence += [e for e in new.evidence if (e.field, e.start, e.end) not in known]
    old.mentions += new.mentions


def _fuller(new: Candidate, old: Candidate) -> bool:
    return sum(len(m.values_mm) for m in new.sizes) > sum(len(m.values_mm) for m in old.sizes)


def _enriched(old: LesionDraft, new: LesionDraft, *, override: bool) -> LesionDraft:
    """The draft with what only the other mention says; an addendum's parts replace."""
    update: dict[str, object] = {}
    for name in ("attenuation", "enhancement", "malignancy", "change"):
        if getattr(old, name) == "unknown" and getattr(new, name) != "unknown":
            update[name] = getattr(new, name)
    for name in (
        "diagnosis",
        "diagnosis_text",
        "diagnosis_certainty",
        "malignancy_basis",
        "hounsfield",
        "reported_volume_mm3",
        "series",
        "image",
    ):
        if getattr(old, name) is None and getattr(new, name) is not None:
            update[name] = getattr(new, name)
    narrower = set(new.parts) < set(old.parts) and old.part_relation != "spanning"
    if new.parts and (not old.parts or override or narrower):
        update.update(parts=new.parts, part_relation=new.part_relation, location_text=new.location_text)
    if not old.score and new.score:
        update["score"] = new.score
    if new.treated:
        update["treated"] = True
    if (
        old.count is None
        and (new.count or 0) > 1
        and old.group_role == "individual"
        and new.group_role == "individual"
    ):
        update.update(count=new.count, count_kind=new.count_kind)
    if old.kind == "lesion" and new.kind != "lesion":
        update["kind"] = new.kind
    return old.model_copy(update=update)


def _bound_groups(kept: Sequence[Candidate]) -> None:
    """The remainder of a group is bounded by its index lesion."""
    for index in kept:
        if (
            index.draft.group_role == "index"
            and index.draft.group is not None
            and index.longest_mm is not None
        ):
            for other in kept:
                if other.draft.group == index.draft.group and other.draft.group_role == "remainder":
                    other.bound_mm = index.longest_mm

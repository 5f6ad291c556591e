"""The plain sentences of the explain page: why a voxel is told what it is told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from llm_extract.records import Lesion, OrganStatement
from rsuper.losses.ball_rules import is_unsized
from rsuper.supervision.groups import count_interval, sides_of_members
from rsuper.supervision.policy import SupervisionPolicy, load_policy
from rsuper.supervision.sizes import UNKNOWN_LOW_MM3, factors_for
from rsuper.supervision.types import ClassTarget
from rsuper.views.explain_facts import GuessFacts, Place, Pull
from rsuper.views.explain_guesses import GuessKey

PLACE_NAMES: Mapping[Place, str] = {
    "core": "core of the ball",
    "shell": "may be lesion",
    "rest": "rest of the region",
    "outside": "outside the region",
    "unknown": "nobody knows",
}
PULL_NAMES: Mapping[Pull, str] = {"up": "pulled up", "down": "pushed down", "alone": "left alone"}
GUESS_TITLES: Mapping[GuessKey, str] = {
    "hint": "a weak hint",
    "untrained": "untrained",
    "wrong_spot": "the wrong spot",
    "wrong_part": "the wrong part",
    "too_much": "far too much",
    "nearly_right": "nearly right",
    "false_alarm": "a false alarm",
    "silent": "silent",
    "yours": "your prediction",
}
CODES: Mapping[str, str] = {
    "part_mask_missing": "there is no mask of the named part, so the whole organ is the host",
    "part_mask_empty": "the mask of the named part is empty, so the whole organ is the host",
    "organ_mask_missing": "there is no mask of the organ or of the named side",
    "organ_mask_empty": "the mask of the organ is empty",
    "host_filled": "gaps of the organ's mask that a lesion of the stated size may have left were filled",
    "organ_mask_incomplete": "a mask that could hold the lesion is missing, so no negative follows",
    "side_without_organ": "the named side has no organ mask",
    "side_mask_missing": "the mask does not tell left from right, so both sides are the host",
    "size_above_organ_extent": "the stated size is longer than the organ, so the lesion stays out of the loss",
    "size_implausible": "the stated size is beyond belief, so the lesion stays out of the loss",
    "size_slip_tenfold": "the size looks like centimetres taken for millimetres, so the lesion stays out of the loss",
    "volume_above_region": "the stated volume does not fit into the region, so the lesion stays out of the loss",
    "only_possible_lesions": "the lesion is only possible, so nothing is forced",
    "limited_examination": "the examination was limited, so a denial is not trusted",
    "organ_surgically_absent": "the organ was removed",
    "pathology_alone": "only pathology mentions it",
    "ungrounded_lesion": "no words ground the lesion, so it has no weight",
    "ignored_place_without_mask": "something that does not count has no mask of its own, so nothing is negative",
    "record_needs_review": "the record needs review, so it weighs half",
}


def place_name(place: Place, target: ClassTarget) -> str:
    """What voxels of one kind are called where the class has this target."""
    if place == "outside" and target.state == "absent":
        return "every voxel"
    return "far from the organ" if place == "outside" and target.state == "unknown" else PLACE_NAMES[place]


def how_hard(strength: float) -> str:
    """A mean gradient against the strongest one, in words.

    >>> how_hard(1.0), how_hard(0.00123), how_hard(0.0)
    ('hardest', '1/810 of that', 'not at all')
    """
    if strength <= 0:
        return "not at all"
    if strength > 0.999:
        return "hardest"
    if strength >= 0.3:
        return f"{strength:.1f} of that"
    return f"1/{float(f'{1 / strength:.2g}'):,.0f} of that"


def words(name: str) -> str:
    """``pancreas_head`` -> ``pancreas head``."""
    return name.replace("_", " ")


def mm3(value: float) -> str:
    """A volume as one reads it, always in mm³.

    >>> mm3(1039.6), mm3(5041112.0), mm3(float("inf"))
    ('1,040 mm³', '5,041,000 mm³', 'no upper bound')
    """
    if value == float("inf"):
        return "no upper bound"
    if 0 < value < 10:
        return f"{value:.1f} mm³"
    digits = 0 if value < 100_000 else -3
    return f"{round(value, digits):,.0f} mm³"


def guess_story(key: GuessKey, *, origin: str, lesions: int) -> str:
    """What this output of a network is, in a sentence or two."""
    known = origin == "phantom"
    it = "the lesion" if lesions == 1 else "the lesions"
    place = (
        f"where {it} really {'is' if lesions == 1 else 'are'}" if known else "at a made-up place in the host"
    )
    return {
        "hint": f"Early in training: it suspects something, a little beside the spot {place}. The ball goes where most "
        "of this belief lies.",
        "untrained": "It says about 50 % everywhere, so the ball lands by chance, but always inside the region. "
        "This is why training begins with a few masks.",
        "wrong_spot": "It is sure of the wrong spot in the region. The report cannot tell, the ball follows, and "
        "wrong voxels are pulled up. The smaller the region, the smaller this harm.",
        "wrong_part": "It is sure of another part of the organ than the report names. There it is pushed down, and the "
        "ball looks inside the region, however faint the belief.",
        "too_much": "It lights up twice the diameter. The volume is above what the size allows, so the surplus is "
        "pushed down until it fits.",
        "nearly_right": f"It outlines {it} almost as {'painted' if known else 'stated'}. The volume lies inside the "
        "interval: little is left to say.",
        "false_alarm": "It is sure of a lesion in the organ.",
        "silent": "It sees nothing.",
        "yours": "The probabilities that were given.",
    }[key]


def row_reason(place: Place, pull: Pull, guess: GuessFacts, target: ClassTarget, organ: str) -> str:
    """Why voxels of one kind are told what they are told."""
    low, high = target.volume_mm3
    if place == "unknown":
        return _unknown_reason(target, organ)
    if place == "outside":
        return _outside_reason(target, organ)
    if place == "core":
        return {
            "up": f"The report says that at least {mm3(low)} of lesion are here. This part of it is taught as lesion: "
            "the voxels of the ball in which the network believes most.",
            "down": f"Far more than {mm3(high)} is predicted, so even the core is held back for now.",
            "alone": "Nothing is left to say: the network is certain already.",
        }[pull]
    if pull == "up":
        return (
            f"In all, less than {mm3(low)} is predicted. The volume loss pulls a little wherever the network "
            "hesitates."
        )
    if place == "shell":
        if pull == "down":
            return f"In all, more than {mm3(high)} is predicted. The ball spares these voxels, the volume does not."
        if _open_ended(target):
            return (
                "The size or the number of the lesions is open, so more of them may be anywhere in the region. Nothing "
                "here is called healthy."
            )
        return (
            "May be lesion, may be not: the size allows more than the core, and nobody drew its edge. So nobody "
            "decides."
        )
    if pull == "alone":
        return "Nothing is asked here."
    searched = sum(not lesion.remainder for lesion in target.lesions)
    stated = "one lesion" if searched == 1 else f"{searched} lesions"
    return f"In the region, but not in a ball: the report states {stated} of that size, and the ball lies elsewhere."


def _outside_reason(target: ClassTarget, organ: str) -> str:
    if target.state == "absent":
        return f"The report calls the {words(organ)} free of any focal lesion: a known negative everywhere."
    if target.state == "unknown":
        return f"Too far from the {words(organ)}: whatever a report leaves open, no {words(organ)} lesion lies here."
    return "The report says where its lesions are; here it has none. A known negative."


def _unknown_reason(target: ClassTarget, organ: str) -> str:
    if target.state == "reported":
        return (
            "Something that does not count as a tumour lies here, a side of which nothing is said, or room that a "
            "lesion of the stated size can reach where the organ's mask leaves it out. Neither lesion nor healthy."
        )
    name = words(organ)
    return (
        f"The sentence does not settle whether the {name} holds a lesion that counts. Unknown is not healthy."
    )


def _open_ended(target: ClassTarget) -> bool:
    return any(lesion.remainder or is_unsized(lesion) for lesion in target.lesions)


def class_headline(
    target: ClassTarget,
    organ: str,
    *,
    lesions: Sequence[Lesion],
    statement: OrganStatement | None,
    policy: SupervisionPolicy,
) -> str:
    """What the sentence means for this class, in one or two sentences."""
    name = words(organ)
    if target.state == "reported" and target.weight > 0:
        return (
            f"A lesion of the {name} is stated: it is searched for in a region, and its size says how much must "
            "light up."
        )
    if target.state == "reported":
        return (
            f"A lesion of the {name} is stated, but it contradicts the images, so it stays out of the loss."
        )
    if target.state == "absent":
        return (
            f"The {name} is called free of any focal lesion. This is the one kind of “no” that is taught: everything "
            "is pushed down."
        )
    if lesions and not any(policy.action(lesion) == "count" for lesion in lesions):
        kinds = " and ".join(dict.fromkeys(words(lesion.diagnosis or lesion.kind) for lesion in lesions))
        everything = load_policy("all_lesions")
        counts = all(everything.action(lesion) == "count" for lesion in lesions)
        other = "--policy all_lesions" if counts else "a policy file of your own"
        return (
            f"The sentence states a {kinds}. The masks of this class mean tumours, so it is neither taught as a tumour "
            f"nor as healthy: the organ is left alone. That is a policy: {other} counts it."
        )
    if lesions:
        return f"A lesion of the {name} is mentioned, but not firmly enough to teach it: the organ is left alone."
    if statement is None or statement.status == "not_mentioned":
        return (
            f"The sentence does not mention the {name}. Silence is not a “no”, so the organ and its margin are left "
            "alone."
        )
    if statement.status == "explicitly_lesion_free":
        return (
            f"Only a weaker denial of the {name} is stated than “no focal lesion”, so nothing is taught: the organ is "
            "left alone."
        )
    return f"The {name} is mentioned, but not whether it has a lesion, so it is left alone."


def size_story(lesion: Lesion) -> str:
    """How the stated size becomes an interval of volumes."""
    number = len(lesion.diameters_mm)
    if lesion.reported_volume_mm3 is not None:
        return "The report states a volume; it is taken with a spread of a fifth."
    if lesion.size_kind in ("exact", "approximate") and number:
        factors = factors_for(number, organ=lesion.organ)
        noun = "diameter" if number == 1 else "diameters"
        return (
            f"A report measures with a ruler, a network in voxels. Of {factors.n} real tumours with {number} stated "
            f"{noun}, 9 in 10 had a volume within this interval."
        )
    if lesion.size_kind == "none":
        least_mm = (6 * UNKNOWN_LOW_MM3 / math.pi) ** (1 / 3)
        return (
            f"No size is stated. At least a {least_mm:.0f} mm ball must light up; nothing bounds it from above but the "
            "region."
        )
    return "The report only bounds the size: each end of the interval is the calibrated volume of a bound."


def count_story(lesion: Lesion, group: Sequence[Lesion] = ()) -> str:
    """How many lesions an entry stands for, and on which sides; empty for exactly one.

    Args:
        lesion: the entry.
        group: all entries of its group.
    """
    sides = sides_of_members(lesion, group)
    if lesion.group_role == "remainder":
        if sides:
            return (
                f"The rest of a group on both sides: one is searched for on the {sides[0]}, where the largest is not; "
                "the others are not searched, but their region is spared."
            )
        return "The rest of a group: not searched, but its region is spared."
    each = " At least one is searched for on each side." if sides else ""
    if lesion.count_kind == "exact":
        return "" if lesion.count == 1 else f"{lesion.count} lesions, each of this size.{each}"
    if lesion.count_kind == "at_least":
        return f"At least {count_interval(lesion).low}; there may be more.{each}"
    where = "one on each side is" if sides else "two are"
    return (
        f"“Multiple”: at least {where} searched for; more may be anywhere in the region, so nothing there is pushed "
        "down."
    )

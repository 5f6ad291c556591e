"""The explain page: one self-contained HTML file, five steps from a sentence to what every voxel is told."""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import dataclass
from importlib import resources
from typing import Any

import torch
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

import rsuper
from llm_extract.evidence_page import json_block
from llm_extract.highlight import LESION_COLOURS, highlight_css, highlight_report, lesion_title, size_text
from llm_extract.records import Lesion
from rsuper.losses.ball_rules import is_unsized
from rsuper.supervision.sizes import ellipsoid_volume_mm3, lesion_size
from rsuper.views import explain_words as say
from rsuper.views.explain import Explanation, Lesson
from rsuper.views.explain_facts import GuessFacts, pulled_mm3
from rsuper.views.explain_quotes import QUOTE_NAMES, quoted_fields
from rsuper.views.explain_svg import size_drawing, volume_line
from rsuper.views.explain_volume import ball_diameter_mm, volume_block


@dataclass(frozen=True, kw_only=True)
class SizeCard:
    """Step 2 for one entry of the record."""

    number: int
    colour: int
    title: str
    size: str
    quote: str
    words: tuple[tuple[str, str], ...]
    low: str
    high: str
    middle: str
    formula: str
    story: str
    count: str
    counts: bool
    drawing: Markup
    line: Markup


def render_explain_page(explanation: Explanation) -> str:
    """Render the page.

    The sentence is escaped where it enters the page; the content policy allows this page's own style and script and
    nothing else. The voxels lie in a data block that the script unpacks.

    Args:
        explanation: what to show.

    Returns:
        One HTML document. It holds the sentence: write it where reports may be kept.
    """
    css, script = highlight_css() + _file("explain.css"), _file("explain.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"mm3": say.mm3, "words": say.words}
    block = {str(index): volume_block(lesson) for index, lesson in enumerate(explanation.lessons)}
    return environment.from_string(_file("explain.html.j2")).render(
        explanation=explanation,
        css=Markup(css),  # noqa: S704 - our own files, hashed in the page's policy
        script=Markup(script),  # noqa: S704
        css_hash=_policy_hash(css),
        script_hash=_policy_hash(script),
        data=Markup(json_block(block)),  # noqa: S704 - every < > & of it is an escape sequence
        sentence=highlight_report(explanation.text, explanation.record),
        facts=[_facts(lesson, explanation) for lesson in explanation.lessons],
        others=_not_shown(explanation),
        made_with=(rsuper.__version__, torch.__version__),
        try_next=TRY_NEXT,
    )


TRY_NEXT = (
    ("3.4 cm mass in the pancreatic tail", "another part: the ball may no longer look in the head"),
    ("Subcentimetre hypoattenuating lesion in the pancreatic body", "only a bound: the interval opens"),
    (
        "Multiple hypoattenuating liver lesions, the largest 2.4 cm",
        "the number is open: nothing else is pushed down",
    ),
    ("2.2 cm left renal cyst", "does not count as a tumour: left alone"),
    ("No focal pancreatic lesion", "the one kind of no: everything is pushed down"),
    ("2.0 cm pancreatic head mass, previously 1.4 cm", "the old size is read and not used"),
)


def _facts(lesson: Lesson, explanation: Explanation) -> dict[str, Any]:
    """What the template shows of one class."""
    target = lesson.lesson.target
    statement = explanation.record.organs.get(lesson.organ)
    return {
        "lesson": lesson,
        "target": target,
        "state": _state(lesson),
        "headline": say.class_headline(
            target, lesson.organ, lesions=lesson.lesions, statement=statement, policy=explanation.policy
        ),
        "sizes": [
            _size_card(number, lesion, lesson, explanation) for number, lesion in enumerate(lesson.lesions, 1)
        ],
        "statement": [] if statement is None or lesson.lesions else [q.text for q in statement.evidence],
        "place": _place(lesson),
        "codes": [say.CODES.get(code, say.words(code)) for code in target.codes],
        "guesses": [_guess(guess, lesson, explanation) for guess in lesson.guesses],
        "unused": _unused(lesson, explanation),
        "crop": "\u202f×\u202f".join(
            f"{n * s:.0f}" for n, s in zip(lesson.ct_hu.shape, lesson.lesson.spacing_mm, strict=True)
        ),
        "taught": target.state == "reported" and target.weight > 0,
        "has_truth": lesson.truth is not None,
    }


def _state(lesson: Lesson) -> str:
    if not lesson.mentioned:
        return "not mentioned"
    state = lesson.lesson.target.state
    return {"reported": "lesion reported", "absent": "called free", "unknown": "left open"}.get(state, state)


def _size_card(number: int, lesion: Lesion, lesson: Lesson, explanation: Explanation) -> SizeCard:
    size = lesion_size(lesion)
    low, high = size.volume_mm3
    ellipsoid = ellipsoid_volume_mm3(lesion.diameters_mm) if lesion.diameters_mm else None
    quotes = [quote for quote in lesion.evidence if quote.field in ("diameters_mm", "size", "size_max_mm")]
    return SizeCard(
        number=number,
        colour=explanation.record.lesions.index(lesion) % LESION_COLOURS,
        title=lesion_title(lesion),
        size=size_text(lesion) or "no size stated",
        quote=quotes[0].text if quotes else "",
        words=tuple(
            (QUOTE_NAMES.get(field, say.words(field)), quote.text)
            for field, quote in quoted_fields(lesion, explanation.anatomy)
        ),
        low=say.mm3(low),
        high=say.mm3(high),
        middle="" if size.median_mm3 is None else say.mm3(size.median_mm3),
        formula=_formula(lesion, ellipsoid),
        story=say.size_story(lesion),
        count=say.count_story(lesion, _group(lesion, lesson)),
        counts=explanation.policy.lesion_class(lesion, explanation.anatomy) == lesson.lesion_class,
        drawing=size_drawing(lesion.diameters_mm, ball_diameter_mm(low), ball_diameter_mm(high)),
        line=volume_line(low, high, ellipsoid=ellipsoid, median=size.median_mm3),
    )


def _group(lesion: Lesion, lesson: Lesson) -> list[Lesion]:
    """The entries that the report describes together with this one."""
    return [
        other for other in lesson.lesions if lesion.group_id is not None and other.group_id == lesion.group_id
    ]


def _formula(lesion: Lesion, ellipsoid: float | None) -> str:
    """The ellipsoid of the stated diameters, as one would work it out."""
    if ellipsoid is None:
        return ""
    sizes = list(lesion.diameters_mm)
    note = ""
    if len(sizes) == 2:
        note = ", the third is the mean of the two"
        sizes.append(sum(sizes) / 2)
    if len(sizes) == 1:
        note = ", taken as a ball"
        sizes *= 3
    return f"π/6 · {' · '.join(f'{d:g}' for d in sizes)} = {say.mm3(ellipsoid)}{note}"


def _place(lesson: Lesson) -> dict[str, Any]:
    target, voxel = lesson.lesson.target, lesson.lesson.voxel_mm3
    stems = dict.fromkeys(stem for host in lesson.hosts for stem in host.structures)
    return {
        "hosts": [say.words(stem) for stem in stems],
        "host_mm3": float(lesson.host_mask.sum()) * voxel,
        "organ_mm3": float(lesson.organ_mask.sum()) * voxel,
        "margin_mm": target.margin_mm,
        "region_mm3": 0.0 if target.region is None else float(target.region.sum()) * voxel,
        "has_region": target.region is not None,
    }


def _guess(guess: GuessFacts, lesson: Lesson, explanation: Explanation) -> dict[str, Any]:
    """Steps 4 and 5 for one output of the network."""
    target, voxel = lesson.lesson.target, lesson.lesson.voxel_mm3
    counted = [item for item in lesson.lesions if explanation.policy.action(item) == "count"]
    low, high = target.volume_mm3
    return {
        "key": guess.key,
        "title": say.GUESS_TITLES[guess.key],
        "story": say.guess_story(guess.key, origin=explanation.case.origin, lesions=max(1, len(counted))),
        "balls": [_ball(ball, lesson, voxel) for ball in guess.balls],
        "rows": [
            {
                "place": row.place,
                "pull": row.pull,
                "name": say.place_name(row.place, target),
                "told": say.PULL_NAMES[row.pull],
                "mm3": say.mm3(row.volume_mm3),
                "hard": say.how_hard(row.strength),
                "width": _bar(row.strength),
                "reason": say.row_reason(row.place, row.pull, guess, target, lesson.organ),
            }
            for row in guess.rows
        ],
        "totals": {pull: say.mm3(pulled_mm3(guess.rows, pull)) for pull in ("up", "down", "alone")},
        "predicted": guess.predicted_mm3,
        "volume": guess.volume,
        "line": None
        if guess.predicted_mm3 is None
        else volume_line(low, high, predicted=guess.predicted_mm3),
        "terms": [(say.words(name), value) for name, value in guess.terms.items()],
    }


def _ball(ball: Any, lesson: Lesson, voxel_mm3: float) -> dict[str, Any]:
    target = lesson.lesson.target.lesions[ball.lesion]
    inside = None
    if lesson.truth is not None:
        inside = bool(lesson.truth[ball.centre])
    return {
        "search": f"{ball.search_mm:.0f} mm",
        "ball": f"{ball.ball_mm:.0f} mm",
        "core": say.mm3(ball.core_mm3),
        "reach": say.mm3(ball.reach_mm3),
        "gap": f"{ball.gap_mm:g} mm",
        "p": f"{100 * ball.p_centre:.0f} %" if ball.p_centre >= 0.01 else "under 1 %",
        "unsized": is_unsized(target),
        "inside": inside,
    }


def _bar(strength: float) -> float:
    """Width in percent: a decade is a quarter, so that weak pulls are still seen."""
    return 0.0 if strength <= 0 else round(max(4.0, 100 + 25 * math.log10(strength)), 1)


def _not_shown(explanation: Explanation) -> list[str]:
    """Organs of the table that the sentence does not mention, in words."""
    shown = {lesson.organ for lesson in explanation.lessons}
    return [
        say.words(organ)
        for organ in explanation.anatomy.organs
        if organ not in shown and organ not in explanation.without_mask and organ != "other"
    ]


def _unused(lesson: Lesson, explanation: Explanation) -> list[tuple[str, str]]:
    """Measurements that size no lesion of today, and why; those of no lesion at all stand in the first lesson."""
    found = [
        (quote.text, "prior")
        for lesion in lesson.lesions
        for quote in lesion.evidence
        if quote.field.startswith("prior")
    ]
    if lesson is explanation.lessons[0]:
        found += [
            (explanation.text[item.start : item.end], say.words(item.reason))
            for item in explanation.record.unused_measurements
        ]
    return list(dict.fromkeys(found))


def _file(name: str) -> str:
    return (resources.files("rsuper.views") / "templates" / name).read_text(encoding="utf-8")


def _policy_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

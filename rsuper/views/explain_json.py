"""The facts of the explain page for programs; offsets into the sentence instead of its words."""

from __future__ import annotations

from typing import Any

from llm_extract.records import Evidence, Lesion
from rsuper.supervision.sizes import lesion_size
from rsuper.views import explain_words as say
from rsuper.views.explain import Explanation
from rsuper.views.explain import Lesson as ClassLesson
from rsuper.views.explain_facts import GuessFacts, pulled_mm3
from rsuper.views.explain_quotes import quoted_fields


def explanation_facts(explanation: Explanation) -> dict[str, Any]:
    """Words, measurements, places, balls and voxels of every class; infinity is None.

    Args:
        explanation: what the page shows.
    """
    return {
        "origin": explanation.case.origin,
        "status": explanation.record.status,
        "without_mask": list(explanation.without_mask),
        "unused_measurements": [
            {"start": item.start, "end": item.end, "reason": item.reason}
            for item in explanation.record.unused_measurements
        ],
        "classes": [_lesson(lesson, explanation) for lesson in explanation.lessons],
    }


def _lesson(lesson: ClassLesson, explanation: Explanation) -> dict[str, Any]:
    target, voxel = lesson.lesson.target, lesson.lesson.voxel_mm3
    return {
        "class": lesson.lesion_class,
        "organ": lesson.organ,
        "mentioned": lesson.mentioned,
        "state": target.state,
        "weight": target.weight,
        "codes": list(target.codes),
        "spacing_mm": list(lesson.lesson.spacing_mm),
        "shape": list(lesson.ct_hu.shape),
        "margin_mm": target.margin_mm,
        "organ_mm3": float(lesson.organ_mask.sum()) * voxel,
        "host_mm3": float(lesson.host_mask.sum()) * voxel,
        "region_mm3": None if target.region is None else float(target.region.sum()) * voxel,
        "true_mm3": None if lesson.truth is None else float(lesson.truth.sum()) * voxel,
        "volume_mm3": list(target.volume_mm3),
        "lesions": [
            {
                "lesion_id": item.lesion_id,
                "counts": explanation.policy.lesion_class(item, explanation.anatomy) == lesson.lesion_class,
                "hosts": list(host.structures),
                "diameters_mm": list(item.diameters_mm),
                "size_kind": item.size_kind,
                "volume_mm3": list(lesion_size(item).volume_mm3),
                "count": item.count,
                "count_kind": item.count_kind,
                "evidence": [
                    {"field": field, "start": quote.start, "end": quote.end}
                    for field, quote in _fields(item, explanation)
                ],
            }
            for item, host in zip(lesson.lesions, lesson.hosts, strict=True)
        ],
        "outputs": [_guess(guess, lesson) for guess in lesson.guesses],
    }


def _fields(lesion: Lesion, explanation: Explanation) -> list[tuple[str, Evidence]]:
    """Every quote with the field of the record that it grounds; a word for organ and part grounds the organ."""
    whole = [(quote.field, quote) for quote in lesion.evidence if quote.field == "lesion"]
    named = quoted_fields(lesion, explanation.anatomy)
    return whole + [("organ" if field == "organ and part" else field, quote) for field, quote in named]


def _guess(guess: GuessFacts, lesson: ClassLesson) -> dict[str, Any]:
    target = lesson.lesson.target
    return {
        "output": guess.key,
        "predicted_mm3": guess.predicted_mm3,
        "volume": guess.volume,
        "terms": dict(guess.terms),
        "pulled_up_mm3": pulled_mm3(guess.rows, "up"),
        "pushed_down_mm3": pulled_mm3(guess.rows, "down"),
        "left_alone_mm3": pulled_mm3(guess.rows, "alone"),
        "balls": [
            {
                "centre_voxel": list(ball.centre),
                "search_mm": ball.search_mm,
                "ball_mm": ball.ball_mm,
                "core_mm3": ball.core_mm3,
                "reach_mm3": ball.reach_mm3,
                "in_true_lesion": None if lesson.truth is None else bool(lesson.truth[ball.centre]),
            }
            for ball in guess.balls
        ],
        "voxels": [
            {
                "place": row.place,
                "pull": row.pull,
                "volume_mm3": row.volume_mm3,
                "strength": row.strength,
                "reason": say.row_reason(row.place, row.pull, guess, target, lesson.organ),
            }
            for row in guess.rows
        ],
    }

"""The demo page: one self-contained HTML file that explains itself, loads nothing and runs no script."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from llm_extract.highlight import highlight_css, highlight_report, lesion_title, size_text
from llm_extract.records import ReportRecord
from rsuper.agreement.table import AGREEING, VERDICT_LABELS, AgreementRow, CaseAgreement, Verdict
from rsuper.evaluation.statistics import Estimate
from rsuper.views.overlays import LAYER_LABELS, LayerKind, picture_svg
from rsuper.views.page_data import (
    ARM_COLOURS,
    METRIC_TEXTS,
    ArmResult,
    CaseCard,
    CasePicture,
    DemoPageData,
    MetricText,
)
from rsuper.views.plots import ArmPlot, difference_plot, metric_bars, roc_plot
from rsuper.views.study import STUDY_METRICS

HERO_QUOTE_CHARS = 220
MAX_EXTRA_ROWS = 4
_HUMAN_STATUS = {
    "explicitly_lesion_free": "stated free of lesions",
    "no_statement_on_lesions": "mentioned, lesions not",
    "indeterminate": "not clear",
    "surgically_absent": "removed",
    "lesion_present": "has a lesion",
    "not_mentioned": "not mentioned",
}


def render_demo_page(data: DemoPageData) -> str:
    """Render the page.

    Everything from reports, records and case ids is escaped where it enters the page; the content policy
    allows no script, no font, no link to anywhere, only the page's own style sheet and inline pictures.

    Args:
        data: results, cases and the committed study.

    Returns:
        One HTML document. It holds report text: write it where reports may be kept.
    """
    css = _css()
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": number,
        "interval": interval,
        "signed": signed,
        "words": _words,
        "reports": lambda value: "∞" if value is None else f"{value:.1f}",
    }
    template = environment.from_string(_template("demo_page.html.j2"))
    return template.render(
        data=data,
        css=Markup(css),  # noqa: S704 - our own file, hashed in the page's policy
        css_hash="sha256-" + base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
        headline=headline(data),
        metrics=[(name, _metric_text(name)) for name in data.metrics],
        verdict=difference_verdict,
        figures=_figures(data),
        study_metrics=[(name, _metric_text(name).label) for name in STUDY_METRICS],
        legend=list(LAYER_LABELS.items()),
        used_layers=_used_layers(data),
        hero=_hero(data),
        svg=_svg,
        highlighted=lambda case: highlight_report(case.report_text, case.record),
        record_rows=record_rows,
        free_organs=_organs_by_status,
        verdict_label=_verdict_label,
        verdict_tone=_verdict_tone,
        agreement_rows=agreement_rows,
        reported=_reported,
        found=_found,
    )


def headline(data: DemoPageData) -> str:
    """What the run shows, in one sentence that follows from the intervals and from nothing else.

    A difference counts as shown only where its whole interval lies on one side of 0.
    """
    better, worse, open_ = [], [], []
    for name in data.metrics[:2]:
        text = _metric_text(name)
        pair = f"{number(data.baseline.metrics.get(name))} → {number(data.ours.metrics.get(name))}"
        verdict = difference_verdict(name, data.differences.get(name, Estimate()))
        if verdict == "better":
            better.append(f"{text.gain or 'is better in ' + text.label} ({_short(name)} {pair})")
        elif verdict == "worse":
            worse.append(f"{_short(name)} ({pair})")
        else:
            open_.append(f"{_short(name)} ({pair})")
    parts = []
    if better:
        parts.append(f"With reports added, the same network {' and '.join(better)}.")
    if worse:
        parts.append(f"It is worse in {' and '.join(worse)}.")
    if open_:
        parts.append(f"This run shows no clear difference in {' and '.join(open_)}.")
    return " ".join(parts)


def difference_verdict(name: str, estimate: Estimate) -> str:
    """``better``, ``worse`` or ``open``: where the whole interval of a difference lies."""
    if estimate.low is None or estimate.high is None:
        return "open"
    sign = 1 if _metric_text(name).better == "higher" else -1
    low, high = sorted((sign * estimate.low, sign * estimate.high))
    if low > 0:
        return "better"
    return "worse" if high < 0 else "open"


def number(estimate: Estimate | float | None) -> str:
    """Two decimals, or a dash where it is not defined."""
    value = estimate.value if isinstance(estimate, Estimate) else estimate
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def interval(estimate: Estimate | None) -> str:
    """``0.31 to 0.46``, empty where there is none."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    return f"{number(estimate.low)} to {number(estimate.high)}"


def signed(estimate: Estimate | float | None) -> str:
    """Two decimals with a sign."""
    value = estimate.value if isinstance(estimate, Estimate) else estimate
    if value is None:
        return "–"
    text = f"{value:+.2f}"
    return "0.00" if text in {"+0.00", "-0.00"} else text.replace("-", "−")


def record_rows(record: ReportRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    """Lesions of a record as (title, [(field, value)]) for a small table; only what is stated."""
    rows = []
    for lesion in record.lesions:
        fields = [
            ("where", ", ".join(_words(part) for part in lesion.parts)),
            ("side", lesion.laterality if lesion.laterality in {"left", "right", "bilateral"} else ""),
            ("size", size_text(lesion) or "not stated"),
            ("density", "" if lesion.attenuation == "unknown" else f"{lesion.attenuation}attenuating"),
            ("certainty", lesion.presence),
            ("malignancy", "" if lesion.malignancy == "unknown" else lesion.malignancy),
            ("size before", " × ".join(f"{d:g}" for d in lesion.prior_diameters_mm)),
        ]
        rows.append((lesion_title(lesion), [(name, value) for name, value in fields if value]))
    return rows


def agreement_rows(agreement: CaseAgreement) -> tuple[list[AgreementRow], int]:
    """Rows to show and how many findings are left out: all that are reported, then the surest findings."""
    extra = [row for row in agreement.rows if row.verdict == "found_not_reported"]
    rest = [row for row in agreement.rows if row.verdict != "found_not_reported"]
    extra.sort(key=lambda row: -row.priority)
    return rest + extra[:MAX_EXTRA_ROWS], max(0, len(extra) - MAX_EXTRA_ROWS)


def _organs_by_status(record: ReportRecord) -> list[tuple[str, str]]:
    """Statements about organs without a lesion, grouped: (what is stated, organs)."""
    groups: dict[str, list[str]] = {}
    for organ, statement in record.organs.items():
        if statement.status not in ("lesion_present", "not_mentioned"):
            groups.setdefault(_HUMAN_STATUS[statement.status], []).append(_words(organ))
    return [(status, ", ".join(organs)) for status, organs in groups.items()]


def _figures(data: DemoPageData) -> list[tuple[str, str, str]]:
    """(title, text for those who cannot see it, data URI) of every plot."""
    arms = [_arm_plot(arm) for arm in (data.baseline, data.ours)]
    names = {name: _metric_text(name).label for name in data.metrics}
    wrapped = {name: label.replace(" (", "\n(") for name, label in names.items()}
    colour = ARM_COLOURS[data.ours.kind]
    figures = [
        ("Both networks on the test cases", "bars with 95 % intervals", metric_bars(arms, wrapped)),
        (
            "What the reports add",
            "paired differences with 95 % intervals",
            difference_plot(data.differences, wrapped, colour=colour),
        ),
    ]
    if any(data.ours.present) and not all(data.ours.present):
        figures.append(("Tumour or normal: ROC curves", "ROC curves", roc_plot(arms)))
    summary = "; ".join(
        f"{label}: {number(data.baseline.metrics.get(name))} and {number(data.ours.metrics.get(name))}"
        for name, label in names.items()
    )
    return [
        (title, f"{kind}. {data.baseline.label} and {data.ours.label}: {summary}", _uri(svg))
        for title, kind, svg in figures
    ]


def _arm_plot(arm: ArmResult) -> ArmPlot:
    return ArmPlot(
        label=arm.label,
        colour=ARM_COLOURS[arm.kind],
        metrics=arm.metrics,
        scores=arm.scores,
        present=arm.present,
    )


def _uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _svg(card: CaseCard, entry: CasePicture) -> Markup:
    shown = ", ".join(LAYER_LABELS[outline.kind] for outline in entry.picture.outlines if outline.lines)
    return picture_svg(
        entry.picture,
        description=f"Axial CT slice of {card.case_id}: {entry.title}. Outlines: {shown or 'none'}.",
    )


@dataclass(frozen=True, kw_only=True)
class _Hero:
    """The case at the top of the page: what its report says, and three pictures."""

    card: CaseCard
    quote: str
    pictures: tuple[CasePicture, ...]


def _hero(data: DemoPageData) -> _Hero | None:
    """The first case whose report asks for something that both networks can be held against."""
    for card in data.cases:
        asked = [p for p in card.pictures if {"region", "ball"} & _kinds(p)]
        ours = [p for p in card.pictures if "masks_and_reports" in _kinds(p)]
        baseline = [p for p in card.pictures if "masks_only" in {o.kind for o in p.picture.outlines}]
        if asked and ours and baseline:
            quotes = [
                card.report_text[quote.start : quote.end]
                for lesion in card.record.lesions[:1]
                for quote in lesion.evidence
            ]
            quote = re.sub(r"^[0-9]{1,2}[.)] ", "", " ".join(max(quotes, key=len, default="").split()))
            return _Hero(
                card=card,
                quote=quote if len(quote) <= HERO_QUOTE_CHARS else "",
                pictures=(asked[0], baseline[0], ours[0]),
            )
    return None


def _kinds(entry: CasePicture) -> set[LayerKind]:
    """Kinds of the outlines that can be seen."""
    return {outline.kind for outline in entry.picture.outlines if outline.lines}


def _used_layers(data: DemoPageData) -> set[LayerKind]:
    return {kind for card in data.cases for entry in card.pictures for kind in _kinds(entry)}


def _metric_text(name: str) -> MetricText:
    return METRIC_TEXTS.get(name) or MetricText(label=_words(name), meaning="")


def _short(name: str) -> str:
    return {"dsc": "DSC", "auc": "AUC"}.get(name, _words(name))


def _verdict_label(verdict: Verdict) -> str:
    return VERDICT_LABELS[verdict]


def _verdict_tone(verdict: Verdict) -> str:
    if verdict in AGREEING:
        return "good"
    return "partial" if verdict in {"size_disagreement", "part_disagreement", "not_comparable"} else "bad"


def _reported(row: AgreementRow) -> str:
    """The reported lesion of a row in a few words."""
    if row.report_lesion_id is None:
        return "–"
    size = " × ".join(f"{d:g}" for d in row.reported_diameters_mm)
    if not size and row.reported_max_mm is not None:
        size = f"≤ {row.reported_max_mm:g}"
    side = row.reported_side if row.reported_side in {"left", "right"} else ""
    place = ", ".join(_words(part) for part in row.reported_parts) or _words(row.organ)
    return f"{side} {place}, {size + ' mm' if size else 'no size'}".strip()


def _found(row: AgreementRow) -> str:
    """The found lesion of a row in a few words."""
    if row.finding_id is None:
        return "–"
    side = row.found_side if row.found_side in {"left", "right"} else ""
    place = _words(row.found_part or row.organ)
    size = f"{row.found_diameters_mm[0]:.0f} × {row.found_diameters_mm[1]:.0f} mm"
    sure = "" if row.confidence is None else f", p {row.confidence:.2f}"
    return f"{side} {place}, {size}{sure}".strip()


def _words(name: str) -> str:
    return name.replace("_", " ")


@lru_cache(maxsize=1)
def _css() -> str:
    return highlight_css() + _template("demo_page.css")


@lru_cache(maxsize=4)
def _template(name: str) -> str:
    return (resources.files("rsuper.views") / "templates" / name).read_text(encoding="utf-8")

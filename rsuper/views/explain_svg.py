"""Two small drawings of the explain page: a size to scale, and volumes on a line."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

WIDTH = 560.0
SPOKEN_SIZE = "the stated size between the smallest and the largest ball that it allows, to scale"


def size_drawing(diameters_mm: Sequence[float], low_mm: float | None, high_mm: float | None) -> Markup:
    """The stated ellipse between the smallest and the largest ball that the size allows, to scale.

    Args:
        diameters_mm: 0 to 3 stated diameters.
        low_mm: diameter of the ball of the least volume.
        high_mm: diameter of the ball of the largest volume; None if it has no bound.
    """
    longest = max([high_mm or 0.0, low_mm or 0.0, *diameters_mm, 8.0])
    half = 0.5 * longest + 0.14 * longest + 2
    shapes = []
    if high_mm is not None:
        shapes.append(_circle("ball-high", high_mm))
    if diameters_mm:
        wide = diameters_mm[0] / 2
        tall = (diameters_mm[1] if len(diameters_mm) > 1 else diameters_mm[0]) / 2
        shapes.append(Markup('<ellipse class="stated" rx="{:.2f}" ry="{:.2f}"/>').format(wide, tall))
    if low_mm is not None:
        shapes.append(_circle("ball-low", low_mm))
    shapes.append(_scale(half, 10.0 if longest > 9 else 5.0))
    return Markup(
        '<svg class="size" viewBox="{0:.2f} {0:.2f} {1:.2f} {1:.2f}" role="img" aria-label="{2}">{3}</svg>'
    ).format(-half, 2 * half, SPOKEN_SIZE, Markup("").join(shapes))


def _scale(half: float, bar_mm: float) -> Markup:
    """A bar in the lower right corner of a drawing that reaches from -half to half."""
    unit = half / 70
    left = half - bar_mm - 2 * unit
    return Markup(
        '<path class="scale" d="M{0:.2f} {1:.2f}h{2:.2f}"/>'
        '<text x="{3:.2f}" y="{4:.2f}" font-size="{5:.2f}" text-anchor="end">{2:g} mm</text>'
    ).format(left, half - 4 * unit, bar_mm, left + bar_mm, half - 9 * unit, 11 * unit)


def volume_line(
    low: float,
    high: float,
    *,
    ellipsoid: float | None = None,
    median: float | None = None,
    predicted: float | None = None,
) -> Markup:
    """The interval of a volume on a logarithmic line, and what lies on it.

    Args:
        low: least volume in mm³.
        high: largest volume in mm³, may be infinite.
        ellipsoid: volume of the ellipsoid of the stated diameters.
        median: calibrated median.
        predicted: what the network predicts.
    """
    values = [v for v in (low, high, ellipsoid, median, predicted) if v is not None and 0 < v < math.inf]
    first = 10 ** math.floor(math.log10(max(min(values, default=10.0), 1.0) / 1.6))
    last = 10 ** math.ceil(math.log10(max(max(values, default=100.0), first * 100) * 1.6))
    span = math.log10(last / first)

    def x(value: float) -> float:
        at = math.log10(min(max(value, first), last) / first) / span
        return 30 + at * (WIDTH - 60)

    right = x(high) if math.isfinite(high) else WIDTH - 4
    left = x(low) if low > 0 else 4.0
    parts = [
        Markup('<path class="axis" d="M4 42H{:.0f}"/>').format(WIDTH - 4),
        Markup('<rect class="interval{}" x="{:.1f}" y="33" width="{:.1f}" height="18" rx="4"/>').format(
            "" if math.isfinite(high) else " open", left, max(2.0, right - left)
        ),
    ]
    decades = range(round(math.log10(first)), round(math.log10(last)) + 1)
    parts += [_tick(x(10.0**decade), f"{10.0**decade:,.0f}") for decade in decades]
    for name, value in (("median", median), ("ellipsoid", ellipsoid)):
        if value is not None:
            parts.append(Markup('<path class="{}" d="M{:.1f} 30V54"/>').format(name, x(value)))
    if predicted is not None:
        at = x(max(predicted, first))
        parts.append(Markup('<path class="predicted" d="M{0:.1f} 27l-6 -11h12z"/>').format(at))
    return Markup('<svg class="volumes" viewBox="0 0 {:.0f} 74" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, _spoken(low, high, predicted), Markup("").join(parts)
    )


def _tick(at: float, label: str) -> Markup:
    return Markup('<path class="tick" d="M{0:.1f} 39V45"/><text x="{0:.1f}" y="70">{1}</text>').format(
        at, escape(label)
    )


def _circle(name: str, diameter_mm: float) -> Markup:
    return Markup('<circle class="{}" r="{:.2f}"/>').format(name, diameter_mm / 2)


def _spoken(low: float, high: float, predicted: float | None) -> str:
    end = f"{high:,.0f}" if math.isfinite(high) else "no bound"
    text = f"interval from {low:,.0f} to {end} cubic millimetres"
    return text if predicted is None else f"{text}; predicted {predicted:,.0f}"

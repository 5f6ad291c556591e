"""One axial CT slice with outlines: windowed as radiologists look at it, drawn as SVG or PNG."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from rsuper.errors import DataError

LayerKind = Literal["reference", "masks_only", "masks_and_reports", "region", "ball", "organ"]
LAYER_COLOURS: Mapping[LayerKind, str] = {
    "reference": "#f7e94a",
    "masks_only": "#ff9f1c",
    "masks_and_reports": "#4cc9ff",
    "region": "#e58bd0",
    "ball": "#ff5fc0",
    "organ": "#9fb3c8",
}
LAYER_LABELS: Mapping[LayerKind, str] = {
    "reference": "the true tumour",
    "masks_only": "outlined by the network that learned from masks only",
    "masks_and_reports": "outlined by the network that learned from masks and reports",
    "region": "region that the report names (organ part plus margin)",
    "ball": "ball of the reported size, placed by the network",
    "organ": "organ",
}
_FILLED: frozenset[LayerKind] = frozenset({"masks_only", "masks_and_reports", "ball"})
_DASHES: Mapping[LayerKind, tuple[float, float]] = {
    "reference": (4.0, 2.5),
    "region": (1.2, 2.2),
    "organ": (1, 0),
}
_NO_STAMP: Mapping[str, Any] = {"Software": None}  # the same data give the same bytes
ABDOMEN_WINDOW = (60.0, 320.0)  # level and width in HU


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A mask to outline.

    Args:
        kind: what it is; decides colour and line.
        mask: bool [I,J,K] on the grid of the CT.
    """

    kind: LayerKind
    mask: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Outline:
    """Closed lines of one layer in the slice.

    Args:
        kind: what it is.
        lines: each [n,2] with x and y in mm from the top left corner of the picture.
    """

    kind: LayerKind
    lines: tuple[NDArray[np.float64], ...]


@dataclass(frozen=True, kw_only=True)
class SlicePicture:
    """An axial slice as one looks at it: patient's right on the left, front at the top.

    Args:
        grey: uint8 [rows, columns], windowed.
        width_mm: width of the picture.
        height_mm: height of the picture.
        outlines: lines to draw, first at the bottom.
        slice_index: index along the axial axis, 0-based.
    """

    grey: NDArray[np.uint8]
    width_mm: float
    height_mm: float
    outlines: tuple[Outline, ...]
    slice_index: int


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A rectangle of an axial slice in voxels: ``[start, stop)`` along the first two axes."""

    first: tuple[int, int]
    second: tuple[int, int]


def best_slice(masks: Sequence[NDArray[np.bool_]]) -> int:
    """The axial slice with the largest area of the first mask that is not empty, else the middle one."""
    for mask in masks:
        area = mask.sum(axis=(0, 1))
        if area.any():
            return int(area.argmax())
    return int(masks[0].shape[2]) // 2


def frame_around(
    masks: Sequence[NDArray[np.bool_]],
    *,
    spacing_mm: Sequence[float],
    margin_mm: float = 15.0,
    min_size_mm: float = 0.0,
) -> Frame:
    """The smallest rectangle around all masks plus a margin, cut at the volume's border.

    Args:
        masks: bool [I,J,K]; empty ones do not count, all empty is the whole slice.
        spacing_mm: voxel size in mm, array order.
        margin_mm: what is left around them.
        min_size_mm: smallest width and height, so that one sees where one is.
    """
    shape = masks[0].shape
    union = np.logical_or.reduce(list(masks)).any(axis=2)
    if not union.any():
        return Frame(first=(0, shape[0]), second=(0, shape[1]))
    ends = []
    for axis in (0, 1):
        used = np.flatnonzero(union.any(axis=1 - axis))
        margin = int(np.ceil(margin_mm / spacing_mm[axis]))
        start, stop = int(used[0]) - margin, int(used[-1]) + 1 + margin
        missing = max(0, int(np.ceil(min_size_mm / spacing_mm[axis])) - (stop - start))
        start, stop = start - missing // 2, stop + missing - missing // 2
        ends.append((max(0, start), min(shape[axis], stop)))
    return Frame(first=ends[0], second=ends[1])


def slice_picture(
    ct_hu: NDArray[np.generic],
    layers: Sequence[Layer],
    *,
    spacing_mm: Sequence[float],
    slice_index: int,
    frame: Frame | None = None,
    window_hu: tuple[float, float] = ABDOMEN_WINDOW,
) -> SlicePicture:
    """Cut one axial slice out of a canonical volume, window it and trace the outlines of the layers.

    Args:
        ct_hu: [I,J,K] HU, axes to the patient's right, front and head (RAS).
        layers: masks on the same grid, the first is drawn first.
        spacing_mm: voxel size in mm, array order.
        slice_index: index along the third axis.
        frame: rectangle to show; None is the whole slice.
        window_hu: level and width.

    Raises:
        DataError: a layer has another shape, or there is no such slice.
    """
    if not 0 <= slice_index < ct_hu.shape[2]:
        raise DataError(
            f"slice {slice_index} of a volume with {ct_hu.shape[2]} axial slices", code="slice_outside"
        )
    for layer in layers:
        if layer.mask.shape != ct_hu.shape:
            raise DataError(
                f"layer {layer.kind} has shape [I,J,K] = {layer.mask.shape}, the CT {ct_hu.shape}",
                code="shape_mismatch",
            )
    view = frame or Frame(first=(0, ct_hu.shape[0]), second=(0, ct_hu.shape[1]))
    level, width = window_hu
    plane = np.asarray(_as_seen(ct_hu[:, :, slice_index], view), dtype=np.float64)
    grey = np.clip((plane - (level - width / 2)) / width, 0, 1)
    column_mm, row_mm = float(spacing_mm[0]), float(spacing_mm[1])
    outlines = tuple(
        Outline(
            kind=layer.kind,
            lines=_trace(_as_seen(layer.mask[:, :, slice_index], view), column_mm, row_mm),
        )
        for layer in layers
    )
    return SlicePicture(
        grey=np.rint(np.nan_to_num(grey) * 255).astype(np.uint8),
        width_mm=plane.shape[1] * column_mm,
        height_mm=plane.shape[0] * row_mm,
        outlines=outlines,
        slice_index=slice_index,
    )


def picture_svg(picture: SlicePicture, *, description: str) -> Markup:
    """The picture as inline SVG: grey values as PNG, outlines as crisp lines that a style sheet colours.

    Args:
        picture: the slice.
        description: what a reader who cannot see it should know.
    """
    paths = [
        Markup('<path class="outline outline-{}" d="{}"/>').format(
            outline.kind.replace("_", "-"), _path_data(outline.lines)
        )
        for outline in picture.outlines
        if outline.lines
    ]
    width, height = picture.width_mm, picture.height_mm
    bar = 20.0 if width > 60 else 10.0
    png = base64.b64encode(grey_png(picture.grey)).decode()
    return Markup(
        '<svg class="slice" viewBox="0 0 {w:.2f} {h:.2f}" role="img" aria-label="{description}">'
        '<image href="data:image/png;base64,{png}" width="{w:.2f}" height="{h:.2f}" '
        'preserveAspectRatio="none"/>'
        "{paths}"
        '<path class="scale-bar" d="M{x0:.2f} {y:.2f}H{x1:.2f}"/>'
        '<text class="scale-text" x="{x1:.2f}" y="{ty:.2f}" font-size="{font:.2f}" text-anchor="end">'
        "{bar:g} mm</text>"
        '<text class="scale-text" x="{font:.2f}" y="{middle:.2f}" font-size="{font:.2f}">R</text>'
        "</svg>"
    ).format(
        w=width,
        h=height,
        description=description,
        png=png,
        paths=Markup("").join(paths),
        x0=width - bar - 0.03 * width,
        x1=width - 0.03 * width,
        y=height - 0.035 * width,
        ty=height - 0.06 * width,
        font=0.05 * width,
        middle=height / 2,
        bar=bar,
    )


def picture_png(picture: SlicePicture, *, width_px: int = 600) -> bytes:
    """The picture as a PNG file, for documents and notebooks."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    inches = width_px / 100
    figure = Figure(figsize=(inches, inches * picture.height_mm / picture.width_mm), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    extent = (0, picture.width_mm, picture.height_mm, 0)
    axes.imshow(picture.grey, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="bilinear")
    axes.set_axis_off()
    for outline in picture.outlines:
        colour = LAYER_COLOURS[outline.kind]
        dash = _DASHES.get(outline.kind, (1.0, 0.0))
        for line in outline.lines:
            axes.plot(line[:, 0], line[:, 1], color=colour, linewidth=1.8, linestyle=(0, dash))
            if outline.kind in _FILLED:
                axes.fill(line[:, 0], line[:, 1], color=colour, alpha=0.18, linewidth=0)
    axes.set_xlim(0, picture.width_mm)
    axes.set_ylim(picture.height_mm, 0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata=dict(_NO_STAMP))
    return buffer.getvalue()


def grey_png(grey: NDArray[np.uint8]) -> bytes:
    """A grey picture as a PNG file."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, grey, cmap="gray", vmin=0, vmax=255, format="png", metadata=dict(_NO_STAMP))
    return buffer.getvalue()


def _as_seen(plane: NDArray[np.generic], frame: Frame) -> NDArray[np.generic]:
    """[I,J] of a RAS volume as rows from front to back and columns from the patient's right to left."""
    cut = plane[frame.first[0] : frame.first[1], frame.second[0] : frame.second[1]]
    return cut[::-1, ::-1].T


def _trace(plane: NDArray[np.generic], column_mm: float, row_mm: float) -> tuple[NDArray[np.float64], ...]:
    """Closed lines around a mask [rows, columns], in mm from the top left corner of the picture."""
    if not plane.any():
        return ()
    from contourpy import contour_generator

    padded = np.pad(plane.astype(np.float64), 1)
    lines = contour_generator(z=padded).lines(0.5)
    scale = np.array([column_mm, row_mm])
    # voxel centre (row 0, column 0) sits at index 1 of the padded plane and half a voxel inside the picture
    return tuple((np.asarray(line, dtype=np.float64) - 0.5) * scale for line in lines)


def _path_data(lines: Sequence[NDArray[np.float64]]) -> str:
    """SVG path of closed lines."""
    return "".join(
        "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in line[:-1]) + "Z" for line in lines if len(line) > 2
    )

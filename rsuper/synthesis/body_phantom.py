"""What surrounds the organs of the phantom: skin, fat, muscle, bone, lung, stomach, colon and bowel loops."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from rsuper.synthesis.canvas import WARP_MM, Bool, Canvas, Float, Shape, curve, smooth_waves


class Tissue(IntEnum):
    """Label of a voxel: the structure it belongs to."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    BONE = 3
    LUNG = 4
    STOMACH = 5
    COLON = 6
    BOWEL = 7
    VEIN = 8
    AORTA = 9
    LIVER = 10
    SPLEEN = 11
    KIDNEY_RIGHT = 12
    KIDNEY_LEFT = 13
    PANCREAS = 14
    GALLBLADDER = 15
    DUODENUM = 16
    NODE = 17


def draw_body(canvas: Canvas, rng: np.random.Generator) -> float:
    """Skin, subcutaneous fat, abdominal wall, lung bases, spine and ribs; returns the body's scale."""
    scale = float(rng.uniform(0.92, 1.05))
    outer = np.array([134.0, 103.0]) * scale
    fat_mm = rng.uniform(8, 20)
    wall_mm = rng.uniform(9, 14)
    height = canvas.axes[2][-1] * 40  # a column: no curvature along z
    whole = canvas.ellipsoid((0, 0, 0), (outer[0], outer[1], height), power=2.6)
    canvas.paint(whole, -105.0 + 4 * rng.standard_normal(), label=Tissue.FAT)
    muscle = canvas.ellipsoid((0, -3, 0), (outer[0] - fat_mm, outer[1] - fat_mm, height), power=2.5)
    canvas.paint(muscle, 58.0, label=Tissue.MUSCLE, over=[Tissue.FAT])
    inner = (outer[0] - fat_mm - wall_mm, outer[1] - fat_mm - wall_mm)
    cavity = canvas.ellipsoid((0, 2, 0), (inner[0], inner[1] - 4, height), power=2.5)
    canvas.paint(cavity, -102.0, label=Tissue.FAT, over=[Tissue.MUSCLE])
    _draw_ribs(canvas, rng, (outer[0] - fat_mm - 5, outer[1] - fat_mm - 5))
    _draw_lungs(canvas, rng, cavity)
    _draw_spine(canvas, rng)
    return scale


def _draw_ribs(canvas: Canvas, rng: np.random.Generator, radii: tuple[float, float]) -> None:
    top = float(canvas.axes[2][-1])
    for side in (-1, 1):
        shift = rng.uniform(0, 10)
        for rib in range(5):
            angle = np.linspace(-0.40 * np.pi, 0.22 * np.pi, 60)
            z = top + 8 - shift - 27 * rib - 34 * (angle - angle[0]) / np.pi
            line = np.stack([side * radii[0] * np.cos(angle), radii[1] * np.sin(angle) - 3, z], axis=1)
            line = line[(z > -top) & (z < top + 5) & (z > top - 110)]
            if len(line) >= 2:
                rib_shape = canvas.tube(line, np.full(len(line), 4.2))
                canvas.paint(rib_shape, 420.0, label=Tissue.BONE, over=[Tissue.MUSCLE])


def _draw_lungs(canvas: Canvas, rng: np.random.Generator, cavity: Shape) -> None:
    top = float(canvas.axes[2][-1])
    x, y, z = (w[cavity.box] for w in canvas.warped)
    dome = top - rng.uniform(2, 16) - (x / 95) ** 2 * 26 - ((y - 5) / 75) ** 2 * 30
    behind = top - 12 - 55 * (y < -38)
    lung = (
        cavity.mask
        & (z > np.minimum(dome + 6, np.maximum(behind, dome - 40)))
        & (z > dome)
        & (np.abs(x) > 14)
    )
    canvas.paint(Shape(cavity.box, lung), -840.0, label=Tissue.LUNG, over=[Tissue.FAT])


def _draw_spine(canvas: Canvas, rng: np.random.Generator) -> None:
    y = -58 + rng.uniform(-3, 3)
    top = float(canvas.axes[2][-1])
    for side in (-1, 1):
        canvas.paint(
            canvas.ellipsoid((side * 30, y - 28, 0), (24, 15, 900)), 57.0, label=Tissue.MUSCLE, over=[2, 1]
        )
        psoas = curve([(side * 22, y + 4, 12), (side * 30, y + 6, -40), (side * 38, y + 12, -top - 10)])
        radii = np.linspace(7, 17, len(psoas)) * rng.uniform(0.85, 1.1)
        canvas.paint(canvas.tube(psoas, radii), 60.0, label=Tissue.MUSCLE, over=[1, 2])
    body = canvas.ellipsoid((0, y, 0), (21, 16.5, 9000), power=2.6)
    canvas.paint(body, 330.0, label=Tissue.BONE)
    marrow = canvas.ellipsoid((0, y, 0), (17.5, 13, 9000), power=2.6)
    canvas.paint(marrow, rng.uniform(140, 210), label=Tissue.BONE)
    phase = rng.uniform(0, 34)
    disc = (np.mod(canvas.warped[2][body.box] + phase, 34.0) < 7) & body.mask
    canvas.paint(Shape(body.box, disc), 85.0, label=Tissue.BONE)
    canvas.paint(canvas.ellipsoid((0, y - 24, 0), (10, 8.5, 9000)), 25.0, label=Tissue.BONE)
    arch = np.abs(np.mod(canvas.warped[2] + phase + 12, 34.0) - 17) < 9
    for middle, size in (
        ((0, y - 42, 0), (4, 13, 9000)),
        ((-13, y - 27, 0), (5, 8, 9000)),
        ((13, y - 27, 0), (5, 8, 9000)),
    ):
        part = canvas.ellipsoid(middle, size)
        canvas.paint(Shape(part.box, part.mask & arch[part.box]), 380.0, label=Tissue.BONE)


def _hollow(
    canvas: Canvas,
    line: np.ndarray,
    radii: np.ndarray,
    *,
    wall_mm: float,
    wall_hu: float,
    label: int,
    contents: Float | float,
) -> Bool:
    over = [Tissue.FAT, Tissue.BOWEL, Tissue.COLON, Tissue.STOMACH]
    canvas.paint(canvas.tube(line, radii), wall_hu, label=label, over=over)
    return canvas.paint(
        canvas.tube(line, np.maximum(radii - wall_mm, 1.5)), contents, label=label, over=[label]
    )


def draw_bowel(canvas: Canvas, rng: np.random.Generator, texture: Float, *, oral_hu: float | None) -> None:
    """Stomach, colon with stool and gas, small-bowel loops; ``oral_hu`` fills stomach and loops with contrast."""
    _draw_small_bowel(canvas, rng, texture, oral_hu)
    _draw_colon(canvas, rng, texture)
    _draw_stomach(canvas, rng, texture, oral_hu)


def _draw_small_bowel(
    canvas: Canvas, rng: np.random.Generator, texture: Float, oral_hu: float | None
) -> None:
    bottom = float(canvas.axes[2][0])
    contrast = rng.random() < 0.3
    for _ in range(int(rng.integers(7, 11))):
        start = np.array([rng.uniform(-65, 65), rng.uniform(5, 55), rng.uniform(bottom + 8, -34)])
        steps = rng.normal(0, 1, (4, 3)) * (22, 13, 11)
        knots = start + np.vstack([np.zeros(3), np.cumsum(steps, axis=0)])
        knots[:, 2] = np.clip(knots[:, 2], bottom - 5, -30)
        knots[:, 0], knots[:, 1] = np.clip(knots[:, 0], -82, 82), np.clip(knots[:, 1], -8, 66)
        line = curve(knots, step_mm=3.5)
        radii = rng.uniform(7.5, 11) * (1 + 0.12 * np.sin(np.arange(len(line)) * 0.9))
        inside = rng.uniform(180, 260) if contrast and rng.random() < 0.6 else rng.uniform(12, 45)
        _hollow(
            canvas,
            line,
            radii,
            wall_mm=2.6,
            wall_hu=rng.uniform(85, 110),
            label=Tissue.BOWEL,
            contents=(inside if oral_hu is None else oral_hu) + 9 * texture,
        )


def _draw_colon(canvas: Canvas, rng: np.random.Generator, texture: Float) -> None:
    bottom = float(canvas.axes[2][0])
    sag = rng.uniform(-40, -8)
    jitter = lambda: rng.uniform(-6, 6)  # noqa: E731
    knots = [
        (84 + jitter(), 0 + jitter(), bottom - 10),
        (86, -2 + jitter(), -45),
        (78 + jitter(), 24, -26),
        (40, 58 + jitter(), -40 + sag / 2),
        (0, 66 + jitter(), -38 + sag),
        (-45, 60 + jitter(), -14 + sag / 3),
        (-84, 14 + jitter(), 14),
        (-92, -14 + jitter(), -15),
        (-92 + jitter(), -16, -60),
        (-86, -12, bottom - 10),
    ]
    line = curve(knots, step_mm=3.5)
    radii = rng.uniform(13, 18) * (1 + 0.13 * np.sin(np.arange(len(line)) * 0.75 + rng.uniform(0, 6)))
    lumen = 25 + 55 * smooth_waves(canvas.axes, rng, wavelength_mm=34.0) + 32 * texture
    stool = np.where(lumen < -48, np.float32(-870), lumen).astype(np.float32)
    _hollow(canvas, line, radii, wall_mm=2.8, wall_hu=75.0, label=Tissue.COLON, contents=stool)


def _draw_stomach(canvas: Canvas, rng: np.random.Generator, texture: Float, oral_hu: float | None) -> None:
    fill = rng.uniform(0.75, 1.15)
    low = rng.uniform(-8, 14)
    line = curve(
        [
            (-44, 18, 74),
            (-56, 26, 50),
            (-46, 42, 24 + low / 2),
            (-14, 52, 4 + low),
            (22, 46, 6 + low),
            (38, 34, 6),
        ],
        step_mm=3.0,
    )
    t = np.linspace(0, 1, len(line))
    radii = np.interp(t, [0, 0.25, 0.5, 0.75, 1], [22, 28, 22, 15, 9]) * fill
    kind = rng.random()
    inside = rng.uniform(5, 25) if kind < 0.5 else rng.uniform(30, 60)
    grain = 6 if kind < 0.5 else 22
    contents = (inside if oral_hu is None else oral_hu) + grain * texture
    gas_level = rng.uniform(48, 66)
    contents = np.where(canvas.warped[1] > gas_level, np.float32(-930), contents).astype(np.float32)
    _hollow(canvas, line, radii, wall_mm=3.6, wall_hu=88.0, label=Tissue.STOMACH, contents=contents)


__all__ = ["WARP_MM", "Tissue", "draw_body", "draw_bowel"]

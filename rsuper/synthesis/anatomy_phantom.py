"""The phantom's organs: liver, spleen, kidneys, pancreas with its parts, duodenum and the great vessels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from rsuper.synthesis.body_phantom import Tissue, draw_body, draw_bowel
from rsuper.synthesis.canvas import Bool, Canvas, Float, Shape, curve, smooth_waves
from rsuper.synthesis.phantom_config import PhantomConfig
from rsuper.synthesis.texture import correlated_noise

PANCREAS_PARTS = ("head", "body", "tail")
PART_BOUNDS = (0.36, 0.68)  # shares of the pancreas length, head to tail
STRUCTURES = {
    "liver": Tissue.LIVER,
    "spleen": Tissue.SPLEEN,
    "pancreas": Tissue.PANCREAS,
    "kidney_left": Tissue.KIDNEY_LEFT,
    "kidney_right": Tissue.KIDNEY_RIGHT,
    "aorta": Tissue.AORTA,
    "stomach": Tissue.STOMACH,
    "colon": Tissue.COLON,
}


@dataclass
class Anatomy:
    """One patient before tumours.

    Args:
        canvas: HU without noise, labels, coordinates.
        texture: unit-variance parenchymal texture [i,j,k].
        pancreas_line: centre line head to tail [N,3] mm.
        pancreas_radii: its radii [N] mm.
        parenchyma_hu: organ -> mean HU of its healthy tissue.
        notes: facts that a report may mention, such as ``aorta_mm``.
    """

    canvas: Canvas
    texture: Float
    pancreas_line: NDArray[np.float64]
    pancreas_radii: NDArray[np.float64]
    parenchyma_hu: dict[str, float]
    notes: dict[str, float] = field(default_factory=dict)

    def structure(self, name: str) -> Bool:
        """Boolean mask [i,j,k] of an organ."""
        return np.asarray(self.canvas.label == STRUCTURES[name])

    def pancreas_share(self, voxels: NDArray[np.intp]) -> NDArray[np.float64]:
        """Position of voxels [N,3] along the pancreas, 0 the head's and 1 the tail's end."""
        points = np.stack([self.canvas.warped[d][tuple(voxels.T)] for d in range(3)], axis=1)
        _, nearest = cKDTree(self.pancreas_line).query(points)
        return np.asarray(nearest / (len(self.pancreas_line) - 1), np.float64)


def draw_anatomy(
    config: PhantomConfig, rng: np.random.Generator, *, enhancement: float, oral_hu: float | None = None
) -> Anatomy:
    """Draw one healthy patient.

    Args:
        config: grid and cohort settings.
        rng: draws pose, size and tissue values.
        enhancement: factor on contrast uptake.
        oral_hu: HU of positive oral contrast in stomach, duodenum and small bowel; None is mixed contents.

    Returns:
        The anatomy; ``canvas.hu`` has no blur and no noise yet.
    """
    canvas = Canvas(config.shape, config.spacing_mm, rng)
    texture = correlated_noise(config.shape, rng, sigma_mm=3.6, spacing_mm=config.spacing_mm)
    uptake = enhancement * rng.uniform(0.92, 1.1)
    hu = {
        "liver": 58 + (50 * uptake) + rng.normal(0, 7),
        "spleen": 45 + 75 * uptake + rng.normal(0, 5),
        "pancreas": 40 + 62 * uptake + rng.normal(0, 6),
        "kidney": 30 + 140 * uptake + rng.normal(0, 8),
        "aorta": 40 + 115 * uptake + rng.normal(0, 8),
        "vein": 40 + 118 * uptake + rng.normal(0, 8),
    }
    draw_body(canvas, rng)
    canvas.hu[canvas.label == Tissue.FAT] += 4 * texture[canvas.label == Tissue.FAT]
    draw_bowel(canvas, rng, texture, oral_hu=oral_hu)
    notes: dict[str, float] = {}
    _draw_great_vessels(canvas, rng, hu, notes)
    _draw_liver(canvas, rng, hu, texture)
    _draw_spleen(canvas, rng, hu, texture)
    for side in ("right", "left"):
        _draw_kidney(canvas, rng, hu, texture, side)
    line, radii = _draw_pancreas(canvas, rng, hu, texture, notes, oral_hu)
    return Anatomy(canvas, texture, line, radii, hu, notes)


def _draw_great_vessels(
    canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], notes: dict[str, float]
) -> None:
    end = float(canvas.axes[2][-1]) + 12
    x = rng.uniform(-4, 3)
    aorta = curve(
        [(-12 + x, -32, end), (-9 + x, -30, 20), (-6 + x, -29, -40), (-4 + x, -28, -end)], step_mm=4
    )
    radius = rng.uniform(8.0, 11.0)
    notes["aorta_mm"] = 2 * radius
    canvas.paint(
        canvas.tube(aorta, np.linspace(radius + 1, radius - 1.5, len(aorta))), hu["aorta"], label=Tissue.AORTA
    )
    cava = curve([(26, -18, end), (20 + x, -28, 25), (16 + x, -30, -30), (14 + x, -30, -end)], step_mm=4)
    canvas.paint(
        canvas.tube(cava, np.full(len(cava), rng.uniform(8.5, 11))), hu["vein"] - 12, label=Tissue.VEIN
    )
    if rng.random() < 0.4:  # calcified plaque
        at = aorta[rng.integers(len(aorta))]
        angle = rng.uniform(0, 2 * np.pi)
        spot = (at[0] + radius * np.cos(angle), at[1] + radius * np.sin(angle), at[2])
        canvas.paint(canvas.ellipsoid(spot, (3, 3, 4)), 600.0, over=[Tissue.AORTA])


def _draw_liver(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], texture: Float) -> None:
    shift = rng.normal(0, 5, 3)
    size = rng.uniform(0.9, 1.08)
    free = [Tissue.FAT, Tissue.LUNG, Tissue.STOMACH, Tissue.COLON, Tissue.BOWEL]
    tissue = hu["liver"] + 5 * texture
    right = np.array([66, -2, 34]) + shift
    left = np.array([8, 40, 52]) + shift
    lobes = (
        canvas.ellipsoid(right, np.array([50, 66, 60]) * size, power=2.4, turn=(0, 0, rng.normal(0.1, 0.06))),
        canvas.ellipsoid(left, np.array([54, 30, 33]) * size, turn=(0, rng.normal(-0.15, 0.1), 0)),
    )
    for lobe in lobes:
        canvas.paint(lobe, tissue, label=Tissue.LIVER, over=free)
    hilum = np.array([32, 10, 26]) + shift
    branches = [
        [hilum, hilum + np.array([18, -4, 6]), hilum + np.array([42, -18, 4])],
        [hilum, hilum + np.array([20, 12, 16]), hilum + np.array([38, 24, 30])],
        [hilum, hilum + np.array([-12, 18, 14]), hilum + np.array([-34, 30, 26])],
        [(24, -12, 84), (40, -4, 62), (62, 6, 40)],
        [(24, -12, 84), (22, 14, 66), (14, 34, 52)],
    ]
    for branch in branches:
        line = curve(np.asarray(branch, float) + rng.normal(0, 3, (3, 3)))
        canvas.paint(canvas.tube(line, np.linspace(4.6, 2.0, len(line))), hu["vein"], over=[Tissue.LIVER])
    gallbladder = np.array([50, 38, -4]) + shift + rng.normal(0, 3, 3)
    if rng.random() < 0.8:
        shape = canvas.ellipsoid(gallbladder, (13, 15, 22), turn=(rng.normal(0.4, 0.2), 0, 0))
        canvas.paint(shape, 9.0, label=Tissue.GALLBLADDER, over=[Tissue.LIVER, *free])


def _draw_spleen(canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], texture: Float) -> None:
    centre = np.array([-86, -28, 40]) + rng.normal(0, 4, 3)
    radii = np.array([21, 36, 40]) * rng.uniform(0.82, 1.12)
    shape = canvas.ellipsoid(centre, radii, turn=(0, 0, rng.normal(-0.35, 0.1)))
    free = [Tissue.FAT, Tissue.LUNG, Tissue.STOMACH, Tissue.COLON, Tissue.BOWEL]
    canvas.paint(shape, hu["spleen"] + 4 * texture, label=Tissue.SPLEEN, over=free)


def _draw_kidney(
    canvas: Canvas, rng: np.random.Generator, hu: dict[str, float], texture: Float, side: str
) -> None:
    sign = 1 if side == "right" else -1
    label = Tissue.KIDNEY_RIGHT if side == "right" else Tissue.KIDNEY_LEFT
    centre = np.array([sign * 62, -42, -28 if side == "right" else -18]) + rng.normal(0, 4, 3)
    radii = np.array([27, 25, 50]) * rng.uniform(0.85, 1.1)
    turn = (rng.normal(0.12, 0.05), -sign * rng.normal(0.18, 0.05), sign * rng.normal(0.5, 0.12))
    free = [Tissue.FAT, Tissue.LIVER, Tissue.SPLEEN, Tissue.COLON, Tissue.BOWEL, Tissue.MUSCLE]
    halo = canvas.ellipsoid(centre, radii + 7, turn=turn)
    canvas.paint(
        halo,
        -102.0,
        label=Tissue.FAT,
        over=[Tissue.LIVER, Tissue.SPLEEN, Tissue.COLON, Tissue.BOWEL, Tissue.MUSCLE],
    )
    whole = canvas.ellipsoid(centre, radii, turn=turn)
    canvas.paint(whole, hu["kidney"] + 5 * texture, label=label, over=free)
    medulla = canvas.ellipsoid(centre - (sign * 2, 0, 0), radii - 9, turn=turn)
    pyramids = smooth_waves(canvas.axes, rng, wavelength_mm=26.0)[medulla.box] > -0.2
    canvas.paint(Shape(medulla.box, medulla.mask & pyramids), hu["kidney"] - 22 + 5 * texture, over=[label])
    sinus_centre = centre - np.array([sign * 11, -5, 0])
    sinus = canvas.ellipsoid(sinus_centre, (13, 10, radii[2] * 0.55), turn=turn)
    canvas.paint(sinus, -70 + 20 * texture, over=[label])
    pelvis = canvas.ellipsoid(sinus_centre - (sign * 4, 0, 0), (8, 6, 11), turn=turn)
    canvas.paint(pelvis, 12.0, over=[label, Tissue.FAT], label=label)
    for name, offset, value in (("vein", 3, hu["vein"] - 8), ("artery", -5, hu["aorta"])):
        vessel = curve([(sign * 14 * (name == "vein"), -26 + offset, centre[2] + 10), tuple(sinus_centre)])
        canvas.paint(
            canvas.tube(vessel, np.full(len(vessel), 4.0 if name == "vein" else 2.8)),
            value,
            label=Tissue.VEIN,
            over=[Tissue.FAT],
        )


def _pancreas_line(rng: np.random.Generator) -> NDArray[np.float64]:
    """Head to tail: oblique, sigmoid, horseshoe or transverse, jittered."""
    knots = np.array(
        [
            (36, 4, -34),
            (32, 8, -22),
            (26, 14, -10),
            (10, 22, 0),
            (-12, 20, 7),
            (-34, 10, 13),
            (-56, -2, 20),
            (-72, -10, 27),
        ],
        float,
    )
    bend = rng.choice(4)
    if bend == 1:  # sigmoid
        knots[:, 2] += np.array([0, 0, 2, 8, 8, 0, -6, -6])
    elif bend == 2:  # horseshoe
        knots[:, 2] += np.array([0, 2, 6, 14, 14, 4, -12, -22])
    elif bend == 3:  # transverse
        knots[:, 2] += np.array([6, 4, 2, 0, -4, -8, -12, -16])
    knots += rng.normal(0, (6, 4, 7)) + rng.normal(0, 2.2, knots.shape)
    knots[:, 0] = (knots[:, 0] + 18) * rng.uniform(0.88, 1.06) - 18
    return curve(knots, step_mm=2.0)


def _draw_pancreas(
    canvas: Canvas,
    rng: np.random.Generator,
    hu: dict[str, float],
    texture: Float,
    notes: dict[str, float],
    oral_hu: float | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    line = _pancreas_line(rng)
    t = np.linspace(0, 1, len(line))
    thickness = rng.uniform(0.82, 1.2)
    radii = (
        np.interp(t, [0, 0.1, 0.28, 0.42, 0.6, 0.85, 1.0], [8.5, 13, 13.5, 9.0, 9.5, 10.5, 7.0]) * thickness
    )
    radii *= (
        1 + 0.09 * np.sin(t * rng.uniform(16, 26) + rng.uniform(0, 6)) + 0.05 * rng.standard_normal(len(t))
    )
    _draw_duodenum(canvas, rng, line, radii, texture, oral_hu)
    free = [Tissue.FAT, Tissue.STOMACH, Tissue.COLON, Tissue.BOWEL, Tissue.VEIN]
    gland = canvas.tube(line, radii)
    canvas.paint(
        canvas.tube(line, radii + 5),
        -100.0,
        label=Tissue.FAT,
        over=[Tissue.LIVER, Tissue.GALLBLADDER, Tissue.SPLEEN],
    )
    tissue = hu["pancreas"] + 6 * texture
    canvas.paint(gland, tissue, label=Tissue.PANCREAS, over=free)
    lobules = smooth_waves(canvas.axes, rng, wavelength_mm=11.0)[gland.box]
    fatty = rng.beta(1.3, 3.0)  # how fat-infiltrated this gland is
    cleft = gland.mask & (lobules + 0.5 * texture[gland.box] > 2.6 - 1.1 * fatty)
    canvas.paint(Shape(gland.box, cleft), 5.0 - 35 * fatty, over=[Tissue.PANCREAS])
    _draw_pancreatic_vessels(canvas, rng, hu, line, radii)
    duct_mm = float(rng.uniform(1.8, 3.4))
    notes["duct_mm"] = duct_mm
    duct = line[6:-4] + rng.normal(0, 0.8, 3)
    canvas.paint(canvas.tube(duct, np.full(len(duct), max(duct_mm / 2, 1.0))), 45.0, over=[Tissue.PANCREAS])
    bile_duct = curve([line[12] + (4, -6, 34), line[10] + (4, -5, 8), line[5] + (2, -3, 2)])
    notes["bile_duct_mm"] = float(rng.uniform(4.0, 7.0))
    canvas.paint(
        canvas.tube(bile_duct, np.full(len(bile_duct), notes["bile_duct_mm"] / 2)),
        12.0,
        over=[Tissue.PANCREAS, Tissue.FAT],
    )
    return line, radii


def _draw_duodenum(
    canvas: Canvas,
    rng: np.random.Generator,
    line: NDArray[np.float64],
    radii: NDArray[np.float64],
    texture: Float,
    oral_hu: float | None,
) -> None:
    beside = line[12] + np.array([radii[12] + 8, 0, 8])
    knots = [
        line[14] + (10, 14, 14),
        beside,
        line[4] + (radii[4] + 9, -2, 0),
        line[0] + (10, -4, -13),
        line[0] + (-14, -12, -17),
        line[0] + (-44, -8, -12),
    ]
    loop = curve(np.asarray(knots, float) + rng.normal(0, 2, (6, 3)))
    size = rng.uniform(7.5, 10.5)
    over = [Tissue.FAT, Tissue.BOWEL, Tissue.COLON, Tissue.STOMACH, Tissue.LIVER]
    canvas.paint(canvas.tube(loop, np.full(len(loop), size)), 90.0, label=Tissue.DUODENUM, over=over)
    kind = rng.random()
    inside = rng.uniform(10, 40) if kind < 0.75 else rng.uniform(120, 240)
    lumen = canvas.tube(loop, np.full(len(loop), size - 2.8))
    canvas.paint(lumen, (inside if oral_hu is None else oral_hu) + 14 * texture, over=[Tissue.DUODENUM])
    if rng.random() < 0.35:  # gas
        where = loop[rng.integers(2, len(loop) - 2)] + (0, 3, 0)
        canvas.paint(canvas.ellipsoid(where, (5, 3, 6)), -850.0, over=[Tissue.DUODENUM])


def _draw_pancreatic_vessels(
    canvas: Canvas,
    rng: np.random.Generator,
    hu: dict[str, float],
    line: NDArray[np.float64],
    radii: NDArray[np.float64],
) -> None:
    neck = int(0.38 * len(line))
    crossing = line[neck] + np.array([4, -radii[neck] - 3, 0])
    free = [Tissue.FAT, Tissue.PANCREAS, Tissue.DUODENUM, Tissue.BOWEL, Tissue.STOMACH, Tissue.COLON]
    trunk = curve(
        [
            crossing + np.array([2, 4, -62]),
            crossing + np.array([0, 1, -26]),
            crossing,
            crossing + np.array([16, -2, 22]),
            crossing + np.array([24, -4, 34]),
        ]
    )
    canvas.paint(
        canvas.tube(trunk, np.full(len(trunk), rng.uniform(5.2, 6.8))),
        hu["vein"],
        label=Tissue.VEIN,
        over=free,
    )
    artery = curve(
        [(-8, -22, crossing[2] + 14), crossing + np.array([-16, -3, -6]), crossing + np.array([-14, 4, -60])]
    )
    canvas.paint(canvas.tube(artery, np.full(len(artery), 3.6)), hu["aorta"], label=Tissue.VEIN, over=free)
    follow = np.arange(neck, len(line) - 2)
    behind = line[follow] - np.stack(
        [np.zeros(len(follow)), radii[follow] * rng.uniform(0.8, 1.0), np.zeros(len(follow))], axis=1
    )
    splenic = np.vstack([behind, behind[-1] + np.array([[-8, -4, 4], [-14, -8, 8]])])
    canvas.paint(
        canvas.tube(curve(splenic), np.full(len(curve(splenic)), rng.uniform(3.4, 4.6))),
        hu["vein"],
        label=Tissue.VEIN,
        over=free,
    )
    wave = line[follow] + np.stack(
        [
            np.zeros(len(follow)),
            -0.5 * radii[follow],
            radii[follow] * (0.9 + 0.5 * np.sin(np.arange(len(follow)) * rng.uniform(0.25, 0.5))),
        ],
        axis=1,
    )
    canvas.paint(canvas.tube(wave, np.full(len(wave), 2.4)), hu["aorta"], label=Tissue.VEIN, over=free)
    gda = curve([line[neck] + (10, 10, 16), line[neck] + (12, 9, 2), line[4] + (2, radii[4], 4)])
    canvas.paint(
        canvas.tube(gda, np.full(len(gda), 2.0)), hu["aorta"] - 15, over=[Tissue.FAT, Tissue.PANCREAS]
    )

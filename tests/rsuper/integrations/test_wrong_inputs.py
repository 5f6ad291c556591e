"""What a stranger passes by mistake to target maps: refused with what to pass instead, never taken for silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from llm_extract.anatomy import load_anatomy
from rsuper.errors import DataError, UsageError
from rsuper.integrations import encode_targets, softmax_classes, supervision_batch, target_crop, target_map
from rsuper.losses import ReportSupervisionLoss

LIVER = np.zeros((14, 15, 16), dtype=bool)
LIVER[4:10, 4:11, 4:12] = True
CHANNELS = ("liver", "liver_lesion")
MM = (4.0, 4.0, 5.0)


def made(report="2.1 cm liver mass.", **changes):
    options = {"masks": {"liver": LIVER}, "spacing_mm": MM, "channels": CHANNELS} | changes
    return target_map(report, **options)


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"text": "2.1 cm liver mass."}, "got dict"),
        (Path("report.txt"), "got PosixPath|got WindowsPath"),
        (b"2.1 cm liver mass.", "got bytes"),
        (None, "got NoneType"),
        (["2.1 cm liver mass.", None], "a report is its text or a ReportRecord, got NoneType"),
    ],
)
def test_what_is_no_report_is_not_taken_for_a_silent_one(report, said):
    with pytest.raises(TypeError, match=said):
        made(report)
    assert made([]).key.states == {"liver_lesion": "unknown"}


def test_unknown_heads_repeated_channels_and_foreign_grids_are_refused():
    with pytest.raises(UsageError, match="sigmoid or softmax, got 'sofmax'") as caught:
        made(heads="sofmax")
    assert caught.value.code == "unknown_heads"
    with pytest.raises(UsageError, match="two channels are liver_lesion") as caught:
        made(channels=("liver_lesion", "liver", "liver_lesion"))
    assert caught.value.code == "channel_twice"
    with pytest.raises(DataError, match=r"liver_lesion has shape \(13, 15, 16\)") as caught:
        made(masks={"liver": LIVER, "liver_lesion": LIVER[1:]})
    assert caught.value.code == "mask_grid_mismatch"


def test_maps_keys_spacing_and_image_of_a_batch_belong_together():
    case = made()
    with pytest.raises(ValueError, match="got 1 maps and 2 keys"):
        supervision_batch([case.codes], [case.key] * 2)
    with pytest.raises(ValueError, match=r"\[1,D,H,W\] of one size, got \(14, 15, 16\)"):
        supervision_batch([case.codes[0]], [case.key])
    with pytest.raises(ValueError, match=r"of one size, got .*\(1, 13, 15, 16\)"):
        supervision_batch([case.codes, case.codes[:, 1:]], [case.key] * 2)
    with pytest.raises(ValueError, match=r"image_hu is \[B,1,D,H,W\] = \(1, 1, 14, 15, 16\)"):
        supervision_batch([case.codes], [case.key], image_hu=torch.zeros(1, 1, 14, 15, 15))
    for wrong in ((0.0, 1.0, 1.0), [(1.0, 1.0)], 3.0):
        with pytest.raises(ValueError, match="spacing_mm"):
            supervision_batch([case.codes], [case.key], spacing_mm=wrong)
    rows = [supervision_batch([case.codes], [case.key], spacing_mm=same).spacing_mm for same in (MM, [MM])]
    assert torch.equal(rows[0], rows[1])
    assert rows[0].tolist() == [list(MM)]


@pytest.mark.parametrize("size", [(8, 8), (8, 8, 0), (8, 8, 8, 8)])
def test_a_crop_has_three_sides(size):
    with pytest.raises(ValueError, match="three numbers of voxels"):
        target_crop(made(), size, np.random.default_rng(0))


def test_organs_of_ones_own_have_channels_regions_and_lesions(tmp_path):
    table = tmp_path / "mine.yaml"
    table.write_text(
        "organs: {parotid_gland: {paired: true, synonyms: [parotid gland, parotid], max_diameter_mm: 120,"
        " side_structures: {left: [parotid_left], right: [parotid_right]}}}"
    )
    anatomy = load_anatomy(table)
    masks = {"parotid_left": LIVER, "parotid_right": np.roll(LIVER, 4, axis=2) & ~LIVER}
    own = {"masks": masks, "channels": ("parotid_left", "parotid_gland_lesion")}
    with pytest.raises(UsageError, match="parotid_gland_lesion"):
        made("9 mm mass in the left parotid.", **own)
    case = made("9 mm mass in the left parotid.", **own, anatomy=anatomy)
    assert case.key.states == {"parotid_gland_lesion": "reported"}
    batch = case.supervision()
    [pair] = batch.pairs
    assert pair.lesions[0].diameters_mm == (9.0,)
    assert pair.region[torch.from_numpy(LIVER)].all()
    assert case.key.organ[1] is not None  # the host, which the attenuation term compares with
    logits = torch.randn(1, 2, *LIVER.shape, generator=torch.Generator().manual_seed(0))
    assert ReportSupervisionLoss()(logits, batch).terms["ball_bce"] > 0


def test_a_softmax_knows_which_organ_of_ones_own_holds_a_lesion(tmp_path):
    """The organ of the map is organ or lesion; with another table its lesion voxels would not be organ."""
    table = tmp_path / "mine.yaml"
    table.write_text("organs: {parotid_gland: {synonyms: [parotid], structures: [gland]}}")
    anatomy = load_anatomy(table)
    drawn = np.zeros_like(LIVER)
    drawn[5:7, 5:7, 5:7] = True
    channels = ("gland", "parotid_gland_lesion")
    masks = {"gland": LIVER & ~drawn, "parotid_gland_lesion": drawn}
    case = made([], masks=masks, channels=channels, heads="softmax", anatomy=anatomy)
    gland, lesion = case.supervision().labels[0]
    assert torch.equal(lesion, torch.from_numpy(drawn))
    assert torch.equal(gland, torch.from_numpy(LIVER)), "the organ is organ or lesion of it"
    assert softmax_classes(channels, anatomy=anatomy) == ((1, 2), (2,))
    assert softmax_classes(channels) == ((1,), (2,))


@pytest.mark.parametrize(
    ("report", "drawn", "codes"),
    [
        ("2.1 cm liver mass.", np.zeros_like(LIVER), ("mask_denies_report",)),
        ("2.1 cm liver mass.", LIVER & (np.arange(16) < 7), ()),
        ("Liver: no focal lesion.", LIVER & (np.arange(16) < 7), ("report_denies_mask",)),
        ("Liver: no focal lesion.", np.zeros_like(LIVER), ()),
    ],
)
def test_a_drawn_mask_that_contradicts_the_report_is_named(report, drawn, codes):
    case = made(report, masks={"liver": LIVER, "liver_lesion": drawn})
    assert case.key.findings["liver_lesion"] == codes
    assert case.key.states == {"liver_lesion": "voxels"}, "the mask wins"


def test_one_text_is_no_list_of_channels_and_a_path_no_table():
    with pytest.raises(TypeError, match=r"such as \['liver_lesion'\]"):
        made(channels="liver_lesion")
    with pytest.raises(TypeError, match=r"got PosixPath|got WindowsPath"):
        made(anatomy=Path("mine.yaml"))


def test_a_drawn_case_needs_no_organ_masks():
    """What a human drew is known without them; what only the report says cannot be placed, and a warning says so."""
    drawn = LIVER & (np.arange(16) < 7)
    case = made(masks={"liver_lesion": drawn}, channels=("liver_lesion",))
    labels = case.supervision()
    assert torch.equal(labels.labels[0, 0], torch.from_numpy(drawn))
    assert labels.known.all()
    with pytest.warns(UserWarning, match="reports teach nothing of spleen_lesion"):
        both = made(
            ["2.1 cm liver mass. 1 cm spleen mass."],
            masks={"liver_lesion": drawn},
            channels=("liver_lesion", "spleen_lesion"),
        )
    assert both.key.states == {"liver_lesion": "voxels", "spleen_lesion": "unknown"}
    assert not both.supervision().known[0, 1].any()


def test_encode_targets_checks_its_heads_too():
    from rsuper.supervision import build_case_targets

    targets = build_case_targets(
        [],
        {"liver": LIVER},
        case_id="c",
        spacing_mm=MM,
        lesion_classes=CHANNELS[1:],
        voxel_labelled=frozenset(),
    )
    with pytest.raises(UsageError, match="got 'both'"):
        encode_targets(targets, {"liver": LIVER}, channels=CHANNELS, heads="both")

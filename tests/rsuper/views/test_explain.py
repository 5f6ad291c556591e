"""Explained sentences: the colours are the loss's own gradient, the numbers add up, every refusal says what to type."""

from __future__ import annotations

import functools
import json
import math
import re

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from llm_extract.anatomy import load_anatomy
from rsuper.cli import app
from rsuper.errors import DataError, UsageError
from rsuper.losses import ReportSupervisionLoss
from rsuper.supervision import SupervisionBatch, volume_interval_mm3
from rsuper.views import explain as module
from rsuper.views.explain import explain
from rsuper.views.explain_case import Seat
from rsuper.views.explain_facts import PLACES, PULLS, pulled_mm3
from rsuper.views.explain_json import explanation_facts
from rsuper.views.explain_phantom import SPACING_MM, ellipsoid, load_phantom, paint_lesion, seat_in
from rsuper.volumes import Volume, write_volume

HEAD = "1.8 x 1.6 cm hypoattenuating lesion in the pancreatic head"
ALONE, UP, DOWN = range(3)


@functools.lru_cache(maxsize=16)
def explained(sentence, **options):
    return explain(sentence, **options)


def first(sentence):
    return explained(sentence).lessons[0]


def guess(lesson, key):
    return next(item for item in lesson.guesses if item.key == key)


def of(item, place=None, pull=None):
    return sum(
        row.volume_mm3
        for row in item.rows
        if (place is None or row.place == place) and (pull is None or row.pull == pull)
    )


def masks(item):
    """Place and pull of every voxel, from the codes that the page draws."""
    places, pulls = np.divmod(item.codes.astype(int) - 1, 3)
    return places, pulls


@pytest.mark.parametrize("key", ["hint", "untrained", "wrong_part", "too_much"])
def test_the_colour_is_what_the_loss_answers_to_a_nudge(key):
    """Central differences in float64: more belief in a voxel that is pulled up lowers the loss, and so on."""
    lesson = first(HEAD)
    item, taught = guess(lesson, key), lesson.lesson
    probability = np.clip(item.probability.astype(np.float64), 1e-12, 1 - 1e-9)
    logits = torch.from_numpy(np.log(probability / (1 - probability)))
    batch = SupervisionBatch(
        labels=torch.from_numpy(taught.label.label)[None, None],
        known=torch.from_numpy(taught.label.known)[None, None],
        spacing_mm=torch.tensor([taught.spacing_mm]),
        pairs=taught.pairs,
    )
    loss = ReportSupervisionLoss(taught.config)
    places, pulls = masks(item)
    rng = np.random.default_rng(0)
    for place in np.unique(places):
        voxels = np.argwhere(places == place)
        at = tuple(voxels[rng.integers(len(voxels))])
        values = []
        for step in (1e-3, -1e-3):
            moved = logits.clone()
            moved[at] += step
            values.append(float(loss(moved[None, None], batch).total))
        slope = values[0] - values[1]
        expected = {ALONE: 0, UP: -1, DOWN: 1}[int(pulls[at])]
        found = 0 if abs(slope) < 1e-15 else int(np.sign(slope))
        assert found == expected, (PLACES[place], slope)


@pytest.mark.parametrize("sentence", [HEAD, "No focal pancreatic lesion", "2.2 cm left renal cyst"])
def test_every_voxel_is_counted_once(sentence):
    for lesson in explained(sentence).lessons:
        crop_mm3 = lesson.ct_hu.size * lesson.lesson.voxel_mm3
        for item in lesson.guesses:
            assert sum(row.volume_mm3 for row in item.rows) == pytest.approx(crop_mm3)
            assert sum(pulled_mm3(item.rows, pull) for pull in PULLS) == pytest.approx(crop_mm3)
            if lesson.lesson.pair is not None:
                region_mm3 = lesson.lesson.target.region.sum() * lesson.lesson.voxel_mm3
                assert of(item, "core") + of(item, "shell") + of(item, "rest") == pytest.approx(region_mm3)
                assert of(item, "core") == pytest.approx(sum(ball.core_mm3 for ball in item.balls))


def test_the_ball_follows_the_prediction_and_stays_in_the_region():
    lesson = first(HEAD)
    region = lesson.lesson.target.region
    inside = {
        item.key: bool(lesson.truth[item.balls[0].centre]) for item in lesson.guesses if len(item.balls) == 1
    }
    assert inside["hint"]
    assert inside["nearly_right"]
    assert not inside["wrong_spot"]
    assert all(region[ball.centre] for item in lesson.guesses for ball in item.balls)
    states = {item.key: item.volume for item in lesson.guesses}
    assert states["hint"] == states["nearly_right"] == "inside"
    assert states["untrained"] == states["too_much"] == "over"
    assert states["wrong_part"] == "under"
    hint = guess(lesson, "hint")
    assert of(hint, "core", "up") == of(hint, "core") > 0
    assert of(hint, "shell", "alone") == of(hint, "shell") > 0
    assert of(hint, "rest", "down") == of(hint, "rest") > 0
    assert of(guess(lesson, "too_much"), "shell", "down") > 0
    assert of(guess(lesson, "wrong_part"), "shell", "up") > 0


def test_belief_in_the_wrong_part_is_pushed_down():
    lesson = first(HEAD)
    item = guess(lesson, "wrong_part")
    at = np.unravel_index(int(item.probability.argmax()), item.probability.shape)
    places, pulls = masks(item)
    assert item.probability[at] > 0.6
    assert lesson.organ_mask[at]
    assert (PLACES[places[at]], PULLS[pulls[at]]) == ("outside", "down")


def test_the_measurement_is_the_calibrated_interval():
    lesson = first(HEAD)
    assert lesson.lesson.target.volume_mm3 == pytest.approx(
        volume_interval_mm3([18.0, 16.0], precision_mm=0.5)
    )
    assert lesson.truth.sum() * 8.0 == pytest.approx(math.pi / 6 * 18 * 16 * 17, rel=0.05)
    assert lesson.hosts[0].structures == ("pancreas_head",)


def test_a_denial_pushes_everything_down_and_silence_nothing_near():
    denied, silent = explained("No focal pancreatic lesion").lessons
    assert denied.lesson.target.state == "absent"
    for item in denied.guesses:
        assert {row.pull for row in item.rows} == {"down"}
    assert (silent.mentioned, silent.lesson.target.state) == (False, "unknown")
    region = silent.lesson.target.region
    assert region[silent.organ_mask].all()
    for item in silent.guesses:
        _, pulls = masks(item)
        assert (pulls[region] == ALONE).all()
        assert (pulls[~region] == DOWN).all()


def test_a_cyst_is_neither_tumour_nor_healthy_unless_the_policy_says_so():
    cyst = first("2.2 cm left renal cyst")
    assert cyst.lesson.target.state == "unknown"
    assert all(of(item, pull="up") == 0 for item in cyst.guesses)
    counted = explained("2.2 cm left renal cyst", policy="all_lesions").lessons[0]
    assert counted.lesson.target.state == "reported"
    assert of(guess(counted, "hint"), pull="up") > 0


def test_a_policy_with_a_class_of_its_own_shows_that_class():
    text = "2.2 cm left renal cyst and a 1.8 cm solid mass in the right kidney"
    both = explained(text, policy="tumours_and_cysts").lessons
    assert [lesson.lesion_class for lesson in both][:2] == ["kidney_cyst_lesion", "kidney_lesion"]
    assert [lesson.title for lesson in both][:2] == ["kidney cyst", "kidney"]
    assert {lesson.lesson.target.state for lesson in both[:2]} == {"reported"}
    one = explained(text).lessons
    assert [lesson.lesion_class for lesson in one][:2] == ["kidney_lesion", "pancreas_lesion"]


def test_a_prior_size_changes_nothing():
    now, before = (
        first("2.0 cm pancreatic head mass"),
        first("2.0 cm pancreatic head mass, previously 1.4 cm"),
    )
    assert before.lesson.target.volume_mm3 == now.lesson.target.volume_mm3
    assert [item.rows for item in before.guesses] == [item.rows for item in now.guesses]


def test_an_open_number_or_size_leaves_the_region_alone():
    several = first("Multiple hypoattenuating liver lesions, the largest 2.4 cm")
    assert several.lesson.target.volume_mm3[1] == math.inf
    assert re.search(r"^liver_lesion: reported, at least [\d,]+ mm³; pulled up", several.summary())
    unsized = first("Hypoattenuating lesion in the pancreatic tail")
    for lesson in (several, unsized):
        item = guess(lesson, "nearly_right")
        assert of(item, "rest") == 0
        assert of(item, "core", "up") > 0
        assert of(item, "shell", "alone") == of(item, "shell")


def test_a_bound_gives_an_interval_and_two_organs_two_lessons():
    bounded = first("Subcentimetre hypoattenuating lesion in the pancreatic body")
    low, high = bounded.lesson.target.volume_mm3
    assert f"reported, {low:,.0f} to {high:,.0f} mm³; pulled up" in bounded.summary()
    assert 14.0 <= low < high < volume_interval_mm3([10.0], precision_mm=1.0)[1] + 1
    lessons = explained(
        "3 cm left renal mass and a 1.5 cm hypoattenuating lesion in the pancreatic tail"
    ).lessons
    assert [lesson.organ for lesson in lessons if lesson.mentioned] == ["kidney", "pancreas"]
    for lesson in lessons[:2]:
        assert of(guess(lesson, "hint"), "core", "up") > 0
    right = lessons[0].lesson.target.ignore
    assert right is not None
    assert (masks(lessons[0].guesses[0])[1][right & ~lessons[0].lesson.target.region] == ALONE).all()


def test_a_size_that_cannot_be_is_said_and_teaches_nothing():
    lesson = first("40 cm mass in the pancreatic head")
    assert "size_above_organ_extent" in lesson.lesson.target.codes
    assert all(of(item, pull="up") == 0 for item in lesson.guesses)
    assert "reported, left out (" in lesson.summary()


@pytest.mark.parametrize(
    ("sentence", "code", "says"),
    [
        ("The weather in Zanzibar is fine", "no_lesion_found", "rsuper explain"),
        (
            "12 mm Zanzibar nodule in the left adrenal gland",
            "organ_mask_missing",
            "adrenal_gland_left.nii.gz",
        ),
        ("  ", "unreadable_text", "English sentence"),
    ],
)
def test_refusals_say_what_to_type_and_never_the_sentence(sentence, code, says):
    with pytest.raises(DataError) as caught:
        explain(sentence)
    assert caught.value.code == code
    assert says in caught.value.hint
    assert "Zanzibar" not in str(caught.value)


def test_half_of_a_ct_is_refused(tmp_path):
    for options, code in (
        ({"ct": tmp_path / "ct.nii.gz"}, "ct_needs_organs"),
        ({"prediction": tmp_path / "p.nii.gz"}, "prediction_needs_ct"),
        ({"ct": tmp_path / "ct.nii.gz", "organs": tmp_path}, "organs_missing"),
    ):
        with pytest.raises(UsageError) as caught:
            explain(HEAD, **options)
        assert caught.value.code == code
        assert "--" in caught.value.hint


@pytest.fixture(scope="module")
def small_ct(tmp_path_factory):
    """A CT of 3 mm voxels, feet first and mirrored on disk, with a pancreas of two parts and a stomach."""
    folder = tmp_path_factory.mktemp("ct")
    affine = np.diag([-3.0, -3.0, 3.0, 1.0])
    affine[:3, 3] = (90, 60, -45)
    rng = np.random.default_rng(1)
    shape = (50, 40, 30)
    ct = rng.normal(40, 10, shape).astype(np.int16)
    masks = {
        name: np.zeros(shape, bool) for name in ("pancreas_head", "pancreas_body", "pancreas", "stomach")
    }
    masks["pancreas_head"][12:22, 14:24, 10:20] = True
    masks["pancreas_body"][22:36, 16:22, 12:18] = True
    masks["pancreas"] = masks["pancreas_head"] | masks["pancreas_body"]
    masks["stomach"][12:36, 30:38, 10:20] = True
    (folder / "organs").mkdir()
    write_volume(folder / "ct.nii.gz", Volume(ct, affine))
    for name, mask in masks.items():
        write_volume(folder / "organs" / f"{name}.nii.gz", Volume(mask.astype(np.uint8), affine))
    belief = np.full(shape, 0.01, np.float32)
    belief[15:19, 17:21, 13:17] = 0.7
    write_volume(folder / "belief.nii.gz", Volume(belief, affine))
    write_volume(folder / "logits.nii.gz", Volume(belief * 20 - 8, affine))
    moved = affine.copy()
    moved[0, 3] += 10
    write_volume(folder / "moved.nii.gz", Volume(belief, moved))
    return folder


def test_a_ct_with_its_masks_and_a_prediction(small_ct):
    result = explain(
        HEAD, ct=small_ct / "ct.nii.gz", organs=small_ct / "organs", prediction=small_ct / "belief.nii.gz"
    )
    assert result.case.origin == "ct"
    lesson = result.lessons[0]
    assert lesson.truth is None
    assert [item.key for item in lesson.guesses] == ["yours"]
    ball = lesson.guesses[0].balls[0]
    assert ball.p_centre == pytest.approx(0.7, abs=0.02)  # the same place as on the mirrored grid of the file
    assert lesson.host_mask[ball.centre]
    assert (
        explain(HEAD, ct=small_ct / "ct.nii.gz", organs=small_ct / "organs").lessons[0].guesses[0].key
        == "hint"
    )


@pytest.mark.parametrize(
    ("file", "code"),
    [
        ("moved.nii.gz", "grid_mismatch"),
        ("logits.nii.gz", "not_probabilities"),
        ("none.nii.gz", "prediction_missing"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(small_ct, file, code):
    with pytest.raises((DataError, UsageError)) as caught:
        explain(HEAD, ct=small_ct / "ct.nii.gz", organs=small_ct / "organs", prediction=small_ct / file)
    assert caught.value.code == code
    assert caught.value.hint


def test_organ_masks_on_another_grid_are_refused(small_ct):
    with pytest.raises(DataError, match="not on one grid") as caught:
        explain(HEAD, ct=small_ct / "moved.nii.gz", organs=small_ct / "organs")
    assert caught.value.code == "grid_mismatch"
    with pytest.raises(DataError) as missing:
        explain("3 cm liver mass", ct=small_ct / "ct.nii.gz", organs=small_ct / "organs")
    assert missing.value.code == "organ_mask_missing"
    assert "liver.nii.gz" in missing.value.hint


def test_a_ct_that_is_too_fine_is_explained_on_a_coarser_grid(monkeypatch):
    fine = first(HEAD)
    monkeypatch.setattr(module, "MAX_VOXELS", 120_000)
    coarse = explain(HEAD).lessons[0]
    assert coarse.ct_hu.size <= 66_000
    assert coarse.lesson.voxel_mm3 > 2 * fine.lesson.voxel_mm3
    for name in ("organ_mask", "host_mask", "truth"):
        volumes = [getattr(item, name).sum() * item.lesson.voxel_mm3 for item in (fine, coarse)]
        assert volumes[1] == pytest.approx(volumes[0], rel=0.06), name
    assert coarse.truth[guess(coarse, "hint").balls[0].centre]


def test_painted_lesions_are_what_is_stated():
    phantom = load_phantom()
    host = phantom.organs["liver"]
    seat = seat_in(host, np.zeros_like(host), spacing_mm=SPACING_MM)
    for sizes, volume in (((24.0,), 7238.2), ((30.0, 20.0), 7854.0), ((12.0, 12.0, 30.0), 2261.9)):
        painted, mask = paint_lesion(phantom.ct_hu, seat, sizes, spacing_mm=SPACING_MM, contrast_hu=-48.0)
        assert mask.sum() * 8.0 == pytest.approx(volume, rel=0.05)
        assert float(painted[mask].mean() - phantom.ct_hu[mask].mean()) == pytest.approx(-48, abs=8)
        assert (
            painted[ellipsoid(host.shape, seat, sizes, spacing_mm=SPACING_MM) > 2.6]
            == phantom.ct_hu[ellipsoid(host.shape, seat, sizes, spacing_mm=SPACING_MM) > 2.6]
        ).mean() > 0.999
    taken = np.zeros_like(host)
    taken[tuple(slice(at - 15, at + 16) for at in seat)] = True
    other = seat_in(host, taken, spacing_mm=SPACING_MM)
    assert host[other]
    assert not taken[other]
    assert seat_in(host, host, spacing_mm=SPACING_MM) is None


def test_the_shipped_phantom_is_what_synthesis_draws():
    from rsuper.views.explain_phantom import draw_phantom

    drawn, shipped = draw_phantom(), load_phantom()
    assert drawn.ct_hu.shape == shipped.ct_hu.shape
    assert (np.abs(drawn.ct_hu - shipped.ct_hu) <= 5).mean() > 0.999
    for name, mask in shipped.organs.items():
        assert (drawn.organs[name] != mask).mean() < 1e-4, name


def test_the_command_writes_a_private_page_and_the_same_facts(tmp_path):
    page = tmp_path / "new" / "page.html"
    result = CliRunner().invoke(app, ["explain", HEAD, "--out", str(page), "--json"])
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    expected = explanation_facts(explained(HEAD))
    assert facts["page"] == str(page)
    exact = ("output", "volume", "pulled_up_mm3", "pushed_down_mm3", "left_alone_mm3", "balls")
    for told, wanted in zip(facts["classes"][0]["outputs"], expected["classes"][0]["outputs"], strict=True):
        assert {name: told[name] for name in exact} == {name: wanted[name] for name in exact}
        assert told["terms"] == pytest.approx(
            wanted["terms"], rel=1e-3, abs=1e-6
        )  # the command uses one thread
    assert facts["classes"][0]["lesions"][0]["hosts"] == ["pancreas_head"]
    assert facts["classes"][1]["volume_mm3"][1] is None  # infinity
    assert HEAD not in result.stdout
    assert page.stat().st_mode & 0o777 == 0o600


def test_the_command_refuses_with_a_code(tmp_path):
    result = CliRunner().invoke(
        app, ["explain", "Zanzibar is fine", "--out", str(tmp_path / "p.html"), "--json"]
    )
    assert result.exit_code == 3
    assert json.loads(result.stdout)["error"]["code"] == "no_lesion_found"
    assert "Zanzibar" not in result.stdout + result.stderr
    assert not (tmp_path / "p.html").exists()


def test_seats_are_in_their_hosts():
    anatomy = load_anatomy()
    result = explained("Two liver lesions measuring 2.1 cm and 1.4 cm")
    seats = result.case.seats
    assert all(isinstance(seat, Seat) and result.case.organs["liver"][seat.voxel] for seat in seats)
    assert len({seat.voxel for seat in seats}) == len(seats) >= 2
    assert anatomy.organs["liver"].lesion_class == result.lessons[0].lesion_class

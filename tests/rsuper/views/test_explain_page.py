"""The explain page: it loads nothing, a hostile sentence stays text, and what it draws is what was computed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
import zlib

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from page_parser import parsed

from rsuper.supervision.sizes import size_factors
from rsuper.views import render_explain_page
from rsuper.views.explain import explain
from rsuper.views.explain_svg import size_drawing, volume_line
from rsuper.views.explain_words import PLACE_NAMES, PULL_NAMES, mm3

HEAD = "1.8 x 1.6 cm hypoattenuating lesion in the pancreatic head"
ATTACK = (
    "</mark></script><script>document.title='OWNED'</script><img src=x onerror=\"document.title='OWNED'\">"
)


@pytest.fixture(scope="module")
def head():
    return explain(HEAD)


@pytest.fixture(scope="module")
def page(head):
    return render_explain_page(head)


def block(page):
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, flags=re.S)
    return json.loads(data)


def test_the_page_loads_nothing(page):
    found = parsed(page)
    assert found.crossed == []
    assert found.open == []
    assert not {"link", "iframe", "object", "embed", "base", "form", "img"} & set(found.tags)
    assert not [
        value for _, name, value in found.attributes if name in ("src", "style") or name.startswith("on")
    ]
    policy = next(
        value for _, name, value in found.attributes if name == "content" and "default-src" in value
    )
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    [css] = re.findall(r"<style>(.*?)</style>", page, flags=re.S)
    [script] = re.findall(r"<script>(.*?)</script>", page, flags=re.S)
    for text in (css, script):
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    assert not re.search(r"https?://|fetch\(|XMLHttp|import\(|innerHTML|eval\(", script + css)
    assert len(page.encode()) <= 3_000_000


def test_a_hostile_sentence_stays_text():
    hostile = f"A 2 cm mass {ATTACK} in the pancreatic head \u2028 {{{{ 7*7 }}}} & done."
    page = render_explain_page(explain(hostile))
    found = parsed(page)
    assert found.crossed == []
    assert found.tags.count("script") == 2
    assert "img" not in found.tags
    assert "49" not in "".join(found.text).partition("{{")[2][:20]
    assert ATTACK in "".join(found.text)


def test_what_is_drawn_is_what_was_computed(head, page):
    for index, lesson in enumerate(head.lessons):
        drawn = block(page)[str(index)]
        shape = tuple(drawn["shape"])
        assert shape == lesson.ct_hu.shape

        def voxels(text, shape=shape):
            return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(shape)

        bits = voxels(drawn["bits"])
        assert ((bits & 1) > 0).tolist() == lesson.organ_mask.tolist()
        assert ((bits & 4) > 0).sum() == lesson.lesson.target.region.sum()
        grey = voxels(drawn["grey"]).astype(float)
        window = (lesson.ct_hu > -140) & (lesson.ct_hu < 230)
        assert np.corrcoef(grey[window], lesson.ct_hu[window])[0, 1] > 0.999
        for guess in lesson.guesses:
            packed = voxels(drawn["guesses"][guess.key])
            assert (packed & 15 == guess.codes).all()
            assert np.abs((packed >> 4) / 15 - np.sqrt(guess.probability)).max() < 0.035
            assert [ball["at"] for ball in drawn["balls"][guess.key]] == [list(b.centre) for b in guess.balls]


def test_every_number_of_the_table_is_on_the_page(head, page):
    text = " ".join("".join(parsed(page).text).split())
    for lesson in head.lessons:
        for guess in lesson.guesses:
            for row in guess.rows:
                assert mm3(row.volume_mm3) in text
                assert PLACE_NAMES[row.place] in text
                assert PULL_NAMES[row.pull] in text
    low, high = head.lessons[0].lesson.target.volume_mm3
    assert f"18 × 16 mm → {mm3(low)} to {mm3(high)}" in text
    assert f"Of {size_factors()[2].n} real tumours" in text


def test_the_same_sentence_gives_the_same_page(page):
    assert render_explain_page(explain(HEAD)) == page


@pytest.mark.parametrize(
    ("sentence", "says"),
    [
        ("No focal pancreatic lesion", "This is the one kind of “no” that is taught"),
        ("2.2 cm left renal cyst", "neither taught as a tumour nor as healthy"),
        ("No suspicious liver lesion", "Only a weaker denial of the liver"),
        ("2.0 cm pancreatic head mass, previously 1.4 cm", "Read, but no size of a lesion of today"),
        ("Multiple liver lesions, the largest 2.4 cm", "The rest of a group: not searched"),
        ("1.2 cm lesion in segment 6 of the liver", "There is no mask of the named part"),
        ("Possible 1 cm lesion in the spleen", "not firmly enough to teach it"),
        ("2 cm pancreatic head mass and a 12 mm left adrenal nodule", "No mask here for: adrenal gland"),
        (
            "1.8 x 1.6 cm pancreatic head mass",
            ", and gaps beside it that a lesion of that size may have left.",
        ),
        ("4 mm pancreatic head mass", "mm³. A lesion may bulge out of it"),
        ("40 cm mass in the pancreatic head", "it contradicts the images, so it stays out of the loss"),
    ],
)
def test_the_page_says_why(sentence, says):
    assert says in " ".join("".join(parsed(render_explain_page(explain(sentence))).text).split())


def test_drawings_hold_their_numbers():
    drawn = str(size_drawing((18.0, 16.0), 12.6, 19.1))
    assert 'rx="9.00" ry="8.00"' in drawn
    assert 'r="6.30"' in drawn
    assert 'r="9.55"' in drawn
    line = str(volume_line(1000.0, 10_000.0, predicted=float("1e-9")))
    assert "interval from 1,000 to 10,000 cubic millimetres" in line
    left, width = (float(v) for v in re.search(r'x="([\d.]+)" y="33" width="([\d.]+)"', line).groups())
    ticks = [float(v) for v in re.findall(r'tick" d="M([\d.]+)', line)]
    assert left in ticks
    assert any(abs(left + width - tick) < 0.2 for tick in ticks)
    assert "no bound" in str(volume_line(65.4, float("inf")))


def wait_until(browser, expression, seconds=60):
    for _ in range(seconds * 5):
        if browser.value(expression):
            return
        time.sleep(0.2)
    raise AssertionError(f"never true: {expression}")


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_page_works_in_a_browser(tmp_path):
    file = tmp_path / "page.html"
    hostile = f"1.8 x 1.6 cm lesion in the pancreatic head. {ATTACK}"
    file.write_text(render_explain_page(explain(hostile)), encoding="utf-8")
    pixels = (
        "(n => { const c = document.querySelectorAll('section:not([hidden]) canvas')[n]; "
        "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; "
        "let up = 0, sum = 0; for (let i = 0; i < d.length; i += 4) { "
        "up += d[i] > 200 && d[i + 2] < 90; sum += d[i]; } "
        "return [up, sum]; })"
    )
    with Browser(tmp_path / "profile", width=1280) as browser:
        browser.open(file)
        wait_until(browser, "document.documentElement.dataset.ready === 'yes'")
        assert browser.value("document.title") == "What one sentence teaches a network"
        told = browser.value(f"{pixels}(6)")
        assert told[0] > 300  # the core is orange
        browser.value("document.querySelector('[data-pick=wrong_spot]').click()")
        moved = browser.value(f"{pixels}(6)")
        assert moved != told
        assert browser.value("document.querySelector('[data-guess=hint]').hidden") is True
        slider = "document.querySelectorAll('section:not([hidden]) .plane input')[6]"
        browser.value(f"{slider}.value = 2; {slider}.dispatchEvent(new Event('input'))")
        away = browser.value(f"{pixels}(6)")
        assert away[0] == 0  # far from the ball nothing is pulled up
        assert "mm down" in browser.value(
            "document.querySelectorAll('.plane figcaption span')[6].textContent"
        )
        browser.value("document.querySelectorAll('.classes button')[1].click()")
        assert browser.value("document.querySelector('section.class').hidden") is True
        assert browser.value("document.documentElement.scrollWidth <= innerWidth")
        own = [problem for problem in browser.problems() if "readback" not in problem]  # of this test
        assert own == []

import json
import re
import stat
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_extract import Evidence, Lesion, OrganStatement, ReportRecord
from llm_extract import evidence_page as pages
from llm_extract.evidence_page import EvidencePages, highlight_css, highlight_report, json_block, report_data
from llm_extract.highlight import Highlight, lesion_title, segments_of, size_text
from llm_extract.records import Issue, Provenance, UnusedMeasurement
from llm_extract.reports import Report

TEXT = 'Liver: <b>mass</b> & "cyst" 34 x 28 mm 🫁 in segment 7.\nSpleen normal.\n</script><script>alert(1)</script>'


def quote(field: str, words: str, text: str = TEXT) -> Evidence:
    start = text.index(words)
    return Evidence(field=field, start=start, end=start + len(words), text=words, section="findings")


def record(text: str = TEXT, **fields) -> ReportRecord:
    base = {
        "report_id": "R1",
        "source": "radiology",
        "text_sha256": "0" * 64,
        "text_chars": len(text),
        "status": "ok",
        "provenance": Provenance(backend="rules", version="1"),
    }
    return ReportRecord(**base | fields)


LESION = Lesion(
    lesion_id="L1",
    organ="liver",
    parts=("liver_segment_7",),
    kind="mass",
    diameters_mm=(34.0, 28.0),
    size_kind="exact",
    evidence=(quote("kind", "<b>mass</b>"), quote("diameters_mm", "34 x 28 mm"), quote("parts", "segment 7")),
)
RECORD = record(
    lesions=(LESION,),
    organs={
        "liver": OrganStatement(status="lesion_present"),
        "spleen": OrganStatement(
            status="explicitly_lesion_free", evidence=(quote("status", "Spleen normal"),)
        ),
        "pancreas": OrganStatement(),
    },
)


class Collect(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def parsed(html: str) -> Collect:
    collect = Collect()
    collect.feed(str(html))
    collect.close()
    return collect


def test_a_fragment_marks_the_evidence_and_keeps_the_text():
    fragment = parsed(highlight_report(TEXT, RECORD))
    assert fragment.text == TEXT
    marks = [attributes for tag, attributes in fragment.tags if tag == "mark"]
    assert [mark["class"] for mark in marks] == [
        *["evidence evidence-lesion c0"] * 3,
        "evidence evidence-free",
    ]
    assert marks[0]["title"] == "lesion 1: liver mass, 34 × 28 mm · kind"
    assert marks[3]["title"] == "spleen: explicitly lesion free · status"
    assert {tag for tag, _ in fragment.tags} == {"div", "mark"}
    assert ".evidence-lesion" in highlight_css()


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=80), st.data())
def test_any_text_with_any_spans_comes_back_unchanged(text, data):
    spans = data.draw(st.lists(st.tuples(st.integers(0, len(text)), st.integers(0, len(text))), max_size=6))
    quotes = tuple(
        Evidence(field="kind", start=min(span), end=max(span), text=text[min(span) : max(span)], section="s")
        for span in spans
    )
    lesions = tuple(Lesion(lesion_id=f"L{i}", organ="liver", evidence=(one,)) for i, one in enumerate(quotes))
    some = record(text, lesions=lesions)
    fragment = highlight_report(text, some)
    assert set(re.findall(r"</?([a-z]+)", fragment)) <= {"div", "mark"}
    inner = re.sub(r"</?(?:div|mark)[^>]*>", "", fragment)
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&#34;", '"'), ("&#39;", "'"), ("&amp;", "&")):
        inner = inner.replace(entity, character)
    assert inner == text
    units = text.encode("utf-16-le")
    for start, end, marks, _ in report_data(text, some)["segments"]:
        piece = units[2 * start : 2 * end].decode("utf-16-le")
        assert marks
        assert piece in text


highlights = st.lists(
    st.builds(
        lambda a, b, kind: Highlight(min(a, b), max(a, b), kind, 0, "x"),
        st.integers(0, 40),
        st.integers(0, 40),
        st.sampled_from(["lesion", "organ", "unused"]),
    ),
    max_size=8,
    unique=True,
)


@given(highlights, st.integers(0, 30))
def test_segments_tile_the_text_and_name_exactly_what_covers_them(marks, length):
    segments = list(segments_of(length, marks))
    assert "".join("." * (segment.end - segment.start) for segment in segments) == "." * length
    for position in range(length):
        (segment,) = [one for one in segments if one.start <= position < one.end]
        assert set(segment.highlights) == {mark for mark in marks if mark.start <= position < mark.end}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, ""),
        ({"diameters_mm": (15.0,), "size_kind": "exact"}, "15 mm"),
        ({"diameters_mm": (15.0, 9.5), "size_kind": "approximate"}, "about 15 × 9.5 mm"),
        ({"size_max_mm": 10.0, "size_kind": "upper_bound"}, "at most 10 mm"),
        ({"size_min_mm": 50.0, "size_kind": "lower_bound"}, "at least 50 mm"),
        ({"size_min_mm": 3.0, "size_max_mm": 4.0, "size_kind": "range"}, "3 to 4 mm"),
    ],
)
def test_sizes_in_words(fields, words):
    assert size_text(Lesion(lesion_id="L1", organ="liver", **fields)) == words


def test_a_title_in_words():
    several = Lesion(
        lesion_id="L1", organ="kidney", laterality="left", count=None, count_kind="multiple_unknown"
    )
    assert lesion_title(several) == "multiple left kidney lesion"
    assert lesion_title(Lesion(lesion_id="L1", organ="lung", kind="nodule", count=3)) == "3 × lung nodule"


@given(st.recursive(st.text(max_size=20) | st.none() | st.integers(), st.lists, max_leaves=6))
def test_json_in_a_page_never_closes_its_element(value):
    block = json_block(value)
    assert not re.search("[<>&\u2028\u2029]", block)
    assert json.loads(block) == value


def write_pages(out: Path, n_reports: int, *, limit: int = 20_000, text: str = TEXT) -> EvidencePages:
    with EvidencePages(out, limit=limit, total=n_reports) as written:
        for index in range(n_reports):
            written.add(
                Report(report_id=f"R{index}", text=text), RECORD.model_copy(update={"report_id": f"R{index}"})
            )
    return written


def test_pages_hold_at_most_so_many_reports_and_link_to_each_other(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "REPORTS_PER_PAGE", 4)
    (tmp_path / "evidence.9.html").write_text("from an earlier run")
    (tmp_path / "evidence.notes.html").write_text("not ours")
    written = write_pages(tmp_path, 10)
    names = ["evidence.html", "evidence.2.html", "evidence.3.html"]
    assert [path.name for path in written.files] == names
    assert not (tmp_path / "evidence.9.html").exists()
    assert (tmp_path / "evidence.notes.html").exists()
    links = [[a["href"] for tag, a in parsed(path.read_text()).tags if tag == "a"] for path in written.files]
    assert links == [["evidence.2.html"], ["evidence.html", "evidence.3.html"], ["evidence.2.html"]]
    assert "5–8 of 10" in written.files[1].read_text()
    assert stat.S_IMODE(written.files[0].stat().st_mode) == 0o600


def test_the_limit_holds_and_zero_writes_nothing(tmp_path):
    assert len(data_of(write_pages(tmp_path, 10, limit=3).files[0])) == 3
    assert write_pages(tmp_path, 10, limit=0).files == []
    assert not (tmp_path / "evidence.html").exists()


def data_of(path: Path) -> list[dict]:
    block = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL
    )
    return json.loads(block[1])


def test_the_page_holds_texts_exactly_and_loads_nothing(tmp_path):
    path = write_pages(tmp_path, 2).files[0]
    assert [report["text"] for report in data_of(path)] == [TEXT, TEXT]
    page = parsed(path.read_text())
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert not [a for _, a in page.tags if {"src", "style", "onclick", "onload"} & set(a)]
    assert "://" not in path.read_text()


def test_report_data_leaves_out_what_is_not_said():
    data = report_data(TEXT, RECORD)
    assert data["organ_order"] == ["liver", "spleen"]
    assert (data["n_organs"], len(data["lesions"])) == (3, 1)
    assert "attenuation" not in data["lesions"][0]
    long_text = "x" * 70_000
    assert report_data(long_text, record(long_text))["cut"] == 10_000


@pytest.fixture
def archive_page(tmp_path) -> Path:
    with EvidencePages(tmp_path, limit=100, total=40) as written:
        for index in range(40):
            some = RECORD.model_copy(update={"report_id": f"R{index}"})
            text = TEXT
            if index % 4 == 1:
                text, some = "Nothing.", record("Nothing.", report_id=f"R{index}")
            if index == 2:
                text = "the needle"
                failed = {"status": "failed", "issues": (Issue(code="extraction_error"),)}
                some = record(text, report_id="R2", **failed)
            if index == 3:
                span = UnusedMeasurement(start=28, end=38, measurement_id="M1", reason="duct")
                some = some.model_copy(update={"unused_measurements": (span,)})
            written.add(Report(report_id=f"R{index}", text=text), some)
    return written.files[0]


@pytest.mark.browser
def test_the_page_works_in_a_browser(browser, archive_page):
    browser.events.clear()
    browser.open(archive_page)
    assert browser.value("document.querySelector('#text .report-text').textContent") == TEXT
    assert browser.value("document.querySelectorAll('#text mark').length") == 4
    assert browser.value("document.querySelectorAll('.row').length") < 40
    assert browser.value("document.querySelectorAll('#text script, #text b').length") == 0
    assert "34 × 28 mm" in browser.value("document.querySelector('#record .card').textContent")
    browser.press("j")
    assert browser.value("document.querySelector('#text-head strong').textContent") == "R1"
    browser.value("new Promise((resolve) => setTimeout(resolve, 400))")
    assert browser.value("location.hash") == "#R1"
    browser.press("k")
    browser.press("n")
    assert browser.value("document.querySelector('mark.current').textContent") == "<b>mass</b>"
    browser.value("document.querySelector('[data-status=failed]').click()")
    assert browser.value("document.querySelector('#shown').textContent") == "1 of 40 reports"
    assert browser.value("document.querySelector('#text-head strong').textContent") == "R2"
    browser.press("Escape")
    assert browser.value("document.querySelector('#shown').textContent") == "40 reports"
    browser.value(
        "(() => { const box = document.querySelector('#organ'); box.value = 'spleen';"
        "box.dispatchEvent(new Event('change')); })()"
    )
    assert browser.value("document.querySelector('#shown').textContent") == "29 of 40 reports"
    browser.press("Escape")
    browser.press("/")
    for letter in "Needle":
        browser.press(letter)
    browser.value("new Promise((resolve) => setTimeout(resolve, 200))")
    assert browser.value("document.querySelector('#shown').textContent") == "1 of 40 reports"
    browser.press("Escape")
    browser.press("Escape")
    browser.value("new Promise((resolve) => { location.hash = '#R17'; setTimeout(resolve, 100); })")
    assert browser.value("document.querySelector('#text-head strong').textContent") == "R17"
    browser.value("new Promise((resolve) => { location.hash = '#%'; setTimeout(resolve, 100); })")
    assert browser.value("document.querySelector('#text-head strong').textContent") == "R17"
    assert browser.problems() == []


@pytest.mark.browser
def test_nothing_in_a_hostile_report_runs(browser, tmp_path):
    hostile = [
        "</script><script>window.hit = 1</script>",
        "<img src=x onerror='window.hit = 1'>",
        "<!--<script>",
        "\u2028window.hit = 1\u2029",
        "{{ window.hit = 1 }} ${window.hit = 1} javascript:window.hit=1",
        "<svg onload=window.hit=1><style>*{display:none}</style>",
        "]]>--></style></title></textarea><script>window.hit = 1</script>",
    ]
    with EvidencePages(tmp_path, limit=100, total=len(hostile)) as written:
        for index, text in enumerate(hostile):
            lesion = Lesion(
                lesion_id="L1",
                organ="liver",
                location_text=text,
                diagnosis_text=text,
                evidence=(Evidence(field="kind", start=0, end=len(text), text=text, section="s"),),
            )
            written.add(
                Report(report_id=f"R{index}", text=text),
                record(text, report_id=f"R{index}", lesions=(lesion,)),
            )
    browser.events.clear()
    browser.open(written.files[0])
    for text in hostile:
        assert browser.value("document.querySelector('#text .report-text').textContent") == text
        assert text in browser.value("document.querySelector('#record .card').textContent")
        browser.press("j")
    assert browser.value("window.hit === undefined") is True
    assert browser.problems() == []

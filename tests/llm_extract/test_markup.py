import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_extract.markup import strip_markup

DOCUMENT = (
    r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0\fswiss Arial;}}{\colortbl;\red0\green0;}{\*\generator Word;}"
    "\r\n\\viewkind4\\uc1\\pard\\f0\\fs20 FINDINGS:\\par\r\nLiver: {\\b mass} of \\u8805?3 cm, 2\\u215\\'d72 cm.\\line "
    r"Spleen\~normal \{x\}, na\'efve.\par{\pict\wmetafile8 0123abcd}{\footnote hidden}\tab end}"
)


def test_a_document_becomes_its_running_text():
    assert strip_markup(DOCUMENT) == (
        "FINDINGS:\nLiver: mass of ≥3 cm, 2×2 cm.\nSpleen\xa0normal {x}, naïve.\n\tend"
    )


@pytest.mark.parametrize(
    ("document", "plain"),
    [
        (r"{\rtf1\ansicpg932 \'8a\'cc}", "肝"),
        (r"{\rtf1\ansicpg1250 gu\'b9}", "guą"),
        (r"{\rtf1 \u55358?\u57067?}", "🫫"),
        (r"{\rtf1\uc2 \u233xyz}", "éz"),
        (r"{\rtf1 a{\*\unknown hidden {\b deep}}b}", "ab"),
        (r"{\rtf1{\field{\*\fldinst HYPERLINK x}{\fldrslt shown}}}", "shown"),
        (r"{\rtf1 a\bin4 }}{{b}", "ab"),
        (r"{\rtf1 one\cell two\row}", "one\ttwo"),
        ("{\\rtf1 a\\", "a"),
        (r"{\rtf1 a}}}} b", "a b"),
        (r"{\rtf1 \u-3840?}", "\uf100"),
        (r"{\rtf1\ansicpg99999 \'e9}", "é"),
    ],
)
def test_the_corners_of_rtf(document, plain):
    assert strip_markup(document) == plain


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [
        (r"Liver normal.\.br\No mass \T\ no fluid.", "Liver normal.\nNo mass & no fluid."),
        (r"3\X0A\4 \F\ \S\ \R\ \E\ ", "3\n4 | ^ ~ \\ "),
        (r"\H\IMPRESSION\N\\.sp2\mass", "IMPRESSION\nmass"),
        (r"\.in+4\indented\.ti-2\ text \Zlocal\!", "indented text !"),
    ],
)
def test_hl7_escapes_become_what_they_stand_for(escaped, plain):
    assert strip_markup(escaped) == plain


def test_a_message_becomes_its_text_observations():
    message = "MSH|^~\\&|PACS\rPID|||7\rOBX|1|FT|R||Liver normal.\\.br\\Mass 3 cm~next||\rOBX|2|NM|X||5\r"
    assert strip_markup(message) == "Liver normal.\nMass 3 cm\nnext"
    empty = "MSH|^~\\&|PACS\rOBX|1|NM|X||5\r"
    assert strip_markup(empty) == empty


@pytest.mark.parametrize(
    "text",
    [
        "Liver: 3 x 4 cm\\mass \\ and / {braces} \\T T\\ path C:\\reports\\liver.txt",
        "rtf {rtf1} \\rtf",
        "a \\\\ b",
        "",
        "MSH liver",
        "Mass. {\\rtf1 later}",
    ],
)
def test_plain_text_comes_back_as_the_same_object(text):
    assert strip_markup(text) is text


plain_text = st.text(st.characters(codec="ascii", exclude_characters="\\{}\r\n\x00"), max_size=60).map(
    str.strip
)


@given(plain_text)
def test_what_is_written_as_rtf_is_read_back(text):
    written = "".join(f"\\u{ord(c)}?" if ord(c) > 126 else c for c in text)
    assert strip_markup("{\\rtf1 " + written + "}") == text.strip("\x00\r\n ")


@given(st.text(st.sampled_from("\\{}'*ub1f\n \x00é\ud7ff"), max_size=80))
def test_no_document_raises_or_leaves_half_a_character(body):
    strip_markup("{\\rtf1 " + body).encode("utf-8")
    strip_markup("\\.br\\" + body).encode("utf-8")


@pytest.mark.parametrize("unit", ["\\'e9", "{", "{\\b x}", "\\u233?", "\\.br\\", "\\X0A", "}"])
def test_time_grows_no_faster_than_the_text(unit):
    started = time.process_time()
    strip_markup("{\\rtf1 " + unit * 20_000)
    strip_markup("\\.br\\" + unit * 20_000)
    assert time.process_time() - started < 5

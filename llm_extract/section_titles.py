"""Headings of reports, and the sections that they open."""

from __future__ import annotations

_TITLES: dict[str, str] = {
    "history": (
        "history; clinical history; clinical information; medical history; relevant medical history; past "
        "medical history; patient history; clinical data; clinical details; clinical background; anamnesis; "
        "clinical; clinical question; clinical notes; clinical diagnosis; brief clinical history; oncologic "
        "history; surgical history; clinical indication; clinical history and indication; pre-op diagnosis; "
        "preoperative diagnosis; pre-operative diagnosis; clinical diagnosis & history; clinical diagnosis "
        "and history; postoperative diagnosis; post-operative diagnosis; operation; operative findings; "
        "indication; indications; reason for exam; reason for study; reason for examination; reason; "
        "indication for study"
    ),
    "procedure": ("operative procedure"),
    "comparison": (
        "comparison; comparisons; comparison study; prior study; comparison studies; prior studies; previous "
        "studies"
    ),
    "technique": (
        "technique; exam; examination; protocol; study; scan technique; procedure and technique; imaging "
        "technique; contrast; exam type; type of exam; dose; radiation dose"
    ),
    "findings": (
        "findings; finding; report; full result; result; results; observations; description; radiologist's "
        "notes; ct findings; findings and impression; interpretation; body; target lesions; non-target "
        "lesions; measurements"
    ),
    "impression": (
        "impression; impressions; conclusion; conclusions; opinion; summary; assessment; diagnostic "
        "impression; impression and recommendation; impression and recommendations; conclusion and "
        "recommendation; result and recommendation; final impression; radiological diagnosis; comment on "
        "findings"
    ),
    "addendum": ("addendum; corrected report; correction; addenda"),
    "recommendation": ("recommendation; recommendations; follow-up; recommendation(s); follow up; plan"),
    "note": (
        "note; notes; disclaimer; references; electronically signed; keywords; key words; tags; index terms"
    ),
    "diagnosis": (
        "diagnosis; final diagnosis; pathologic diagnosis; final pathologic diagnosis; pathological "
        "diagnosis; diagnoses; final diagnoses; histopathologic diagnosis; histological diagnosis; anatomic "
        "diagnosis; surgical pathology diagnosis; pathology diagnosis"
    ),
    "gross": (
        "gross; gross description; macroscopic; macroscopy; macro; macroscopic description; macroscopic "
        "examination; gross examination; gross pathology"
    ),
    "microscopic": (
        "microscopic; microscopic description; microscopy; histology; microscopic examination; microscopic "
        "findings"
    ),
    "synoptic": (
        "synoptic report; synoptic; tumor summary; synopsis; cancer case summary; case summary; tumor "
        "synopsis"
    ),
    "specimen": (
        "specimen; specimens; specimen(s); specimen submitted; specimens submitted; tissue submitted; "
        "specimen(s) submitted; specimen received; source of specimen; specimen source; specimen(s) "
        "received; "
        "material submitted; material"
    ),
    "intraoperative": (
        "intraoperative consultation; frozen section; frozen section diagnosis; intraoperative diagnosis; "
        "intra-operative consultation"
    ),
    "comment": ("comment; comments"),
}
"""Section -> its headings in lower case, separated by semicolons."""

HEADINGS: dict[str, str] = {
    title.strip(): section for section, titles in _TITLES.items() for title in titles.split(";")
}
"""Heading in lower case -> name of the section that it opens."""

"""A hook for `rsuper extract --deidentify presidio_hook:scrub` on Microsoft Presidio; not a dependency of this package.

    pip install presidio-analyzer presidio-anonymizer && python -m spacy download en_core_web_lg
    PYTHONPATH=examples rsuper extract reports.csv --out records --deidentify presidio_hook:scrub --workers 4

Names, dates, telephone numbers and the like become `<PERSON>`, `<DATE_TIME>` and so on. Presidio misses some: judge a
sample (`rsuper audit records --reports records/cleaned_texts.jsonl`) before a text leaves the hospital. Lengths must
survive: "2.1 x 1.8 cm" and "series 4, image 112" are no dates, and words such as "Hodgkin" or "Hartmann" no persons.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

ENTITIES = (
    "PERSON",
    "DATE_TIME",
    "PHONE_NUMBER",
    "EMAIL_ADDRESS",
    "LOCATION",
    "MEDICAL_LICENSE",
    "US_SSN",
    "URL",
)
NO_DATE = re.compile(r"(?:[\d\s.,x×–-]+(?:mm|cm)|(?:series|image|segments?)[\s\d/,-]+)", re.IGNORECASE)
EPONYMS = frozenset(
    {"hodgkin", "hartmann", "whipple", "bosniak", "douglas", "morison", "krukenberg", "gerota"}
)
LOWEST_SCORE = 0.5


@lru_cache(maxsize=1)
def engines() -> tuple[Any, Any]:
    """Presidio's two engines; loaded once a worker process, with the first report."""
    from presidio_analyzer import AnalyzerEngine
    from presidio_anonymizer import AnonymizerEngine

    return AnalyzerEngine(), AnonymizerEngine()


def scrub(text: str) -> str:
    """The report with what Presidio found replaced by the name of its kind."""
    analyzer, anonymizer = engines()
    found = analyzer.analyze(text=text, language="en", entities=list(ENTITIES), score_threshold=LOWEST_SCORE)
    usable = [each for each in found if is_personal(each.entity_type, text[each.start : each.end])]
    return anonymizer.anonymize(text=text, analyzer_results=usable).text


def is_personal(kind: str, words: str) -> bool:
    """False for what a recogniser takes for a date or a person and is nothing but a length, a place or an eponym."""
    if kind == "DATE_TIME":
        return NO_DATE.fullmatch(words.strip()) is None
    return kind != "PERSON" or words.strip().lower() not in EPONYMS

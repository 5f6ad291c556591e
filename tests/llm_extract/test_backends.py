import pytest

from llm_extract.backends import extract_checked, load_backend
from llm_extract.backends.rules import RulesBackend
from llm_extract.errors import UsageError
from llm_extract.grounding import GroundingError
from llm_extract.reports import Report
from llm_extract.rules_hash import rules_sha256

RULES_AT_THE_TOP = {
    "__init__.py",
    "anatomy.py",
    "anatomy_file.py",
    "assembly.py",
    "candidates.py",
    "contradictions.py",
    "cues.py",
    "section_titles.py",
    "size_words.py",
    "drafts.py",
    "grounding.py",
    "language.py",
    "lower_case.py",
    "measurements.py",
    "merging.py",
    "organ_status.py",
    "records.py",
    "references.py",
    "reports.py",
    "sections.py",
    "tense.py",
}


def report(text: str) -> Report:
    return Report(report_id="R1", text=text)


def test_rules_is_the_name_of_the_rules_backend():
    backend = load_backend("rules")
    assert isinstance(backend, RulesBackend)
    assert backend.name == "rules"


def test_settings_of_the_rules_follow_their_files(monkeypatch):
    before = RulesBackend().settings()
    assert before == RulesBackend().settings()
    assert len(before["rules_sha256"]) == 64
    from llm_extract import rules_hash

    files = rules_hash._rule_files
    monkeypatch.setattr(rules_hash, "_rule_files", lambda *a: [*files(*a), ("rules/new.py", b"x")])
    assert rules_sha256() != before["rules_sha256"]


def test_files_that_only_move_records_are_no_rules():
    from importlib import resources

    from llm_extract import rules_hash

    names = {name for name, _ in rules_hash._rule_files(resources.files("llm_extract"), "")}
    assert {"anatomy.yaml", "measurements.py", "rules/__init__.py", "records.py"} <= names
    at_the_top = {name for name in names if "/" not in name and name.endswith(".py")}
    assert at_the_top == RULES_AT_THE_TOP  # of a new module: does it decide what a record says?


def test_a_backend_of_ones_own_is_loaded_by_import_path(toy_backend):
    record = extract_checked(load_backend(toy_backend), report("a mass"))
    assert record.lesions[0].evidence[0].text == "mass"


@pytest.mark.parametrize(
    "name",
    ["nope", "toy_backend:Missing", "no_such_module:X", "toy_backend:NotABackend", "os:path", "os:chmod"],
)
def test_an_unknown_backend_is_a_usage_error(toy_backend, name):
    with pytest.raises(UsageError) as caught:
        load_backend(name)
    assert caught.value.code == "unknown_backend"


def test_a_record_whose_quote_is_elsewhere_is_refused(toy_backend):
    with pytest.raises(GroundingError) as caught:
        extract_checked(load_backend(toy_backend), report("LIE a mass here"))
    assert "mass" not in str(caught.value)


def test_a_record_of_another_report_is_refused(toy_backend):
    backend = load_backend(toy_backend)
    other = backend.extract(report("another text"))

    class Mixed:
        name = "mixed"

        def extract(self, _report):
            return other

    with pytest.raises(GroundingError):
        extract_checked(Mixed(), report("a mass"))

import json
import subprocess
import sys
import time
from importlib import resources

import pytest
from pydantic import ValidationError

import llm_extract
from llm_extract import Evidence, Lesion
from llm_extract.errors import DataError, PipelineError, UsageError
from llm_extract.schema import record_schema_text


def test_the_committed_schema_is_the_schema_of_the_record():
    committed = (resources.files("llm_extract") / "record_schema.json").read_text(encoding="utf-8")
    assert json.loads(committed) == json.loads(record_schema_text()), "run: python -m llm_extract.schema"


def test_every_object_of_the_schema_is_closed_or_a_plain_mapping():
    schema = json.loads(record_schema_text())
    for definition in [schema, *schema["$defs"].values()]:
        assert definition["additionalProperties"] is False


def test_public_names():
    assert sorted(llm_extract.__all__) == [
        "Evidence",
        "Lesion",
        "OrganStatement",
        "ReportRecord",
        "__version__",
    ]


def test_evidence_is_exactly_as_long_as_its_span():
    with pytest.raises(ValidationError):
        Evidence(field="organ", start=3, end=9, text="liver", section="findings")


def test_an_exact_count_needs_a_number():
    with pytest.raises(ValidationError):
        Lesion(lesion_id="L1", organ="liver", count=None, count_kind="exact")


@pytest.mark.parametrize("value", [0.0, -3.0, float("nan"), float("inf"), 5000.0])
def test_a_diameter_is_a_possible_length(value):
    with pytest.raises(ValidationError):
        Lesion(lesion_id="L1", organ="liver", diameters_mm=(value,))


def test_importing_the_package_is_quick_and_loads_no_model_library():
    code = (
        "import sys, time; started = time.process_time(); import llm_extract, llm_extract.cli;"
        "print(time.process_time() - started);"
        "print([name for name in ('torch', 'spacy', 'thinc', 'pyarrow', 'rsuper') if name in sys.modules])"
    )
    seconds, loaded = [], ""
    for _ in range(3):
        output = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        first, loaded = output.splitlines()
        seconds.append(float(first))
        if min(seconds) < 1.0:
            break
        time.sleep(1)
    assert loaded == "[]"
    assert min(seconds) < 1.0


def test_errors_say_code_place_and_next_step_and_share_a_base():
    error = DataError("the file ends early", code="truncated", case_id="CASE1", hint="copy it again")
    assert str(error) == "truncated [case CASE1]: the file ends early — copy it again"
    assert (error.exit_code, UsageError("x", code="y").exit_code) == (3, 2)
    assert issubclass(UsageError, PipelineError)


def test_both_packages_raise_the_same_errors():
    from rsuper import errors

    assert errors.DataError is DataError
    assert errors.RsuperError is PipelineError

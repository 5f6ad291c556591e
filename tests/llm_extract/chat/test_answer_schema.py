import json
import random
import re

import pytest
from pydantic import ValidationError

from llm_extract.anatomy import load_anatomy
from llm_extract.chat.answer_schema import (
    BUCKETS,
    Answer,
    answer_schema,
    bucket_of,
    max_output_tokens,
    schema_sha256,
)

ORGANS = tuple(load_anatomy().organs)


def nodes(schema):
    yield schema
    for value in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(value, dict | list):
            yield from (n for n in nodes(value) if isinstance(n, dict))


def random_value(schema, rng):
    """A value that the schema allows, by the few keywords that it uses."""
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if schema["type"] == "string":
        low, high = map(int, re.search(r"\{(\d+),(\d+)\}", schema["pattern"]).groups())
        return "".join(rng.choice("ab é中 x") for _ in range(rng.randint(low, high)))
    if schema["type"] == "array":
        return [random_value(schema["items"], rng) for _ in range(rng.randint(schema.get("minItems", 0), 3))]
    required = set(schema["required"])
    return {
        key: random_value(value, rng)
        for key, value in schema["properties"].items()
        if key in required or rng.random() < 0.5
    }


@pytest.mark.parametrize("bucket", BUCKETS)
def test_what_the_schema_allows_the_model_class_reads(bucket):
    rng = random.Random(bucket)
    schema = answer_schema(bucket, ORGANS)
    for _ in range(60):
        Answer.model_validate(random_value(schema, rng))


def test_the_schema_and_the_class_have_the_same_keys():
    lesion = answer_schema(4, ORGANS)["properties"]["lesions"]["items"]
    fields = Answer.model_fields["lesions"].annotation
    (part,) = fields.__args__
    assert set(lesion["properties"]) == set(part.model_fields)


def test_everything_is_bounded_and_closed():
    for bucket in BUCKETS:
        for node in nodes(answer_schema(bucket, ORGANS)):
            if node.get("type") == "string":
                assert re.fullmatch(r"\^\[\^.*\]\{\d+,\d+\}\$", node["pattern"])
                assert re.search(node["pattern"], "plain words")
                for bad in ("tab\there", 'a "quote" in', "back\\slash", "line\nbreak"):
                    assert not re.search(node["pattern"], bad)
            if node.get("type") == "array":
                assert node["maxItems"] <= 40
            if node.get("type") == "object":
                assert node["additionalProperties"] is False


def test_measurement_ids_are_an_enum_of_the_bucket():
    size = answer_schema(8, ORGANS)["properties"]["lesions"]["items"]["properties"]["size"]
    assert size["items"]["enum"] == [f"M{n}" for n in range(1, 9)]
    assert "size" not in answer_schema(0, ORGANS)["properties"]["lesions"]["items"]["properties"]


@pytest.mark.parametrize("n", [0, 1, 4, 5, 64, 65, 256, 5000])
def test_a_report_gets_the_smallest_bucket(n):
    bucket = bucket_of(n)
    assert bucket in BUCKETS
    assert bucket >= min(n, 256)
    assert all(other >= bucket or other < n for other in BUCKETS)
    assert 700 <= max_output_tokens(bucket) <= 4096


def test_a_number_in_place_of_an_id_is_refused():
    entry = {"quote": "a mass", "organ": "liver", "size": [34]}
    with pytest.raises(ValidationError):
        Answer.model_validate({"lesions": [entry], "free": []})


def test_another_list_of_organs_is_another_schema():
    assert schema_sha256(ORGANS) != schema_sha256((*ORGANS, "thymus"))
    assert json.loads(json.dumps(answer_schema(4, ORGANS))) == answer_schema(4, ORGANS)

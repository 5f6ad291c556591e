import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_extract.archive_options import Shard
from llm_extract.errors import UsageError
from llm_extract.reports import Report

TEXTS = st.lists(st.sampled_from(["", *(f"report number {index}" for index in range(40))]), max_size=60)


def reports_of(texts):
    return [Report(report_id=f"R{row}", text=text, row=row) for row, text in enumerate(texts)]


def shards_of(reports, of):
    shards = [Shard(index, of) for index in range(1, of + 1)]
    return [{report.report_id for report in reports if shard.holds(report)} for shard in shards]


@given(TEXTS, st.integers(1, 9))
def test_shards_are_disjoint_and_complete(texts, of):
    parts = shards_of(reports_of(texts), of)
    assert sum(map(len, parts)) == len(texts)
    assert set().union(*parts) == {f"R{row}" for row in range(len(texts))}


@given(TEXTS, st.integers(1, 9), st.randoms(use_true_random=False))
def test_the_shard_of_a_report_is_the_same_in_any_order_and_company(texts, of, random):
    reports = reports_of(texts)
    shuffled = [
        report.model_copy(update={"row": row})
        for row, report in enumerate(random.sample(reports, len(reports)))
    ]
    assert shards_of(shuffled[: len(shuffled) // 2], of) == [
        part & {report.report_id for report in shuffled[: len(shuffled) // 2]}
        for part in shards_of(reports, of)
    ]


@given(TEXTS, st.integers(1, 9))
def test_one_text_is_one_shards_work(texts, of):
    reports = [report for report in reports_of(texts) if report.text]
    for shard in (Shard(index, of) for index in range(1, of + 1)):
        inside = {report.text for report in reports if shard.holds(report)}
        assert not inside & {report.text for report in reports if not shard.holds(report)}


def test_shards_are_about_equally_large():
    parts = shards_of(reports_of(f"text {index}" for index in range(4000)), 8)
    assert all(400 < len(part) < 600 for part in parts)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_a_shard_that_makes_no_sense_is_a_usage_error(text):
    with pytest.raises(UsageError) as caught:
        Shard.parse(text)
    assert caught.value.code == "invalid_shard"

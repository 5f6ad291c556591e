from hypothesis import given
from hypothesis import strategies as st

from llm_extract.finished_keys import FinishedKeys

# few different halves, so that keys often share one of them
HALVES = st.sampled_from(["00" * 8, "ff" * 8, "01" + "00" * 7, "00" * 7 + "01"])
KEYS = st.lists(st.builds("{}{}{}".format, HALVES, HALVES, st.just("ab" * 16)), max_size=20)


@given(KEYS, KEYS)
def test_it_never_holds_a_key_that_it_was_not_given(finished, asked):
    done = FinishedKeys(sorted({bytes.fromhex(key)[:16] for key in finished}))
    assert len(done) == len(set(finished))
    for key, held in zip(asked, done.holds(asked), strict=True):
        assert key in finished or not held


@given(st.sets(st.integers(0, 2**256 - 1), max_size=50), st.sets(st.integers(0, 2**256 - 1), max_size=50))
def test_it_is_a_set_for_the_hashes_that_keys_are(finished, others):
    names = [f"{number:064x}" for number in sorted(finished)]
    done = FinishedKeys(bytes.fromhex(name)[:16] for name in names)
    asked = names[::2] + [f"{number:064x}" for number in others] + names
    kept = {name[:32] for name in names}
    first_halves = [name[:16] for name in names]
    for key, held in zip(asked, done.holds(asked), strict=True):
        shares_half = first_halves.count(key[:16]) > 1
        assert held == (key[:32] in kept) or (shares_half and not held)


def test_nothing_finished_and_nothing_asked():
    assert FinishedKeys([]).holds(["ab" * 32]) == [False]
    assert FinishedKeys([b"x" * 16]).holds([]) == []

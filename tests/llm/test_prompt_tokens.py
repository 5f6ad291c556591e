"""The fixed prompt in tokens of a vocabulary that real models use."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_extract.anatomy import load_anatomy
from llm_extract.chat.prompting import load_prompts

tekken = pytest.importorskip(
    "mistral_common.tokens.tokenizers.tekken", reason="needs the environment of make test-llm"
)

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("source", ["radiology", "pathology"])
def test_the_fixed_prompt_is_at_most_1400_tokens(source):
    import mistral_common

    files = sorted((Path(mistral_common.__file__).parent / "data").glob("tekken_*.json"))
    if not files:
        pytest.skip("mistral_common ships no vocabulary")
    tokenizer = tekken.Tekkenizer.from_file(str(files[-1]))
    messages = load_prompts(tuple(load_anatomy().organs)).fixed(source)
    counted = sum(len(tokenizer.encode(m.content, bos=False, eos=False)) for m in messages)
    print(f"\n{source}: {counted} fixed tokens")
    assert counted <= 1_400  # the chat template adds a few a turn

"""A tiny Llama that the tests make themselves: real weights, real tokenizer, real chat template, no skill.

A few steps of training on answers of our own let it end its answers; it says nothing about accuracy.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
ORGANS = ("liver", "spleen", "pancreas", "right kidney", "left kidney", "left lung", "right adrenal gland")
KINDS = ("mass", "cyst", "nodule", "lesion", "metastasis")


def report_texts(n: int, *, seed: int = 0) -> list[str]:
    """Made-up reports of different lengths."""
    rng = random.Random(seed)
    texts = []
    for number in range(n):
        lines = [f"CT of the abdomen, examination {number}.", "FINDINGS:"]
        for organ in rng.sample(ORGANS, rng.randint(2, 6)):
            size = rng.randint(4, 90)
            lines.append(
                rng.choice(
                    (
                        f"The {organ} is normal.",
                        f"A {size} mm {rng.choice(KINDS)} in the {organ}.",
                        f"{rng.choice(KINDS).title()} of {size / 10} cm in the {organ}, previously {size / 20:.1f} cm.",
                        f"No focal lesion in the {organ}.",
                    )
                )
            )
        lines.append("IMPRESSION: " + rng.choice(("No change.", "Follow-up is recommended.", "See above.")))
        texts.append("\n".join(lines))
    return texts


def build_tiny_model(folder: Path, *, steps: int = 40, seed: int = 0) -> Path:
    """Make the model and save it as safetensors with its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    tokenizer = _tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, head_dim=64, max_position_embeddings=8192,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    _train(model, tokenizer, steps=steps, seed=seed)
    model.to(torch.bfloat16).save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from llm_extract.anatomy import load_anatomy
    from llm_extract.chat.prompting import load_prompts

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    fixed = [m.content for m in load_prompts(tuple(load_anatomy().organs)).fixed("pathology")]
    trainer = trainers.BpeTrainer(
        vocab_size=2000, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    raw.train_from_iterator([*fixed, *report_texts(300, seed=9)], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token=SPECIAL[0], eos_token=SPECIAL[1], chat_template=CHAT_TEMPLATE,
        additional_special_tokens=SPECIAL[2:], clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _train(model, tokenizer, *, steps: int, seed: int) -> None:
    """Teach it the shape of an answer: short, closed, ended."""
    import torch

    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        rows = [_example(tokenizer, rng) for _ in range(16)]
        width = max(len(ids) for ids, _ in rows)
        ids = torch.tensor([i + [tokenizer.pad_token_id] * (width - len(i)) for i, _ in rows])
        labels = torch.tensor([[-100] * k + i[k:] + [-100] * (width - len(i)) for i, k in rows])
        loss = model(input_ids=ids, attention_mask=(ids != tokenizer.pad_token_id).long(), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _example(tokenizer, rng: random.Random) -> tuple[list[int], int]:
    text = report_texts(1, seed=rng.randint(0, 10**6))[0]
    sentence = text.splitlines()[2]
    free = (
        [{"quote": sentence[:-1], "organs": [rng.choice(["liver", "spleen"])]}]
        if "normal" in sentence
        else []
    )
    lesion = {"quote": sentence[:-1], "organ": rng.choice(["liver", "kidney"]), "kind": "mass"}
    answer = json.dumps({"lesions": [] if free else [lesion], "free": free}, separators=(",", ":"))
    prompt = f"<|user|>\n{text}<|end|>\n<|assistant|>\n"
    head = tokenizer(prompt, add_special_tokens=False).input_ids
    return head + tokenizer(answer + "<|end|>", add_special_tokens=False).input_ids, len(head)

"""Two tiny Llamas that the tests make themselves: real weights, a real tokenizer and chat template, no training.

:func:`build_reading_model` is wired by hand: its attention finds a few phrases of :func:`made_reports` in the prompt,
and its one layer writes the answer to them: real drafts come out of a real engine. It knows these phrases only.
:func:`build_random_model` has random weights: under a schema it writes valid JSON without any sense.
Neither says anything about how accurate a language model is.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
END, FIRST, ASSISTANT = SPECIAL[1], SPECIAL[2], SPECIAL[4]
SITES = {
    "liver": ("liver", None), "spleen": ("spleen", None), "pancreas": ("pancreas", None), "stomach": ("stomach", None),
    "gallbladder": ("gallbladder", None), "left kidney": ("kidney", "left"), "right kidney": ("kidney", "right"),
    "left adrenal gland": ("adrenal_gland", "left"), "right adrenal gland": ("adrenal_gland", "right"),
}  # fmt: skip
"""Words of a report -> organ and side."""
MASSES = {f"Mass in the {site}": site for site in SITES}
CYSTS = {f"Cyst in the {site}": site for site in SITES}
NORMALS = {f"The {site} is normal": site for site in SITES}
SLIPS, INSISTS = "Motion artefacts", "Severe motion artefacts"
"""Words that make the model give a wrong mark: in its first answer, or in every one."""
REPAIR = "That answer was refused"


@dataclass(frozen=True)
class MadeReport:
    """A made-up report and what it says.

    Args:
        text: the report.
        lesions: (organ, side, kind, diameter in mm) of each mass and cyst, in the order of the text.
        normal: (organ, side) that it calls normal.
        unread: a nodule that the reading model passes over and the rules do not.
        motion: ``SLIPS``, ``INSISTS`` or nothing.
    """

    text: str
    lesions: tuple[tuple[str, str | None, str, float], ...]
    normal: tuple[str, str | None]
    unread: bool = False
    motion: str = ""


def made_report(number: int, *, rng: random.Random, filler: int = 0) -> MadeReport:
    """One report: a mass, a cyst, both or neither, one normal organ, at times a nodule and artefacts."""
    mass, cyst, nodule, normal = rng.sample(sorted(SITES), 4)
    lines, lesions = [], []
    for kind, site in (("mass", mass), ("cyst", cyst)):
        if rng.random() < 0.6:
            size_mm = rng.randint(11, 89)
            said = f"{size_mm} mm" if rng.random() < 0.5 else f"{size_mm / 10} cm"
            lines.append(f"{kind.title()} in the {site}: {said}.")
            lesions.append((*SITES[site], kind, float(size_mm)))
    unread = rng.random() < 0.1
    if unread:
        lines.append(f"Nodule in the {nodule}: {rng.randint(11, 89)} mm.")
    lines.insert(rng.randint(0, len(lines)), f"The {normal} is normal.")
    lines += rng.sample(FILLER, min(filler, len(FILLER)))
    motion = rng.choices((SLIPS, INSISTS, ""), (0.05, 0.02, 0.93))[0]
    head = [f"TECHNIQUE: CT of the abdomen, examination {number}.", *([f"{motion}."] if motion else [])]
    text = "\n".join([*head, "FINDINGS:", *lines, "IMPRESSION: " + rng.choice(("No change.", "See above."))])
    return MadeReport(text, tuple(lesions), SITES[normal], unread, motion)


def made_reports(n: int, *, seed: int = 0, filler: int = 0) -> list[MadeReport]:
    """Made-up reports, each another text."""
    rng = random.Random(seed)
    return [made_report(seed * 100_000 + number, rng=rng, filler=filler) for number in range(n)]


FILLER = (
    "No free air or ascites.", "The abdominal aorta is of normal calibre.", "The lung bases are clear.",
    "There is no hydronephrosis.", "No evidence of pulmonary embolism.", "The heart is of normal size.",
    "Mild degenerative changes of the spine.", "The urinary bladder is partially distended.",
    "Small and large bowel are of normal calibre.", "No pathologically enlarged lymph nodes.",
    "The portal vein is patent.", "Diverticula without inflammation.", "The abdominal wall is intact.",
    "Calcified plaques of the iliac arteries.", "The appendix is not seen.", "Prostheses of both hips.",
)  # fmt: skip
"""Sentences that make a report longer and change nothing."""


# what the reading model writes, piece by piece
OPEN, OPEN_FREE, NOTHING = (
    '{"lesions":[{"quote":"',
    '{"lesions":[],"free":[{"quote":"',
    '{"lesions":[],"free":[]}',
)
ORGAN, SIDE, KIND, SIZE = '","organ":"', '","side":"', '","kind":"', '","size":["'
NEXT, FREE, NONE_FREE = '"]},{"quote":"', '"]}],"free":[{"quote":"', '"]}],"free":[]}'
ORGANS, FREE_SIDE, LAST, LAST_SIDE = '","organs":["', '"],"side":"', '"]}]}', '"}]}'
ENDS = (NOTHING, NONE_FREE, LAST, LAST_SIDE)
WORDS = tuple(dict.fromkeys([organ for organ, _ in SITES.values()]))
SIDES, KINDS, MARKS = ("left", "right"), ("mass", "cyst"), ("M1", "M2", "M4")
PHRASES = {**MASSES, **CYSTS, **NORMALS}
STATES = (
    ASSISTANT, OPEN, OPEN_FREE, NOTHING, ORGAN, SIDE, KIND, SIZE, NEXT, FREE, NONE_FREE, ORGANS, FREE_SIDE, LAST,
    LAST_SIDE, *PHRASES, *WORDS, *SIDES, *KINDS, *MARKS, SLIPS, INSISTS, REPAIR,
)  # fmt: skip
"""Tokens that the wiring tells apart."""
WRITTEN = (*[s for s in STATES if s not in {ASSISTANT, SLIPS, INSISTS, REPAIR}], END)
HEADS = {
    "mass": tuple(MASSES), "cyst": tuple(CYSTS), "normal": tuple(NORMALS), "last": tuple(PHRASES),
    "motion": (SLIPS, INSISTS), "repair": (REPAIR,),
}  # fmt: skip
"""Attention heads: each finds its phrases anywhere in the prompt, ``last`` the latest one."""

Condition = tuple[str, frozenset[str]]
"""A head, or ``now`` for the token before the one to be written, and which of its phrases count."""


@dataclass(frozen=True)
class Rule:
    """Where all conditions hold and none of the exceptions does, this is written."""

    writes: str
    when: tuple[Condition, ...]
    unless: tuple[Condition, ...] = ()


def _in(head: str, phrases: Iterable[str] | None = None) -> Condition:
    return head, frozenset(HEADS[head] if phrases is None else phrases)


def _now(*tokens: str) -> Condition:
    return "now", frozenset(tokens)


def rules() -> Iterator[Rule]:
    """What the reading model does, as rules; :func:`build_reading_model` makes weights of them."""
    mass, cyst, normal = _in("mass"), _in("cyst"), _in("normal")
    lesions = {**MASSES, **CYSTS}
    yield Rule(OPEN, (_now(ASSISTANT), mass))
    yield Rule(OPEN, (_now(ASSISTANT), cyst), unless=(mass,))
    yield Rule(OPEN_FREE, (_now(ASSISTANT), normal), unless=(mass, cyst))
    yield Rule(NOTHING, (_now(ASSISTANT),), unless=(mass, cyst, normal))
    for phrase in MASSES:
        yield Rule(phrase, (_now(OPEN), _in("mass", [phrase])))
    for phrase in CYSTS:
        yield Rule(phrase, (_now(OPEN), _in("cyst", [phrase])), unless=(mass,))
        yield Rule(phrase, (_now(NEXT), _in("cyst", [phrase])))
    for phrase in NORMALS:
        yield Rule(phrase, (_now(OPEN_FREE, FREE), _in("normal", [phrase])))
    yield Rule(ORGAN, (_now(*lesions),))
    yield Rule(ORGANS, (_now(*NORMALS),))
    for word in WORDS:
        yield Rule(
            word, (_now(ORGAN, ORGANS), _in("last", [p for p, s in PHRASES.items() if SITES[s][0] == word]))
        )
    for side in SIDES:
        yield Rule(
            side, (_now(SIDE, FREE_SIDE), _in("last", [p for p, s in PHRASES.items() if SITES[s][1] == side]))
        )
    for phrases, with_side, without, after_side in (
        (lesions, SIDE, KIND, KIND),
        (NORMALS, FREE_SIDE, LAST, LAST_SIDE),
    ):
        sided = [p for p, s in phrases.items() if SITES[s][1]]
        yield Rule(with_side, (_now(*WORDS), _in("last", sided)))
        yield Rule(without, (_now(*WORDS), _in("last", set(phrases) - set(sided))))
        yield Rule(after_side, (_now(*SIDES), _in("last", phrases)))
    yield Rule("mass", (_now(KIND), _in("last", MASSES)))
    yield Rule("cyst", (_now(KIND), _in("last", CYSTS)))
    yield Rule(SIZE, (_now(*KINDS),))
    yield from _marks()
    last_lesion = ((_in("last", CYSTS), ()), (_in("last", MASSES), (cyst,)))
    for which, unless in last_lesion:
        yield Rule(FREE, (_now(*MARKS), which, normal), unless=unless)
        yield Rule(NONE_FREE, (_now(*MARKS), which), unless=(*unless, normal))
    yield Rule(NEXT, (_now(*MARKS), _in("last", MASSES), cyst))
    yield Rule(END, (_now(*ENDS),))


def _marks() -> Iterator[Rule]:
    """The mark of a size, a wrong one where artefacts are named."""
    size, repair, motion = _now(SIZE), _in("repair"), _in("motion")
    right = {
        "M1": [((_in("last", MASSES),), ()), ((_in("last", CYSTS),), (_in("mass"),))],
        "M2": [((_in("last", CYSTS), _in("mass")), ())],
    }
    for mark, cases in right.items():
        for when, unless in cases:
            yield Rule(mark, (size, *when), unless=(*unless, motion))
            yield Rule(mark, (size, *when, _in("motion", [SLIPS]), repair), unless=unless)
    yield Rule("M4", (size, _in("motion", [SLIPS])), unless=(repair,))
    yield Rule("M4", (size, _in("motion", [INSISTS])))


HEAD_SIZE = 64
LOWEST, RAMP = 31, 14
"""Rotary pairs: one that hardly turns within the context, one that turns a quarter in about 660 tokens."""
FOUND, FIRST_TOKEN, NEARNESS = 40.0, 20.0, 400.0
"""Attention scores: of a head's phrases, of the first token (where there is none), and how far the latest wins."""
SHARPNESS = 20.0


def build_reading_model(folder: Path, *, idle_layers: int = 0) -> Path:
    """Make the model that reads :func:`made_reports`, and save it; idle layers add nothing but time."""
    import torch

    tokenizer = _tokenizer()
    model = _llama(tokenizer, layers=1 + idle_layers)
    place = {("one",): 0, ("other",): 1, ("first",): 2}
    for name in [("now", s) for s in STATES] + [(h, p) for h, ps in HEADS.items() for p in ps]:
        place[name] = len(place)
    for token in WRITTEN:
        place["write", token] = len(place)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        _wire_tokens(model, tokenizer, place)
        for number, (head, phrases) in enumerate(HEADS.items()):
            _wire_head(model.model.layers[0].self_attn, number, head, phrases, place)
        for unit, rule in enumerate(rules()):
            _wire_rule(model.model.layers[0].mlp, unit, rule, place)
    return _save(model, tokenizer, folder)


def build_random_model(folder: Path, *, seed: int = 0) -> Path:
    """Make a model of random weights, and save it."""
    import torch

    torch.manual_seed(seed)
    tokenizer = _tokenizer()
    return _save(_llama(tokenizer, layers=2), tokenizer, folder)


def _llama(tokenizer, *, layers: int):
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=len(HEADS) * HEAD_SIZE, intermediate_size=256,
            num_hidden_layers=layers,
            num_attention_heads=len(HEADS), num_key_value_heads=len(HEADS), head_dim=HEAD_SIZE,
            max_position_embeddings=8192, rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=False,
        )
    )  # fmt: skip


def _save(model, tokenizer, folder: Path) -> Path:
    import torch

    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _wire_tokens(model, tokenizer, place) -> None:
    """Every token says "one" and what it is; what a rule writes is what comes out."""
    known = {tokenizer.convert_tokens_to_ids(_spelled(s)): s for s in STATES}
    first = tokenizer.convert_tokens_to_ids(FIRST)
    embedding = model.model.embed_tokens.weight
    embedding[:, place["one",]] = 1
    embedding[:, place["other",]] = 1
    embedding[first, place["other",]], embedding[first, place["first",]] = 0, 1
    for token, state in known.items():
        embedding[token, place["other",]], embedding[token, place["now", state]] = 0, 1
    for written in WRITTEN:
        model.lm_head.weight[tokenizer.convert_tokens_to_ids(_spelled(written)), place["write", written]] = 1
    length = (2 / model.config.hidden_size) ** 0.5  # undoes the normalisation of a vector with two ones
    for norm in (model.model.layers[0].input_layernorm, model.model.layers[0].post_attention_layernorm):
        norm.weight.fill_(length)
    model.model.norm.weight.fill_(1)


def _wire_head(attention, number: int, head: str, phrases: Iterable[str], place) -> None:
    """Attend to the phrases of a head wherever they stand, else to the first token; carry which phrase it is."""
    scale = HEAD_SIZE**0.5
    base = number * HEAD_SIZE
    near = head == "last"
    attention.q_proj.weight[base + LOWEST, place["one",]] = scale
    attention.k_proj.weight[base + LOWEST, place["first",]] = FIRST_TOKEN
    if near:
        attention.q_proj.weight[base + RAMP, place["one",]] = (NEARNESS * scale) ** 0.5
    for slot, phrase in enumerate(phrases):
        now = place["now", phrase]
        attention.k_proj.weight[base + LOWEST, now] = FOUND + (20.0 if near else 0.0)
        if near:  # a quarter turn behind: the score falls with the sine of the distance
            attention.k_proj.weight[base + HEAD_SIZE // 2 + RAMP, now] = -((NEARNESS * scale) ** 0.5)
        attention.v_proj.weight[base + slot, now] = 1
        attention.o_proj.weight[place[head, phrase], base + slot] = 1


def _wire_rule(mlp, unit: int, rule: Rule, place) -> None:
    """One hidden unit that is on where all conditions hold and no exception does."""
    mlp.gate_proj.weight[unit, place["one",]] = -SHARPNESS * (len(rule.when) - 0.5)
    mlp.up_proj.weight[unit, place["one",]] = 1
    for conditions, weight in ((rule.when, SHARPNESS), (rule.unless, -SHARPNESS)):
        for head, phrases in conditions:
            for phrase in phrases:
                mlp.gate_proj.weight[unit, place[head, phrase]] += weight
    mlp.down_proj.weight[place["write", rule.writes], unit] = 1


def _spelled(text: str) -> str:
    """A token as a byte-level vocabulary spells it."""
    return text if text in SPECIAL else text.replace(" ", "Ġ")


def _tokenizer():
    """Byte pairs learned from the prompts; what the wiring knows are tokens of their own."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from llm_extract.anatomy import load_anatomy
    from llm_extract.chat.prompting import load_prompts

    own = [s for s in STATES if s not in SPECIAL]
    escaped = [
        _escaped(s) + (r"(?![a-z])" if s[-1].isalpha() else "") for s in sorted(own, key=len, reverse=True)
    ]
    pieces = [*escaped, r" ?[A-Za-z]+", r"[0-9]", r"\s+", r"[^A-Za-z0-9\s]+?"]
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("|".join(pieces)), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    fixed = [m.content for m in load_prompts(tuple(load_anatomy().organs)).fixed("pathology")]
    trainer = trainers.BpeTrainer(
        vocab_size=1500, special_tokens=list(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    raw.train_from_iterator([*fixed, *FILLER, *(r.text for r in made_reports(50, seed=9))], trainer)
    made = json.loads(raw.to_str())
    made["model"]["ignore_merges"] = True  # a piece that is in the vocabulary is one token
    vocabulary = made["model"]["vocab"]
    for token in own:
        vocabulary.setdefault(_spelled(token), len(vocabulary))
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(made)), pad_token=SPECIAL[0], eos_token=END,
        chat_template=CHAT_TEMPLATE, additional_special_tokens=list(SPECIAL[2:]), clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _escaped(text: str) -> str:
    return "".join(c if c.isalnum() or c == " " else "\\" + c for c in text)

"""Makes small decoders of every family with random weights, and writes what transformers answers with them.

    python make_decoders.py FOLDER

Runs with torch and transformers, outside the project's own environment. `FOLDER/answers.json` is written last.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast, logging

CORPUS = [
    *(path.read_text(errors="ignore")[:40_000] for path in sorted(Path(json.__file__).parent.glob("*.py"))),
    "Привет, мир! Как у вас дела сегодня? Всё хорошо. ", "你好，世界！今天天气很好。", "नमस्ते दुनिया ", "naïve café Größe façade ",
]  # fmt: skip
PROMPTS = [
    "def read(path):\n    return path",
    "The decoder reads a string and",
    "Привет, мир! 123 45\n\n",
    "x",
    " ".join(f"item {number}," for number in range(12)),  # longer than the small windows
]
STEPS = 16
TOP = 5
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{{ '<|im_start|>assistant\n' }}"
SPACE = "▁"

SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 256, "initializer_range": 0.12, "head_dim": 16,
}  # fmt: skip
GEMMA = {"sliding_window": 16, "num_hidden_layers": 7, "query_pre_attn_scalar": 16}
SCALED = {
    "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip
WINDOWED = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
    "full_attention": {"rope_type": "linear", "rope_theta": 100000.0, "factor": 2.0},
}
# By name: the tokenizer, how it is stored, and what its configuration has of its own.
KINDS = {
    "llama": ("llama3", torch.float32, {"rope_parameters": SCALED}),
    "llama-tied": ("smollm", torch.bfloat16, {"tie_word_embeddings": True, "num_key_value_heads": 4}),
    "llama-biased": ("llama2", torch.float32, {"attention_bias": True, "mlp_bias": True,
                     "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}}),
    "mistral": ("llama2", torch.float16, {"sliding_window": 128}),
    "mistral-wide": ("llama2", torch.float32, {"sliding_window": None, "head_dim": 32}),
    "qwen2": ("qwen2", torch.float32, {}),
    "qwen3": ("qwen2", torch.bfloat16, {"head_dim": 32, "tie_word_embeddings": True}),
    "gemma": ("gemma", torch.float32, {"head_dim": 32}),
    "gemma2": ("gemma", torch.float32, GEMMA),
    "gemma3_text": ("gemma", torch.float32, {**GEMMA, "rope_parameters": WINDOWED}),
    "phi3": ("phi3", torch.float32, {"pad_token_id": None, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}),
    "gpt2": ("gpt2", torch.float32, {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 256, "initializer_range": 0.12}),
}  # fmt: skip
SHARDED = "mistral-wide"


def bytewise(steps, specials, *, ignore_merges=False, normalizer=None, first=None) -> Tokenizer:
    """BPE on bytes, trained on the corpus."""
    made = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    made.decoder, made.post_processor = decoders.ByteLevel(), processors.ByteLevel(trim_offsets=False)
    if normalizer:
        made.normalizer = normalizer
    made.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=900, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        ),
    )
    if ignore_merges:  # Llama 3 has words that no merges lead to
        described = json.loads(made.to_str())
        described["model"]["merges"] = described["model"]["merges"][:-100]
        made = Tokenizer.from_str(json.dumps(described))
    made.add_special_tokens(specials)
    if first:
        made.post_processor = processors.TemplateProcessing(
            single=f"{first} $A",
            pair=f"{first} $A {first} $B",
            special_tokens=[(first, made.token_to_id(first))],
        )
    return made


def pieces(specials, *, prefix, later=()) -> Tokenizer:
    """BPE on characters with bytes to fall back to, as transformers converts sentencepiece's."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=900, show_progress=False))
    learned = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    tokens = [*specials, *(f"<0x{byte:02X}>" for byte in range(256)), *(token for token, _ in learned)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    merges = []
    for token, _ in learned:
        cuts = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        known = [cut for cut in cuts if cut[0] in vocabulary and cut[1] in vocabulary]
        merges += sorted(known, key=lambda cut: (vocabulary[cut[0]], vocabulary[cut[1]]))
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    replaced = normalizers.Replace(" ", SPACE)
    made.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), replaced]) if prefix else replaced
    made.decoder = decoders.Sequence([decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    if not prefix:
        made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.add_special_tokens([*specials, *later])
    first = "<bos>" if "<bos>" in vocabulary else "<s>"
    made.post_processor = processors.TemplateProcessing(
        single=f"{first} $A", pair=f"{first} $A {first} $B", special_tokens=[(first, vocabulary[first])]
    )
    return made


def tokenizer(kind: str) -> PreTrainedTokenizerFast:
    def split(regex):
        return [
            pre_tokenizers.Split(Regex(regex), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]

    chatml = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    more = {}
    if kind == "llama3":
        made = bytewise(
            split(LLAMA3),
            ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"],
            ignore_merges=True,
            first="<|begin_of_text|>",
        )
        more = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
    elif kind == "qwen2":
        made = bytewise(split(LLAMA3.replace("{1,3}", "")), chatml, normalizer=normalizers.NFC())
        made.add_tokens(["<think>", "</think>"])
        more = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": CHATML}
    elif kind == "smollm":
        made = bytewise([pre_tokenizers.Digits(individual_digits=True), words], chatml)
        more = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "chat_template": CHATML}
    elif kind == "gpt2":
        made = bytewise([words], ["<|endoftext|>"])
        more = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    elif kind == "llama2":
        made = pieces(["<unk>", "<s>", "</s>"], prefix=True)
        more = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    elif kind == "phi3":
        stripping = [
            AddedToken(token, rstrip=True, normalized=False, special=True)
            for token in ("<|user|>", "<|end|>", "</s>")
        ]
        made = pieces(["<unk>", "<s>", "</s>", "<|endoftext|>"], prefix=True, later=stripping)
        more = {"bos_token": "<s>", "eos_token": "<|endoftext|>", "unk_token": "<unk>"}
    else:
        made = pieces(
            ["<pad>", "<eos>", "<bos>", "<unk>"], prefix=False, later=["<start_of_turn>", "<end_of_turn>"]
        )
        more = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **more)


def stir(model) -> None:
    """Weights that start as ones or zeros (norms, biases) get values that show when they are dropped."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith("bias") or "norm" in name.lower() or "ln_" in name:
                tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.2)


def answers(model, fast) -> list[dict]:
    """For each prompt its tokens, and per step of a greedy continuation the likeliest tokens with their log probabilities."""
    found = []
    for prompt in PROMPTS:
        ids = fast(prompt)["input_ids"]
        steps, given = [], list(ids)
        for _ in range(STEPS):
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([given])).logits[0, -1]
            top = torch.log_softmax(logits.double(), -1).topk(TOP)
            steps.append(list(zip(top.indices.tolist(), top.values.tolist(), strict=True)))
            if steps[-1][0][0] == fast.eos_token_id:
                break
            given.append(steps[-1][0][0])
        found.append({"prompt": prompt, "ids": ids, "steps": steps})
    return found


def main(folder: Path) -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    written, tokenizers = {}, {}
    for name, (kind, dtype, more) in KINDS.items():
        torch.manual_seed(0)
        fast = tokenizers.setdefault(kind, tokenizer(kind))
        rows = (len(fast) + 31) // 32 * 32  # some that no token has, as many models do
        family = name.split("-")[0]
        sizes = {} if family == "gpt2" else SIZES
        tokens = {"bos_token_id": fast.bos_token_id, "eos_token_id": fast.eos_token_id}
        made = AutoConfig.for_model(**{"model_type": family, **sizes, **tokens, **more}, vocab_size=rows)
        model = AutoModelForCausalLM.from_config(made, attn_implementation="eager")
        stir(model)
        shards = {"max_shard_size": "100KB"} if name == SHARDED else {}
        model.to(dtype).save_pretrained(folder / name, **shards)
        fast.save_pretrained(folder / name)
        model = AutoModelForCausalLM.from_pretrained(
            folder / name, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        written[name] = answers(model, fast)
    # Last and in one step: its presence says that all is there.
    draft = folder / "answers.tmp"
    draft.write_text(json.dumps(written))
    draft.rename(folder / "answers.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

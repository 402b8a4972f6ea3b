"""Makes small models, trains some of them for seconds, and writes what transformers answers with them.

    python make.py FOLDER MINILM

Runs with torch and transformers, outside the project's own environment. `FOLDER/cases.json` is written last.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    PreTrainedTokenizerFast,
    logging,
    pipeline,
)

TOPICS = {
    "sport": "the team won the match after a late goal|the striker scored twice in the final|fans cheered the runner at the race|coach praised the defence after the game",
    "food": "the soup needs salt and fresh herbs|bake the bread until the crust is golden|she grilled fish with lemon and butter|the chef served a spicy noodle dish",
    "weather": "heavy rain is expected over the coast|a cold wind brings snow to the hills|sunshine and clear skies this weekend|storm clouds gather above the valley",
}
NAMES = ["Anna Petrova", "Tom Baker", "Li Wei", "Maria", "Joao Silva", "Smith"]
PLACES = ["Paris", "New York", "Lisbon", "Ulaanbaatar", "Rio"]
FIRMS = ["Acme Corp", "Globex", "Initech"]
PATTERNS = [
    "{p} lives in {l} .",
    "{p} works for {o} in {l} .",
    "{o} hired {p} last week .",
    "In {l} , {p} met {p} from {o} .",
    "the office of {o} is in {l}",
    "nothing happened here today",
]
QUESTIONS = {"who is it ?": NAMES, "where is it ?": PLACES, "which firm is it ?": FIRMS}
LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
TEXTS = [
    "the team won",
    "a spicy soup with fish and herbs, served on a cold evening",
    "Storm over the coast! Fans of the team stayed home; the chef baked bread.",
    "x",
    "",
    "unbelievably unpronounceable wörds — naïve café 日本語 😀 \t\n tabs",
    "snow " * 37,
    "[MASK] and [SEP] inside a text",
]
SENTENCES = [
    "Anna Petrova lives in New York .",
    "In Ulaanbaatar, Joao Silva met Smith from Acme Corp.",
    "Globex hired Marianne last week in Lisbonia",
    "nothing happened here today",
    "",
    "Tom-Baker's office (Initech) is in Rio de Janeiro 😀 北京",
    "Maria " * 20,
]

# Untrained encoders: what they share, and by name what each has of its own. The name is the model type if none is given.
SMALL = {
    "vocab_size": 300, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96,
    "max_position_embeddings": 72, "initializer_range": 0.1,
}  # fmt: skip
DEBERTA = {"model_type": "deberta-v2", "relative_attention": True, "layer_norm_eps": 1e-7}
KINDS = {
    "bert": {},
    "roberta": {"type_vocab_size": 1, "layer_norm_eps": 1e-5},
    "xlm-roberta": {"type_vocab_size": 2},
    "camembert": {"type_vocab_size": 1, "pad_token_id": 3, "hidden_act": "relu"},
    "distilbert": {"hidden_dim": 96},
    "mpnet": {"max_position_embeddings": 302},
    "electra": {"embedding_size": 16},
    "electra-even": {"model_type": "electra", "embedding_size": 48},
    "albert": {"embedding_size": 16, "num_hidden_layers": 5, "num_hidden_groups": 2, "inner_group_num": 2},
    "albert-even": {"model_type": "albert", "embedding_size": 48},
    "deberta-v3": {
        **DEBERTA, "pos_att_type": "p2c|c2p", "position_buckets": 16, "share_att_key": True, "norm_rel_ebd": "layer_norm",
        "position_biased_input": False, "type_vocab_size": 0,
    },
    "deberta-v2": {**DEBERTA, "pos_att_type": ["c2p"], "type_vocab_size": 2, "pooler_hidden_act": "tanh"},
    "deberta-far": {**DEBERTA, "pos_att_type": ["p2c"], "max_relative_positions": 20, "type_vocab_size": 1},
}  # fmt: skip
COUNTED = ("roberta", "xlm-roberta", "camembert", "mpnet")  # positions begin after the padding's id
HEADS = {
    "hidden": AutoModel,
    "sequence": AutoModelForSequenceClassification,
    "token": AutoModelForTokenClassification,
    "answer": AutoModelForQuestionAnswering,
    "masked": AutoModelForMaskedLM,
}
STORED = {"xlm-roberta": torch.bfloat16, "mpnet": torch.float16}


def tokenizer(folder: Path, texts: list[str], *, cased: bool, max_length: int) -> PreTrainedTokenizerFast:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=not cased)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made.train_from_iterator(texts, trainers.WordPieceTrainer(vocab_size=260, special_tokens=specials))
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_max_length=max_length, model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip
    fast.save_pretrained(folder)
    return fast


def config(vocabulary: int, labels: list[str], **more) -> BertConfig:
    return BertConfig(
        vocab_size=vocabulary, hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96,
        max_position_embeddings=72, id2label=dict(enumerate(labels)), label2id={label: index for index, label in enumerate(labels)}, **more,
    )  # fmt: skip


def stir(model) -> None:
    """Weights that training leaves near their start (biases, norms) get values that show when they are dropped."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith("bias") or "norm" in name.lower():
                tensor.add_(torch.randn(tensor.shape, generator=generator) * 0.05)


def train(model, batches, steps: int) -> None:
    """Warmed up and cooled down, so that it ends well whatever the seed or the CPU's rounding."""
    rate = 2e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    model.train()
    for step in range(steps):
        loss = model(**batches[step % len(batches)]).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()
    print(f"{type(model).__name__}: loss {loss.item():.3f}")


def topics(folder: Path) -> None:
    rng = random.Random(1)
    pairs = [(text, index) for index, part in enumerate(TOPICS.values()) for text in part.split("|")]
    corpus = [text for text, _ in pairs]
    fast = tokenizer(folder / "topics", corpus, cased=False, max_length=64)

    def batch():
        chosen = rng.choices(pairs, k=24)
        texts = [
            " ".join(rng.sample(words := text.split(), k=rng.randint(3, len(words)))) for text, _ in chosen
        ]
        return {
            **fast(texts, padding=True, return_tensors="pt"),
            "labels": torch.tensor([i for _, i in chosen]),
        }

    model = BertForSequenceClassification(config(len(fast), list(TOPICS)))
    train(model, [batch() for _ in range(40)], 240)
    stir(model)
    model.save_pretrained(folder / "topics")
    for name, kind in (("half", torch.float16), ("brain", torch.bfloat16)):
        BertForSequenceClassification.from_pretrained(folder / "topics", dtype=kind).save_pretrained(
            folder / name
        )
        fast.save_pretrained(folder / name)
    model.save_pretrained(folder / "sharded", max_shard_size="60KB")
    fast.save_pretrained(folder / "sharded")
    for name, labels, kind in (
        ("multi", list(TOPICS), "multi_label_classification"),
        ("rating", ["stars"], "regression"),
        ("single", ["score"], None),
    ):
        more = {"problem_type": kind} if kind else {}
        other = BertForSequenceClassification(
            config(len(fast), labels, hidden_act="gelu_new", layer_norm_eps=1e-2, **more)
        )
        stir(other)
        other.save_pretrained(folder / name)
        fast.save_pretrained(folder / name)


def sentence(rng: random.Random) -> tuple[list[str], list[str]]:
    """Words and their labels."""
    words, labels = [], []
    for part in rng.choice(PATTERNS).split():
        kinds = {"{p}": ("PER", NAMES), "{l}": ("LOC", PLACES), "{o}": ("ORG", FIRMS)}
        if part in kinds:
            kind, names = kinds[part]
            for position, word in enumerate(rng.choice(names).split()):
                words.append(word)
                labels.append(f"{'I' if position else 'B'}-{kind}")
        else:
            words.append(part)
            labels.append("O")
    return words, labels


def entities(folder: Path) -> None:
    rng = random.Random(2)
    examples = [sentence(rng) for _ in range(400)]
    fast = tokenizer(
        folder / "entities", [" ".join(words) for words, _ in examples], cased=True, max_length=64
    )

    def batch():
        chosen = rng.sample(examples, k=16)
        encoded = fast(
            [words for words, _ in chosen], is_split_into_words=True, padding=True, return_tensors="pt"
        )
        labels = [
            [-100 if word is None else LABELS.index(chosen[row][1][word]) for word in encoded.word_ids(row)]
            for row in range(len(chosen))
        ]
        return {**encoded, "labels": torch.tensor(labels)}

    model = BertForTokenClassification(config(len(fast), LABELS))
    train(model, [batch() for _ in range(30)], 240)
    stir(model)
    model.save_pretrained(folder / "entities")


def questions(folder: Path) -> None:
    """Who, where or which firm: the first such name in the context."""
    rng = random.Random(3)

    def example() -> tuple[str, str, int, int]:
        while True:
            context = " ".join(" ".join(sentence(rng)[0]) for _ in range(rng.randint(1, 2)))
            question, names = rng.choice(list(QUESTIONS.items()))
            found = min(
                (place, name) for name in [*names, "\x7f"] if (place := (context + "\x7f").find(name)) >= 0
            )
            if found[1] != "\x7f":
                return question, context, found[0], found[0] + len(found[1])

    examples = [example() for _ in range(600)]
    fast = tokenizer(
        folder / "answers",
        [f"{question} {context}" for question, context, *_ in examples],
        cased=True,
        max_length=64,
    )

    def batch():
        chosen = rng.sample(examples, k=16)
        encoded = fast(
            [item[0] for item in chosen], [item[1] for item in chosen], padding=True, return_tensors="pt"
        )
        ends = [(encoded.char_to_token(row, first, 1), encoded.char_to_token(row, end - 1, 1))
                for row, (_, _, first, end) in enumerate(chosen)]  # fmt: skip
        starts, lasts = torch.tensor(ends).T
        return {**encoded, "start_positions": starts, "end_positions": lasts}

    model = BertForQuestionAnswering(config(len(fast), ["start", "end"]))
    train(model, [batch() for _ in range(40)], 240)
    stir(model)
    model.save_pretrained(folder / "answers")


def words(folder: Path) -> None:
    """One or two words of a sentence behind masks."""
    rng = random.Random(4)
    sentences = [text for part in TOPICS.values() for text in part.split("|")]
    fast = tokenizer(folder / "words", sentences, cased=False, max_length=64)

    def batch():
        encoded = fast(rng.choices(sentences, k=24), padding=True, return_tensors="pt")
        hidden = (torch.rand(encoded["input_ids"].shape, generator=generator) < 0.2) & (
            encoded["input_ids"] > 4
        )
        labels = torch.where(hidden, encoded["input_ids"], -100)
        encoded["input_ids"][hidden] = fast.mask_token_id
        return {**encoded, "labels": labels}

    generator = torch.Generator().manual_seed(6)
    model = BertForMaskedLM(config(len(fast), ["a"]))
    train(model, [batch() for _ in range(20)], 120)
    stir(model)
    model.save_pretrained(folder / "words")


def statements(folder: Path) -> None:
    """Whether a text is about a topic, as a model that compares statements says it, and as one that ranks texts does."""
    rng = random.Random(5)
    corpus = [text for part in TOPICS.values() for text in part.split("|")]
    fast = tokenizer(
        folder / "statements", [*corpus, *TOPICS, "this example is ."], cased=False, max_length=64
    )
    names = ["contradiction", "neutral", "entailment"]

    def batch():
        pairs, labels = [], []
        for _ in range(8):
            topic = rng.choice([*TOPICS, None])
            words = rng.choice(TOPICS[topic].split("|")).split() if topic else ["x"]
            text = " ".join(rng.sample(words, k=rng.randint(min(3, len(words)), len(words))))
            for said in TOPICS:
                pairs.append((text, f"This example is {said}."))
                labels.append(
                    names.index(
                        "neutral" if not topic else "entailment" if topic == said else "contradiction"
                    )
                )
        encoded = fast(*map(list, zip(*pairs, strict=True)), padding=True, return_tensors="pt")
        return {**encoded, "labels": torch.tensor(labels)}

    # From larger weights: what matters here is which words of two texts go together, and small ones never find out.
    settings = config(
        len(fast), names, initializer_range=0.1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    model = BertForSequenceClassification(settings)
    train(model, [batch() for _ in range(40)], 300)
    stir(model)
    model.save_pretrained(folder / "statements")
    ranker = BertForSequenceClassification(config(len(fast), ["LABEL_0"]))
    ranker.bert.load_state_dict(model.bert.state_dict())
    with torch.no_grad():
        for ours, theirs in zip(ranker.classifier.parameters(), model.classifier.parameters(), strict=True):
            ours.copy_(theirs[2:] - theirs[:1])
    ranker.save_pretrained(folder / "ranker")
    fast.save_pretrained(folder / "ranker")


def subwords(folder: Path) -> None:
    """Tokenizers of the other kinds, with RoBERTa's special tokens: BPE on bytes, and Unigram."""
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bytewise, pieces = Tokenizer(models.BPE()), Tokenizer(models.Unigram())
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    pieces.pre_tokenizer, pieces.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    for names, made, trainer in (
        (("roberta-sequence", "roberta-answer", "roberta-masked"), bytewise,
         trainers.BpeTrainer(vocab_size=300, special_tokens=specials, initial_alphabet=alphabet)),
        (("xlm-roberta-token", "xlm-roberta-answer", "xlm-roberta-masked"), pieces,
         trainers.UnigramTrainer(vocab_size=200, special_tokens=specials, unk_token="<unk>")),
    ):  # fmt: skip
        made.train_from_iterator([*TOPICS.values(), *PATTERNS, *NAMES, *PLACES, *FIRMS], trainer)
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
        fast = PreTrainedTokenizerFast(
            tokenizer_object=made, bos_token="<s>", cls_token="<s>", pad_token="<pad>", eos_token="</s>", sep_token="</s>",
            unk_token="<unk>", mask_token="<mask>", model_max_length=70, model_input_names=["input_ids", "attention_mask"],
        )  # fmt: skip
        for name in names:
            fast.save_pretrained(folder / name)


def batches(longest: int, pad: int):
    """Ids, token types and mask: padded right, padded left, as long as can be. Texts may contain `pad`, too."""
    generator = torch.Generator().manual_seed(11)
    for lengths, side in (((13, 1, 6), "right"), ((9, 17), "left"), ((longest,), "right")):
        shape = (len(lengths), max(lengths))
        ids, types = (torch.randint(*ends, shape, generator=generator) for ends in ((5, 300), (0, 2)))
        places = torch.arange(shape[1]) if side == "right" else torch.arange(shape[1]).flip(0)
        mask = (places < torch.tensor(lengths)[:, None]).long()
        ids = torch.where(mask == 1, ids, pad)
        ids[0, 4] = pad
        yield ids, types, mask


def families(folder: Path) -> list[dict]:
    """An encoder of each kind: bare, and with each head; and what it answers to ids, of masks to every sixth one."""
    cases = []
    for name, settings in KINDS.items():
        made = AutoConfig.for_model(**{"model_type": name, **SMALL, **settings}, num_labels=5)
        longest = made.max_position_embeddings
        if made.model_type in COUNTED:
            longest -= made.pad_token_id + 1
        for head, kind in HEADS.items():
            made.num_labels = 2 if head == "answer" else 5
            path = folder / f"{name}-{head}"
            model = kind.from_config(made)
            stir(model)
            model.to(STORED.get(name, torch.float32)).save_pretrained(path)
            model = kind.from_pretrained(path, dtype=torch.float32).eval()
            for ids, types, mask in batches(longest, made.pad_token_id):
                more = {"token_type_ids": types} if getattr(made, "type_vocab_size", 0) > 1 else {}
                with torch.no_grad():
                    output = model(input_ids=ids, attention_mask=mask, **more)
                expected = torch.stack(output[:2], -1) if head == "answer" else output[0]
                if head == "masked":
                    expected = expected[:, ::6]
                inputs = {"ids": ids.tolist(), "types": types.tolist(), "mask": mask.tolist()}
                cases.append({"model": path.name, "task": "ids", "inputs": inputs, "parameters": {"head": head},
                              "expected": expected.tolist()})  # fmt: skip
    return cases


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value


def main(folder: Path, minilm: Path) -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(0)
    # More gain nothing in models this small, and wait for each other on a busy machine.
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    topics(folder)
    entities(folder)
    questions(folder)
    words(folder)
    statements(folder)
    bare = BertModel(config(260, ["a"]), add_pooling_layer=False)
    stir(bare)
    bare.save_pretrained(folder / "bare")
    AutoTokenizer.from_pretrained(folder / "topics").save_pretrained(folder / "bare")

    subwords(folder)
    cases = families(folder)

    def ask(name, task, inputs, asked=None, **parameters):
        pipe = pipes.setdefault(
            (name, task),
            pipeline(task, model=str(minilm if name == "minilm" else folder / name), dtype=torch.float32),
        )
        expected = plain(pipe(inputs, **parameters))
        cases.append({"model": name, "task": task, "inputs": inputs, "expected": expected,
                      "parameters": parameters if asked is None else asked})  # fmt: skip

    pipes = {}
    for text in TEXTS:
        ask("topics", "text-classification", text)
        ask("topics", "text-classification", text, top_k=2)
        ask("topics", "text-classification", text, top_k=None)
    for function in ("none", "sigmoid", "softmax"):
        ask("topics", "text-classification", TEXTS[1], function_to_apply=function, top_k=None)
    ask("topics", "text-classification", TEXTS)
    ask("topics", "text-classification", TEXTS, top_k=1)
    ask("topics", "text-classification", "storm " * 500, truncation=True, top_k=None)
    ask(
        "topics",
        "text-classification",
        "fish and bread and the team",
        truncation=True,
        max_length=6,
        top_k=None,
    )
    ask(
        "topics",
        "text-classification",
        [{"text": "the team won", "text_pair": "the soup needs salt"}],
        top_k=None,
    )
    long_pair = {"text": "the team won " * 20, "text_pair": "the soup needs salt " * 3}
    ask("topics", "text-classification", [long_pair], top_k=None, truncation=True)
    for name in ("half", "brain", "sharded", "multi", "rating", "single"):
        ask(name, "text-classification", TEXTS[1], top_k=None)
        ask(name, "text-classification", TEXTS[2])

    for strategy in ("none", "simple", "first", "average", "max"):
        for text in SENTENCES:
            ask("entities", "token-classification", text, aggregation_strategy=strategy)
        ask("entities", "token-classification", SENTENCES, aggregation_strategy=strategy)
    ask("entities", "token-classification", SENTENCES[1])
    ask("entities", "token-classification", SENTENCES[1], ignore_labels=["B-PER", "O", "I-LOC"])
    ask("entities", "token-classification", SENTENCES[1], ignore_labels=[], aggregation_strategy="simple")
    ask("entities", "token-classification", " ".join(SENTENCES * 5), aggregation_strategy="first", stride=10)
    ask("entities", "token-classification", " ".join(SENTENCES * 5), aggregation_strategy="simple", stride=0)

    for text in (*TEXTS, {"text": TEXTS[1], "text_pair": TEXTS[2]}):
        ask("roberta-sequence", "text-classification", text, top_k=None, truncation=True)
    ask("roberta-sequence", "text-classification", "storm " * 500, top_k=None, truncation=True)
    for text in SENTENCES[:-1]:
        ask("xlm-roberta-token", "token-classification", text)
        ask("xlm-roberta-token", "token-classification", text, aggregation_strategy="simple")

    labels = list(TOPICS)
    for text in TEXTS[:3]:
        ask("statements", "zero-shot-classification", text, candidate_labels=labels)
        ask("statements", "zero-shot-classification", text, candidate_labels=labels, multi_label=True)
    ask("statements", "zero-shot-classification", TEXTS[1], candidate_labels="sport, food,weather,")
    ask("statements", "zero-shot-classification", TEXTS[1], candidate_labels=["food"])
    ask(
        "statements",
        "zero-shot-classification",
        TEXTS[1],
        candidate_labels=labels,
        hypothesis_template="it is {}, x",
    )
    ask("statements", "zero-shot-classification", "storm " * 500, candidate_labels=labels)
    ask("statements", "zero-shot-classification", TEXTS[:3], candidate_labels=labels)
    ranker = AutoModelForSequenceClassification.from_pretrained(folder / "ranker").eval()
    fast = AutoTokenizer.from_pretrained(folder / "ranker")
    pairs = [[topic, text] for topic in TOPICS for text in TEXTS[:3]] + [
        ["food", "soup " * 200],
        ["x " * 90, "y " * 90],
    ]
    with torch.no_grad():
        scores = [
            ranker(**fast(*pair, truncation=True, return_tensors="pt")).logits.sigmoid().item()
            for pair in pairs
        ]
    cases.append({"model": "ranker", "task": "text-ranking", "inputs": pairs, "parameters": {},
                  "expected": {"scores": scores}})  # fmt: skip
    for text in (
        "the team won the [MASK] after a late goal",
        "bake the [MASK] until the [MASK] is golden .",
        "[MASK]",
    ):
        ask("words", "fill-mask", text)
        ask("words", "fill-mask", text, top_k=2)
        ask("words", "fill-mask", text, targets=["soup", "match", "crust", "bread"])
        ask("words", "fill-mask", text, targets="match", top_k=3)
    ask("words", "fill-mask", ["the [MASK] needs salt", "[MASK] clouds [MASK] above"], top_k=3)
    for name in ("roberta-masked", "xlm-roberta-masked"):
        ask(name, "fill-mask", "Anna Petrova <mask> in <mask> .")
        ask(name, "fill-mask", "the team won the<mask> today", top_k=7)

    for text in TEXTS:
        ask("bare", "feature-extraction", text, asked={}, truncation=True)
    for text in ("a", "The quick brown fox jumps over the lazy dog.", "naïve café 日本語"):
        ask("minilm", "feature-extraction", text)
    ask("topics", "feature-extraction", ["the team won", "soup"])

    model, fast = AutoModel.from_pretrained(minilm), AutoTokenizer.from_pretrained(minilm)
    sentences = ["a happy dog", "a joyful puppy", "tax law", "word " * 400]
    with torch.no_grad():
        encoded = fast(sentences, padding=True, truncation=True, max_length=256, return_tensors="pt")
        mask = encoded["attention_mask"][..., None]
        pooled = (model(**encoded).last_hidden_state * mask).sum(1) / mask.sum(1)
        unit = torch.nn.functional.normalize(pooled)
    cases.append(
        {
            "model": "minilm",
            "task": "sentence-embeddings",
            "inputs": sentences,
            "parameters": {},
            "expected": {"embeddings": unit.tolist()},
        }
    )
    cases.append({"model": "minilm", "task": "sentence-similarity", "parameters": {},
                  "inputs": {"source_sentence": sentences[0], "sentences": sentences[1:]},
                  "expected": {"similarities": (unit[1:] @ unit[0]).tolist()}})  # fmt: skip
    # Last and in one step: its presence says that all is there.
    written = folder / "cases.tmp"
    written.write_text(json.dumps(cases))
    written.rename(folder / "cases.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

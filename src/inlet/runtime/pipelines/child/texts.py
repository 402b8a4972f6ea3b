"""Tasks on texts that a fast path does for the usual architectures: here for all others, by transformers' pipelines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import transformers

from inlet.runtime.pipelines.call import BadInput
from inlet.runtime.pipelines.child.source import Answerer, Source


def text_classification(source: Source) -> Answerer:
    """`{labels, scores}` of every label, in the model's order."""
    pipe = source.pipeline()
    names = [pipe.model.config.id2label[index] for index in range(pipe.model.config.num_labels)]
    place = {name: index for index, name in enumerate(names)}

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        cut = {name: parameters[name] for name in ("truncation", "max_length") if name in parameters}
        if "max_length" in cut:
            cut.setdefault("truncation", True)
        function = {name: parameters[name] for name in ("function_to_apply",) if name in parameters}
        found = []
        for index, item in enumerate(items):
            _check_length(pipe, item, f"inputs[{index}]", clipped=bool(cut.get("truncation")))
            rows = pipe(item, top_k=None, **cut, **function)
            rows = sorted(rows, key=lambda row: place[row["label"]])
            found.append({"labels": names, "scores": [row["score"] for row in rows]})
        return found

    return answer


def token_classification(source: Source) -> Answerer:
    """Entities."""
    pipe = source.pipeline()

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        found = []
        for index, item in enumerate(items):
            if "stride" not in parameters:
                _check_length(pipe, item, f"inputs[{index}]")
            found.append(pipe(item, **{"aggregation_strategy": "none", **parameters}))
        return found

    return answer


def fill_mask(source: Source) -> Answerer:
    """Tokens for each mask."""
    pipe = source.pipeline()
    mask = pipe.tokenizer.mask_token

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        found = []
        for index, item in enumerate(items):
            field = f"inputs[{index}]"
            if mask not in item:
                raise BadInput(f"there is no mask in it; write {mask} where a word is wanted", field)
            _check_length(pipe, item, field)
            found.append(pipe(item, **parameters))
        return found

    return answer


def zero_shot_classification(source: Source) -> Answerer:
    """`{sequence, labels, scores}`, best first."""
    pipe = source.pipeline()

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        template = parameters.get("hypothesis_template")
        if template is not None and template.count("{}") != 1:
            raise BadInput("it must have one {} where the label goes", "parameters.hypothesis_template")
        for index, item in enumerate(items):
            _check_length(pipe, item, f"inputs[{index}]")
        return [pipe(item, **parameters) for item in items]

    return answer


def feature_extraction(source: Source) -> Answerer:
    """`[tokens, hidden]`."""
    pipe = source.pipeline()

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        clipped = parameters.get("truncation", parameters.get("truncate", True))
        for index, item in enumerate(items):
            _check_length(pipe, item, f"inputs[{index}]", clipped=clipped)
        cut = {"truncation": True, "max_length": _longest(pipe)} if clipped and _longest(pipe) else {}
        return [pipe(item, return_tensors=True, tokenize_kwargs=cut)[0].float().numpy() for item in items]

    return answer


def question_answering(source: Source) -> Answerer:
    """`{score, start, end, answer}`, or a list of them with `top_k`: the best spans over all windows of the context."""
    model = source.read(transformers.AutoModelForQuestionAnswering)
    tokenizer = source.part(transformers.AutoTokenizer)

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        return [
            _spans(model, tokenizer, item, f"inputs[{index}]", parameters) for index, item in enumerate(items)
        ]

    return answer


def _spans(
    model: Any, tokenizer: Any, item: Mapping[str, str], field: str, parameters: Mapping[str, Any]
) -> Any:
    longest = min(tokenizer.model_max_length, parameters.get("max_seq_len", 384))
    question = tokenizer(item["question"], add_special_tokens=False)["input_ids"]
    most = parameters.get("max_question_len", 64)
    if len(question) > most or len(question) + _SPECIALS >= longest:
        raise BadInput(
            f"{len(question)} tokens, more than {min(most, longest - _SPECIALS)}", f"{field}.question"
        )
    room = longest - len(question) - _SPECIALS
    stride = min(parameters.get("doc_stride", 128), room // 2)
    encoded = tokenizer(
        item["question"], item["context"], truncation="only_second", max_length=longest, stride=stride,
        return_overflowing_tokens=True, return_offsets_mapping=True, padding=True, return_tensors="pt",
    )  # fmt: skip
    names = [name for name in tokenizer.model_input_names if name in encoded]
    with torch.inference_mode():
        outputs = model(**{name: encoded[name] for name in names})
    found, null = [], 1.0
    for window in range(len(encoded["input_ids"])):
        context = np.array([owner == 1 for owner in encoded.sequence_ids(window)])
        start, end = (
            _probabilities(logits[window].float().numpy(), context)
            for logits in (outputs.start_logits, outputs.end_logits)
        )
        null = min(null, float(start[0] * end[0]))
        scores = np.triu(np.outer(start * context, end * context))
        scores -= np.triu(scores, parameters.get("max_answer_len", 15))
        for place in np.argsort(-scores, axis=None, kind="stable")[: parameters.get("top_k", 1)].tolist():
            first, last = divmod(place, len(context))
            begin, finish = (
                int(encoded["offset_mapping"][window][token][side]) for token, side in ((first, 0), (last, 1))
            )
            found.append((float(scores[first, last]), begin, finish))
    rows: list[dict[str, Any]] = [
        {"score": score, "start": begin, "end": finish, "answer": item["context"][begin:finish]}
        for score, begin, finish in found
    ]
    if parameters.get("handle_impossible_answer"):
        rows.append({"score": null, "start": 0, "end": 0, "answer": ""})
    rows.sort(key=lambda row: row["score"], reverse=True)
    best = rows[: parameters.get("top_k", 1)]
    return best[0] if len(best) == 1 else best


_SPECIALS = 4  # tokens around and between question and context, at most


def _probabilities(logits: Any, context: Any) -> Any:
    """Over the context and the first token, which stands for no answer."""
    allowed = context.copy()
    allowed[0] = True
    numbers = np.where(allowed, logits, -10_000.0)
    shifted = np.exp(numbers - numbers.max())
    return shifted / shifted.sum()


def table_question_answering(source: Source) -> Answerer:
    """`{answer, coordinates?, cells?, aggregator?}`. With `sequential` each question may lean on the one before."""
    pipe = source.pipeline()

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        if parameters.get("sequential") and len(items) > 1:
            tables = [item["table"] for item in items]
            if any(table != tables[0] for table in tables):
                raise BadInput("questions in sequence are about one table", "parameters.sequential")
            asked: Any = {"table": tables[0], "query": [item["query"] for item in items]}
            return list(pipe(asked, **parameters))
        return [pipe(item, **{**parameters, "sequential": False}) for item in items]

    return answer


def _longest(pipe: Any) -> int | None:
    """Tokens that the model takes; None without a bound."""
    config = pipe.model.config
    found = [pipe.tokenizer.model_max_length, getattr(config, "max_position_embeddings", None) or _NOT_KNOWN]
    return None if min(found) >= _NOT_KNOWN else int(min(found))


_NOT_KNOWN = 1_000_000  # larger limits of tokenizers are placeholders


def _check_length(pipe: Any, item: Any, field: str, *, clipped: bool = False) -> None:
    longest = _longest(pipe)
    texts = [item] if isinstance(item, str) else [item["text"], item["text_pair"]]
    length = len(pipe.tokenizer(*texts)["input_ids"])
    if not length:
        raise BadInput("nothing of it is left as tokens", field)
    if longest is not None and length > longest and not clipped:
        raise BadInput(f"{length} tokens, more than the {longest} that this model takes; shorten it", field)

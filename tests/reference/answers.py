"""Writes what transformers 4 answers to questions: version 5 has no such pipeline any more.

    python answers.py FOLDER PACKAGES

Runs with transformers 4; torch comes from the folder PACKAGES, another environment's. `FOLDER/answers.json` is written last.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.append(sys.argv[2])  # behind our own: only what is not here comes from there

import torch
from transformers import (
    AutoModelForQuestionAnswering,
    PreTrainedTokenizerFast,
    QuestionAnsweringPipeline,
    logging,
)

CONTEXT = "In Paris , Anna Petrova met Tom Baker from Globex . Initech hired Li Wei last week ."
LONG = "nothing happened here today . " * 12 + CONTEXT + " nothing happened here today" * 12
QUESTIONS = ("who is it ?", "where is it ?", "which firm is it ?")
ODD = "Ünbelievable — (Anna's) office 日本語 😀, Tom-Baker of New  York"


def told(found):
    """Without spans of no score at all: which of these are among the best is a matter of chance."""
    if isinstance(found, dict):
        return found
    found = [told(item) if isinstance(item, list) else item for item in found]
    found = [item for item in found if isinstance(item, list) or item["score"] > 0]
    return found[0] if len(found) == 1 else found


def main(folder: Path) -> None:
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    cases = []

    def ask(name, question, context, **parameters):
        if name not in pipes:
            # Its settings were written by version 5, whose names of classes this one does not know.
            given = json.loads((folder / name / "tokenizer_config.json").read_bytes())
            settings = {
                key: value for key, value in given.items() if key.endswith(("_token", "_length", "_names"))
            }
            fast = PreTrainedTokenizerFast(tokenizer_file=str(folder / name / "tokenizer.json"), **settings)
            model = AutoModelForQuestionAnswering.from_pretrained(folder / name, dtype=torch.float32)
            pipes[name] = QuestionAnsweringPipeline(model=model, tokenizer=fast)
        inputs = {"question": question, "context": context}
        cases.append({"model": name, "task": "question-answering", "inputs": inputs, "parameters": parameters,
                      "expected": told(pipes[name](**inputs, **parameters))})  # fmt: skip

    pipes = {}
    for question in QUESTIONS:
        for context in (CONTEXT, LONG, ODD, "Lisbon"):
            ask("answers", question, context)
            ask("answers", question, context, top_k=4)
            ask("answers", question, context, handle_impossible_answer=True, top_k=3)
        ask("answers", question, LONG, max_seq_len=30, doc_stride=7, top_k=2)
        ask("answers", question, LONG, max_seq_len=24)
        ask("answers", question, CONTEXT, max_answer_len=1, top_k=3)
        ask("answers", question, ODD, align_to_words=False, top_k=3)
        ask("answers", question, CONTEXT, max_answer_len=200)
    ask("answers", list(QUESTIONS), [CONTEXT, LONG, ODD])
    ask("answers", list(QUESTIONS), CONTEXT, top_k=2)
    for name in ("roberta-answer", "xlm-roberta-answer"):
        for context in (CONTEXT, LONG, ODD):
            ask(name, QUESTIONS[0], context)
            ask(name, QUESTIONS[1], context, top_k=5, max_answer_len=6)
            ask(name, QUESTIONS[2], context, top_k=2, align_to_words=False)
    written = folder / "answers.tmp"
    written.write_text(json.dumps(cases))
    written.rename(folder / "answers.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

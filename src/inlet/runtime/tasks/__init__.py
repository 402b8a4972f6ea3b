"""The tasks that a replica can serve, by every name that they have. A new task is a new module and an entry here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from inlet.core.errors import Refused
from inlet.runtime.build.encoder import Head
from inlet.runtime.model import Model
from inlet.runtime.tasks.base import Task
from inlet.runtime.tasks.embeddings import FeatureExtraction, SentenceEmbeddings, SentenceSimilarity
from inlet.runtime.tasks.fill_mask import FillMask
from inlet.runtime.tasks.question_answering import QuestionAnswering
from inlet.runtime.tasks.text_classification import TextClassification
from inlet.runtime.tasks.text_ranking import TextRanking
from inlet.runtime.tasks.token_classification import TokenClassification
from inlet.runtime.tasks.zero_shot import ZeroShotClassification


@dataclass(frozen=True, slots=True)
class TaskKind:
    """How a task is made, which head it needs, and inputs for the warm-up."""

    head: Head
    make: Callable[[Model], Task]
    sample: object


TASKS: Mapping[str, TaskKind] = {
    "text-classification": TaskKind(Head.SEQUENCE, TextClassification, "ready"),
    "token-classification": TaskKind(Head.TOKEN, TokenClassification, "ready"),
    "feature-extraction": TaskKind(Head.HIDDEN, FeatureExtraction, "ready"),
    "sentence-similarity": TaskKind(
        Head.HIDDEN, SentenceSimilarity, {"source_sentence": "ready", "sentences": ["ready"]}
    ),
    "sentence-embeddings": TaskKind(Head.HIDDEN, SentenceEmbeddings, "ready"),
    "question-answering": TaskKind(
        Head.ANSWER, QuestionAnswering, {"question": "ready?", "context": "ready"}
    ),
    "zero-shot-classification": TaskKind(
        Head.SEQUENCE, ZeroShotClassification, {"text": "ready", "candidate_labels": ["ready"]}
    ),
    "text-ranking": TaskKind(Head.SEQUENCE, TextRanking, ["ready?", "ready"]),
    "fill-mask": TaskKind(Head.MASKED, FillMask, "[MASK] <mask>"),
}
TABULAR = ("tabular-classification", "tabular-regression")
"""Tasks of models that are no encoders: scikit-learn's."""
GENERATION = "text-generation"
"""The task of models that llama.cpp serves."""
_ALIASES = {
    "conversational": GENERATION,
    "sentiment-analysis": "text-classification",
    "ner": "token-classification",
    "sentence-ranking": "text-ranking",
}


def canonical(task: str) -> str:
    """The task's present name."""
    return _ALIASES.get(task, task)


def task_kind(task: str) -> TaskKind:
    """The encoders' task of that name; `Refused` lists those that there are."""
    kind = TASKS.get(canonical(task))
    if kind is None:
        wanted = f"the task {task!r} is not supported yet" if task else "no task was given"
        raise Refused(f"{wanted}; supported: {', '.join((*TASKS, *TABULAR))}", field="task")
    return kind

"""What every kind of model is opened from: a folder, and how transformers must read it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

Answerer = Callable[[list[Any], Mapping[str, Any]], list[Any]]
"""Answers the items of a call (with bytes where its blobs were), given its parameters: one value per item."""


_UNUSED = re.compile(r"(^|\.)pooler\.|masked_spec_embed$")  # no answer depends on them
_SHOWN = 3


class Incomplete(Exception):
    """Weights are missing. No error that transformers expects: it would try other ways to open the model."""


@contextmanager
def complete() -> Iterator[None]:
    """Within it no model is opened whose files lack weights: transformers would make them up, and answers with them.

    `Incomplete` names those that are missing.
    """
    original = transformers.PreTrainedModel.from_pretrained.__func__

    def checked(cls: Any, *args: Any, **options: Any) -> Any:
        model, told = original(cls, *args, **{**options, "output_loading_info": True})
        missing = sorted(name for name in told["missing_keys"] if not _UNUSED.search(name))
        if missing:
            more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
            raise Incomplete(
                f"a {cls.__name__} needs weights that its files lack: {', '.join(missing[:_SHOWN])}{more}"
            )
        return model

    transformers.PreTrainedModel.from_pretrained = classmethod(checked)
    try:
        yield
    finally:
        transformers.PreTrainedModel.from_pretrained = classmethod(original)


@dataclass(frozen=True, slots=True)
class Source:
    """A model's folder, and the name of the task."""

    folder: Path
    task: str
    trust_remote_code: bool

    def read(self, kind: Any) -> Any:
        """The model by its Auto class, in float32."""
        model = kind.from_pretrained(self.folder, dtype=torch.float32, weights_only=True, **self._options)
        return model.eval()

    def part(self, kind: Any) -> Any:
        """A tokenizer or a processor by its Auto class."""
        return kind.from_pretrained(self.folder, **self._options)

    def pipeline(self, task: str | None = None) -> Any:
        """The library's own pipeline, on the CPU. `task`: its name there, where it has another."""
        return transformers.pipeline(
            task or self.task,
            model=str(self.folder),
            device="cpu",
            dtype=torch.float32,
            trust_remote_code=self.trust_remote_code,
            model_kwargs={"weights_only": True},  # a pickle may hold tensors, never code
        )

    @property
    def _options(self) -> dict[str, Any]:
        return {"local_files_only": True, "trust_remote_code": self.trust_remote_code}

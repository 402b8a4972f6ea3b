"""What every kind of model is opened from: a folder, and how transformers must read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

Answerer = Callable[[list[Any], Mapping[str, Any]], list[Any]]
"""Answers the items of a call (with bytes where its blobs were), given its parameters: one value per item."""


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

"""Torch as an engine, through transformers' own classes: for models that nothing faster computes the same. Slow to start.

Needs the extra `torch`. Made by `origins/opening` and by `build/export`, which compares with it. Local files only, and never
code that comes with a model.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from inlet.core.errors import Refused
from inlet.core.trust import REMOTE_CODE
from inlet.runtime.build.encoder import Head
from inlet.runtime.engines.alone import each_alone
from inlet.runtime.engines.base import FloatArray, IntArray, Variant

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_CLASSES = {
    Head.HIDDEN: (transformers.AutoModel, "last_hidden_state"),
    Head.SEQUENCE: (transformers.AutoModelForSequenceClassification, "logits"),
    Head.TOKEN: (transformers.AutoModelForTokenClassification, "logits"),
}


class TorchModel(torch.nn.Module):  # type: ignore[misc]  # torch is not there where types are checked
    """A transformers model with one `output`. `inputs`: those that it takes, in the order of `forward`."""

    def __init__(self, model: Any, output: str) -> None:
        super().__init__()
        accepted = inspect.signature(model.forward).parameters
        self.inputs = tuple(name for name in _INPUTS if name in accepted)
        self.output = output
        self._model = model

    @classmethod
    def read(cls, folder: Path, head: Head) -> TorchModel:
        """The model in float32; `Refused` when transformers cannot make it, or its weights lack a tensor."""
        kind, output = _CLASSES[head]
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
        try:
            model, found = kind.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                weights_only=True,  # a pickle may hold tensors, never code
                dtype=torch.float32,
                output_loading_info=True,
            )
        except MemoryError:
            raise
        except Exception as error:  # each kind of model has its own ways to fail
            if "trust_remote_code" in str(error):
                raise Refused(
                    "the model is defined by Python files of its repository, which no export runs: if you trust whoever made "
                    f"them, set {REMOTE_CODE}=1 in the endpoint's env; tasks that torch does not compute take ONNX files instead"
                ) from error
            raise Refused(f"transformers cannot load the model: {_line(error)}") from error
        lacking = sorted(found["missing_keys"])
        # The pooler is made by every bare encoder, and reaches no hidden state.
        if head is Head.HIDDEN:
            lacking = [name for name in lacking if not name.startswith("pooler.")]
        if lacking:
            raise Refused(
                f"the weights lack {', '.join(lacking[:3])}: the model was not trained for this task",
                field="task",
            )
        if hasattr(model.config, "use_cache"):
            model.config.use_cache = False  # of earlier tokens, when text is generated
        return cls(model.eval(), output)

    def with_plain_attention(self) -> None:
        """From now on compute attention step by step: slower, but finite where a token may look at nothing."""
        self._model.set_attn_implementation("eager")

    def forward(self, *tensors: Any) -> Any:
        """The output [B, K] or [B, L, H] for int64 [B, L] in the order of `inputs`."""
        return getattr(self._model(**dict(zip(self.inputs, tensors, strict=True))), self.output)

    def answer(self, feed: Mapping[str, IntArray]) -> FloatArray:
        """`forward` for arrays by name."""
        with torch.inference_mode():
            tensors = [torch.from_numpy(feed[name].copy()) for name in self.inputs]
            output: FloatArray = self(*tensors).numpy()
        return output

    def compile(self, variant: Variant, *, threads: int, cache: Path | None = None) -> TorchEngine:  # noqa: ARG002
        """Make it run. `threads` holds for the whole process; there is nothing to keep in `cache`."""
        return TorchEngine(self, variant, threads=threads)


class TorchEngine:
    """One model with one lane, whose texts run one by one and unpadded, as transformers' pipelines run them."""

    def __init__(self, model: TorchModel, variant: Variant, *, threads: int) -> None:
        torch.set_num_threads(threads)
        self.variant = variant
        self.threads = threads
        self._lane = _Lane(model)

    def lanes(self) -> Sequence[_Lane]:
        return (self._lane,)

    def narrow(self) -> Sequence[_Lane]:
        return ()


class _Lane:
    def __init__(self, model: TorchModel) -> None:
        self._model = model

    def infer(self, ids: IntArray, token_types: IntArray, mask: IntArray) -> FloatArray:
        try:
            return each_alone(self._model.answer, ids, token_types, mask)
        except RuntimeError as error:
            if "not enough memory" in str(error):  # the allocator's words: all there is to tell it by
                raise MemoryError(str(error)) from error
            raise


def _line(error: Exception) -> str:
    """The first sentence of what went wrong: the rest is advice for programmers."""
    return str(error).strip().partition("\n")[0].partition(". ")[0] or type(error).__name__

"""text-to-image, by diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from inlet.runtime.pipelines.call import BadInput
from inlet.runtime.pipelines.child.media import write_image
from inlet.runtime.pipelines.child.source import Answerer, Source


def text_to_image(source: Source) -> Answerer:
    """An image for each prompt."""
    import diffusers

    pipe = diffusers.AutoPipelineForText2Image.from_pretrained(
        source.folder, local_files_only=True, use_safetensors=True, dtype=torch.float32
    )
    pipe.set_progress_bar_config(disable=True)
    multiple = getattr(pipe, "vae_scale_factor", 8)

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        asked = dict(parameters)
        kind, seed = asked.pop("content_type"), asked.pop("seed", None)
        for name in ("height", "width"):
            if asked.get(name, multiple) % multiple:
                raise BadInput(f"must be a multiple of {multiple}", f"parameters.{name}")
        if seed is not None:
            asked["generator"] = torch.Generator().manual_seed(seed)
        return [
            write_image(pipe(item, **asked).images[0], kind if kind.startswith("image/") else "image/png")
            for item in items
        ]

    return answer

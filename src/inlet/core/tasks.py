"""Whether a repository is a model at all, and for which task, from what it says about itself.

Asked by `control/lookup.py` when a person named no task, and by `control/sources.py`. Guesses only from certain signs; says
nothing otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from inlet.core.handlers import TASK, handler_file

TASKS = frozenset(
    {
        "custom", "any-to-any", "audio-classification", "automatic-speech-recognition", "conversational",
        "depth-estimation", "document-question-answering", "feature-extraction", "fill-mask", "image-classification",
        "image-segmentation", "image-text-to-text", "image-to-text", "object-detection", "question-answering",
        "sentence-embeddings", "sentence-ranking", "sentence-similarity", "summarization", "table-question-answering",
        "tabular-classification", "tabular-regression", "text-classification", "text-generation", "text-ranking",
        "text-to-audio", "text-to-image", "text-to-speech", "text2text-generation", "token-classification", "translation",
        "visual-question-answering", "zero-shot-classification", "zero-shot-image-classification",
    }
)  # fmt: skip
"""Every task that an endpoint may have: the public API's, past ones included, and those that we serve besides."""

# The first ending counts: those of models that take something else than text stand before the general ones.
_BY_ARCHITECTURE = (
    ("Wav2Vec2ForSequenceClassification", "audio-classification"),
    ("HubertForSequenceClassification", "audio-classification"),
    ("WavLMForSequenceClassification", "audio-classification"),
    ("WhisperForAudioClassification", "audio-classification"),
    ("TapasForQuestionAnswering", "table-question-answering"),
    ("ViltForQuestionAnswering", "visual-question-answering"),
    ("BlipForQuestionAnswering", "visual-question-answering"),
    ("LayoutLMForQuestionAnswering", "document-question-answering"),
    ("LayoutLMv2ForQuestionAnswering", "document-question-answering"),
    ("LayoutLMv3ForQuestionAnswering", "document-question-answering"),
    ("CLIPModel", "zero-shot-image-classification"),
    ("SiglipModel", "zero-shot-image-classification"),
    ("VitsModel", "text-to-speech"),
    ("ForDepthEstimation", "depth-estimation"),
    ("VisionEncoderDecoderModel", "image-to-text"),
    ("BlipForConditionalGeneration", "image-to-text"),
    ("LlavaForConditionalGeneration", "image-text-to-text"),
    ("ForSequenceClassification", "text-classification"),
    ("ForTokenClassification", "token-classification"),
    ("ForQuestionAnswering", "question-answering"),
    ("ForMaskedLM", "fill-mask"),
    ("ForImageClassification", "image-classification"),
    ("ForUniversalSegmentation", "image-segmentation"),
    ("ForSemanticSegmentation", "image-segmentation"),
    ("ForObjectDetection", "object-detection"),
    ("ForTableQuestionAnswering", "table-question-answering"),
    ("ForSpeechSeq2Seq", "automatic-speech-recognition"),
    ("WhisperForConditionalGeneration", "automatic-speech-recognition"),
    ("ForCTC", "automatic-speech-recognition"),
    ("ForAudioClassification", "audio-classification"),
    ("MTModel", "translation"),  # Marian's
    ("ForCausalLM", "text-generation"),
    ("Model", "feature-extraction"),
)

DIFFUSERS = "model_index.json"
"""The configuration of a model of several parts, which makes images."""
_GGUF = ".gguf"
_ALONE = (".skops", ".joblib", ".pkl", ".pickle", _GGUF)  # models that need no config.json


def is_model(files: Collection[str]) -> bool:
    """Whether a folder with these files may be a model: it has a configuration, a handler, or a file of scikit-learn's or llama.cpp's."""
    return (
        handler_file(files) is not None
        or not {"config.json", DIFFUSERS}.isdisjoint(files)
        or any(name.endswith(_ALONE) for name in files)
    )


def guess_task(config: Mapping[str, Any], files: Collection[str], tag: str | None = None) -> str | None:
    """`custom` with a handler, else the task by the Hub's own tag, by the files, else by the architecture in `config.json`; None if unsure."""
    if handler_file(files) is not None:
        return TASK
    if tag in TASKS:
        return tag
    block = config.get("sklearn")
    if isinstance(block, Mapping) and block.get("task") in TASKS:  # as skops writes it
        return str(block["task"])
    if DIFFUSERS in files:
        return "text-to-image"
    if "modules.json" in files:  # a sentence-transformers repository
        return "sentence-similarity"
    if any(name.endswith(_GGUF) for name in files):
        return "text-generation"
    if _ranks(config):
        return "text-ranking"
    architectures = config.get("architectures") or [""]
    for ending, task in _BY_ARCHITECTURE:
        if str(architectures[0]).endswith(ending):
            return task
    return None


def _ranks(config: Mapping[str, Any]) -> bool:
    """Whether sentence-transformers saved it as a model that gives a pair of texts one score."""
    told = "sbert_ce_default_activation_function" in config or isinstance(
        config.get("sentence_transformers"), Mapping
    )
    labels = config.get("id2label")
    return told and isinstance(labels, Mapping) and len(labels) == 1

"""Whether a repository is a model at all, and for which task, from what it says about itself.

Asked by `control/lookup.py` when a person named no task, and by `control/sources.py`. Guesses only from certain signs; says
nothing otherwise.
"""

from __future__ import annotations

import re
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

# Models that continue or rewrite what they read all end alike; what they read and write only the family tells.
_FAMILIES = {
    "text2text-generation": "Bart Blenderbot BlenderbotSmall LED LongT5 MT5 Mvp PLBart ProphetNet SwitchTransformers T5 T5Gemma UMT5",
    "translation": "FSMT M2M100 MBart NllbMoe",
    "summarization": "BigBirdPegasus Pegasus PegasusX",
    "automatic-speech-recognition": "Canary CohereAsr FunAsrNano GraniteSpeech GraniteSpeechPlus KyutaiSpeechToText Moonshine "
    "MoonshineStreaming OmniASR Qwen3ASR Speech2Text VibeVoiceAsr Voxtral VoxtralRealtime Whisper",
    "text-to-speech": "Csm GradiumPhononTTS HiggsAudioV2 PocketTTS VibeVoice",
    "text-to-audio": "Musicgen MusicgenMelody",
    "image-to-text": "Blip",
    "image-text-to-text": "Chameleon Emu3",
}
_BY_FAMILY = {
    f"{family}ForConditionalGeneration": task
    for task, families in _FAMILIES.items()
    for family in families.split()
}
_SOUND = "Data2VecAudio|Hubert|SEWD?|UniSpeech(Sat)?|Wav2Vec2(Bert|Conformer)?|WavLM"
_CONTRASTIVE = "Align|AltCLIP|Blip|ChineseCLIP|CLIP|CLIPSeg|MetaClip2|Siglip2?|Tipsv2"
# The first that is found counts: those of models that take something else than text stand before the general ones.
_BY_ARCHITECTURE = tuple(
    (re.compile(pattern), task)
    for pattern, task in (
        (f"^({_SOUND})ForSequenceClassification$", "audio-classification"),
        ("ForAudioClassification$", "audio-classification"),
        ("^TapasForQuestionAnswering$|ForTableQuestionAnswering$", "table-question-answering"),
        ("^(Vilt|Blip)ForQuestionAnswering$", "visual-question-answering"),
        ("^LayoutLM(v2|v3)?ForQuestionAnswering$", "document-question-answering"),
        (f"^({_CONTRASTIVE})Model$|^Blip2ForImageTextRetrieval$", "zero-shot-image-classification"),
        ("ForTextToSpeech$|^(Bark|Vits|FastSpeech2Conformer)Model$|WithHifiGan$", "text-to-speech"),
        ("^VisionEncoderDecoderModel$|^GitForCausalLM$", "image-to-text"),
        ("ForVision2Seq$|ForVisionText2Text$|^FuyuForCausalLM$", "image-text-to-text"),
        ("For(CTC|TDT|SpeechSeq2Seq|SpeechToText)$|^SpeechEncoderDecoderModel$", "automatic-speech-recognition"),
        ("MTModel$|ForTextToText$", "translation"),  # Marian's, and what also speaks
        ("EncoderDecoderModel$", "text2text-generation"),
        ("ForSequenceClassification$", "text-classification"),
        ("ForTokenClassification$", "token-classification"),
        ("ForQuestionAnswering(Simple)?$", "question-answering"),
        ("ForMaskedLM$|^(XLM|Flaubert)WithLMHeadModel$", "fill-mask"),
        ("ForImageClassification", "image-classification"),  # some say more behind it
        ("For(Universal|Semantic|Instance|)Segmentation$", "image-segmentation"),
        ("(?<!Dino)(?<!Turbo)(?<!OwlViT)(?<!Owlv2)ForObjectDetection$", "object-detection"),  # without those that are told what to find
        ("ForDepthEstimation$", "depth-estimation"),
        ("ForCausalLM$|LMHeadModel$|WithLMHead$|GenerationDecoder$", "text-generation"),
    )
)  # fmt: skip
_BODY = "Model"
_SEES = "vision_config"
# Settings that bodies of models have which take no text, or not only text.
_NO_TEXT = frozenset({"image_size", "num_channels", "num_mel_bins", "conv_stride", "audio_config", _SEES})

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
    return _by_architecture(str((config.get("architectures") or [""])[0]), config)


def _by_architecture(name: str, config: Mapping[str, Any]) -> str | None:
    if name in _BY_FAMILY:
        return _BY_FAMILY[name]
    found = next((task for pattern, task in _BY_ARCHITECTURE if pattern.search(name)), None)
    if _SEES in config and (found == "text-generation" or name.endswith("ForConditionalGeneration")):
        return "image-text-to-text"
    if found is None and name.endswith(_BODY) and _NO_TEXT.isdisjoint(config):
        return "feature-extraction"
    return found


def _ranks(config: Mapping[str, Any]) -> bool:
    """Whether sentence-transformers saved it as a model that gives a pair of texts one score."""
    told = "sbert_ce_default_activation_function" in config or isinstance(
        config.get("sentence_transformers"), Mapping
    )
    labels = config.get("id2label")
    return told and isinstance(labels, Mapping) and len(labels) == 1

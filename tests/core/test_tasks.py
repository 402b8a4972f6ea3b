"""Which task a model's architecture tells, held against all that transformers has."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping

import pytest

from inlet.core.tasks import TASKS, guess_task
from tests.reference import ROOT, python

TASK_OF = {
    "SEQUENCE_CLASSIFICATION": "text-classification", "TOKEN_CLASSIFICATION": "token-classification",
    "QUESTION_ANSWERING": "question-answering", "MASKED_LM": "fill-mask", "CAUSAL_LM": "text-generation",
    "TEXT_ENCODING": "feature-extraction", "SEQ_TO_SEQ_CAUSAL_LM": "text2text-generation",
    "TABLE_QUESTION_ANSWERING": "table-question-answering", "IMAGE_CLASSIFICATION": "image-classification",
    "OBJECT_DETECTION": "object-detection", "SEMANTIC_SEGMENTATION": "image-segmentation",
    "UNIVERSAL_SEGMENTATION": "image-segmentation", "INSTANCE_SEGMENTATION": "image-segmentation",
    "IMAGE_SEGMENTATION": "image-segmentation", "DEPTH_ESTIMATION": "depth-estimation",
    "IMAGE_TEXT_TO_TEXT": "image-text-to-text", "VISUAL_QUESTION_ANSWERING": "visual-question-answering",
    "DOCUMENT_QUESTION_ANSWERING": "document-question-answering",
    "ZERO_SHOT_IMAGE_CLASSIFICATION": "zero-shot-image-classification", "AUDIO_CLASSIFICATION": "audio-classification",
    "CTC": "automatic-speech-recognition", "TDT": "automatic-speech-recognition",
    "SPEECH_SEQ_2_SEQ": "automatic-speech-recognition", "TEXT_TO_WAVEFORM": "text-to-speech",
    "TEXT_TO_SPECTROGRAM": "text-to-speech",
    # Kinds of which none is served.
    "IMAGE": None, "ZERO_SHOT_OBJECT_DETECTION": None, "VIDEO_CLASSIFICATION": None,
}  # fmt: skip
# What is guessed for another purpose that it serves as well, or not at all.
OTHERWISE: Mapping[str, Mapping[str | None, str]] = {
    "QUESTION_ANSWERING": {"document-question-answering": "LayoutLMv2ForQuestionAnswering LayoutLMv3ForQuestionAnswering"},
    "MASKED_LM": {
        "text2text-generation": "BartForConditionalGeneration MvpForConditionalGeneration",
        "translation": "MBartForConditionalGeneration",
    },
    "CAUSAL_LM": {
        "image-to-text": "GitForCausalLM", "image-text-to-text": "FuyuForCausalLM", "fill-mask": "XLMWithLMHeadModel",
        None: "Gemma3ForConditionalGeneration Gemma3nForConditionalGeneration Gemma4ForConditionalGeneration "
        "Gemma4UnifiedForConditionalGeneration GotOcr2ForConditionalGeneration MossTranscribeDiarizeForConditionalGeneration",
    },
    "TEXT_ENCODING": {None: "Llama4TextModel MllamaTextModel"},
    "SEQ_TO_SEQ_CAUSAL_LM": {
        "translation": "FSMTForConditionalGeneration M2M100ForConditionalGeneration MarianMTModel MBartForConditionalGeneration "
        "NllbMoeForConditionalGeneration SeamlessM4TForTextToText SeamlessM4Tv2ForTextToText",
        "summarization": "BigBirdPegasusForConditionalGeneration PegasusForConditionalGeneration PegasusXForConditionalGeneration",
        "automatic-speech-recognition": "GraniteSpeechForConditionalGeneration GraniteSpeechPlusForConditionalGeneration "
        "OmniASRForConditionalGeneration Qwen3ASRForConditionalGeneration VibeVoiceAsrForConditionalGeneration "
        "VoxtralForConditionalGeneration VoxtralRealtimeForConditionalGeneration",
        None: "AudioFlamingo3ForConditionalGeneration GlmAsrForConditionalGeneration MossTranscribeDiarizeForConditionalGeneration "
        "MusicFlamingoForConditionalGeneration Nemotron3_5TranscribeForConditionalGeneration Qwen2AudioForConditionalGeneration "
        "T5Gemma2ForConditionalGeneration",
    },
    "IMAGE_TEXT_TO_TEXT": {
        "image-to-text": "BlipForConditionalGeneration GitForCausalLM VisionEncoderDecoderModel",
        "text-generation": "Mistral4ForCausalLM",
        None: "DiffusionGemmaForBlockDiffusion EvollaForProteinText2Text NemotronH_Omni_Reasoning_V3 PI0ForConditionalGeneration "
        "T5Gemma2ForConditionalGeneration UdopForConditionalGeneration",
    },
    "VISUAL_QUESTION_ANSWERING": {None: "Blip2ForConditionalGeneration"},
    "ZERO_SHOT_IMAGE_CLASSIFICATION": {"feature-extraction": "VideoPrismClipModel"},
    "SPEECH_SEQ_2_SEQ": {
        "text-to-speech": "VibeVoiceForConditionalGeneration",
        None: "DiaForConditionalGeneration Pop2PianoForConditionalGeneration",
    },
    "TEXT_TO_WAVEFORM": {
        "text-to-audio": "MusicgenForConditionalGeneration MusicgenMelodyForConditionalGeneration",
        None: "Qwen2_5OmniForConditionalGeneration Qwen3OmniMoeForConditionalGeneration",
    },
    "IMAGE": {"feature-extraction": "DabDetrModel DepthProModel ImageGPTModel TimmWrapperModel"},
}  # fmt: skip


@pytest.fixture(scope="module")
def classes() -> Mapping[str, Mapping[str, list[str]]]:
    command = [python(), ROOT / "tests" / "reference" / "architectures.py", *TASK_OF]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


@pytest.mark.parametrize("kind", TASK_OF)
def test_every_architecture_of_transformers(
    classes: Mapping[str, Mapping[str, list[str]]], kind: str
) -> None:
    expected = {name: task for task, names in OTHERWISE.get(kind, {}).items() for name in names.split()}
    for name, settings in classes[kind].items():
        task = guess_task({**dict.fromkeys(settings), "architectures": [name]}, [])
        assert task == expected.get(name, TASK_OF[kind]), name
        assert task is None or task in TASKS


def test_a_model_that_sees_is_told_by_its_settings() -> None:
    for name in ("NewForConditionalGeneration", "NewForCausalLM"):
        assert guess_task({"architectures": [name], "vision_config": {}}, []) == "image-text-to-text"
    assert guess_task({"architectures": ["NewForConditionalGeneration"]}, []) is None
    assert guess_task({"architectures": ["NewModel"]}, []) == "feature-extraction"
    assert guess_task({"architectures": ["NewModel"], "num_mel_bins": 80}, []) is None
    assert guess_task({"architectures": None}, []) is None

"""Asks endpoints by every task method of the official client. Runs in an environment of that client's own.

`python calling.py`, with HF_TOKEN set: one JSON object `{"task", "url"}` per line in, one per line out: for each call by
its name the shape of what the client made of the answer, or `{"failed": …}`.
"""

import dataclasses
import io
import json
import struct
import sys
import wave
import zlib

from huggingface_hub import InferenceClient, __version__

LABELS = ["cat", "dog"]
WORD_BOXES = [["a", [0, 0, 9, 9]], ["cat", [9, 0, 20, 9]]]
TABLE = {"cat": ["1", "2"], "dog": ["3", "4"]}
OLD = __version__.startswith("0.23")  # which has no parameters for most tasks


def png(side=32):
    """A grey square."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    rows = (b"\0" + b"\x7f" * side) * side
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def wav():
    """A second of silence."""
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(bytes(32_000))
    return written.getvalue()


IMAGE, SOUND = png(), wav()
CALLS = {
    "text-classification": {"text_classification": lambda c: c.text_classification("the soup")},
    "token-classification": {"token_classification": lambda c: c.token_classification("the soup in paris")},
    "question-answering": {
        "question_answering": lambda c: c.question_answering(question="who won ?", context="the team won")
    },
    "zero-shot-classification": {
        "zero_shot_classification": lambda c: c.zero_shot_classification("the soup", LABELS),
        "multi_label": lambda c: c.zero_shot_classification("the soup", LABELS, multi_label=True),
    },
    "fill-mask": {"fill_mask": lambda c: c.fill_mask("the [MASK] won")},
    "feature-extraction": {"feature_extraction": lambda c: c.feature_extraction("the soup")},
    "sentence-similarity": {
        "sentence_similarity": lambda c: c.sentence_similarity("the soup", other_sentences=["salt", "a team"])
    },
    "summarization": {"summarization": lambda c: c.summarization("the soup needs salt")},
    "translation": {"translation": lambda c: c.translation("the soup needs salt")},
    "text-generation": {
        "text_generation": lambda c: c.text_generation("the soup", max_new_tokens=4),
        "details": lambda c: (
            c.text_generation("the soup", max_new_tokens=4, details=True).details.finish_reason
        ),
        "stream": lambda c: list(c.text_generation("the soup", max_new_tokens=4, stream=True)),
    },
    "table-question-answering": {
        "table_question_answering": lambda c: c.table_question_answering(table=TABLE, query="how many")
    },
    "image-classification": {
        "image_classification": lambda c: c.image_classification(IMAGE),
        **({} if OLD else {"top_k": lambda c: c.image_classification(IMAGE, top_k=1)}),
    },
    "zero-shot-image-classification": {
        "zero_shot_image_classification": lambda c: c.zero_shot_image_classification(IMAGE, LABELS)
    },
    "object-detection": {
        "object_detection": lambda c: c.object_detection(IMAGE, **({} if OLD else {"threshold": 0.0}))
    },
    "image-segmentation": {"image_segmentation": lambda c: c.image_segmentation(IMAGE)},
    "image-to-text": {"image_to_text": lambda c: c.image_to_text(IMAGE)},
    "visual-question-answering": {
        "visual_question_answering": lambda c: c.visual_question_answering(IMAGE, "what is this ?")
    },
    "document-question-answering": {}
    if OLD
    else {
        "document_question_answering": lambda c: c.document_question_answering(
            IMAGE, "what is this ?", word_boxes=WORD_BOXES
        )
    },
    "automatic-speech-recognition": {
        "automatic_speech_recognition": lambda c: c.automatic_speech_recognition(SOUND)
    },
    "audio-classification": {"audio_classification": lambda c: c.audio_classification(SOUND)},
    "text-to-speech": {"text_to_speech": lambda c: c.text_to_speech("the soup")},
    "text-to-image": {
        "text_to_image": lambda c: c.text_to_image(
            "the soup", width=24, height=16, num_inference_steps=2, guidance_scale=2.0, negative_prompt="salt"
        ),
        **({} if OLD else {"seed": lambda c: c.text_to_image("the soup", num_inference_steps=1, seed=3)}),
    },
}


def shape(value):
    """What a value is made of: lists by their first item, objects by their fields that are not None."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if hasattr(value, "tolist"):  # an array
        return shape(value.tolist())
    if isinstance(value, str):
        return "text"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number"
    return "image" if hasattr(value, "getpixel") else type(value).__name__


def asked(client, call):
    try:
        return shape(call(client))
    except Exception as error:  # noqa: BLE001 - the test shows it
        return {"failed": f"{type(error).__name__}: {error}"[:500]}


def main():
    for line in sys.stdin:
        wanted = json.loads(line)
        client = InferenceClient(model=wanted["url"])
        calls = CALLS.get(wanted["task"], {})
        print(json.dumps({name: asked(client, call) for name, call in calls.items()}), flush=True)


if __name__ == "__main__":
    main()

"""Tasks on images. Those that transformers still has a pipeline for go through it; captions and questions are done here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import transformers

from inlet.runtime.pipelines.call import BadInput
from inlet.runtime.pipelines.child.generating import arguments
from inlet.runtime.pipelines.child.media import read_image, write_image
from inlet.runtime.pipelines.child.source import Answerer, Source


def by_pipeline(source: Source) -> Answerer:
    """image-classification, zero-shot-image-classification and object-detection: rows as the pipeline gives them."""
    return _each(source, lambda pipe, image, _, parameters: pipe(image, **parameters))


def image_segmentation(source: Source) -> Answerer:
    """Segments, each mask a PNG."""

    def one(pipe: Any, image: Any, _: str, parameters: Mapping[str, Any]) -> Any:
        try:
            found = pipe(image, **parameters)
        except ValueError as error:
            if "subtask" not in parameters:
                raise
            raise BadInput(f"this model does not do that: {error}", "parameters.subtask") from error
        return [{**segment, "mask": write_image(segment["mask"])} for segment in found]

    return _each(source, one)


def depth_estimation(source: Source) -> Answerer:
    """`{depth}`, an image, and the numbers behind it where they are asked for."""

    def one(pipe: Any, image: Any, _: str, parameters: Mapping[str, Any]) -> Any:
        found = pipe(image)
        kind = parameters["content_type"]
        row = {"depth": write_image(found["depth"], kind if kind.startswith("image/") else "image/png")}
        if parameters.get("predicted_depth"):
            row["predicted_depth"] = found["predicted_depth"].float().numpy()
        return row

    return _each(source, one)


def _each(source: Source, one: Callable[[Any, Any, str, Mapping[str, Any]], Any]) -> Answerer:
    pipe = source.pipeline()

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        fields = [f"inputs[{index}]" for index in range(len(items))]
        return [
            one(pipe, read_image(item, field), field, parameters)
            for item, field in zip(items, fields, strict=True)
        ]

    return answer


def image_to_text(source: Source) -> Answerer:
    """Captions."""
    model = source.read(transformers.AutoModelForImageTextToText)
    images, tokenizer = source.part(transformers.AutoImageProcessor), source.part(transformers.AutoTokenizer)

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        given = arguments(model, parameters, tokenizer=tokenizer, prompt=0, room=_positions(model))
        found = []
        for index, item in enumerate(items):
            inputs = images(images=read_image(item, f"inputs[{index}]"), return_tensors="pt")
            with torch.inference_mode():
                made = model.generate(**inputs, **given)
            found.append([text.strip() for text in tokenizer.batch_decode(made, skip_special_tokens=True)])
        return found

    return answer


def image_text_to_text(source: Source) -> Answerer:
    """What a model says to images and a text, or to a conversation with images."""
    model = source.read(transformers.AutoModelForImageTextToText)
    processor = source.part(transformers.AutoProcessor)

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        found = []
        for index, item in enumerate(items):
            inputs = _prompted(processor, item, f"inputs[{index}]")
            length = inputs["input_ids"].shape[1]
            room = None if (longest := _positions(model)) is None else longest - length
            given = arguments(model, parameters, tokenizer=processor.tokenizer, prompt=length, room=room)
            with torch.inference_mode():
                made = model.generate(**inputs, **given)
            found.append(processor.batch_decode(made[:, length:], skip_special_tokens=True))
        return found

    return answer


def _prompted(processor: Any, item: Any, field: str) -> Any:
    if isinstance(item, list):
        if not processor.chat_template:
            raise BadInput('this model has no chat template; send {"images": […], "text": string}', field)
        messages = [_with_images(message, f"{field}[{index}]") for index, message in enumerate(item)]
        try:
            return processor.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
            )
        except Exception as error:  # templates refuse by exceptions of their own
            raise BadInput(f"the model's chat template does not take it: {error}", field) from error
    images = [read_image(image, f"{field}.images[{index}]") for index, image in enumerate(item["images"])]
    text, token = item["text"], getattr(processor, "image_token", None)
    if token and text.count(token) != len(images):
        if token in text:
            raise BadInput(f"{text.count(token)} × {token} for {len(images)} images", f"{field}.text")
        text = token * len(images) + text
    return processor(images=images, text=text, return_tensors="pt")


def _with_images(message: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    content = message["content"]
    if isinstance(content, str):
        return {**message, "content": [{"type": "text", "text": content}]}
    return {
        **message,
        "content": [
            {"type": "image", "image": read_image(part["image"], f"{field}.content[{index}]")}
            if part["type"] == "image"
            else part
            for index, part in enumerate(content)
        ],
    }


def _positions(model: Any) -> int | None:
    """Tokens of the model's decoder, if it has a bound."""
    found = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(found) if found else None


def visual_question_answering(source: Source) -> Answerer:
    """Answers from a fixed list with scores, or generated ones."""
    model = source.read(transformers.AutoModelForVisualQuestionAnswering)
    processor = source.part(transformers.AutoProcessor)

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        found = []
        for index, item in enumerate(items):
            field = f"inputs[{index}]"
            image = read_image(item["image"], f"{field}.image")
            inputs = processor(images=image, text=item["question"], return_tensors="pt")
            positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
            if positions and inputs["input_ids"].shape[1] > positions:
                raise BadInput(f"more than the {positions} tokens that this model takes", f"{field}.question")
            with torch.inference_mode():
                if model.can_generate():
                    made = processor.batch_decode(model.generate(**inputs), skip_special_tokens=True)
                    found.append([{"answer": text.strip()} for text in made])
                else:
                    found.append(
                        _chosen(model(**inputs).logits[0], model.config.id2label, parameters.get("top_k", 5))
                    )
        return found

    return answer


def _chosen(logits: Any, names: Mapping[int, str], top: int) -> list[dict[str, Any]]:
    scores, places = torch.sigmoid(logits).topk(min(top, len(logits)))
    return [
        {"score": score, "answer": names[place]}
        for score, place in zip(scores.tolist(), places.tolist(), strict=True)
    ]


def document_question_answering(source: Source) -> Answerer:
    """Answers read off a document, whose words and boxes come with the question unless an OCR program is installed."""
    pipe = source.pipeline()
    reads_pixels = pipe.model.config.model_type == "vision-encoder-decoder"

    def answer(items: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
        found = []
        for index, item in enumerate(items):
            field = f"inputs[{index}]"
            image = read_image(item["image"], f"{field}.image")
            if not (reads_pixels or "word_boxes" in item or _has_ocr()):
                raise BadInput(
                    "missing: this model reads words with their boxes, and no OCR program (tesseract with pytesseract) is "
                    "installed here to find them",
                    f"{field}.word_boxes",
                )
            asked = {**item, "image": image}
            if "word_boxes" in item:
                asked["word_boxes"] = [tuple(pair) for pair in item["word_boxes"]]
            answers = pipe(asked, **parameters)
            found.append([{name: row[name] for name in _ANSWER if name in row} for row in answers])
        return found

    return answer


_ANSWER = ("score", "answer", "start", "end")


def _has_ocr() -> bool:
    import shutil
    from importlib.util import find_spec

    return bool(find_spec("pytesseract") and shutil.which("tesseract"))

"""What single versions of the official clients send and expect of tasks that a worker computes."""

from __future__ import annotations

import pytest

from inlet.core.errors import Invalid
from inlet.runtime.dialect import Dialect, Request, shapes_of
from inlet.runtime.pipelines.call import Result
from inlet.runtime.pipelines.tasks import plan_request
from inlet.runtime.pipelines.tasks.samples import PICTURE

CAPTION = {"generated_text": "a cat"}
BOXES = [["a", [0, 0, 9, 9]], ["cat", [9, 0, 20, 9]]]


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("unknown/None; hf_hub/0.21.4; python/3.11", [CAPTION]), ("hf_hub/0.22.2", CAPTION), ("hf_hub/0.23.5", CAPTION),
        ("hf_hub/0.24.0", [CAPTION]), ("hf_hub/2.4.0", [CAPTION]), ("@huggingface/inference/4.13.14", [CAPTION]),
        ("@huggingface/inference/4.13.15", CAPTION), ("@huggingface/inference/5.0.0", CAPTION), ("curl/8", [CAPTION]),
    ],
)  # fmt: skip
def test_a_caption_is_a_list_or_an_object(agent: str, expected: object) -> None:
    def shaped(inputs: object, rows: list[list[str]]) -> object:
        made = plan_request("image-to-text", Request(inputs, {}, Dialect.API, shapes_of(agent)))
        return made.shape(Result(rows, []))

    assert shaped(PICTURE, [["a cat"]]) == expected
    assert shaped([PICTURE, PICTURE], [["a cat"], ["a cat"]]) == [[CAPTION], [CAPTION]]


def test_the_words_of_a_document_may_be_among_the_parameters() -> None:
    inputs = {"image": PICTURE, "question": "what?"}
    beside = plan_request(
        "document-question-answering", Request(inputs, {"word_boxes": BOXES, "top_k": 2}, Dialect.API)
    )
    within = plan_request(
        "document-question-answering", Request({**inputs, "word_boxes": BOXES}, {"top_k": 2}, Dialect.API)
    )
    assert beside.call == within.call
    assert beside.call.inputs[0]["word_boxes"] == BOXES
    with pytest.raises(Invalid, match=r"inputs\.word_boxes\[0\]"):
        plan_request("document-question-answering", Request(inputs, {"word_boxes": ["a"]}, Dialect.API))

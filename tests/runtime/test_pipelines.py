"""Tasks that torch computes: real models of each architecture, asked through both sides; judged by transformers itself."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import wave
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import psutil
import pytest

from inlet.core.errors import Invalid
from inlet.runtime.dialect import Dialect, Request
from inlet.runtime.pipelines.call import Blob, Result
from inlet.runtime.pipelines.tasks import TASKS, plan_request, sample
from inlet.runtime.pipelines.tasks.samples import PICTURE, SOUND
from tests.reference import ROOT, python
from tests.runtime.test_reference import assert_close

MODELS = {
    "summarization": "bart", "translation": "bart", "text2text-generation": "bart", "text-generation": "gpt2",
    "table-question-answering": "tapas", "question-answering": "answers", "text-classification": "sequence",
    "token-classification": "tokens", "fill-mask": "masked", "zero-shot-classification": "nli",
    "feature-extraction": "hidden", "image-classification": "vit", "zero-shot-image-classification": "clip",
    "object-detection": "yolos", "image-segmentation": "segformer", "depth-estimation": "glpn",
    "image-to-text": "captions", "image-text-to-text": "llava", "visual-question-answering": "vilt",
    "document-question-answering": "layoutlm", "automatic-speech-recognition": "wav2vec2",
    "audio-classification": "sounds", "text-to-speech": "vits", "text-to-audio": "vits",
    "text-to-image": "diffusion",
}  # fmt: skip


def recording(samples: int, *, channels: int = 1, rate: int = 16_000) -> str:
    """Silence."""
    written = io.BytesIO()
    with wave.open(written, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(2 * channels * samples))
    return base64.b64encode(written.getvalue()).decode()


class Worker:
    """A process that answers as a worker would, and as transformers does."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        """`folder`: its working directory."""
        self._process, self.folder = process, folder

    def tell(self, **asked: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        told = json.loads(self._process.stdout.readline())
        assert "failed" not in told, told["failed"]
        return told

    def call(self, task: str, call: Any, **more: Any) -> dict[str, Any]:
        blobs = [base64.b64encode(blob).decode() for blob in call.blobs]
        asked = {"model": MODELS[task], "task": task, "inputs": call.inputs, "parameters": call.parameters}
        return self.tell(do="answer", blobs=blobs, **asked, **more)

    def ask(
        self,
        task: str,
        inputs: Any,
        parameters: Any = None,
        *,
        dialect: Dialect = Dialect.TOOLKIT,
        accept: str = "",
    ) -> Any:
        """The answer to a request; `Invalid` as its caller gets it."""
        plan = plan_request(task, Request(inputs, parameters or {}, dialect), accept=accept)
        told = self.call(task, plan.call)
        if "refused" in told:
            raise plan.refusal(**told["refused"])
        blobs = map(Blob, map(base64.b64decode, told["blobs"]), told["types"])
        return plan.shape(Result(told["value"], list(blobs)))

    def sockets(self) -> list[Any]:
        """Those for datagrams that it has now."""
        return psutil.Process(self._process.pid).net_connections("udp")

    def expect(self, task: str, inputs: Any, *, named: str | None = None, **parameters: Any) -> Any:
        """What transformers' pipeline answers."""
        asked = {"model": MODELS[task], "task": named or task, "inputs": inputs, "parameters": parameters}
        return self.tell(do="expect", **asked)["value"]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("worker")
    command = [python(), "-m", "tests.pipelines.answering", tmp_path_factory.mktemp("models")]
    environment = {
        **os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(folder / "modules"),
    }  # fmt: skip
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Worker(process, folder)
        process.kill()  # it has nothing to save, and torch takes seconds to end


@pytest.mark.parametrize("task", MODELS)
def test_every_task_answers_its_own_warm_up(worker: Worker, task: str) -> None:
    told = worker.call(task, sample(task))
    assert "refused" not in told, told
    assert len(told["value"]) == 1


def test_every_task_has_a_model_here() -> None:
    assert set(MODELS) == set(TASKS)


IMAGE = {"$image": PICTURE}
TABLE = {"cat": ["1", "2"], "dog": ["3", "x"]}
WORDS = [["a", [0, 0, 100, 100]], ["red", [100, 0, 200, 100]], ["cat", [200, 0, 300, 100]]]
LABELS = {"candidate_labels": ["cat", "dog"]}
SAME = [  # task, our inputs, the pipeline's inputs, parameters
    ("text-classification", "the soup", None, {"top_k": None}),
    ("text-classification", "the " * 90, None, {"top_k": 2, "truncation": True}),
    ("token-classification", "the soup in paris", None, {"aggregation_strategy": "first"}),
    ("fill-mask", "the [MASK] is", None, {"top_k": 2}),
    ("fill-mask", "the [MASK] is [MASK]", None, {"targets": ["soup", "cat"]}),
    ("zero-shot-classification", "the soup", None, {**LABELS, "multi_label": True}),
    ("table-question-answering", {"query": "how many", "table": TABLE}, None, {}),
    ("image-classification", PICTURE, IMAGE, {"top_k": 2, "function_to_apply": "sigmoid"}),
    ("zero-shot-image-classification", PICTURE, IMAGE, {**LABELS, "hypothesis_template": "the {}"}),
    ("object-detection", PICTURE, IMAGE, {"threshold": 0.3}),
    (
        "document-question-answering",
        {"image": PICTURE, "question": "what", "word_boxes": WORDS},
        {"image": IMAGE, "question": "what", "word_boxes": WORDS},
        {"top_k": 2},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("task", "inputs", "theirs", "parameters"), SAME)
def test_answers_are_those_of_the_pipeline(
    worker: Worker, task: str, inputs: Any, theirs: Any, parameters: dict[str, Any]
) -> None:
    expected = worker.expect(task, inputs if theirs is None else theirs, **parameters)
    if task == "document-question-answering":
        expected = [{name: value for name, value in row.items() if name != "words"} for row in expected]
    assert_close(_plain(worker.ask(task, inputs, parameters)), expected)


def test_lists_answer_one_item_each(worker: Worker) -> None:
    one = worker.ask("image-classification", PICTURE)
    assert worker.ask("image-classification", [PICTURE, PICTURE]) == [one, one]


class TestGeneratedTexts:
    def test_summaries_are_those_of_generate(self, worker: Worker) -> None:
        asked = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 6}
        (*expected,) = worker.tell(
            do="generate", model="bart", inputs="the soup needs salt", parameters=asked
        )["value"]
        inputs = "the soup needs salt"
        answer = worker.ask("summarization", inputs, {"generate_parameters": asked})
        assert answer == [{"summary_text": text} for text in expected]
        assert worker.ask("translation", inputs, asked) == [{"translation_text": text} for text in expected]
        assert worker.ask("text2text-generation", inputs, asked) == [
            {"generated_text": text} for text in expected
        ]

    def test_continuations_are_those_of_the_pipeline(self, worker: Worker) -> None:
        asked = {"max_new_tokens": 8}
        (expected,) = worker.expect("text-generation", "the soup", **asked, do_sample=False)
        (full,) = worker.ask("text-generation", "the soup", asked)
        # The pipeline loses the space between prompt and answer.
        assert full["generated_text"].split() == expected["generated_text"].replace("soup", "soup ").split()
        (bare,) = worker.ask("text-generation", "the soup", {**asked, "return_full_text": False})
        assert "the soup" + bare["generated_text"] == full["generated_text"]

    @pytest.mark.parametrize("last", ["user", "assistant"])
    def test_conversations_go_on_as_in_the_pipeline(self, worker: Worker, last: str) -> None:
        chat = [{"role": "user", "content": "what is this"}, {"role": last, "content": "the soup"}]
        expected = worker.expect("text-generation", chat, max_new_tokens=8, do_sample=False)
        answer = worker.ask("text-generation", chat, {"max_new_tokens": 8})
        for theirs, ours in zip(expected[0]["generated_text"], answer[0]["generated_text"], strict=True):
            assert ours["role"] == theirs["role"]
            assert ours["content"].replace(" ", "") == theirs["content"].replace(" ", "").replace("##", "")

    def test_languages_are_told_to_models_that_have_several(self, worker: Worker) -> None:
        def translated(**parameters: str) -> Any:
            call = plan_request(
                "translation", Request("the soup", {**parameters, "max_new_tokens": 9}, Dialect.API)
            ).call
            asked = {"inputs": call.inputs, "parameters": call.parameters, "blobs": []}
            return worker.tell(do="answer", model="mbart", task="translation", **asked)

        plain, french = translated(), translated(src_lang="fr_XX")
        assert translated(tgt_lang="de_DE") != plain != french
        assert translated() == plain
        assert translated(tgt_lang="xx")["refused"]["field"] == "parameters.tgt_lang"

    def test_a_seed_repeats_what_is_drawn(self, worker: Worker) -> None:
        drawn = [
            worker.ask("text-generation", "the soup", {"do_sample": True, "seed": seed, "max_new_tokens": 20})
            for seed in (1, 1, 2)
        ]
        assert drawn[0] == drawn[1] != drawn[2]

    def test_a_stop_string_ends_the_text_before_it(self, worker: Worker) -> None:
        (whole,) = worker.ask(
            "text-generation", "the soup", {"max_new_tokens": 30, "return_full_text": False}
        )
        stop = whole["generated_text"][20:23]
        asked = {"max_new_tokens": 30, "return_full_text": False, "stop": [stop], "details": True}
        (cut,) = worker.ask("text-generation", "the soup", asked)
        assert cut["generated_text"] == whole["generated_text"].split(stop)[0]
        assert cut["details"]["finish_reason"] == "stop_sequence"
        assert cut["details"]["generated_tokens"] < 30

    @pytest.mark.parametrize("stop", [[], ["s", "zz"]])
    def test_pieces_make_the_whole(self, worker: Worker, stop: list[str]) -> None:
        asked = {"max_new_tokens": 30, **({"stop": stop} if stop else {})}
        plan = plan_request("text-generation", Request("the soup", {**asked, "stream": True}, Dialect.API))
        pieces = worker.call("text-generation", plan.call)["pieces"]
        (whole,) = worker.ask("text-generation", "the soup", {**asked, "return_full_text": False})
        assert "".join(piece["text"] for piece in pieces) == whole["generated_text"]
        assert len(pieces) > 2
        assert pieces[-1]["finish_reason"] == ("stop_sequence" if stop else "length")

    def test_a_stream_may_be_left(self, worker: Worker) -> None:
        plan = plan_request("text-generation", Request("the soup", {"stream": True}, Dialect.API))
        assert len(worker.call("text-generation", plan.call, most=2)["pieces"]) == 2
        assert worker.ask("text-generation", "the soup", {"max_new_tokens": 1})

    @pytest.mark.parametrize(
        ("task", "inputs", "parameters", "field"),
        [
            ("text-generation", "the " * 70, {}, "inputs"),
            ("text-generation", ["a", "the " * 70], {}, "inputs[1]"),
            ("text-generation", "the", {"max_new_tokens": 64}, "parameters.max_new_tokens"),
            ("text-generation", [{"role": "tool", "content": "a"}], {}, "inputs"),
            ("summarization", "the " * 70, {}, "inputs"),
            ("summarization", "the", {"max_new_tokens": 64}, "parameters.max_new_tokens"),
            ("translation", "the", {"src_lang": "en"}, "parameters.src_lang"),
            ("text-classification", "the " * 70, {}, "inputs"),
            ("fill-mask", "the", {}, "inputs"),
            ("image-classification", "QUJD", {}, "inputs"),
            ("image-classification", [PICTURE, "QUJD"], {}, "inputs[1]"),
            ("image-segmentation", PICTURE, {"subtask": "panoptic"}, "parameters.subtask"),
            ("visual-question-answering", {"image": "QUJD", "question": "a"}, {}, "inputs.image"),
            ("document-question-answering", {"image": PICTURE, "question": "a"}, {}, "inputs.word_boxes"),
            ("automatic-speech-recognition", "QUJD", {}, "inputs"),
            ("automatic-speech-recognition", PICTURE, {}, "inputs"),
            (
                "automatic-speech-recognition",
                SOUND,
                {"return_timestamps": True},
                "parameters.return_timestamps",
            ),
            (
                "automatic-speech-recognition",
                recording(16_003),
                {"chunk_length_s": 0.5, "stride_length_s": 0.0},
                "parameters.chunk_length_s",
            ),
            ("text-to-speech", "the", {"max_new_tokens": 4}, "parameters.max_new_tokens"),
            ("text-to-image", "the", {"width": 17}, "parameters.width"),
        ],
    )
    def test_what_only_the_model_knows_to_be_wrong_is_named(
        self, worker: Worker, task: str, inputs: Any, parameters: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(Invalid) as caught:
            worker.ask(task, inputs, parameters)
        assert caught.value.field == field


class TestImagesAndSound:
    def test_segments_have_masks(self, worker: Worker) -> None:
        (segment, *_) = worker.ask("image-segmentation", PICTURE)
        assert segment["score"] is None
        assert base64.b64decode(segment["mask"]).startswith(b"\x89PNG")
        assert worker.ask("image-segmentation", PICTURE, dialect=Dialect.API)[0]["score"] == 1

    def test_a_depth_map_is_an_image_or_json(self, worker: Worker) -> None:
        drawn = worker.ask("depth-estimation", PICTURE, accept="image/jpeg")
        assert (drawn.content[:2], drawn.content_type) == (b"\xff\xd8", "image/jpeg")
        told = worker.ask("depth-estimation", PICTURE, {"predicted_depth": True})
        assert base64.b64decode(told["depth"]).startswith(b"\x89PNG")
        assert told["predicted_depth"].ndim == 2

    @pytest.mark.parametrize("side", [7_000, 60_000])
    def test_a_bomb_is_not_unpacked(self, worker: Worker, side: int) -> None:
        image = base64.b64decode(PICTURE)
        head = b"IHDR" + side.to_bytes(4, "big") * 2 + image[24:29]
        huge = image[:12] + head + zlib.crc32(head).to_bytes(4, "big") + image[33:]
        with pytest.raises(Invalid, match="pixels"):
            worker.ask("image-classification", base64.b64encode(huge).decode())

    @pytest.mark.parametrize(
        ("format_", "taken"),
        [
            *((name, True) for name in ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "TIFF")),
            *((name, False) for name in ("EPS", "PPM", "ICO")),
        ],
    )
    def test_images_are_of_these_formats_for_models_and_handlers(
        self, worker: Worker, format_: str, taken: bool
    ) -> None:
        image = worker.tell(do="paint", format=format_)["image"]
        handled = worker.tell(do="handle", body=image)
        if taken:
            assert worker.ask("image-classification", image)
            assert handled == {"size": [48, 32]}
        else:
            with pytest.raises(Invalid, match="not an image of a known format; send PNG, JPEG, WebP"):
                worker.ask("image-classification", image)
            assert handled["refused"]["status"] == 400
            assert "cannot identify image file" in handled["refused"]["message"]

    @pytest.mark.parametrize(
        ("format_", "codec"),
        [
            ("w64", "pcm_s16le"), ("flac", "flac"), ("mp3", "libmp3lame"), ("ogg", "libopus"), ("ipod", "aac"), ("mp4", "aac"), ("mov", "aac"),
            ("webm", "libopus"), ("matroska", "pcm_s16le"), ("adts", "aac"), ("aiff", "pcm_s16be"), ("caf", "pcm_s16le"), ("asf", "wmav2"),
            ("au", "pcm_s16be"),
        ],
    )  # fmt: skip
    def test_sound_is_of_these_formats(self, worker: Worker, format_: str, codec: str) -> None:
        sound = worker.tell(do="record", format=format_, codec=codec)["sound"]
        assert worker.ask("automatic-speech-recognition", sound)

    @pytest.mark.parametrize("task", ["automatic-speech-recognition", "audio-classification"])
    def test_too_little_sound_is_refused(self, worker: Worker, task: str) -> None:
        for samples in (0, 3, 1_500):
            with pytest.raises(Invalid, match=r"inputs: less than 0\.1 seconds of sound"):
                worker.ask(task, recording(samples))
        assert worker.ask(task, recording(1_600))

    def test_a_recording_that_names_a_file_is_not_sound(self, worker: Worker) -> None:
        (worker.folder / "other.wav").write_bytes(base64.b64decode(SOUND))
        listed = base64.b64encode(b"ffconcat version 1.0\nfile other.wav\n").decode()
        with pytest.raises(Invalid, match="inputs: not sound of a known format"):
            worker.ask("automatic-speech-recognition", listed)

    def test_a_recording_that_names_an_address_opens_no_socket(self, worker: Worker) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1] // 2 * 2  # of the kind that it takes: even
        session = f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio {port} RTP/AVP 0\n"
        with ThreadPoolExecutor(1) as pool:
            asked = base64.b64encode(session.encode()).decode()
            answer = pool.submit(worker.ask, "automatic-speech-recognition", asked)
            opened = []
            while wait([answer], timeout=0.01).not_done:
                opened += worker.sockets()
        with pytest.raises(Invalid, match="inputs: not sound of a known format"):
            answer.result()
        assert opened == []

    def test_speech_in_other_formats_and_rates(self, worker: Worker) -> None:
        stereo = recording(2 * 44_100, channels=2, rate=44_100)
        answer = worker.ask("automatic-speech-recognition", stereo, {"return_timestamps": "char"})
        assert answer["text"] == "".join(chunk["text"] for chunk in answer["chunks"])

    def test_speech_is_a_file_or_json(self, worker: Worker) -> None:
        told = worker.ask("text-to-speech", "the cat")
        assert told["audio"].shape[0] == 1
        spoken = worker.ask("text-to-speech", "the cat", dialect=Dialect.API)
        assert spoken.content_type == "audio/wav"
        with wave.open(io.BytesIO(spoken.content)) as file:
            assert (file.getframerate(), file.getnchannels()) == (told["sampling_rate"], 1)
            assert file.getnframes() > 0

    def test_pictures_are_those_of_the_pipeline(self, worker: Worker) -> None:
        asked = {
            "width": 24,
            "height": 16,
            "num_inference_steps": 2,
            "guidance_scale": 3.0,
            "negative_prompt": "salt",
        }
        drawn = worker.ask("text-to-image", "the red cat", {**asked, "seed": 5}, accept="image/png")
        expected = worker.tell(do="draw", model="diffusion", inputs="the red cat", parameters=asked, seed=5)
        assert drawn == Blob(base64.b64decode(expected["png"]), "image/png")
        told = worker.ask("text-to-image", "the red cat", {**asked, "seed": 5})
        assert base64.b64decode(told) == drawn.content
        for other in (
            {"seed": 6},
            {"guidance_scale": 9.0},
            {"negative_prompt": "the dog"},
            {"num_inference_steps": 3},
        ):
            assert worker.ask("text-to-image", "the red cat", {**asked, "seed": 5, **other}) != told

    def test_captions_and_answers(self, worker: Worker) -> None:
        ((one,), (other,)) = worker.ask("image-to-text", [PICTURE, PICTURE], {"max_new_tokens": 3})
        assert one == other
        asked = {"images": [PICTURE], "text": "what is"}
        (told,) = worker.ask("image-text-to-text", asked, {"max_new_tokens": 3})
        assert told["input_text"] == "what is"
        assert told["generated_text"].startswith("what is")
        answers = worker.ask(
            "visual-question-answering", {"image": PICTURE, "question": "what"}, {"top_k": 2}
        )
        assert [set(row) for row in answers] == [{"score", "answer"}] * 2
        assert answers[0]["score"] >= answers[1]["score"]


def test_the_best_span_is_found_in_any_window(worker: Worker) -> None:
    context = "the team in paris won . " * 40
    asked = {"question": "who won", "context": context}
    best, *others = worker.ask("question-answering", asked, {"top_k": 3, "max_seq_len": 40, "doc_stride": 10})
    assert context[best["start"] : best["end"]] == best["answer"] != ""
    assert [row["score"] for row in others] == sorted((row["score"] for row in others), reverse=True)
    assert worker.ask("question-answering", asked, {"max_seq_len": 40, "doc_stride": 10}) == best


def test_want_of_memory_is_told_as_such(worker: Worker) -> None:
    def asked(image: str) -> dict[str, Any]:
        call = plan_request("image-classification", Request(image, {}, Dialect.TOOLKIT)).call
        blobs = [base64.b64encode(blob).decode() for blob in call.blobs]
        return worker.tell(
            do="answer",
            model="hungry",
            task="image-classification",
            inputs=call.inputs,
            parameters={},
            blobs=blobs,
        )

    assert "can't allocate memory" in asked(worker.tell(do="paint", format="PNG")["image"])["starved"]
    assert "value" in asked(PICTURE)


def test_a_model_that_does_not_fit_is_refused(worker: Worker) -> None:
    asked = {"inputs": ["a"], "parameters": {}, "blobs": []}
    refused = worker.tell(do="answer", model="vit", task="summarization", **asked)["refused"]
    assert refused["field"] == "model"
    assert "summarization" in refused["message"]


@pytest.mark.parametrize(
    ("task", "lacking"),
    [
        ("text-classification", "classifier.bias, classifier.weight"),
        ("question-answering", "qa_outputs.bias, qa_outputs.weight"),
        ("fill-mask", "cls.predictions"),
    ],
)
def test_weights_are_never_made_up(worker: Worker, task: str, lacking: str) -> None:
    asked = {"blobs": [], "inputs": ["a soup"], "parameters": {}}
    refused = worker.tell(do="answer", model="headless", task=task, **asked)["refused"]
    assert refused["field"] == "model"
    assert f"needs weights that its files lack: {lacking}" in refused["message"]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    plain: Callable[[], Any] | None = getattr(value, "tolist", None)
    return value if plain is None else plain()

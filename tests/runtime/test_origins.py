"""How a graph is got for a model: what is chosen, what strangers' graphs must have, and models that need torch.

Answers are compared with torch's, in an environment that has it (`strangers`); everything else runs without.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inlet.core.errors import Refused, Unavailable
from inlet.runtime.build.encoder import Head
from inlet.runtime.contents import described
from inlet.runtime.engines import ports
from inlet.runtime.engines.openvino._library import op, ov
from inlet.runtime.origins.choose import Extras, Kind, Origin, choose, origin_of
from inlet.runtime.origins.exports import CONTENTS, exported
from inlet.runtime.origins.opening import Opened, Opening, open_graph
from inlet.runtime.origins.shape import ModelShape, model_shape
from tests.reference import Reference, python
from tests.runtime import strangers
from tests.runtime.process import Replica, eventually

NOTHING, EVERYTHING = Extras(torch=False, onnxruntime=False), Extras(torch=True, onnxruntime=True)
BERT = {
    "model_type": "bert", "vocab_size": 90, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 64, "max_position_embeddings": 72, "type_vocab_size": 2,
}  # fmt: skip
OTHER = {"model_type": "squeezebert", "vocab_size": 90, "hidden_size": 8}
IR = ("openvino/openvino_model.xml", "openvino/openvino_model.bin")


@pytest.mark.parametrize(
    ("config", "names", "extras", "kind", "files"),
    [
        (BERT, {"model.safetensors", "onnx/model.onnx", *IR}, NOTHING, Kind.BUILT, ("model.safetensors",)),
        (BERT, {"model.safetensors.index.json", "model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors"},
         NOTHING, Kind.BUILT,
         ("model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")),
        (BERT | {"position_embedding_type": "relative_key"}, {"model.safetensors", "onnx/model.onnx"}, NOTHING,
         Kind.ONNX, ("onnx/model.onnx",)),
        (BERT, {"pytorch_model.bin", "model.onnx"}, NOTHING, Kind.ONNX, ("model.onnx",)),
        (OTHER, {"model.safetensors", "onnx/model.onnx", *IR}, EVERYTHING, Kind.OPENVINO, IR),
        (OTHER, {"openvino/openvino_model.xml", "model.onnx", "model.onnx_data", "model.onnx_data_1"}, NOTHING,
         Kind.ONNX, ("model.onnx", "model.onnx_data", "model.onnx_data_1")),
        (OTHER, {"onnx/model_quantized.onnx", "model.onnx"}, EVERYTHING, Kind.ONNX, ("model.onnx",)),
        (OTHER, {"onnx/model_quantized.onnx", "model.safetensors"}, EVERYTHING, Kind.ONNX, ("onnx/model_quantized.onnx",)),
        (OTHER, {"onnx/model_quantized.onnx", "model.safetensors"}, Extras(torch=True, onnxruntime=False), Kind.EXPORT,
         ("model.safetensors",)),
        (OTHER, {"model.safetensors", "pytorch_model.bin"}, EVERYTHING, Kind.EXPORT, ("model.safetensors",)),
        (BERT, {"pytorch_model.bin", "modeling.py"}, EVERYTHING, Kind.EXPORT, ("pytorch_model.bin",)),
    ],
)  # fmt: skip
def test_what_is_certain_is_preferred(
    config: dict[str, Any], names: set[str], extras: Extras, kind: Kind, files: tuple[str, ...]
) -> None:
    origin = choose(names, config, extras)
    assert (origin.kind, origin.files) == (kind, files)
    assert origin.shipped == ("quantized" in files[0])


def test_weights_that_the_builder_refused_are_exported() -> None:
    origin = choose(
        {"model.safetensors"}, BERT, EVERYTHING, not_built="the weights have tensors of their own"
    )
    assert (origin.kind, origin.files) == (Kind.EXPORT, ("model.safetensors",))
    assert "the weights have tensors of their own" in origin.reason


@pytest.mark.parametrize(
    ("config", "names", "extras", "words"),
    [
        (OTHER, {"model.safetensors"}, NOTHING, "install inlet-endpoints[torch]"),
        (OTHER, {"model.safetensors"}, NOTHING, "models of type 'squeezebert'"),
        (OTHER, {"onnx/model_int8.onnx"}, NOTHING, "install inlet-endpoints[onnxruntime]"),
        (
            BERT,
            {"pytorch_model.bin"},
            NOTHING,
            "the model has no safetensors weights (model.safetensors); install",
        ),
        (BERT, {"model.ckpt"}, EVERYTHING, "save the model with"),
    ],
)
def test_a_refusal_says_what_to_do(
    config: dict[str, Any], names: set[str], extras: Extras, words: str
) -> None:
    with pytest.raises(Refused) as refused:
        choose(names, config, extras)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("config", "tokenizer", "shape"),
    [
        ({"model_type": "a", "dim": 8, "max_position_embeddings": 64, "eos_token_id": 2}, {}, ("a", 90, 64, 8, 0, 2)),
        ({"model_type": "b", "d_model": 8, "n_positions": 32, "pad_token_id": 5}, {}, ("b", 90, 32, 8, 5, None)),
        ({"model_type": "longformer", "hidden_size": 8, "max_position_embeddings": 66, "pad_token_id": 1}, {},
         ("longformer", 90, 64, 8, 1, None)),
        ({"model_type": "c", "hidden_size": 8}, {"model_max_length": 128}, ("c", 90, 128, 8, 0, None)),
        ({"model_type": "c", "hidden_size": 8}, {"model_max_length": 1e30}, ("c", 90, 512, 8, 0, None)),
        ({"model_type": "c", "hidden_size": 8}, None, ("c", 90, 512, 8, 0, None)),
    ],
)  # fmt: skip
def test_any_configuration_has_a_shape(
    config: dict[str, Any], tokenizer: dict[str, Any] | None, shape: tuple[Any, ...], tmp_path: Path
) -> None:
    if tokenizer is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert model_shape({"vocab_size": 90, **config}, tmp_path) == ModelShape(*shape)


def test_what_takes_no_texts_has_none(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"config\.json has no vocab_size"):
        model_shape({"model_type": "vit", "hidden_size": 8}, tmp_path)


@pytest.mark.parametrize(
    ("head", "ranks", "name"),
    [
        (Head.SEQUENCE, {"last_hidden_state": 3, "logits": 2}, "logits"),
        (Head.TOKEN, {"logits": 3}, "logits"),
        (Head.HIDDEN, {"token_embeddings": 3, "sentence_embedding": 2}, "token_embeddings"),
        (Head.HIDDEN, {"other": 3, "last_hidden_state": 3}, "last_hidden_state"),
        (Head.HIDDEN, {"pooled": 2, "1234": 3}, "1234"),
    ],
)
def test_the_output_is_found_by_name_and_rank(head: Head, ranks: dict[str, int], name: str) -> None:
    assert ports.output_for(head, ranks) == name


@pytest.mark.parametrize(
    ("head", "ranks"),
    [
        (Head.SEQUENCE, {"logits": 3}),
        (Head.SEQUENCE, {"scores": 2}),
        (Head.TOKEN, {"logits": 2}),
        (Head.HIDDEN, {"logits": 3}),
        (Head.HIDDEN, {"last_hidden_state": 2}),
        (Head.HIDDEN, {}),
    ],
)
def test_an_output_for_another_task_is_refused(head: Head, ranks: dict[str, int]) -> None:
    with pytest.raises(Refused, match="exported for another task"):
        ports.output_for(head, ranks)


Build = Callable[[Any, Any, Any], dict[str, Any]]


def ready_made(folder: Path, build: Build, **types: type) -> Path:
    """`build(ids, mask, positions)` gives the outputs by name; `types` are those of the inputs, by name."""
    inputs = {name: op.parameter([-1, -1], kind, name=name) for name, kind in types.items()}
    for name, node in inputs.items():
        node.output(0).set_names({name})
    outputs = []
    given = [inputs.get(name) for name in ("input_ids", "attention_mask", "position_ids")]
    for name, node in build(*given).items():
        node.output(0).set_names({name})
        outputs.append(node)
    (folder / "openvino").mkdir()
    ov.save_model(ov.Model(outputs, list(inputs.values())), str(folder / IR[0]), compress_to_fp16=False)
    (folder / "config.json").write_text(json.dumps(OTHER))
    return folder


def number(value: Any) -> Any:
    return op.convert(value, "f32")


def vectors(*parts: Any) -> Any:
    """[B, L, 8]: the sum of the parts, times eight different numbers."""
    whole = parts[0]
    for part in parts[1:]:
        whole = op.add(whole, part)
    return op.multiply(op.unsqueeze(whole, np.int64(2)), np.arange(1, 9, dtype=np.float32))


def opened(folder: Path, head: Head = Head.HIDDEN, labels: int | None = None) -> Opened:
    shape = model_shape(OTHER, folder)
    opening = Opening(folder, origin_of(folder, OTHER), head, shape, labels, folder / "never")
    return open_graph(opening, lambda text: pytest.fail(f"something was exported: {text}"))


def test_a_ready_made_graph_is_fed_what_it_asks_for(tmp_path: Path) -> None:
    """int32 inputs, positions that nobody sends, and several outputs of which one is wanted."""

    def build(ids: Any, mask: Any, positions: Any) -> dict[str, Any]:
        hidden = vectors(op.multiply(number(ids), number(mask)), op.multiply(number(positions), number(mask)))
        return {
            "sentence_embedding": op.squeeze(op.gather(hidden, np.int64(0), np.int64(1))),
            "token_embeddings": hidden,
        }

    ready_made(tmp_path, build, position_ids=np.int64, attention_mask=np.int32, input_ids=np.int32)
    graph = opened(tmp_path).graph
    ids = np.array([[5, 6, 7, 0], [9, 9, 0, 0]], dtype=np.int64)
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0]], dtype=np.int64)
    (lane,) = graph.compile(opened(tmp_path).variant, threads=1).lanes()
    expected = ((ids + np.arange(4)) * mask)[..., None] * np.arange(1, 9)
    assert lane.infer(ids, np.zeros_like(ids), mask).tolist() == expected.tolist()


def test_a_graph_that_asks_for_anything_else_is_refused(tmp_path: Path) -> None:
    ready_made(
        tmp_path,
        lambda ids, *_: {"last_hidden_state": vectors(number(ids))},
        input_ids=np.int64,
        bbox=np.int64,
    )
    with pytest.raises(Refused, match="the ready-made graph asks for bbox; supported inputs: input_ids"):
        opened(tmp_path)


def test_a_graph_whose_answers_change_with_the_padding_is_refused(tmp_path: Path) -> None:
    def build(ids: Any, *_: Any) -> dict[str, Any]:
        return {
            "last_hidden_state": vectors(
                number(ids), number(op.reduce_sum(op.add(ids, np.int64(1)), np.int64(1), True))
            )
        }

    with pytest.raises(Refused, match=r"openvino_model\.xml change with the padding"):
        opened(ready_made(tmp_path, build, input_ids=np.int64))


def test_a_graph_of_another_width_is_refused(tmp_path: Path) -> None:
    def build(ids: Any, *_: Any) -> dict[str, Any]:
        first = op.gather(vectors(number(ids)), np.int64(0), np.int64(1))
        return {"logits": first}

    ready_made(tmp_path, build, input_ids=np.int64)
    assert opened(tmp_path, Head.SEQUENCE, labels=8).variant.name == "openvino-fp32"
    with pytest.raises(Refused, match=r"config\.json names 3 labels, the graph has 8"):
        opened(tmp_path, Head.SEQUENCE, labels=3)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    ready_made(tmp_path, lambda ids, *_: {"last_hidden_state": vectors(number(ids))}, input_ids=np.int64)
    (tmp_path / IR[0]).write_text("<net")
    with pytest.raises(Refused, match=r"openvino_model\.xml cannot be read by OpenVINO"):
        opened(tmp_path)


ROOT = Path(__file__).resolve().parents[2]
WITH_TORCH = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `strangers` made."""
    made = tmp_path_factory.mktemp("strangers")
    command = [str(python()), "-m", "tests.runtime.strangers", str(made)]
    subprocess.run(command, check=True, cwd=ROOT, env={**WITH_TORCH, "PATH": "/usr/bin:/bin"})
    return made


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, Any]:
    """What `strangers` found."""
    found: dict[str, Any] = json.loads((folder / "results.json").read_bytes())
    return found


# The environment with torch is made at the first use, which takes minutes.
needs_torch = pytest.mark.timeout(900)


@needs_torch
@pytest.mark.parametrize(
    ("name", "kind", "variant", "tolerance"),
    [
        ("squeezebert", "export", "openvino-fp32", 1e-5),
        # Exports only with its attention step by step.
        ("modernbert", "export", "openvino-fp32", 1e-5),
        # Its convolutions look at the padding: as a graph it would answer something else.
        ("convbert", "export", "torch-fp32", 1e-5),
        ("onnx", "onnx", "openvino-fp32", 1e-5),
        ("padding", "onnx", "onnxruntime-fp32", 1e-5),
        ("shipped", "onnx", "onnxruntime-shipped", 0.01),
    ],
)
def test_a_stranger_answers_as_torch_does(
    results: dict[str, Any], name: str, kind: str, variant: str, tolerance: float
) -> None:
    result = results[name]
    assert (result["origin"], result["engine"]) == (kind, variant)
    assert len(result["found"]) == len(strangers.LENGTHS)
    for found, expected, alone in zip(result["found"], result["expected"], result["alone"], strict=True):
        assert np.shape(found) == np.shape(expected)
        assert np.abs(np.subtract(found, expected)).max() < tolerance
        assert np.abs(np.subtract(found, alone)).max() < 1e-6


@needs_torch
def test_an_export_says_how_far_it_is_and_is_kept(results: dict[str, Any]) -> None:
    """`strangers` opens each twice, and ends if the second time anything is exported."""
    steps = ["loading the model with torch", "exporting the graph", "comparing the graph with torch"]
    assert results["squeezebert"]["told"] == steps
    assert results["modernbert"]["told"] == [*steps, *steps[1:]]
    assert results["convbert"]["told"] == steps[:1]
    assert all(result["again"] == result["engine"] for result in results.values())


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """The folder of an export that is whole, of a model that cannot be exported any more."""
    graph = ready_made(
        tmp_path, lambda ids, *_: {"last_hidden_state": vectors(number(ids))}, input_ids=np.int64
    )
    into = tmp_path / "exports" / "name"
    into.mkdir(parents=True)
    for file, name in zip(IR, ("model.xml", "model.bin"), strict=True):
        shutil.copy(graph / file, into / name)
    (into / CONTENTS).write_text(json.dumps(described(into)))
    return into


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def blank(path: Path) -> None:
    path.write_bytes(b" " * path.stat().st_size)


@pytest.mark.parametrize(
    ("damage", "file", "suspect"),
    [
        (cut, "model.bin", False),
        (cut, "model.xml", False),
        (Path.unlink, "model.xml", False),
        (Path.unlink, CONTENTS, False),
        (cut, CONTENTS, False),
        (blank, "model.xml", True),
        (blank, "model.bin", True),
    ],
)
def test_a_damaged_export_is_not_used_but_made_again(
    export: Path, damage: Callable[[Path], None], file: str, suspect: bool
) -> None:
    def use(*, suspect: bool) -> Path:
        return exported(export.parent.parent, Head.HIDDEN, export, print, suspect=suspect)

    assert use(suspect=False) == use(suspect=True) == export / "model.xml"
    damage(export / file)
    # Making it again is tried, and fails for want of torch or of a model.
    with pytest.raises((Unavailable, Refused)):
        use(suspect=suspect)


def test_a_graph_of_an_export_that_cannot_be_read_makes_it_suspect(export: Path) -> None:
    """Of the right size, so that only its use shows it; what is whole, and still not to be used, is not made again."""
    folder = export.parent.parent
    origin = Origin(Kind.EXPORT, (), "exported with torch")
    shape = model_shape(OTHER, folder)

    def use(head: Head) -> Opened:
        labels = None if head is Head.HIDDEN else 3
        return open_graph(Opening(folder, origin, head, shape, labels, export), print)

    with pytest.raises(Refused, match="exported for another task"):
        use(Head.SEQUENCE)
    blank(export / "model.xml")
    with pytest.raises((Unavailable, Refused), match=r"the export ended with|fails|config\.json"):
        use(Head.HIDDEN)


@needs_torch
def test_a_replica_makes_a_damaged_export_again(folder: Path, made: Reference, tmp_path: Path) -> None:
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(made.model("topics") / file, folder / "squeezebert")
    flags, env = ("--artifacts", str(tmp_path / "artifacts")), {**WITH_TORCH, "INLET_PRECISION": "fp32"}
    for start, damage in enumerate((None, cut, blank)):
        if damage is not None:
            (graph,) = (tmp_path / "artifacts" / "exports").glob("*/model.xml")
            damage(graph)
        (tmp_path / str(start)).mkdir()
        with Replica(
            tmp_path / str(start),
            folder / "squeezebert",
            "text-classification",
            *flags,
            env=env,
            python=python(),
        ) as replica:
            replica.ready()
            assert replica.ask({"inputs": "the team won"})[0]["label"]
        assert "exporting the graph" in " ".join(replica.told)
        assert (damage is not None) is ("is damaged, and made again" in replica.log.read_text())


def test_without_torch_an_export_is_not_tried(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(Refused, match="install inlet-endpoints"):
        origin_of(tmp_path, OTHER)


@needs_torch
@pytest.mark.parametrize(
    ("name", "task", "computed"),
    [("squeezebert", "text-classification", "openvino"), ("convbert", "feature-extraction", "torch-fp32")],
)
def test_a_replica_serves_a_stranger(
    folder: Path, made: Reference, tmp_path: Path, name: str, task: str, computed: str
) -> None:
    """From an export on its own to an answer; and what only torch computes is served as it came."""
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(made.model("topics") / file, folder / name)
    flags = ("--artifacts", str(tmp_path / "artifacts"))
    with Replica(tmp_path, folder / name, task, *flags, env=WITH_TORCH, python=python()) as replica:
        replica.ready()
        eventually(lambda: replica.http.get("/info").json()["settled"])
        info = replica.http.get("/info").json()
        assert info["variant"].startswith(computed)
        assert (info["artifact"] is None) is (computed == "torch-fp32")
        answer = replica.ask({"inputs": "the team won"})
        assert answer[0]["label"] in info["labels"] if info["labels"] else len(answer[0][0]) == 32
    assert any("exporting" in line or "torch" in line for line in replica.told)


def test_sizes_that_leave_no_room_are_refused_and_tokens_outside_the_vocabulary_ignored(
    tmp_path: Path,
) -> None:
    sizes = {"vocab_size": 90, "hidden_size": 8}
    with pytest.raises(Refused, match="no room for a text"):
        model_shape(
            {**sizes, "model_type": "roberta", "max_position_embeddings": 2, "pad_token_id": 1}, tmp_path
        )
    shape = model_shape({**sizes, "pad_token_id": 90, "eos_token_id": 10**9}, tmp_path)
    assert (shape.pad_id, shape.end_id) == (0, None)

"""Every model family computes what the reference computes from the same token ids, for each head; the rest is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inlet.core.errors import Refused
from inlet.runtime.build.config import encoder_shape, read_config
from inlet.runtime.build.decoder import Decoder
from inlet.runtime.build.encoder import Head, build, has_answers, label_count
from inlet.runtime.build.families import FAMILIES
from inlet.runtime.build.safetensors import Weights
from inlet.runtime.engines.base import Lane, Variant
from inlet.runtime.engines.openvino.graph import OpenVinoGraph
from inlet.runtime.engines.openvino.model import OpenVinoModel
from tests.reference import Case, Reference


def graph(folder: Path, head: Head) -> OpenVinoModel:
    maker = OpenVinoGraph()
    return maker.model(build(maker, encoder_shape(read_config(folder)), Weights.open(folder), head))


def lane(folder: Path, head: Head) -> Lane:
    return graph(folder, head).compile(Variant("openvino", "fp32"), threads=1).lanes()[0]


def assert_equal(lane: Lane, case: Case, head: Head, folder: Path) -> None:
    """Where the mask is 1: what stands at padding is nobody's business."""
    ids, types, mask = (np.array(case.inputs[name]) for name in ("ids", "types", "mask"))
    got, expected = lane.infer(ids, types, mask), np.array(case.expected)
    if head is Head.MASKED:
        decoder = Decoder.of(encoder_shape(read_config(folder)), Weights.open(folder), tied=True)
        got, mask = decoder.logits(got[:, ::6]), mask[:, ::6]
    real = (mask[:, 0] if head is Head.SEQUENCE else mask) == 1
    assert got.shape == expected.shape
    np.testing.assert_allclose(
        got[real], expected[real], rtol=0, atol=2e-5, err_msg=f"{case.model} {ids.shape}"
    )


def models(made: Reference, model_type: str) -> dict[str, list[Case]]:
    """Cases of that type by model."""
    found: dict[str, list[Case]] = {}
    for case in made.of("ids"):
        if read_config(made.model(case.model))["model_type"] == model_type:
            found.setdefault(case.model, []).append(case)
    return found


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_family_computes_what_the_reference_does(made: Reference, model_type: str) -> None:
    heads = set()
    for name, cases in models(made, model_type).items():
        folder, head = made.model(name), Head(name.rsplit("-", 1)[1])
        compiled = lane(folder, head)
        for case in cases:
            assert_equal(compiled, case, head, folder)
        weights = Weights.open(folder)
        assert label_count(encoder_shape(read_config(folder)), weights) == (
            5 if head in (Head.SEQUENCE, Head.TOKEN) else 0
        )
        assert has_answers(weights) is (head is Head.ANSWER)
        heads.add(head)
    assert heads == set(Head)


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("roberta", {"pad_token_id": None}, "pad_token_id must be a whole number up to 299, not None"),
        ("roberta", {"pad_token_id": 300}, "pad_token_id must be a whole number up to 299, not 300"),
        ("roberta", {"max_position_embeddings": 2}, "of 2 max_position_embeddings none is left after pad_token_id 1"),
        ("roberta", {"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key', which is not"),
        ("roberta", {"hidden_act": ["gelu"]}, r"hidden_act=\['gelu'\]; supported: gelu, gelu_new"),
        ("roberta", {"layer_norm_eps": None}, "layer_norm_eps must be a number between 0 and 1, not None"),
        ("distilbert", {"n_heads": 5}, "dim 48 is not a multiple of 5 heads"),
        ("distilbert", {"activation": "mish"}, "activation='mish'; supported:"),
        ("distilbert", {"dim": None}, "dim must be a positive whole number"),
        ("mpnet", {"relative_attention_num_buckets": 64}, "relative_attention_num_buckets=64, which is not"),
        ("albert", {"num_hidden_groups": 6}, "num_hidden_groups must be a positive whole number up to 5, not 6"),
        ("albert", {"num_hidden_layers": 10**6}, "num_hidden_layers must be a positive whole number up to 1000"),
        ("deberta-v3", {"relative_attention": False}, "relative_attention=False, which is not"),
        ("deberta-v3", {"conv_kernel_size": 3}, "conv_kernel_size=3, which is not"),
        ("deberta-v3", {"embedding_size": 16}, "embedding_size=16, which is not"),
        ("deberta-v3", {"pos_att_type": None}, "pos_att_type must be one or more of c2p, p2c, not None"),
        ("deberta-v3", {"pos_att_type": ["p2p"]}, "pos_att_type must be one or more of c2p, p2c"),
        ("deberta-v3", {"norm_rel_ebd": "batch"}, "norm_rel_ebd must be one or more of none, layer_norm, not 'batch'"),
        ("deberta-v3", {"position_buckets": 200}, "position_buckets must be from 2 to 141, not 200"),
        ("deberta-v3", {"share_att_key": "yes"}, "share_att_key must be true or false, not 'yes'"),
    ],
)  # fmt: skip
def test_what_is_not_certain_is_refused(
    made: Reference, name: str, changes: dict[str, Any], reason: str
) -> None:
    config = read_config(made.model(f"{name}-hidden"))
    encoder_shape(config)
    with pytest.raises(Refused, match=reason):
        encoder_shape({**config, **changes})


@pytest.mark.parametrize(
    ("name", "absent", "field", "default"),
    [
        ("bert", "hidden_act", "activation", "gelu"),
        ("bert", "layer_norm_eps", "eps", 1e-12),
        ("bert", "pad_token_id", "pad_id", 0),
        ("camembert", "pad_token_id", "pad_id", 1),
        ("electra", "embedding_size", "embedding", 128),
        ("albert", "embedding_size", "embedding", 128),
        ("albert", "hidden_act", "activation", "gelu_new"),
        ("albert", "num_hidden_groups", "groups", 1),
        ("albert", "inner_group_num", "inner", 1),
        ("deberta-v3", "layer_norm_eps", "eps", 1e-7),
        ("deberta-v3", "type_vocab_size", "token_types", 0),
        ("deberta-v2", "pooler_hidden_act", "pooled_activation", "gelu"),
        ("deberta-v3", "position_biased_input", "position_rows", 72),
    ],
)
def test_absent_settings_are_the_references_defaults(
    made: Reference, name: str, absent: str, field: str, default: Any
) -> None:
    config = read_config(made.model(f"{name}-hidden"))
    shape = encoder_shape({key: value for key, value in config.items() if key != absent})
    assert getattr(shape, field) == default


def test_padding_takes_no_position_from_families_that_count_from_it(made: Reference) -> None:
    lengths = {
        name: encoder_shape(read_config(made.model(f"{name}-hidden"))).positions
        for name in ("bert", "roberta", "camembert", "mpnet", "deberta-v3")
    }
    assert lengths == {"bert": 72, "roberta": 70, "camembert": 68, "mpnet": 300, "deberta-v3": 72}


@pytest.mark.parametrize("name", ["distilbert", "electra", "deberta-v2"])
def test_a_bare_encoder_is_found_below_a_head(made: Reference, name: str) -> None:
    """Asked for hidden states, a checkpoint's head is left alone, wherever its tensors stand."""
    for head in (Head.SEQUENCE, Head.TOKEN):
        hidden = lane(made.model(f"{name}-{head}"), Head.HIDDEN)
        assert hidden.infer(*(np.ones((1, 3), dtype=np.int64),) * 3).shape == (1, 3, 48)

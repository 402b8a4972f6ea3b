"""Access, hardware and the autoscaler: small pure functions by tables."""

from __future__ import annotations

import pytest

from inlet.core.access import Grant, Permission, Token, allows, hash_token, may_infer
from inlet.core.autoscale import Load, desired_replicas
from inlet.core.catalogue import CATALOGUE, find
from inlet.core.errors import Invalid
from inlet.core.seen import Hold, Limits, gigabytes
from inlet.core.spec import Hardware, Measure, MeasureKind, Scaling, Visibility
from inlet.core.tasks import guess_task
from inlet.core.trust import ALLOW_CODE, ALLOW_PICKLE, imposed, trust_of

READ, WRITE, INFER, ADMIN = Permission.READ, Permission.WRITE, Permission.INFER, Permission.ADMIN


@pytest.mark.parametrize(
    ("grant", "asked", "namespace", "endpoint", "allowed"),
    [
        (Grant(READ, "acme"), READ, "acme", None, True),
        (Grant(READ, "acme"), READ, "acme", "mini", True),
        (Grant(READ, "acme"), WRITE, "acme", None, False),
        (Grant(READ, "acme"), READ, "other", None, False),
        (Grant(WRITE, "acme"), READ, "acme", "mini", True),
        (Grant(WRITE, "acme"), INFER, "acme", "mini", False),
        (Grant(INFER, "acme", "mini"), INFER, "acme", "mini", True),
        (Grant(INFER, "acme", "mini"), INFER, "acme", "maxi", False),
        (Grant(WRITE, "acme", "mini"), WRITE, "acme", None, False),
        (Grant(ADMIN), WRITE, "anything", "at-all", True),
        (Grant(ADMIN, "acme"), ADMIN, "other", None, False),
    ],
)
def test_a_grant_covers_what_it_says(
    grant: Grant, asked: Permission, namespace: str, endpoint: str | None, allowed: bool
) -> None:
    assert allows([grant], asked, namespace, endpoint) is allowed


@pytest.mark.parametrize("visibility", [Visibility.PRIVATE, Visibility.PROTECTED])
def test_a_private_endpoint_needs_a_grant_of_its_own(visibility: Visibility) -> None:
    assert may_infer([Grant(INFER, "acme")], visibility, "acme", "mini")
    assert not may_infer([Grant(INFER, "other")], visibility, "acme", "mini")
    assert not may_infer([Grant(READ, "acme")], visibility, "acme", "mini")
    assert not may_infer(None, visibility, "acme", "mini")


def test_visibility_opens_to_any_inferring_token_or_to_all() -> None:
    assert may_infer([Grant(INFER, "other", "x")], Visibility.AUTHENTICATED, "acme", "mini")
    assert not may_infer([Grant(READ, "acme")], Visibility.AUTHENTICATED, "acme", "mini")
    assert not may_infer(None, Visibility.AUTHENTICATED, "acme", "mini")
    assert may_infer(None, Visibility.PUBLIC, "acme", "mini")


def test_a_token_lives_until_it_expires_or_is_revoked() -> None:
    token = Token("t", "t", hash_token("x"), (), created_at=0.0, expires_at=10.0)
    assert token.live(9.9)
    assert not token.live(10.0)
    assert not Token("t", "t", "h", (), 0.0, None, revoked_at=5.0).live(6.0)


@pytest.mark.parametrize(
    ("type_", "size", "found"),
    [("intel-spr", "x2", "aws-us-east-1-intel-spr-x2"), ("c6i", "small", "aws-us-east-1-intel-icl-x1"), ("intel-spr", "x3", None)],
)  # fmt: skip
def test_instances_are_found_under_old_and_new_names(type_: str, size: str, found: str | None) -> None:
    row = find(Hardware("aws", "us-east-1", "cpu", type_, size), CATALOGUE)
    assert (None if row is None else row.id) == found


def test_every_instance_is_named_once() -> None:
    ids = [row.id for row in CATALOGUE]
    assert len(ids) == len(set(ids))


PENDING = Scaling(1, 5, None, Measure(MeasureKind.PENDING_REQUESTS, 2.0))


@pytest.mark.parametrize(
    ("scaling", "current", "load", "age", "wanted"),
    [
        (PENDING, 1, Load(pending=7.0), 60, 4),
        (PENDING, 1, Load(pending=7.0), 59, 1),
        (PENDING, 4, Load(pending=2.0), 300, 3),
        (PENDING, 4, Load(pending=2.0), 299, 4),
        (PENDING, 1, Load(pending=99.0), 60, 5),
        (Scaling(2, 5), 1, Load(), 0, 2),
        (Scaling(1, 3), 5, Load(), 0, 3),
        (Scaling(1, 5), 2, Load(cpu=0.95), 60, 3),
        (Scaling(1, 5), 2, Load(cpu=None), 9999, 2),
        (Scaling(0, 5), 1, Load(), 9999, 1),
    ],
)
def test_the_autoscaler_by_table(scaling: Scaling, current: int, load: Load, age: float, wanted: int) -> None:
    assert desired_replicas(scaling, current=current, load=load, scaled_at=0.0, now=age) == wanted


@pytest.mark.parametrize(
    ("config", "files", "tag", "task"),
    [
        ({}, [], "text-classification", "text-classification"),
        (
            {"architectures": ["BertForSequenceClassification"]},
            ["config.json"],
            "robotics",
            "text-classification",
        ),
        ({"architectures": ["BertModel"]}, ["modules.json"], None, "sentence-similarity"),
        ({"architectures": ["BertModel"]}, [], None, "feature-extraction"),
        ({"architectures": ["BertModel"]}, ["config.json", "handler.py"], "fill-mask", "custom"),
        ({}, ["model_index.json"], None, "text-to-image"),
        ({}, ["model-q8_0.gguf"], None, "text-generation"),
        ({"architectures": ["TapasForQuestionAnswering"]}, [], None, "table-question-answering"),
        ({"architectures": ["Wav2Vec2ForSequenceClassification"]}, [], None, "audio-classification"),
        ({}, [], None, None),
    ],
)
def test_a_task_is_guessed_only_from_certain_signs(
    config: dict[str, object], files: list[str], tag: str | None, task: str | None
) -> None:
    assert guess_task(config, files, tag) == task


V2, PINNED = Hold(enforced=True, by="cgroup v2"), Hold(enforced=False, by="affinity")


@pytest.mark.parametrize(
    ("limits", "whole", "words"),
    [
        (Limits(0.5, 2**28, V2, V2, 0.5, 2**28), True, "enforced: 0.5 vCPU, 256 MB (cgroup v2)"),
        (
            Limits(1, 2**31, PINNED, V2, 1, 2**31),
            True,
            "best effort: 1 vCPU (affinity); enforced: 2 GB (cgroup v2)",
        ),
        (
            Limits(2, 2**31, V2, V2, 16, 2**35),
            False,
            "enforced: 2 vCPU, 2 GB (cgroup v2). The instance has 16 vCPU, 32 GB, which is more than this machine has",
        ),
    ],
)
def test_limits_in_words(limits: Limits, whole: bool, words: str) -> None:
    assert (limits.whole, limits.words) == (whole, words)


@pytest.mark.parametrize(
    ("size", "words"), [(2**26, "64 MB"), (2**30, "1 GB"), (23.54 * 2**30, "23.5 GB"), (10 * 2**30, "10 GB")]
)
def test_sizes_in_words(size: float, words: str) -> None:
    assert gigabytes(size) == words


@pytest.mark.parametrize("said", ["0", "false", "No", ""])
def test_no_endpoint_loosens_what_its_server_forbids(said: str) -> None:
    told = imposed({ALLOW_CODE: said}, {ALLOW_CODE: "1"})
    assert not trust_of({**told, ALLOW_PICKLE: "1"}).code
    assert not trust_of({**told, ALLOW_PICKLE: "1"}).pickle


def test_a_switch_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match=f"{ALLOW_CODE}: 'maybe' is not 1 or 0"):
        imposed({ALLOW_CODE: "maybe"}, {})
    assert trust_of({ALLOW_CODE: "yes"}).code

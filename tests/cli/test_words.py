"""The pure part of the command line: names, paths, pairs, permissions, instances, samples."""

import base64
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inlet.cli import words
from inlet.core.access import Grant, Permission
from inlet.core.catalogue import CATALOGUE
from inlet.core.errors import Invalid
from inlet.runtime.dialect import Dialect
from inlet.runtime.pipelines.tasks import TASKS, plan
from inlet.runtime.pipelines.tasks.samples import PICTURE
from inlet.runtime.serving import Asked
from inlet.wire.v2.provider import render_vendors

LISTING = render_vendors(CATALOGUE, {})
HERE, HOME = Path("/work/here"), Path("/home/me")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("sentence-transformers/all-MiniLM-L6-v2", "all-minilm-l6-v2"),
        ("gpt2", "gpt2"),
        ("./My Model/", "my-model"),
        ("org/Qwen2.5_0.5B", "qwen2-5-0-5b"),
        ("org/distilbert-base-uncased-finetuned-sst-2-english", "distilbert-base-uncased-finetune"),
        ("org/a123456789012345678901234567890-b", "a123456789012345678901234567890"),
        ("org/___", "endpoint"),
    ],
)
def test_names(model: str, name: str) -> None:
    assert words.name_for(model) == name


@given(st.text())
def test_every_name_is_one_that_the_api_takes(model: str) -> None:
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", words.name_for(model))


@pytest.mark.parametrize(
    ("model", "repository"),
    [
        ("org/model", "org/model"),
        ("gpt2", "gpt2"),
        ("./model", "/work/here/model"),
        ("../model/", "/work/model"),
        ("/srv/model", "/srv/model"),
        ("~/model", "/home/me/model"),
        ("file:///srv/model", "file:///srv/model"),
    ],
)
def test_repositories(model: str, repository: str) -> None:
    assert words.repository_of(model, HERE, HOME) == repository


def test_pairs() -> None:
    environment = {"HF_TOKEN": "t"}
    assert words.pairs(["A=1", "B=x=y", "C=", "HF_TOKEN"], environment, "--env") == {
        "A": "1",
        "B": "x=y",
        "C": "",
        "HF_TOKEN": "t",
    }
    with pytest.raises(Invalid, match=r"--secret: MISSING .* not set"):
        words.pairs(["MISSING"], environment, "--secret")
    with pytest.raises(Invalid, match="NAME=VALUE") as caught:
        words.pairs(["=hunter2"], environment, "--env")
    assert "hunter2" not in str(caught.value)


def test_grants() -> None:
    assert words.grants(["infer", "write:acme", "infer:acme/mini"], None) == (
        Grant(Permission.INFER, "*"),
        Grant(Permission.WRITE, "acme"),
        Grant(Permission.INFER, "acme", "mini"),
    )
    assert words.grants(["read"], "acme") == (Grant(Permission.READ, "acme"),)
    with pytest.raises(Invalid, match="--permission: 'fly' is none of read, write, infer, admin"):
        words.grants(["fly"], None)


@pytest.mark.parametrize("item", ["infer:", "infer:acme/", "infer:/mini", "infer:/"])
def test_half_a_place_is_not_taken_for_a_larger_one(item: str) -> None:
    with pytest.raises(Invalid, match=f"--permission: {item!r} lacks a part"):
        words.grants([item], "acme")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x2", ("aws", "us-east-1", "cpu", "intel-spr", "x2")),
        ("intel-spr-x2", ("aws", "us-east-1", "cpu", "intel-spr", "x2")),
        ("eu-west-1-intel-spr-x2", ("aws", "eu-west-1", "cpu", "intel-spr", "x2")),
        ("intel-xeon-x2", ("azure", "eastus", "cpu", "intel-xeon", "x2")),
        ("nvidia-t4-x1", ("aws", "us-east-1", "gpu", "nvidia-t4", "x1")),
        ("aws-us-east-1-nvidia-t4-x1", ("aws", "us-east-1", "gpu", "nvidia-t4", "x1")),
    ],
)
def test_instances(text: str, found: tuple[str, ...]) -> None:
    assert tuple(words.instance(text, LISTING).values()) == found


@pytest.mark.parametrize("text", ["x3", "spr", "spr-x2-", "", "aws-eu-west-9-intel-spr-x2"])
def test_an_instance_that_is_not_there(text: str) -> None:
    with pytest.raises(Invalid, match=r"--instance: .*`inlet hardware`"):
        words.instance(text, LISTING)


def test_the_curl_can_be_pasted_and_shows_no_token() -> None:
    line = words.curl("http://h/default/mini", {"inputs": "it's fine"}, public=False)
    assert shlex.split(line.replace("\\\n", " ")) == [
        "curl",
        "http://h/default/mini",
        "-H",
        "Authorization: Bearer $TOKEN",
        "-H",
        "Content-Type: application/json",
        "-d",
        '{"inputs":"it\'s fine"}',
    ]
    assert "Authorization" not in words.curl("http://h/a/b", {}, public=True)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_request_to_paste(task: str) -> None:
    """Which the task itself can read, as curl would send it. Of documents the words must be sent, and nobody types these."""
    if (body := words.example(task)) is not None:
        line = words.curl("http://h/default/mini", body, public=True)
    else:
        line = words.curl_with_files("http://h/default/mini", task, public=True) or ""
    if task in ("document-question-answering", "fill-mask"):  # which mask it is only the model's page tells
        assert line == ""
        return
    (_, url, *flags) = shlex.split(line.replace("\\\n", " "))
    values = dict(zip(flags[::2], flags[1::2], strict=True))
    headers = dict(
        flag.split(": ") for name, flag in zip(flags[::2], flags[1::2], strict=True) if name == "-H"
    )
    headers = {name.lower(): value for name, value in headers.items()}
    content = values["-d"].encode() if "-d" in values else base64.b64decode(PICTURE)
    query = url.partition("?")[2]
    made = plan(task, Asked("/", content, headers, query, Dialect.TOOLKIT, 0.0, None))
    assert len(made.call.inputs) == 1
    assert ("--data-binary" in values) == bool(made.call.blobs)
    if "--output" in values:
        assert made.call.parameters["content_type"] == headers["accept"]


def test_long_answers_are_shortened() -> None:
    assert words.shortened([[0.123456789] * 384]) == '[[0.1235,0.1235,0.1235,0.1235,"… 384 numbers"]]'
    assert words.shortened([{"label": "A", "score": 0.5}]) == '[{"label":"A","score":0.5}]'
    assert len(words.shortened("x" * 1000)) == 300


def test_costs() -> None:
    assert words.monthly(0.033, 24.09, 24.09, 1, 1) == "$24.09 per month (1 x $0.033 per hour, 730 hours)"
    assert (
        words.monthly(0.033, 0.0, 72.27, 0, 3)
        == "$0.00 to $72.27 per month (0 to 3 x $0.033 per hour, 730 hours)"
    )
    assert words.monthly(None, None, None, 1, 1).startswith("unknown")

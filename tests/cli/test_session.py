"""Which server, and whose token: never the token of one for another."""

import json
from pathlib import Path

import pytest

from inlet.cli.session import whereabouts
from inlet.core.errors import Invalid


@pytest.fixture
def context(tmp_path: Path) -> Path:
    file = tmp_path / "context.json"
    file.write_text(json.dumps({"url": "http://127.0.0.1:8080", "token": "inl_left"}))
    return file


def test_what_is_given_wins(context: Path) -> None:
    assert whereabouts("http://h", "inl_mine", context) == ("http://h", "inl_mine")


def test_else_what_inlet_up_left(context: Path) -> None:
    assert whereabouts(None, None, context) == ("http://127.0.0.1:8080", "inl_left")
    assert whereabouts("http://127.0.0.1:8080/", None, context) == ("http://127.0.0.1:8080", "inl_left")
    assert whereabouts(None, "inl_mine", context) == ("http://127.0.0.1:8080", "inl_mine")


def test_the_token_left_here_goes_nowhere_else(context: Path) -> None:
    with pytest.raises(Invalid, match="no token for http://evil"):
        whereabouts("http://evil", None, context)


@pytest.mark.parametrize(("url", "token"), [(None, None), ("http://h", None), (None, "inl_mine")])
def test_without_any_the_error_says_what_to_do(tmp_path: Path, url: str | None, token: str | None) -> None:
    with pytest.raises(Invalid, match=r"inlet up.*--url and --token.*INLET_URL.*INLET_API_TOKEN"):
        whereabouts(url, token, tmp_path / "none.json")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"url": "x"}'])
def test_a_spoilt_context_file_is_named(context: Path, content: str) -> None:
    context.write_text(content)
    with pytest.raises(Invalid, match=r"context\.json cannot be read"):
        whereabouts(None, None, context)

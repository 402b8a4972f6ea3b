"""The pages say what is there: generated parts are fresh, nothing is missing, nothing is promised that is not there."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from inlet.core.endpoint import State
from inlet.settings import PREFIX, Settings

from . import pages

REFERENCE = pages.ROOT / "docs" / "reference"
OF_THE_COMMAND_LINE = {"INLET_URL", "INLET_API_TOKEN", "INLET_PULL_TOKEN"}
OF_ENDPOINTS = {
    "INLET_SAMPLE_TRAFFIC", "INLET_ALLOW_PICKLE", "INLET_TRUSTED_TYPES", "INLET_SERVE_MODELS",
    "INLET_HANDLER_TIMEOUT", "INLET_HANDLER_ERROR_STATUS", "INLET_HANDLER_ISOLATED",
}  # fmt: skip
OF_REPLICAS = {"INLET_REPLICA_ID"}  # between our own processes


@cache
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_build", pages.ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_build"] = module
    spec.loader.exec_module(module)
    return module


@cache
def commands() -> dict[str, Any]:
    return dict(build().commands())


def test_the_generated_parts_are_what_the_code_says() -> None:
    for path, name, draw in build().PARTS:
        page = path.read_text()
        assert build().build(page, name, draw()) == page, f"{path} is out of date: run `make docs`"


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in pages.links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(pages.ROOT), f"{link} leads out of the repository"
        if anchor:
            assert anchor in pages.anchors(target), f"{link}: no such heading"


def test_every_page_is_reached_from_the_index() -> None:
    index = pages.ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in pages.links(index)}
    assert set((pages.ROOT / "docs").rglob("*.md")) - {index} <= linked
    assert "docs/README.md" in pages.links(pages.ROOT / "README.md")


def test_every_setting_is_in_the_reference_and_no_other_is_named() -> None:
    settings = {PREFIX + item.name.upper() for item in fields(Settings)}
    named = set(re.findall(r"`(INLET_[A-Z_]+)`", (REFERENCE / "settings.md").read_text()))
    assert settings | OF_THE_COMMAND_LINE | OF_ENDPOINTS <= named
    for page in pages.PAGES:
        mentioned = set(re.findall(r"\bINLET_[A-Z]+(?:_[A-Z]+)*\b", page.read_text()))
        assert mentioned <= settings | OF_THE_COMMAND_LINE | OF_ENDPOINTS | OF_REPLICAS, pages.name(page)


def test_every_command_and_option_is_in_the_reference() -> None:
    text = (REFERENCE / "cli.md").read_text()
    for path, command in commands().items():
        section = text.split(f"\n## {path}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                assert f"`{parameter.metavar}`" in section, (path, parameter.name)
                continue
            for option in (*parameter.opts, *parameter.secondary_opts):
                common = set(build().COMMON) & set(parameter.opts)
                assert f"`{option}" in (text if common else section), (path, option)


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_commands_in_the_text_exist(page: Path) -> None:
    for line in pages.code(page):
        for match in re.finditer(r"(?:^|[\s(;&]|bin/)inlet ([a-z].*)", line):
            text = re.split(r"[;|)>]|&&", match[1])[0]
            words = [word for word in re.split(r"\s+", text) if word]
            path = next((p for n in (2, 1) if (p := " ".join(["inlet", *words[:n]])) in commands()), None)
            group = any(known.startswith(f"inlet {words[0]} ") for known in commands()) and words[1:] in (
                [],
                ["…"],
            )
            assert path or group, f"no such command: inlet {text}"
            if path is None:
                continue
            known = {o for p in commands()[path].params for o in (*p.opts, *p.secondary_opts)} | {
                "--help",
                "-h",
            }
            for word in words:
                if re.match(r"--?[a-z]", word):
                    assert word.split("=")[0] in known, f"{path} has no option {word}"


def test_every_route_is_in_the_reference() -> None:
    text = (REFERENCE / "api.md").read_text()
    for path, operations in build().openapi()["paths"].items():
        for verb in operations:
            assert f"`{verb.upper()} {path}`" in text
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert path in text


def test_every_state_is_explained_to_callers() -> None:
    text = (REFERENCE / "api.md").read_text().split("## When no replica is ready")[1].split("\n## ")[0]
    for state in set(State) - {State.DELETING, State.GONE}:
        assert f"`{state}`" in text


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_promised_make_targets_exist(page: Path) -> None:
    targets = set(
        re.findall(r"^([a-z0-9-]+):.*##", (pages.ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    )
    promised = {
        match[1]
        for line in pages.code(page)
        for match in re.finditer(r"(?:^|[=&;\w] )make ([a-z0-9-]+)", line)
    }
    assert promised <= targets
    if page == pages.ROOT / "README.md":
        assert {"up", "test"} <= promised


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_shell_snippets_are_whole(page: Path) -> None:
    for fence in pages.fences(page):
        if fence.language == "sh":
            shlex.split(fence.text, comments=True)  # no quote is left open
        if fence.language == "console":
            assert fence.text.startswith("$ "), f"line {fence.line}: begins with no command"


def test_nothing_is_left_to_be_filled_in() -> None:
    for page in pages.PAGES:
        assert "{{" not in page.read_text(), pages.name(page)

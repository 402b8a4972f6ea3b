"""Which models may be named, with real folders and real symbolic links."""

from __future__ import annotations

from pathlib import Path

import pytest

from inlet.core.errors import Invalid
from inlet.sample import sample_folder
from tests.control.conftest import Api, create_body


def a_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


async def refusal(api: Api, repository: str, **more: object) -> str:
    body = create_body()
    body["model"] |= {"repository": repository, **more}
    return await api.refused(400, "POST", "/v2/endpoint/default", body)


async def test_local_folders(api: Api, tmp_path: Path) -> None:
    models = tmp_path / "models"
    good = a_model(models / "team" / "mini")
    a_model(tmp_path / "outside")
    a_model(api.settings.home / "hub" / "mini")
    (models / "empty").mkdir()
    (models / "file").write_text("x")
    (models / "way-out").symlink_to(tmp_path / "outside")
    (models / "way-in").symlink_to(good)
    (models / "loop").symlink_to(models / "loop")
    for number, repository in enumerate(
        (str(good), f"file://{good}", str(models / "way-in"), f"{models}/empty/../team/mini")
    ):
        body = create_body(f"e{number}")
        body["model"] |= {"repository": repository, "revision": "main"}
        made = await api.ok("POST", "/v2/endpoint/default", body)
        assert made["model"]["repository"] == repository
    outside = "is not below a folder that models may be served from"
    for repository, words in (
        (str(tmp_path / "outside"), outside),
        (str(tmp_path / "not-there"), outside),
        (f"{models}/../outside", outside),
        (str(models / "way-out"), outside),
        (str(api.settings.home / "hub" / "mini"), outside),
        ("/etc", outside),
        ("/", outside),
        (str(models / "nothing"), "there is no folder"),
        (str(models / "file"), "there is no folder"),
        (str(models / "empty"), "has no config.json"),
        (str(models / ("x" * 300)), "cannot be looked at"),
        ("file://host/model", "an absolute path or file:///path"),
        ("file:", "neither a repository of the Hub"),
        ("~/mini", "neither"),
        ("./mini", "neither"),
    ):
        sentence = await refusal(api, repository)
        assert sentence.startswith("model.repository: "), sentence
        assert words in sentence, sentence
    assert "has no revisions" in await refusal(api, str(good), revision="v2")
    assert str(tmp_path / "outside") not in await refusal(api, str(models / "way-out"))
    assert (await refusal(api, str(models / "loop"))).startswith("model.repository: ")


async def test_home_is_never_served_even_if_its_parent_may_be(api: Api, tmp_path: Path) -> None:
    from inlet.control.sources import check_source
    from inlet.core.spec import Image, Model

    inside = a_model(api.settings.home / "models" / "m")
    with pytest.raises(Invalid):
        check_source(
            Model(str(inside), "pytorch", Image("huggingface")), folders=[tmp_path], home=api.settings.home
        )


@pytest.mark.parametrize("repository", ["gpt2", "acme/mini", "a/b.c-d_e", "A1/B2", "_x/y"])
async def test_hub_ids(api: Api, repository: str) -> None:
    body = create_body()
    body["model"]["repository"] = repository
    assert (await api.ok("POST", "/v2/endpoint/default", body))["model"]["repository"] == repository


@pytest.mark.parametrize(
    "repository",
    ["a/b/c", "a b", "-a/b", "a/b-", ".a/b", "a--b/c", "a..b", "https://x/y", "a/", "/", "é/x", "x" * 97],
)
async def test_what_is_no_hub_id(api: Api, repository: str) -> None:
    assert (await refusal(api, repository)).startswith("model.repository: ")


async def test_the_sample_may_be_served(api: Api) -> None:
    folder = sample_folder()
    if folder is None:
        pytest.skip("the sample is not installed")
    body = create_body()
    body["model"]["repository"] = str(folder)
    await api.ok("POST", "/v2/endpoint/default", body)

"""The list of models as people write it: both forms, what is wrong with it, and what is served in the end."""

from __future__ import annotations

import json

import pytest

from inlet.core.errors import Invalid
from inlet.core.models import Listed, models_of, own_first, written


def test_both_forms() -> None:
    assert models_of("") == models_of(" , ") == models_of("[]") == ()
    assert models_of("org/a, org/b@v2,/folder/c/,file:///folder/d") == (
        Listed("org/a", "org/a"),
        Listed("org/b", "org/b", "v2"),
        Listed("c", "/folder/c/"),
        Listed("d", "file:///folder/d"),
    )


def test_a_list_of_objects() -> None:
    text = json.dumps(["org/a", {"model_id": "b", "repository": "/folder/x", "task": "fill-mask"}])
    models = models_of(text)
    assert models == (Listed("org/a", "org/a"), Listed("b", "/folder/x", None, "fill-mask"))
    assert models_of(written(models)) == models


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[", "X: is not a JSON list"),
        ("[" * 100_000, "X: is not a JSON list"),
        ("{}", "X: is not a JSON list: put [ and ] around"),
        ("[3]", "X[0]: expected an object"),
        ('["org/a", {}]', "X[1].repository: missing"),
        ('[{"repository": 3}]', "X[0].repository: expected a text"),
        ('[{"repository": "org/a", "revision": " "}]', "X[0].revision: expected a text"),
        ('[{"repository": "org/a", "name": "b"}]', "X[0].name: is not known; there are model_id"),
        ('[{"repository": "org/a", "task": "magic"}]', "X[0].task: 'magic' is none of"),
        ('[{"repository": "org/a", "model_id": "a/b/c"}]', "X: the model_id 'a/b/c' cannot stand in a path"),
        ('[{"repository": "org/a", "model_id": "../c"}]', "X: the model_id '../c' cannot stand in a path"),
        ("/models/my model", "X: the model_id 'my model' cannot stand in a path: give /models/my model one"),
        ("org/a,org/a@v2", "X: two models are called 'org/a'"),
        ("org,org/a", "X: the path of 'org' would be the beginning of 'org/a'"),
        (",".join(f"m{number}" for number in range(201)), "X: lists 201 models; at most 200"),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        models_of(text, field="X")
    assert str(refused.value).startswith(words)


def test_the_endpoints_own_model_comes_first_and_may_be_given_an_id() -> None:
    own, other = Listed("org/a", "org/a", None, "fill-mask"), Listed("b", "org/b")
    assert own_first(own, (other,)) == (own, other)
    assert own_first(own, (other, Listed("org/a", "org/a"))) == (own, other)
    named = own_first(own, (other, Listed("mine", "org/a", "main")))
    assert named == (Listed("mine", "org/a", None, "fill-mask"), other)
    assert own_first(named[0], named) == named  # as a replica reads what control wrote
    for_another_task = Listed("mine", "org/a", None, "feature-extraction")
    assert own_first(own, (for_another_task,)) == (own, for_another_task)
    with pytest.raises(Invalid, match="two models are called 'org/a'"):
        own_first(own, (Listed("org/a", "org/a", "v2"),))

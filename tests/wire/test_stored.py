"""The stored form loses nothing, and bears with records of older and newer versions."""

import json
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inlet.core.access import Grant, Permission
from inlet.core.endpoint import Endpoint, State
from inlet.core.errors import Refused
from inlet.wire.stored import dump_endpoint, dump_grants, load_endpoint, load_grants
from tests.records import endpoint

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def values(kind: Any) -> st.SearchStrategy:
    """Any value of an annotation found in `core`: new fields are covered without a word here."""
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{field.name: values(hints[field.name]) for field in fields(kind)})
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return st.one_of([values(arg) for arg in args])
    if origin is Mapping:
        return st.dictionaries(values(args[0]), values(args[1]), max_size=3)
    if origin is tuple:
        assert args[1] is ...
        return st.lists(values(args[0]), max_size=3).map(tuple)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    return {
        str: TEXT,
        int: st.integers(),
        float: FLOATS,
        bool: st.booleans(),
        type(None): st.none(),
        Any: JSON,
    }[kind]


@given(values(Endpoint))
def test_a_record_comes_back_equal_and_of_the_same_types(record: Endpoint) -> None:
    loaded = load_endpoint(dump_endpoint(record))
    assert loaded == record
    assert type(loaded.state) is State
    assert type(loaded.spec.tags) is tuple


@given(values(tuple[Grant, ...]))
def test_grants_come_back_equal(grants: tuple[Grant, ...]) -> None:
    loaded = load_grants(dump_grants(grants))
    assert loaded == grants
    assert all(type(grant.permission) is Permission for grant in loaded)


def test_fields_of_a_newer_version_are_passed_over() -> None:
    record = endpoint("a")
    stored = json.loads(dump_endpoint(record))
    stored["mood"] = "sunny"
    stored["spec"]["workload"]["model"]["quantum"] = {"bits": 3}
    assert load_endpoint(json.dumps(stored)) == record


def test_fields_that_an_older_version_did_not_have_get_their_defaults() -> None:
    record = replace(endpoint("a"), scaled_at=5.0)
    stored = json.loads(dump_endpoint(record))
    del stored["scaled_at"]
    del stored["spec"]["extras"]
    expected = replace(record, scaled_at=0.0, spec=replace(record.spec, extras={}))
    assert load_endpoint(json.dumps(stored)) == expected


def test_what_cannot_be_read_is_refused_by_place_and_never_by_value() -> None:
    stored = json.loads(dump_endpoint(endpoint("a")))
    stored["state"] = "hunter2"
    with pytest.raises(Refused, match="state") as caught:
        load_endpoint(json.dumps(stored))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None

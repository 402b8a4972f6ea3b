"""Comparing answers: equal in every respect but for rounding in numbers."""

from __future__ import annotations

from typing import Any


def assert_close(got: Any, expected: Any, *, within: float = 1e-4, where: str = "answer") -> None:
    """The same JSON, with floats within `within` of each other."""
    message = f"{where}: {got!r:.200} != {expected!r:.200}"
    if isinstance(expected, float):
        assert isinstance(got, int | float), message
        assert abs(got - expected) <= within, message
    elif isinstance(expected, dict):
        assert isinstance(got, dict), message
        assert list(got) == list(expected), message
        for key, value in expected.items():
            assert_close(got[key], value, within=within, where=f"{where}.{key}")
    elif isinstance(expected, list):
        assert isinstance(got, list), message
        assert len(got) == len(expected), message
        for index, value in enumerate(expected):
            assert_close(got[index], value, within=within, where=f"{where}[{index}]")
    else:
        assert got == expected, message

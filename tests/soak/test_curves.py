"""The judgement of the soak tests: a leak is told from noise, from a step and from a warm-up."""

from __future__ import annotations

import random

import pytest

from .curves import SAMPLES, Curve

START = 100.0


def memory(*, leak: float = 0.0, step: float = 0.0, warm_up: float = 0.0, noise: float = 0.3) -> Curve:
    """`leak` over the whole run, `step` in its middle, `warm_up` within its first tenth; MB."""
    rng = random.Random(1)
    values = [
        START
        + leak * i / SAMPLES
        + step * (i > 0.55 * SAMPLES)
        + warm_up * min(1.0, i / (0.1 * SAMPLES))
        + rng.uniform(-noise, noise)
        for i in range(SAMPLES)
    ]
    return Curve("it", rss_mb=values)


@pytest.mark.parametrize("flat", [memory(), memory(warm_up=80), memory(noise=1.5), memory(step=2.5)])
def test_flat(flat: Curve) -> None:
    assert flat.growth("rss_mb") <= flat.allowed("rss_mb")


@pytest.mark.parametrize("leaking", [memory(leak=6), memory(leak=8, warm_up=80), memory(leak=8, noise=1.5)])
def test_a_leak(leaking: Curve) -> None:
    assert leaking.growth("rss_mb") > leaking.allowed("rss_mb")

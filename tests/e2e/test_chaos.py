"""Whatever is killed and changed, in whatever order, comes to rest as it was asked for, and leaves nothing behind.

A few rounds here; `make chaos` makes as many as one likes. A run that failed is repeated with its seed, as far as the
moments in which processes die can be.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from .chaos import Chaos, left_after_stop, tracebacks
from .installation import installation

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "4"))
SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10_000)))


@pytest.mark.timeout(120 * ROUNDS + 120)
def test_chaos(home: Path, sample_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n  chaos: CHAOS_SEED={SEED} CHAOS_ROUNDS={ROUNDS}")
    with installation(home, env={"INLET_DRAIN_SECONDS": "3"}) as inlet:
        chaos = Chaos(inlet, sample_model, seed=SEED)
        for number in range(ROUNDS):
            chaos.round()
            try:
                chaos.come_to_rest()
            except AssertionError as error:
                raise AssertionError(f"round {number} of seed {SEED}: {error}\n{inlet.output()}") from error
            assert tracebacks(home) == []
    with capsys.disabled():
        print(f"  {chaos.counts.total()} actions: {dict(chaos.counts)}")
    assert left_after_stop(home) == []
    assert tracebacks(home) == []

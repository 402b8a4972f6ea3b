"""How much is measured: one value per kind of run. Read by `rounds` and `scenarios/`; made by `__main__`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """`systems` by name, in the order of the first round; `scenarios` by name; the rest are the scenarios' sizes.

    `together`: how many systems are up at the same time and take turns, block by block; `blocks`: of each measure in a
    round. `warm_up`: requests of each length, and mixed ones from many connections for `warm_up_s`. `latency_lengths`: tokens, each asked `latency_requests` times a block; `connect_lengths`: those asked again
    with a connection per request. `connections`: of the throughput sweep, each for `throughput_s` a block.
    `load_shares`: offered load as shares of the highest throughput, each for `load_s`. `overloads`: the same above 1,
    with a recovery of `recovery_s`.
    """

    systems: tuple[str, ...]
    scenarios: tuple[str, ...]
    rounds: int
    together: int = 8
    blocks: int = 6
    warm_up: int = 40
    warm_up_s: float = 10.0
    latency_lengths: tuple[int, ...] = (16, 32, 75, 128)
    latency_requests: int = 30
    connect_lengths: tuple[int, ...] = (75,)
    connections: tuple[int, ...] = (1, 4, 16, 64)
    throughput_s: float = 4.0
    load_shares: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1)
    load_s: float = 60.0
    overloads: tuple[float, ...] = (1.2, 1.5, 2.0)
    overload_s: float = 60.0
    recovery_s: float = 30.0
    cold_starts: int = 5
    replicas: int = 5
    idle_s: float = 10.0
    memory_requests: int = 10_000


QUICK = Plan(
    systems=("stock stand-in", "inlet", "engine fp32", "engine bf16", "engine int8"),
    scenarios=("latency", "throughput"),
    rounds=2,
    blocks=4,
    latency_lengths=(16, 75, 128),
    warm_up=20,
    latency_requests=20,
    connect_lengths=(),
    connections=(16,),
    throughput_s=3.0,
)

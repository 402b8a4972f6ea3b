"""What is said of a run: percentiles with their bounds, rates, and when a run must not be used."""

from collections import Counter

import pytest

from inlet.bench.load import Load, Recording
from inlet.bench.summary import enough_for, percentile, summarise


def recorded(count: int, *, cpu: float = 0.1, lags: tuple[float, ...] = ()) -> Recording:
    """A run of 10 s in which the nth fastest of `count` requests took n ms, noted from the slowest on."""
    latencies = [number / 1000 for number in range(count, 0, -1)]
    return Recording(latencies=latencies, lags=list(lags), elapsed=10.0, cpu=cpu * 10)


def test_percentiles_are_ranks_with_the_bounds_of_the_binomial_distribution() -> None:
    summary = summarise(recorded(1000), Load(1000))
    p50, p99 = summary.at(50), summary.at(99)
    assert p50 is not None
    assert (p50.value, p50.low, p50.high) == (0.5, 0.469, 0.531)
    assert p99 is not None
    assert (p99.value, p99.low, p99.high) == (0.99, 0.983, 0.997)
    assert summary.latencies[0] == 0.001
    assert summary.latencies[-1] == 1.0
    assert summary.per_second == 100.0


def test_a_hundred_requests_do_not_bound_the_99th_percentile() -> None:
    summary = summarise(recorded(100), Load(100))
    p99 = summary.at(99)
    assert p99 is not None
    assert (p99.value, p99.high) == (0.099, None)


@pytest.mark.parametrize("percent", [50, 75, 90, 95, 99])
def test_enough_is_the_least_that_bounds_it(percent: int) -> None:
    enough = enough_for(percent)
    assert percentile([0.0] * enough, percent).high is not None
    assert percentile([0.0] * (enough - 1), percent).high is None


def test_one_request_is_every_percentile() -> None:
    summary = summarise(recorded(1), Load(1))
    assert {(found.value, found.low, found.high) for found in summary.percentiles} == {(0.001, None, None)}


def test_nothing_answered_has_no_percentiles() -> None:
    summary = summarise(Recording(failures=Counter({"status 503": 3}), elapsed=1.0), Load(3))
    assert (summary.percentiles, summary.at(99), summary.succeeded, summary.failed) == ((), None, 0, 3)
    assert summary.per_second == 0.0
    assert summarise(Recording(), Load(3)).per_second == 0.0, "broken off before it began"


def test_a_busy_generator_spoils_the_run() -> None:
    assert summarise(recorded(100, cpu=0.9), Load(100)).flaws == ()
    (flaw,) = summarise(recorded(100, cpu=0.91), Load(100)).flaws
    assert "91% of a core" in flaw


def test_a_late_generator_spoils_the_run() -> None:
    def flaws(requests: int, late: float) -> tuple[str, ...]:
        lags = (0.0,) * (requests - 2) + (late, late)
        return summarise(recorded(requests, lags=lags), Load(requests, rate=50)).flaws

    assert flaws(100, 0.00495) == (), "5 % of the 99th percentile, which is 99 ms"
    (flaw,) = flaws(100, 0.005)
    assert "5.0 ms late" in flaw
    assert "--rate 50" in flaw
    assert flaws(10, 0.001) == (), "a millisecond always may be"
    assert flaws(10, 0.0011)

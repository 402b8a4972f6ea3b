"""What routers report, added up."""

import pytest

from inlet.control.load import SILENT_AFTER_S, LoadBoard
from inlet.core.routes import Signal, Signals

T0 = 1_000_000.0


class Clock:
    """Seconds that only go forward."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_router_that_went_silent_counts_no_more_and_is_not_kept() -> None:
    steady = Clock()
    board = LoadBoard(steady)
    for turn in range(50):  # a router that dies and comes back has another id each time
        steady.now += 10.0
        signal = Signal("e", in_flight=1, waiting=0, requests=1, last_request_at=T0)
        board.record(Signals(f"r{turn}", (signal,)), T0)
    assert board.load("e", cpu=None, now=T0).in_flight == 1
    steady.now += SILENT_AFTER_S
    assert board.load("e", cpu=None, now=T0).in_flight == 0
    assert len(board._reports) == 1


@pytest.mark.parametrize("jump", [-86_400.0, -3600.0, 3600.0, 86_400.0])
def test_a_clock_that_is_set_changes_nothing_that_is_measured(jump: float) -> None:
    steady = Clock()
    board, before = LoadBoard(steady), T0
    busy = Signal("e", in_flight=1, waiting=1, requests=3, last_request_at=before - 2.0)
    board.record(Signals("r", (busy,)), before)
    steady.now += 1.0
    after = before + 1.0 + jump
    load = board.load("e", cpu=None, now=after)
    assert (load.in_flight, load.waiting, load.pending) == (1, 1, 2.0), "the report is a second old"
    assert load.last_request_at == after - 3.0
    assert load.waiting_at == after - 1.0
    board.record(Signals("r", (busy,)), after)  # the router's stamp is from before the jump
    assert after - 4.0 <= (board.load("e", cpu=None, now=after).last_request_at or 0.0) <= after
    steady.now += SILENT_AFTER_S
    assert board.load("e", cpu=None, now=after + SILENT_AFTER_S).in_flight == 0


def test_what_is_pending_at_several_routers_is_added_up() -> None:
    steady = Clock()
    board = LoadBoard(steady)
    for second in range(10):
        steady.now += 1.0
        for router in ("r1", "r2"):
            signal = Signal("e", in_flight=8, waiting=2, requests=1, last_request_at=None)
            board.record(Signals(router, (signal,)), T0 + second)
    assert 19.0 <= board.load("e", cpu=None, now=T0).pending <= 20.0
    assert {report.router_id for report in board.reports()} == {"r1", "r2"}
    steady.now += SILENT_AFTER_S
    assert board.reports() == ()

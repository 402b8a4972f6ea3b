"""What routers report, added up."""

from inlet.control.load import SILENT_AFTER_S, LoadBoard
from inlet.core.routes import Signal, Signals


def test_a_router_that_went_silent_counts_no_more_and_is_not_kept() -> None:
    board = LoadBoard()
    for turn in range(50):  # a router that dies and comes back has another id each time
        signal = Signal("e", in_flight=1, waiting=0, requests=1, last_request_at=float(turn * 10))
        board.record(Signals(f"r{turn}", (signal,)), turn * 10.0)
    assert board.load("e", cpu=None, now=490.0).in_flight == 1
    assert board.load("e", cpu=None, now=490.0 + SILENT_AFTER_S).in_flight == 0
    assert len(board._reports) == 1

"""What figures are made of, where the right answer is known: texts, verdicts, limits, ratios, and a report of them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from benchmarks.figures import quantiles, queueing_ms, ratio
from benchmarks.limits import Limits
from benchmarks.load import Samples
from benchmarks.model import LONGEST, tokenizer
from benchmarks.rounds import passes
from benchmarks.scenarios.contender import in_turns
from benchmarks.systems.base import best
from benchmarks.texts import Texts
from benchmarks.workload import MIXED, Answer, Workload
from tokenizers import Tokenizer

from benchmarks import plot, report


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("model")
    tokenizer().save(str(made / "tokenizer.json"))
    return made


def test_texts_have_exactly_the_length_that_was_asked_for_and_are_all_different(folder):
    lengths = [16, 32, 75, 128, 256, 512] * 3 + [6] * 20
    texts = Texts(folder, seed=1).of_lengths(lengths)
    reader = Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert [len(encoding) for encoding in reader.encode_batch(texts)] == lengths
    assert len(set(texts)) == len(texts)
    assert texts == Texts(folder, seed=1).of_lengths(lengths)
    assert texts[0] != Texts(folder, seed=2).of_lengths([16])[0]


def test_mixed_lengths_are_log_normal(folder):
    lengths = Texts(folder, seed=1).mixed_lengths(20_000)
    assert np.median(lengths) == pytest.approx(30, abs=1)
    assert np.quantile(lengths, 0.95) == pytest.approx(150, rel=0.05)
    assert max(lengths) == LONGEST


def workload(*shares: float) -> Workload:
    expected = tuple(Answer("no", share) if share >= 0.5 else Answer("yes", 1 - share) for share in shares)
    numbers = tuple(range(len(shares)))
    return Workload(Path(), ("text",) * len(shares), (16,) * len(shares), expected, {MIXED: numbers})


def asked(*answers: tuple[int, int, str]) -> Samples:
    samples = Samples()
    for text, status, body in answers:
        samples.end(samples.begin(text, 0.0), status, body.encode())
    return samples


def test_a_latency_counts_from_the_intended_time_and_the_lag_is_told_apart():
    samples = Samples(text=[0], intended=[1.0], sent=[1.5], done=[3.0], status=[200], body=[b""])
    assert samples.latencies_ms().tolist() == [2000]
    assert samples.lags_ms().tolist() == [500]


def answer(label: str, score: float) -> str:
    return json.dumps([{"label": label, "score": score}])


def verdict(work: Workload, samples: Samples, precision: str = "bf16"):
    return work.check(samples, lambda body: best(json.loads(body)), precision)


def test_right_answers_are_good_and_a_close_call_may_fall_the_other_way():
    work = workload(0.9, 0.501)
    found = verdict(work, asked((0, 200, answer("no", 0.905)), (1, 200, answer("yes", 0.51))))
    assert found.good
    assert (found.answered, found.wrong, found.agree) == (2, 0, 0.5)
    assert found.worst == pytest.approx(0.011)


def test_a_wrong_answer_is_found_and_one_that_belongs_to_another_text_is_called_swapped():
    work = workload(0.9, 0.3, 0.6)
    found = verdict(
        work, asked((0, 200, answer("yes", 0.7)), (1, 200, answer("no", 0.45)), (2, 200, answer("no", 0.6)))
    )
    assert (found.answered, found.wrong, found.swapped) == (3, 2, 1)
    assert not found.good


def test_refusals_failures_and_riddles_are_counted_apart():
    bodies = ("{}", "[]", "nothing", '[{"label": "no"}]')
    found = verdict(
        workload(0.9),
        asked((0, 429, ""), (0, 503, ""), (0, 500, ""), (0, 0, ""), *((0, 200, b) for b in bodies)),
    )
    assert (found.refused, found.failed, found.unreadable, found.wrong) == (2, 2, 4, 0)
    assert not found.good


def test_texts_with_nearly_the_same_answer_cannot_be_told_apart():
    assert workload(0.9, 0.3, 0.6).distinguishable("int8") == 1
    assert workload(0.9, 0.91, 0.6).distinguishable("int8") == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("precision", "tokens", "ms"),
    [("fp32", 75, 54.7), ("bf16", 75, 27.3), ("int8", 512, 112.2), ("int8", 4, 2.8)],
)
def test_the_limit_is_the_slower_of_computing_and_reading(precision, tokens, ms):
    limits = Limits(2, {"fp32": 236.8, "bf16": 473.6, "int8": 947.2}, bandwidth=30.0)
    assert limits.request_ms(tokens, precision) == pytest.approx(ms, rel=0.02)


def test_drift_is_the_largest_change_of_any_rate():
    before = Limits(2, {"fp32": 100.0, "int8": 200.0}, 10.0)
    assert before.drift(Limits(2, {"fp32": 102.0, "int8": 180.0}, 10.3)) == pytest.approx(0.1)


def test_ratios_are_of_blocks_and_their_mean_is_geometric():
    found = ratio([[1.0, 2.0], [4.0, 1.0]], [[2.0, 8.0], [8.0, 1.0]])
    assert found["rounds"] == pytest.approx([8**0.5, 2**0.5])
    assert found["mean"] == pytest.approx(2)
    assert (found["wins"], found["blocks"]) == (3, 4)
    low, high = found["interval"]
    assert 1 <= low < found["mean"] < high <= 4
    assert ratio([[1.0], [1.0]], [[3.0], [3.0]])["interval"] == pytest.approx([3, 3])


def test_each_pass_has_those_that_all_are_compared_with():
    assert passes(["a", "inlet", "b", "stock stand-in", "c"], 4) == [
        ["stock stand-in", "inlet", "a", "b"], ["stock stand-in", "inlet", "c"],
    ]  # fmt: skip
    assert passes(["inlet"], 4) == [["inlet"]]
    assert passes(["a", "b"], 1) == [["a"], ["b"]]


def test_turns_rotate_and_keep_their_blocks_apart():
    taken: list[tuple[str, int]] = []

    def turn(name: str):
        def take(block: int) -> Samples:
            taken.append((name, block))
            return asked((0, 200, str(block)))

        return take

    slices = in_turns({"a": turn("a"), "b": turn("b")}, 3)
    assert taken == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert [samples.body for samples in slices["b"]] == [[b"0"], [b"1"], [b"2"]]


def test_quantiles_leave_out_what_was_not_answered():
    values = np.append(np.arange(1000.0), [np.nan] * 10)
    found = quantiles(values)
    assert (found["count"], found["max"]) == (1000, 999.0)
    assert found["p99_interval"] == [983.0, 997.0]
    assert quantiles(np.array([np.nan])) == {"count": 0}


def test_queueing_theory_knows_its_textbook_case():
    fixed = np.full(10, 24.0)  # ms each, no spread
    assert queueing_ms(fixed, per_second=0.7 / 0.024, lanes=1) == pytest.approx(28)
    assert queueing_ms(fixed, per_second=0.7 / 0.024, lanes=2) < 14
    assert queueing_ms(fixed, per_second=50, lanes=1) is None


def result() -> dict:
    def system(ms: float, wrong: int = 0) -> dict:
        measured = {
            "p50": ms, "p99": 2 * ms, "per_second": 1e3 / ms, "tokens_per_second": 75e3 / ms,
            "blocks": {"p50": [ms, ms], "per_second": [1e3 / ms, 1e3 / ms]},
            "answers": {"answered": 9, "refused": 0, "failed": 0, "unreadable": 0, "wrong": wrong, "swapped": 0, "agree": 1.0, "worst": 0.01},
        }  # fmt: skip
        round_ = {"start_s": 2.0, "latency": {"75": measured}, "throughput": {"8": measured}}
        rounds = [{**round_, "pass": number} for number in (1, 2)]
        return {"precision": "fp32", "note": "", "rounds": rounds}

    return {
        "plan": {"rounds": 2, "blocks": 2, "latency_lengths": [75]},
        "conditions": {
            "date": "2026-01-02", "cpu": "A & B", "cores": 2, "server_cores": [0, 1], "flags": ["avx2"], "memory_gb": 8,
            "kernel": "6", "python": "3.11", "commit": "0" * 40, "changed": False,
        },
        "limits": {"before": {"threads": 2, "gops": {"fp32": 259.0}, "bandwidth": 30.0}},
        "generator": {"seen": 0.05, "expected": 0.05, "lag_p99": 0.1},
        "systems": {
            "inlet": system(100.0), "stock stand-in": system(250.0, wrong=3), "engine fp32": system(98.5),
        },
        "not_measured": {"infinity": "pip could not install it"},
        "disturbed": ["the load was 3 before the run began"],
    }  # fmt: skip


def test_a_report_says_milliseconds_share_of_the_limit_and_ratio():
    text = report.markdown(result(), "r.svg")
    assert "| inlet | fp32 | 100.0 / 200.0 (50%) |" in text
    same = "2.50 (2.50 to 2.50; 4 of 4)"
    assert f"| stock stand-in | {same} | {same} |" in text
    assert (
        "than the bare engine fp32 (median over blocks of the difference of p50):\n75 tokens +1.50." in text
    )
    assert "doubtful:** the load was 3" in text
    assert "- infinity: pip could not install it" in text
    assert "| stock stand-in | 36 | 0 | 0 | 0 | 12 | 0 | 100.0% |" in text


def test_a_picture_has_a_bar_for_each_system():
    root = ET.fromstring(plot.picture(result()))
    bars = [element for element in root.iter() if element.tag.endswith("rect")][1:]
    first, second = (float(bar.get("width", "")) for bar in bars[:2])
    assert len(bars) == 6
    assert second == pytest.approx(2.5 * first, rel=0.01)

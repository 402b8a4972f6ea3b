"""A result's JSON as Markdown: every figure in its own unit, as a share of the machine's limit, and as a ratio to others.

Called by `__main__`. Figures are medians over rounds; ratios are taken block by block. Nothing is left out: what was
not measured is named with its reason, and what makes a run doubtful stands at the top.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.figures import ratio
from benchmarks.limits import Limits

OURS, REFERENCE = "inlet", "stock stand-in"


def markdown(result: dict[str, Any], picture: str) -> str:
    """The whole report; `picture` is the file name of the SVG beside it."""
    sections = (
        _head,
        _latency,
        _path,
        _ratios,
        _throughput,
        _load,
        _overload,
        _start,
        _memory,
        _answers,
        _missing,
    )
    parts = ["\n".join(section(result)) for section in sections]
    parts.insert(1, f"![latency and throughput]({picture})")
    return "\n\n".join(part for part in parts if part) + "\n"


def median(result: dict[str, Any], system: str, *path: str) -> float | None:
    """Over rounds, of the number at that path of a round; None where no round has it."""
    found = [
        value for round_ in result["systems"][system]["rounds"] if (value := _at(round_, path)) is not None
    ]
    return statistics.median(found) if found else None


def best_rate(round_: dict[str, Any]) -> float | None:
    """Requests a second at the best number of connections; None where it was not measured."""
    rates = [value["per_second"] for value in round_.get("throughput", {}).values()]
    return max(rates, default=None)


def _at(value: Any, path: Sequence[str]) -> Any:
    for step in path:
        if not isinstance(value, dict) or step not in value:
            return None
        value = value[step]
    return value


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _number(value: float | None, form: str = ".1f") -> str:
    return "–" if value is None else format(value, form)


def _keys(result: dict[str, Any], scenario: str) -> list[str]:
    """What that scenario was done with, in the order of measuring."""
    found: dict[str, None] = {}
    for system in result["systems"].values():
        for round_ in system["rounds"]:
            found |= dict.fromkeys(
                key for key, value in round_.get(scenario, {}).items() if isinstance(value, dict)
            )
    return list(found)


def _limits(result: dict[str, Any]) -> Limits:
    """The better of what was measured before and after: a limit is what was possible at all."""
    measured = [Limits(**each) for each in result["limits"].values()]
    gops = {name: max(each.gops[name] for each in measured) for name in measured[0].gops}
    return Limits(measured[0].threads, gops, max(each.bandwidth for each in measured))


def _head(result: dict[str, Any]) -> Iterator[str]:
    where, limits = result["conditions"], _limits(result)
    yield f"# Benchmark of {where['date']}"
    yield ""
    yield f"{where['cpu']}, servers on {len(where['server_cores'])} of {where['cores']} cores ({', '.join(where['flags'])}),"
    commit = f"{where['commit'][:12]}{' with changes' if where['changed'] else ''}"
    yield f"{where['memory_gb']} GB, Linux {where['kernel']}, Python {where['python']}, commit {commit}."
    yield f"Rounds: {result['plan']['rounds']}, each of {result['plan']['blocks']} blocks in which every system has its turn."
    yield ""
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in limits.gops.items())
    yield f"Limits of these cores, measured: matrix products in 10⁹ operations/s {rates}; memory {limits.bandwidth:.0f} GB/s."
    generator = result["generator"]
    yield f"The generator on a server that stalls: {generator['seen']:.3f} of calls late, expected {generator['expected']:.3f};"
    yield f"its own lag p99 {generator['lag_p99']:.2f} ms."
    if result["disturbed"]:
        yield ""
        yield f"**These figures are doubtful:** {'; '.join(result['disturbed'])}."


def _latency(result: dict[str, Any]) -> Iterator[str]:
    keys, limits = _keys(result, "latency"), _limits(result)
    if not keys:
        return
    yield "## Latency: one caller"
    yield ""
    yield "Milliseconds, p50 / p99, and p50's share of the machine's limit at the system's precision, by tokens of a text."
    yield ""
    rows = []
    for name, system in result["systems"].items():
        cells = []
        for key in keys:
            p50, p99 = (median(result, name, "latency", key, of) for of in ("p50", "p99"))
            share = limits.request_ms(int(key.split()[0]), system["precision"]) / p50 if p50 else None
            cells.append(f"{_number(p50)} / {_number(p99)} ({_number(share, '.0%')})" if p50 else "–")
        rows.append([name, system["precision"], *cells])
    yield from _table(["system", "precision", *keys], rows)


def _paired(
    result: dict[str, Any], other: str, blocks: Callable[[dict[str, Any]], list[float] | None]
) -> tuple[list[list[float]], list[list[float]]] | None:
    """Of ours and of the other one: `blocks` of each pass in which both were up; None where there is none."""
    if OURS not in result["systems"] or other not in result["systems"]:
        return None
    ours, theirs = (
        {round_["pass"]: found for round_ in result["systems"][name]["rounds"] if (found := blocks(round_))}
        for name in (OURS, other)
    )
    both = sorted(set(ours) & set(theirs))
    return ([ours[number] for number in both], [theirs[number] for number in both]) if both else None


def _p50s(key: str) -> Callable[[dict[str, Any]], list[float] | None]:
    return lambda round_: _at(round_, ("latency", key, "blocks", "p50"))


def _best_blocks(round_: dict[str, Any]) -> list[float] | None:
    """Seconds of one request at the best of the loads, by block."""
    loads = round_.get("throughput")
    if not loads:
        return None
    best = max(loads.values(), key=lambda load: load["per_second"])
    return [1 / rate for rate in best["blocks"]["per_second"]]


def _ratios(result: dict[str, Any]) -> Iterator[str]:
    measures = [(f"{key} tokens", _p50s(key)) for key in _keys(result, "latency")]
    measures.append(("throughput", _best_blocks))
    rows = []
    for name in result["systems"]:
        cells = []
        for _, blocks in measures:
            pairs = _paired(result, name, blocks) if name != OURS else None
            if pairs is None:
                cells.append("–")
                continue
            found = ratio(*pairs)
            low, high = found["interval"]
            cells.append(
                f"{found['mean']:.2f} ({low:.2f} to {high:.2f}; {found['wins']} of {found['blocks']})"
            )
        if any(cell != "–" for cell in cells):
            rows.append([name, *cells])
    if not rows:
        return
    yield f"## How many times faster {OURS} is"
    yield ""
    yield "One caller's p50, and the best throughput, against each of the others, block by block: what is compared was measured"
    yield "within the same seconds. Geometric mean; 95 % interval of a bootstrap over rounds and blocks; in how many blocks it won."
    yield ""
    yield from _table(["against", *(label for label, _ in measures)], rows)


def _path(result: dict[str, Any]) -> Iterator[str]:
    """What the way through server and router costs: against the bare engine of the served precision."""
    if OURS not in result["systems"]:
        return
    engine = f"engine {result['systems'][OURS]['precision']}"
    cells = []
    for key in _keys(result, "latency"):
        pairs = _paired(result, engine, _p50s(key))
        if pairs is not None:
            more = [a - b for ours, bare in zip(*pairs, strict=True) for a, b in zip(ours, bare, strict=True)]
            cells.append(f"{key} tokens {statistics.median(more):+.2f}")
    if cells:
        yield f"Milliseconds that {OURS} takes more than the bare {engine} (median over blocks of the difference of p50):"
        yield f"{', '.join(cells)}."


def _throughput(result: dict[str, Any]) -> Iterator[str]:
    keys = _keys(result, "throughput")
    if not keys:
        return
    yield "## Throughput: mixed lengths"
    yield ""
    yield "Requests a second by connections that are always busy (of the bare engine: one wide session, narrow ones side by"
    yield "side); then tokens a second at the best of these."
    yield ""
    rows = []
    for name in result["systems"]:
        rates = [median(result, name, "throughput", key, "per_second") for key in keys]
        tokens = [median(result, name, "throughput", key, "tokens_per_second") for key in keys]
        rows.append(
            [
                name,
                *(_number(rate) for rate in rates),
                _number(max((t for t in tokens if t), default=None), ".0f"),
            ]
        )
    yield from _table(["system", *keys, "tokens/s"], rows)


def _load(result: dict[str, Any]) -> Iterator[str]:
    keys = _keys(result, "load")
    if not keys:
        return
    yield "## Latency at a given load"
    yield ""
    yield "Mixed requests at random times (open loop), offered as a share of each system's own highest rate; p50 / p99 in ms."
    yield "Below: the mean wait, and what queueing theory expects. `late`: the generator did not keep its schedule."
    yield ""
    rows = []
    for name in result["systems"]:
        if median(result, name, "load", "knee") is None:
            continue
        found = {
            of: [median(result, name, "load", key, of) for key in keys]
            for of in ("p50", "p99", "wait", "queueing", "valid")
        }
        cells = [
            f"{_number(p50)} / {_number(p99)}{'' if valid else ' late'}"
            for p50, p99, valid in zip(found["p50"], found["p99"], found["valid"], strict=True)
        ]
        waits = [f"{_number(a)}, {_number(b)}" for a, b in zip(found["wait"], found["queueing"], strict=True)]
        rows.append([name, _number(median(result, name, "load", "knee")), *cells])
        rows.append(["", "wait", *waits])
    yield from _table(["system", "highest rate", *keys], rows)


def _overload(result: dict[str, Any]) -> Iterator[str]:
    keys = _keys(result, "overload")
    if not keys:
        return
    yield "## Overload"
    yield ""
    yield "By factor of the highest rate: answers in time a second (share of the highest rate), refusals and their p99 in ms,"
    yield "seconds until all is in time again at half the rate."
    yield ""
    rows = []
    for name in result["systems"]:
        knee = median(result, name, "overload", "knee")
        if knee is None:
            continue
        cells = []
        for key in keys:
            good, refused, recovered = (
                median(result, name, "overload", key, of) for of in ("goodput", "refused", "recovered_s")
            )
            quick = median(result, name, "overload", key, "refusals", "p99")
            share = None if good is None else good / knee
            cells.append(
                f"{_number(good)} ({_number(share, '.0%')}), {_number(refused, '.0f')} in {_number(quick)}, "
                f"{'never' if recovered is None else _number(recovered, '.0f')}"
            )
        rows.append([name, *cells])
    yield from _table(["system", *keys], rows)


def _start(result: dict[str, Any]) -> Iterator[str]:
    yield "## Start"
    yield ""
    yield "Seconds. Started: from the command to the first answer. Woken: of an endpoint that sleeps, from a request to its answer."
    yield ""
    rows = []
    for name in result["systems"]:
        started = median(result, name, "start_s")
        if started is not None:
            woken = [
                f"{_number(median(result, name, 'start', kind, 'p50'), '.2f')} / "
                f"{_number(median(result, name, 'start', kind, 'max'), '.2f')}"
                for kind in ("warm", "cold")
            ]
            rows.append([name, _number(started), *woken])
    yield from _table(["system", "started", "woken, files in memory: median / max", "files on disk"], rows)


def _memory(result: dict[str, Any]) -> Iterator[str]:
    columns = {
        "fresh_mb": "MB, fresh",
        "short_mb": "one caller, to 256 tokens",
        "alone_mb": "one caller, to 512",
        "after_mb": "8 callers, to 512",
        "replica_short_mb": "its replica: one caller, to 256",
        "replica_alone_mb": "its replica: one caller, to 512",
        "replica_after_mb": "its replica: 8 callers, to 512",
        "replicas_mb": "several replicas",
        "idle_cpu": "idle, share of a core",
    }
    rows = []
    for name in result["systems"]:
        if median(result, name, "memory", "fresh_mb") is not None:
            figures = (median(result, name, "memory", key) for key in columns)
            rows.append(
                [name, *(_number(figure, ".3f" if figure and figure < 1 else ".0f") for figure in figures)]
            )
    if rows:
        yield "## Memory"
        yield ""
        yield "Of all processes of the system, shared memory counted once (PSS)."
        yield ""
        yield from _table(["system", *columns.values()], rows)


def _answers(result: dict[str, Any]) -> Iterator[str]:
    yield "## Answers"
    yield ""
    yield "Every answer is compared with the reference (fp32). Wrong: further off than the precision explains; swapped: and"
    yield "equal to another text's. Agree: the least share of equal labels in any measurement. Worst: largest error of a score."
    yield ""
    rows = []
    for name, system in result["systems"].items():
        verdicts = [found for round_ in system["rounds"] for found in _verdicts(round_)]
        sums = [
            str(sum(found[of] for found in verdicts))
            for of in ("answered", "refused", "failed", "unreadable", "wrong", "swapped")
        ]
        agree = min((found["agree"] for found in verdicts), default=0.0)
        worst = max((found["worst"] for found in verdicts), default=0.0)
        rows.append([name, *sums, f"{agree:.1%}", f"{worst:.4f}"])
    yield from _table(
        ["system", "answered", "refused", "failed", "unreadable", "wrong", "swapped", "agree", "worst"], rows
    )


def _verdicts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "answers" in value:
            yield value["answers"]
        for inner in value.values():
            yield from _verdicts(inner)


def _missing(result: dict[str, Any]) -> Iterator[str]:
    if result["not_measured"]:
        yield "## Not measured"
        yield ""
        yield from (f"- {name}: {reason}" for name, reason in result["not_measured"].items())

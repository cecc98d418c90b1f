"""Prints the tables of docs/benchmarks.md from what runs measured: `peers.py RUN/benchmark.json...`."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kvsync.testing.results.measurement import Measurement, read_measurements

ROWS = {
    ("peers: hot", "cpu_apply_1"): "apply 1 block, nothing else there",
    ("peers: hot", "cpu_apply_64"): "apply 64 blocks",
    ("peers: resident", "cpu_apply_1"): "apply 1 block beside a million",
    ("peers: resident", "cpu_apply_64"): "apply 64 blocks beside a million",
    ("peers: resident", "cpu_steady_1"): "evict 1 of a million, store 1",
    ("peers: resident", "cpu_steady_64"): "evict 64 of a million, store 64",
    ("peers: resident", "resident_per_block"): "memory of a block, unique",
    ("peers: memory", "resident_per_block"): "memory of a block, shared by 10 pods",
    ("peers: match", "cpu_match"): "match 8,192 token ids, 10 pods: {shape}",
    ("peers: events over ZMQ", "cpu"): "event over ZeroMQ, blocks: {blocks}",
    ("peers: gateway", "cpu"): "request of 16 clients: {request}",
}
"""What a row of the table is called, by what was measured, in the order of the table."""


def peers(measured: Sequence[Measurement]) -> Iterator[str]:
    """Give the rows of what was measured beside peers."""
    yield "| work | kvsync | beside | which takes | ratio |"
    yield "| --- | --- | --- | --- | --- |"
    for (name, figure), text in ROWS.items():
        for conditions in _conditions(measured, name):
            its = {
                each.metric: each for each in measured if (each.name, each.parameters) == (name, conditions)
            }
            ours, theirs = (_with_spread(its, f"{figure}_{side}") for side in ("ours", "peer"))
            work, ratio = text.format(**conditions), f"{its[f'{figure}_ratio'].value:.2f}"
            yield f"| {work} | {ours} | {conditions['peer']} | {theirs} | {ratio} |"


def quality(measured: Sequence[Measurement]) -> Iterator[str]:
    """Give the rows of how well routers did."""
    yield "| requests | router | found in a cache | first token, P50 / P90 / P99 | busiest, idlest engine |"
    yield "| --- | --- | --- | --- | --- |"
    for conditions in _conditions(measured, "routing quality"):
        its = {each.metric: each.value for each in measured if each.parameters == conditions}
        times = " / ".join(f"{its[f'simulated_ttft_p{share}']:.2f}" for share in (50, 90, 99))
        shares = f"{its['busiest_engine']:.1%}, {its['idlest_engine']:.1%}"
        cells = (conditions["workload"], conditions["router"], f"{its['hit_rate']:.1%}", f"{times} s", shares)
        yield f"| {' | '.join(map(str, cells))} |"


def _conditions(measured: Sequence[Measurement], name: str) -> list[Mapping[str, str | int | float | bool]]:
    found: list[Mapping[str, str | int | float | bool]] = []
    for each in measured:
        if each.name == name and each.parameters not in found:
            found.append(each.parameters)
    return found


def _with_spread(its: Mapping[str, Measurement], metric: str) -> str:
    value, unit = its[metric].value, its[metric].unit
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit} (±{its[f'{metric}_spread'].value / 2:.0%})"


if __name__ == "__main__":
    everything = [each for path in sys.argv[1:] for each in read_measurements(Path(path))]
    print("\n".join([*peers(everything), "", *quality(everything)]))

"""Measured numbers and the machine they were measured on."""

import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import psutil

from kvsync.testing.results.whole import write_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One number: `metric` of `name` is `value` in `unit`, from `samples` samples.

    `parameters` says under which conditions (such as pods and blocks); `goal` is the value to reach, None
    when there is none.
    """

    name: str
    metric: str
    value: float
    unit: str
    samples: int
    better: Literal["lower", "higher"] = "lower"
    goal: float | None = None
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    @property
    def reaches_goal(self) -> bool | None:
        """Whether the goal is reached; None without a goal or without a sample."""
        if self.goal is None or self.samples < 1 or not math.isfinite(self.value):
            return None
        return self.value <= self.goal if self.better == "lower" else self.value >= self.goal


class Measurements:
    """Collects measurements into one JSON file, which is complete after each `add`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, measurement: Measurement) -> None:
        """Write one more measurement."""
        write_measurements(self.path, [*read_measurements(self.path), measurement], machine_facts())


def write_measurements(path: Path, every: Iterable[Measurement], machine: Mapping[str, str]) -> None:
    """Write measurements and the machine they were measured on, which is {} where that is not known."""
    content = {"machine": dict(machine), "measurements": [asdict(each) for each in every]}
    write_whole(path, json.dumps(content, indent=1) + "\n")


def read_measurements(path: Path) -> list[Measurement]:
    """Return the measurements of a file that `Measurements` wrote; none when it does not exist."""
    if not path.exists():
        return []
    return [Measurement(**each) for each in json.loads(path.read_text(encoding="utf-8"))["measurements"]]


def quantile(samples: Iterable[float], share: float) -> float:
    """Return the smallest sample that at least this share of the samples does not exceed; nan without any.

    That is the nearest rank, definition 1 of Hyndman and Fan, "Sample Quantiles in Statistical Packages"
    (1996): of few samples it is rather a high one, and always one of them. Every percentile is by it.
    """
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def quantiles(samples: Sequence[float]) -> dict[str, float]:
    """Return min, p50, p90, p99 and max by nearest rank; an empty dict without samples."""
    shares = {"min": 0.0, "p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    ordered = sorted(samples)
    return {name: quantile(ordered, share) for name, share in shares.items()} if ordered else {}


def machine_facts() -> dict[str, str]:
    """Say on which machine numbers were measured: a number without it compares with nothing."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cpus": str(psutil.cpu_count() or os.cpu_count() or "?"),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "load": " ".join(f"{load:.2f}" for load in psutil.getloadavg()),
        "python": platform.python_version(),
    }


def _processor() -> str:
    """Return the model where Linux tells it; what the platform module knows is often just `x86_64`."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()

"""Two versions of a program, run in turns; each process gives one value of each metric."""

import random
import resource
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from kvsync.ci.paired.folder import own_folder
from kvsync.ci.paired.judgement import (
    PairedLimits,
    PairedMetric,
    PairedSamples,
    confirm,
    judge,
    overall,
)
from kvsync.errors import ConfigError
from kvsync.testing.errors import CommandError
from kvsync.testing.processes.ledger import Ledger
from kvsync.testing.processes.runner import run
from kvsync.testing.results.measurement import Measurement

CPU = "cpu of the process"
"""The metric of which a program need not know: the CPU time of it and of what it waited for."""

OUTPUT = "{output}"
"""As the place of results: what the program prints."""

OUT = "{out}"
"""In the words of the program: a new folder for each process."""

GIT_TIMEOUT_S = 300

Side = Literal["base", "head", "some"]
"""Which version gives a metric that not every process of both does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredProgram:
    """What is measured: a command line, started in the folder of a version; where its results are, if any.

    `cpu`: whether its CPU time is a metric, too.
    """

    words: Sequence[str]
    results: str = OUTPUT
    cpu: bool = False
    format_name: str = ""
    timeout_s: float = 600.0
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    def measure(self, version: Path, folder: Path, ledger: Ledger) -> list[Measurement]:
        """Run it once; logs and results go to `folder`. Raises CommandError and ConfigError."""
        folder.mkdir(parents=True)
        log, out = folder / "output.log", folder / "out"
        out.mkdir()
        before = cpu_s()
        self._run([word.replace(OUT, str(out)) for word in self.words], version, log, ledger)
        used = [cpu_since(before)] if self.cpu else []
        return [*used, *(self._read(version, log, out) if self.results else ())]

    def _read(self, version: Path, log: Path, out: Path) -> Sequence[Measurement]:
        # Imported where there are files: all readers take a tenth of a second of CPU time.
        from kvsync.ci.readers.files import read_files

        place = log if self.results == OUTPUT else Path(self.results.replace(OUT, str(out)))
        found = read_files([version / place], name="ab", format_name=self.format_name)
        if found.result.doubt:
            raise ConfigError(f"the results of {shlex.join(self.words)}", [found.result.doubt])
        return found.measurements

    def prepare(self, words: Sequence[str], version: Path, folder: Path, ledger: Ledger) -> None:
        """Run a command that makes a version ready. Raises CommandError."""
        folder.mkdir(parents=True, exist_ok=True)
        self._run(words, version, folder / "prepare.log", ledger)

    def _run(self, words: Sequence[str], version: Path, log: Path, ledger: Ledger) -> None:
        done = run(
            words,
            log=log,
            timeout_s=self.timeout_s,
            ledger=ledger,
            cwd=version,
            environ=self.environ,
        )
        if done.timed_out:
            raise CommandError(words, f"not done within {self.timeout_s:g} s", done.tail)
        if done.exit_code:
            raise CommandError(words, f"exit status {done.exit_code} in {version}", done.tail)


def cpu_s() -> float:
    """Return the CPU time of all processes that have ended and were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_since(before: float) -> Measurement:
    """Return what the processes since then used, as a metric."""
    return Measurement(name=CPU, metric="value", value=cpu_s() - before, unit="s", samples=1)


def turns(pairs: int, rng: random.Random) -> Iterator[tuple[int, bool]]:
    """Give which version goes next, (pair, is head): in random order, each second pair in the other."""
    head_first = False
    for pair in range(pairs):
        head_first = rng.random() < 0.5 if pair % 2 == 0 else not head_first
        yield from ((pair, head_first), (pair, not head_first))


def in_turns(
    measure: Callable[[bool, int], Sequence[Measurement]], pairs: int, rng: random.Random
) -> tuple[dict[str, PairedSamples], dict[str, Side]]:
    """Measure both versions; returns the metrics that each process of both gave, and who gave the others.

    `measure` is asked for (is head, pair).
    """
    values: dict[bool, dict[str, list[float]]] = {False: {}, True: {}}
    known: dict[str, Measurement] = {}
    for pair, is_head in turns(pairs, rng):
        for each in measure(is_head, pair):
            name = metric_name(each)
            known.setdefault(name, each)
            values[is_head].setdefault(name, []).append(each.value)
    base, head = values[False], values[True]
    whole = [name for name in known if len(base.get(name, ())) == len(head.get(name, ())) == pairs]
    found = {
        name: PairedSamples(
            base=base[name], head=head[name], unit=known[name].unit, better=known[name].better
        )
        for name in whole
    }
    sides: dict[tuple[bool, bool], Side] = {(True, False): "base", (False, True): "head"}
    alone = {name: sides.get((name in base, name in head), "some") for name in known if name not in found}
    return found, alone


def compared(
    measure: Callable[[int, bool, int], Sequence[Measurement]],
    pairs: int,
    rng: random.Random,
    limits: PairedLimits,
    is_asked: Callable[[str], bool] = lambda name: True,
) -> tuple[list[PairedMetric], dict[str, Side]]:
    """Judge both versions by a batch of pairs, and what is slower by a second one; and name what is left out.

    `measure` is asked for (batch, is head, pair), and may raise anything; only what `is_asked` is judged.
    """

    def asked(number: int) -> tuple[dict[str, PairedSamples], dict[str, Side]]:
        samples, alone = in_turns(partial(measure, number), pairs, rng)
        return (
            {name: each for name, each in samples.items() if is_asked(name)},
            {name: side for name, side in alone.items() if is_asked(name)},
        )

    samples, alone = asked(1)
    found = judge(samples, limits)
    if overall(found) == "regression":
        found = confirm(found, judge(asked(2)[0], limits))
    return found, alone


def metric_name(measured: Measurement) -> str:
    """Return the name that tells one metric from another."""
    conditions = " ".join(f"{name}={value}" for name, value in measured.parameters.items())
    metric = "" if measured.metric == "value" else measured.metric
    return " ".join(filter(None, (measured.name, metric, conditions)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Two versions, and the program that measures them; `prepare` makes either ready, if it has words."""

    program: MeasuredProgram
    base: Path
    head: Path
    prepare: Sequence[str] = ()

    def judged(
        self, pairs: int, seed: int, limits: PairedLimits
    ) -> tuple[list[PairedMetric], dict[str, Side]]:
        """Return what is said of each metric, and which were left out. Raises CommandError, ConfigError."""
        (found,) = self.repeated(1, pairs, seed, limits)
        return found

    def repeated(
        self, trials: int, pairs: int, seed: int, limits: PairedLimits
    ) -> Iterator[tuple[list[PairedMetric], dict[str, Side]]]:
        """Compare them so many times, made ready once; as `judged`."""
        with own_folder() as folder:
            ledger = Ledger(folder / "ledger.jsonl")
            for label, version in (("base", self.base), ("head", self.head)) if self.prepare else ():
                self.program.prepare(self.prepare, version, folder / label, ledger)
            for number in range(trials):
                rng = random.Random(seed + number)  # noqa: S311 - an order, not a secret
                measure = partial(self._measure, folder / f"trial-{number}", ledger)
                yield compared(measure, pairs, rng, limits)

    def _measure(
        self, folder: Path, ledger: Ledger, batch: int, is_head: bool, pair: int
    ) -> list[Measurement]:
        version = self.head if is_head else self.base
        label = f"{batch}-{pair}-{'head' if is_head else 'base'}"
        return self.program.measure(version, folder / label, ledger)


@contextmanager
def version_of(repository: Path, commit: str) -> Iterator[Path]:
    """Within the block, a commit's files are in a folder of their own. Raises ConfigError without it."""
    with own_folder() as folder:
        copy = folder / "version"
        check_out(repository, commit, copy)
        yield copy


def check_out(repository: Path, commit: str, copy: Path) -> None:
    """Put a commit's files into a new folder. Raises ConfigError without the commit."""
    try:
        whole = f"{commit}^{{commit}}"
        found = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", whole).strip()
        _git(repository, "clone", "--quiet", "--shared", "--no-checkout", str(repository), str(copy))
        _git(copy, "checkout", "--quiet", "--detach", found)
    except subprocess.SubprocessError as error:
        absent = f"no such commit in {repository}; fetch it, or name another"
        raise ConfigError(commit, [getattr(error, "stderr", "").strip() or absent]) from error


def _git(folder: Path, *words: str) -> str:
    argv = ["git", "-c", "core.hooksPath=/dev/null", "-C", str(folder), *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=GIT_TIMEOUT_S)
    return done.stdout

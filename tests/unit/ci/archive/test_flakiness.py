"""Flaky or broken: what the two detectors say of rows of endings."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kvsync.ci.archive.flakiness import Ending, flakiness, is_mixed, wilson
from kvsync.testing.results.outcome import Attempt, Check, CheckKind

START = datetime(2026, 11, 1, tzinfo=UTC)

KINDS: dict[str, CheckKind] = {
    "P": "passed",
    "F": "failed",
    "T": "timeout",
    "Q": "quarantined",
    "R": "flaky",
    "S": "skipped",
    "I": "inconclusive",
}


def row(text: str, *, reference: bool = True, commits: str = "") -> list[Ending]:
    """Return an ending for each letter, a day apart; each at a commit of its own unless they are named."""
    return [
        Ending(
            run=f"run-{day}",
            commit=commits[day] if commits else f"c{day}",
            at=START + timedelta(days=day),
            kind=KINDS[letter],
            mixed=letter == "R",
            reference=reference,
        )
        for day, letter in enumerate(text)
    ]


@pytest.mark.parametrize(
    ("text", "verdict", "decided", "failures", "flips", "clean_runs"),
    [
        ("", "steady", 0, 0, 0, 0),
        ("PPPPP", "steady", 5, 0, 0, 5),
        ("PPFFFPP", "steady", 7, 3, 2, 2),
        ("PFPF", "flaky", 4, 2, 3, 0),
        ("PFTPQPP", "flaky", 7, 3, 4, 2),
        ("PFSIFSP", "steady", 4, 2, 2, 1),
        ("FFFF", "steady", 4, 4, 0, 0),
        ("FFFFF", "broken", 5, 5, 0, 0),
        ("PFPFPFFFFF", "broken", 10, 7, 5, 0),
        ("PFPFPFFFFFP", "flaky", 11, 7, 6, 1),
        ("PFPF" + "P" * 20, "steady", 20, 0, 0, 20),
        ("PFPF" + "P" * 16, "flaky", 20, 2, 4, 16),
        ("PFPF" + "P" * 17, "flaky", 20, 2, 3, 17),
        ("PFPF" + "P" * 18, "steady", 20, 1, 2, 18),
    ],
    ids=lambda value: value or "none" if isinstance(value, str) else "",
)
def test_one_commit_each(
    text: str, verdict: str, decided: int, failures: int, flips: int, clean_runs: int
) -> None:
    """Changing sides three times in twenty decided endings is flaky; five failures at the end are broken."""
    found = flakiness(row(text))

    assert (found.verdict, found.decided, found.failures, found.flips, found.clean_runs) == (
        verdict,
        decided,
        failures,
        flips,
        clean_runs,
    )


@pytest.mark.parametrize(
    ("text", "commits", "proofs"),
    [
        ("PF", "aa", ("a",)),
        ("PF", "ab", ()),
        ("PSF", "aba", ("a",)),
        ("PI", "aa", ()),
        ("RP", "ab", ("a",)),
        ("RPF", "abb", ("a", "b")),
    ],
)
def test_proof(text: str, commits: str, proofs: Sequence[str]) -> None:
    """Both sides at one commit, in two runs or in the attempts of one, prove a test to be flaky."""
    found = flakiness(row(text, commits=commits))

    assert (found.proofs, found.verdict) == (proofs, "flaky" if proofs else "steady")


def test_without_a_commit_nothing_is_proved() -> None:
    """Runs whose commit is not known do not share one."""
    unknown = [Ending(run=each.run, commit="", at=each.at, kind=each.kind) for each in row("PF")]

    assert flakiness(unknown).verdict == "steady"


def test_other_branches_prove_and_do_not_flip() -> None:
    """A change that breaks a test on its own branch says nothing of the test; both sides at one commit do."""
    elsewhere = row("PFPFPFFFFF", reference=False)

    assert flakiness(elsewhere).verdict == "steady"
    assert flakiness(row("PF", reference=False, commits="aa")).verdict == "flaky"


def test_both_sides_in_two_profiles_prove_nothing() -> None:
    """What another profile does is more, and may fail for that; both sides there do prove."""
    here, there = row("PR", commits="ab"), [replace(each, stands_in=True) for each in row("FP", commits="aa")]

    assert flakiness([here[0], there[0]]).verdict == "steady"
    assert flakiness(there).proofs == ("a",)
    assert flakiness([here[1], replace(here[1], stands_in=True)]).proofs == ("b",)


def test_old_proofs_expire() -> None:
    """Once the window has moved past it, a proof is forgotten."""
    assert flakiness(row("R" + "P" * 19)).verdict == "flaky"
    assert flakiness(row("R" + "P" * 20)).verdict == "steady"


@pytest.mark.parametrize(
    ("failures", "decided", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (0, 5, 0.0, 0.4345),
        (0, 20, 0.0, 0.1611),
        (1, 20, 0.0089, 0.2361),
        (10, 20, 0.2993, 0.7007),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_wilson(failures: int, decided: int, low: float, high: float) -> None:
    """The interval is the one of published tables."""
    assert wilson(failures, decided) == pytest.approx((low, high), abs=1e-4)


def test_rates() -> None:
    """The flip rate counts steps; the failure rate is an interval."""
    found = flakiness(row("PFPF"))

    assert found.flip_rate == 1.0
    assert found.failure_rate == pytest.approx((0.15, 0.85), abs=1e-3)
    assert flakiness(row("P")).flip_rate == 0.0


@pytest.mark.parametrize(
    ("kind", "attempts", "mixed"),
    [
        ("passed", [], False),
        ("flaky", [], True),
        ("passed", ["failed"], True),
        ("failed", ["passed"], True),
        ("quarantined", ["passed"], True),
        ("failed", ["failed"], False),
        ("passed", ["inconclusive"], False),
    ],
)
def test_attempts_on_both_sides(kind: CheckKind, attempts: list[CheckKind], *, mixed: bool) -> None:
    """Attempts of one run that ended on both sides are as good as two runs of one commit."""
    check = Check(name="a", kind=kind, attempts=[Attempt(kind=each) for each in attempts])

    assert is_mixed(check) is mixed

"""When CPU stress is taken for proved: against what was asked for, with what others left of the cores."""

import pytest

from kvsync.testing.faults.fault import CpuStress, MemoryStress
from kvsync.testing.faults.holding import Effect
from kvsync.testing.faults.stressing import arguments, burning, holding


@pytest.mark.parametrize(
    ("use", "wait", "is_proved"),
    [
        pytest.param(1.6, 0.0, True, id="all that was asked for"),
        pytest.param(0.8, 0.0, True, id="half of it"),
        pytest.param(0.79, 0.0, False, id="idle for most of the time"),
        pytest.param(0.09, 0.72, True, id="others keep all cores busy"),
        pytest.param(0.07, 1.5, False, id="it only waits"),
    ],
)
def test_stress_is_what_is_used_or_waited_for(use: float, wait: float, is_proved: bool) -> None:
    """A process that others keep from the cores is stress all the same, if it gets some of them."""
    effect = burning(2, use, wait, 1.6)

    assert effect.present is is_proved
    assert effect.evidence == f"2 processes use {use:.2f} cores and wait for {wait:.2f} of 1.6 asked for"


def test_a_single_process_is_one() -> None:
    """The proof of a fault is read by people."""
    assert (
        burning(1, 0.8, 0.0, 0.8).evidence == "1 process uses 0.80 cores and waits for 0.00 of 0.8 asked for"
    )
    assert holding(1, 3 << 20, 2 << 20) == Effect(present=True, evidence="1 process holds 3 MiB")


def test_the_stress_program_is_told_what_the_fault_says() -> None:
    """It ends by itself after a while, whatever becomes of who started it."""
    cpu = arguments(CpuStress(pod="a", workers=2, load=0.8))
    memory = arguments(MemoryStress(pod="a", workers=2, size_bytes=64))

    assert cpu == ["cpu", "--load", "0.8", "--workers", "2", "--for", "900.0"]
    assert memory == ["memory", "--size", "64", "--workers", "2", "--for", "900.0"]

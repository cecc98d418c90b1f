"""A fault is held only while it is proved to act, and always taken back."""

from pathlib import Path

import pytest

from kvsync.testing.errors import ClusterError
from kvsync.testing.faults.fault import (
    ContainerKill,
    Cut,
    Fault,
    Latency,
    MessageLoss,
    PodKill,
    PortsBlocked,
    name_of,
    to_json,
)
from kvsync.testing.faults.holding import Effect, active
from kvsync.testing.results.history import History, read
from kvsync.testing.results.verdicts import Inconclusive, NotRun, Void

FAULT = MessageLoss(pod="p", fraction=0.5)


class Switch:
    """An injector of one fault, and its injection, some of whose steps can be made not to work.

    `failing` measurements fail first, and those after the step `blind_after`; it `lacks` what it needs if
    that is not empty.
    """

    def __init__(
        self,
        *,
        works: bool = True,
        recovers: bool = True,
        acts: bool = False,
        failing: int = 0,
        unready: int = 0,
        blind_after: str = "",
        lacks: str = "",
    ) -> None:
        self.acts = acts
        self.steps: list[str] = []
        self._works, self._recovers, self._failing, self._lacks = works, recovers, failing, lacks
        self._blind_after, self._unready = blind_after, unready

    @staticmethod
    def impossible(fault: Fault) -> str:
        """Nothing is."""
        return ""

    def prepare(self, fault: Fault) -> "Switch":
        """Fail as often as `unready` says."""
        if self._unready:
            self._unready -= 1
            raise ClusterError("the pod does not run")
        return self

    def inject(self) -> None:
        """Act, if it works."""
        if self._lacks:
            raise NotRun(self._lacks)
        self.steps.append("inject")
        self.acts = self._works

    def recover(self) -> None:
        """Act no more, if that works."""
        self.steps.append("recover")
        self.acts = self.acts and not self._recovers

    def measure(self) -> Effect:
        """Say what is so."""
        if self._failing:
            self._failing -= 1
            raise ClusterError("no answer")
        if self.steps[-1:] == [self._blind_after]:
            raise ClusterError("no answer")
        return Effect(self.acts, "5 of 5 lost" if self.acts else "0 of 5 lost")


@pytest.fixture
def history(tmp_path: Path) -> History:
    """A history of its own."""
    return History(tmp_path / "h.jsonl", "test")


def test_a_fault_is_proved_held_and_proved_gone(history: History) -> None:
    """The block runs with the effect measured, and after it the absence has been measured."""
    switch = Switch()
    with active(FAULT, switch, history, clock=lambda: 7.0) as episode:
        assert switch.acts
        assert episode.proof == "5 of 5 lost"

    assert switch.steps == ["inject", "recover"]
    assert (episode.started, episode.ended, episode.absence) == (7.0, 7.0, "0 of 5 lost")


def test_every_step_is_in_the_history(history: History) -> None:
    """A reader of the history knows what was injected where, from when to when, and how it was proved."""
    times = iter([1.0, 1.5, 4.0])
    with active(FAULT, Switch(), history, clock=lambda: next(times)):
        pass

    records = [
        {key: record[key] for key in record if key not in ("i", "wall", "proc")}
        for record in read([history.path])
    ]
    fault = {"kind": "message loss", "pod": "p", "fraction": 0.5}
    assert records == [
        {"f": "fault", "type": "start", "fault": fault, "t_mono": 1.0, "proof": "5 of 5 lost"},
        {"f": "fault", "type": "stop", "fault": fault, "t_mono": 4.0, "proof": "0 of 5 lost", "held_s": 2.5},
    ]


@pytest.mark.parametrize("fault", [PodKill(pod="p"), ContainerKill(pod="p"), Cut(pod="p")], ids=name_of)
def test_a_fault_that_is_over_at_once_ended_when_it_started(history: History, fault: Fault) -> None:
    """It is not held, so recovery from it counts from when it happened."""
    times = iter([1.0, 3.0])
    with active(fault, Switch(), history, clock=lambda: next(times)) as episode:
        pass

    assert (episode.started, episode.ended, episode.absence) == (1.0, 1.0, "0 of 5 lost")


def test_a_fault_is_held_from_its_proof_on(history: History) -> None:
    """Injecting and measuring take their time, and say nothing about how the fault is borne."""
    times = iter([1.0, 26.0, 56.0])
    with active(FAULT, Switch(), history, clock=lambda: next(times)) as episode:
        assert (episode.started, episode.proven, episode.ended) == (1.0, 26.0, None)

    assert episode.ended == 56.0


def test_a_measurement_that_fails_is_tried_again(history: History) -> None:
    """It says neither that the fault acts nor that it does not."""
    with active(FAULT, Switch(failing=2), history) as episode:
        assert episode.proof == "5 of 5 lost"


def test_a_pod_that_cannot_be_asked_yet_is_asked_again(history: History) -> None:
    """Its container may be starting."""
    switch = Switch(unready=2)
    with active(FAULT, switch, history) as episode:
        assert episode.proof == "5 of 5 lost"

    assert switch.steps == ["inject", "recover"]


def test_a_pod_that_cannot_be_asked_makes_the_fault_void(history: History) -> None:
    """Nothing was injected, so there is nothing to take back."""
    switch = Switch(unready=1)
    with (
        pytest.raises(Void, match=r"acts before it was injected: not measured: the pod does not run"),
        active(FAULT, switch, history, proof_timeout_s=0),
    ):
        pytest.fail("the block must not run")

    assert switch.steps == []


def test_what_cannot_be_measured_is_void(history: History) -> None:
    """Without a measurement it is not known that the fault was absent before."""
    with (
        pytest.raises(Void, match=r"message loss acts before it was injected: not measured: no answer"),
        active(FAULT, Switch(failing=1), history, proof_timeout_s=0),
    ):
        pytest.fail("the block must not run")


def test_a_fault_whose_effect_cannot_be_measured_is_void(history: History) -> None:
    """That nothing answers since it was injected may have any reason."""
    with (
        pytest.raises(Void, match=r"message loss had no measured effect: not measured: no answer"),
        active(FAULT, Switch(blind_after="inject"), history, proof_timeout_s=0),
    ):
        pytest.fail("the block must not run")


def test_a_fault_that_lacks_something_is_not_run(history: History) -> None:
    """The reason comes out, and the history tells of no fault."""
    switch = Switch(lacks="needs 3 GiB of free memory")
    with pytest.raises(NotRun, match="needs 3 GiB"), active(FAULT, switch, history):
        pytest.fail("the block must not run")

    assert read([history.path]) == []


def test_a_fault_without_effect_is_void_and_taken_back(history: History) -> None:
    """When nothing can be measured the block does not run, and recovery is carried out all the same."""
    switch = Switch(works=False)
    with (
        pytest.raises(Void, match=r"message loss had no measured effect: 0 of 5 lost"),
        active(FAULT, switch, history, proof_timeout_s=0),
    ):
        pytest.fail("the block must not run")

    assert switch.steps == ["inject", "recover"]


def test_a_fault_that_is_there_before_is_void(history: History) -> None:
    """An effect that was there without the fault proves nothing about it."""
    switch = Switch(acts=True)
    with (
        pytest.raises(Void, match="message loss acts before it was injected: 5 of 5 lost"),
        active(FAULT, switch, history, proof_timeout_s=0),
    ):
        pytest.fail("the block must not run")

    assert switch.steps == []


def test_a_failing_block_takes_the_fault_back(history: History) -> None:
    """The block's own error comes out, after recovery."""
    switch = Switch()
    with pytest.raises(ZeroDivisionError), active(FAULT, switch, history):
        raise ZeroDivisionError

    assert switch.steps == ["inject", "recover"]


@pytest.mark.parametrize(
    ("recovers", "blind_after", "seen"),
    [
        pytest.param(False, "", "5 of 5 lost", id="is still there"),
        pytest.param(True, "recover", "not measured: no answer", id="cannot be measured"),
    ],
)
def test_a_fault_that_stays_makes_the_test_inconclusive(
    history: History, recovers: bool, blind_after: str, seen: str
) -> None:
    """After a recovery that is not known to have worked nothing is decided, nor is absence written down."""
    switch = Switch(recovers=recovers, blind_after=blind_after)
    with (
        pytest.raises(Inconclusive, match=f"message loss did not go away: {seen}"),
        active(FAULT, switch, history, proof_timeout_s=0) as episode,
    ):
        pass

    assert [episode.absence, read([history.path])[-1]["proof"]] == ["", ""]


@pytest.mark.parametrize(
    ("fault", "document"),
    [
        pytest.param(
            Latency(pod="p", delay_s=0.5, jitter_s=0.1),
            {
                "kind": "latency",
                "pod": "p",
                "delay_s": 0.5,
                "jitter_s": 0.1,
                "correlation": 0.0,
                "ports": ("http", "events", "replay"),
            },
            id="latency",
        ),
        pytest.param(
            PortsBlocked(pod="p", ports=("replay",)),
            {"kind": "ports blocked", "pod": "p", "ports": ("replay",)},
            id="ports blocked",
        ),
    ],
)
def test_a_fault_is_written_down_with_its_kind(fault: Fault, document: dict[str, object]) -> None:
    """Reports show the kind in words and every parameter."""
    assert to_json(fault) == document
    assert name_of(fault) == document["kind"]

"""What is remembered of predictions, pod by pod."""

from collections.abc import Sequence

import pytest

from kvsync.config import PredictionConfig
from kvsync.gateway.agreement import Accuracy
from kvsync.gateway.answers.usage import RESPONSES
from kvsync.gateway.predictions import Predictions
from kvsync.pods import Pod
from kvsync.sequence import State

A = Pod(name="a", model="m", host="10.0.0.1")
A_ELSEWHERE = Pod(name="a", model="m", host="10.0.0.2")


class Bench:
    """Predictions of pods whose sources are in a given state, at a given time."""

    def __init__(self, **settings: object) -> None:
        self.now, self.state, self.emptied, self.removals = 0.0, State.EXACT, 0, 0
        self.predictions = Predictions(
            PredictionConfig.model_validate({"minimum": 4, **settings}),
            state=lambda _: self.state,
            emptied=lambda _: self.emptied,
            removals=lambda _: self.removals,
            clock=lambda: self.now,
        )

    def ask(
        self,
        held: int,
        reported: int | None,
        *,
        pod: Pod = A,
        tokens: Sequence[int] | None = None,
        removed: int = 0,
    ) -> int:
        """Let a request of a prompt that is held in some blocks be answered; returns what was predicted."""
        usage = b"" if reported is None else b'"prompt_tokens":99,"cached_tokens":%d' % (16 * reported)
        with self.predictions.made(pod, held=16 * held, block_size=16, tokens=tokens) as prediction:
            self.removals += removed
        self.predictions.compare(prediction, usage)
        return prediction.cached_tokens


def test_wrong_predictions_make_a_source_doubtful_and_right_ones_trusted() -> None:
    """The state falls once enough predictions were wrong, and rises again once the last are right."""
    bench = Bench()
    for _ in range(3):
        bench.ask(2, 0)
    assert bench.predictions.state("a") is State.EXACT

    bench.now = 5.0
    bench.ask(2, 0)
    bench.now = 7.0

    assert bench.predictions.state("a") is State.DEGRADED
    agreement = bench.predictions.of(A)
    assert agreement.doubt == (
        "4 of the last 4 predictions were wrong: 4 over, 0 under what the engine reports"
    )
    assert (agreement.counted_s, agreement.since_s) == (7.0, 2.0)
    for _ in range(4):
        bench.ask(2, 2)
    assert bench.predictions.state("a") is State.EXACT
    assert bench.predictions.of(A).counts == {Accuracy.OVER: 4, Accuracy.EXACT: 4}


def test_prompts_that_are_others_for_the_engine_are_named() -> None:
    """Predictions of a prompt whose tokens differ are wrong for another reason than the index."""
    bench = Bench()
    for _ in range(4):
        bench.ask(2, 0, tokens=[1, 2, 3])

    assert bench.predictions.of(A).doubt.endswith("; 4 of these prompts have other tokens for the engine")


def test_a_source_with_a_state_of_its_own_keeps_it() -> None:
    """Predictions only ever take EXACT away, and what was predicted in another state is no evidence."""
    bench = Bench()
    bench.state = State.CATCHING_UP
    for _ in range(9):
        bench.ask(2, 0)
    assert bench.predictions.state("a") is State.CATCHING_UP
    bench.state = State.EXACT
    assert bench.predictions.state("a") is State.EXACT
    assert bench.predictions.of(A).counts == {Accuracy.OVER: 9}


@pytest.mark.parametrize("change", ["emptied", "moved"])
def test_doubt_ends_with_what_it_was_about(change: str) -> None:
    """A cache that was cleared, or a pod at another address, begins anew."""
    bench = Bench()
    for _ in range(4):
        bench.ask(2, 0)
    if change == "emptied":
        bench.emptied += 1
    else:
        bench.ask(0, 0, pod=A_ELSEWHERE)

    assert bench.predictions.state("a") is State.EXACT
    assert bench.predictions.of(A if change == "emptied" else A_ELSEWHERE).doubt == ""


def test_nothing_predicted_and_nothing_reported_tells_nothing() -> None:
    """Many prompts that are new do not outweigh the few whose prediction is wrong."""
    bench = Bench()
    for _ in range(4):
        bench.ask(2, 0)
        for _ in range(20):
            bench.ask(0, 0)

    assert bench.predictions.state("a") is State.DEGRADED
    assert bench.predictions.of(A).counts == {Accuracy.OVER: 4, Accuracy.EXACT: 80}


def test_an_answer_without_a_report_is_not_compared() -> None:
    """Before an engine has ever reported, nothing is known."""
    bench = Bench()
    bench.ask(2, None)

    assert bench.predictions.of(A).counts == {}


def test_a_prefix_that_another_request_brought_is_no_mistake() -> None:
    """What runs beside a request may leave it more than was predicted; other prefixes explain nothing."""
    bench, usage = Bench(), b'"cached_tokens":16'
    shared, other = list(range(20)), list(range(100, 120))
    for first, outcomes in ((shared, {}), (other, {Accuracy.UNDER: 1})):
        with (
            bench.predictions.made(A, held=0, block_size=16, tokens=first),
            bench.predictions.made(A, held=0, block_size=16, tokens=shared) as prediction,
        ):
            bench.predictions.compare(prediction, usage)
        assert bench.predictions.of(A).recent == outcomes
        bench.now += 10.0


def test_eagle_is_predicted_once_it_is_seen() -> None:
    """After some hits that are one block short the prediction is, too, and nothing is doubted."""
    bench = Bench(minimum=20)
    predicted = [bench.ask(3, 2) for _ in range(9)]

    assert predicted == [48] * 8 + [32]
    assert bench.predictions.of(A).recent == {Accuracy.EXACT: 9}


@pytest.mark.parametrize(("configured", "predicted"), [(True, 32), (False, 48)])
def test_eagle_may_be_configured(configured: bool, predicted: int) -> None:
    """What is configured holds from the first request on, whatever is seen."""
    bench = Bench(recomputes_last_block=configured)

    assert [bench.ask(3, 2) for _ in range(12)] == [predicted] * 12


def test_pods_that_are_gone_are_forgotten() -> None:
    """Their names never come back."""
    bench = Bench()
    bench.ask(2, 2)
    bench.predictions.keep([])

    assert bench.predictions.of(A).counts == {}


def test_trust_that_came_back_is_not_lost_to_what_was_before() -> None:
    """A long time of wrong predictions is over once the last ones are right."""
    bench = Bench()
    for _ in range(40):
        bench.ask(2, 0)
    for _ in range(4):
        bench.ask(2, 2)

    bench.ask(2, 0)

    assert bench.predictions.state("a") is State.EXACT


def test_less_than_predicted_is_explained_by_blocks_that_went_meanwhile() -> None:
    """It was right when it was made; without such an event it was wrong."""
    evicting, quiet = Bench(), Bench()
    for _ in range(9):
        evicting.ask(2, 0, removed=1)
        quiet.ask(2, 0)

    assert evicting.predictions.state("a") is State.EXACT
    assert quiet.predictions.state("a") is State.DEGRADED


def test_more_than_predicted_is_explained_by_a_request_that_has_just_ended() -> None:
    """Its blocks may not have been announced; a second later they have."""
    for later, state in ((0.5, State.EXACT), (1.5, State.DEGRADED)):
        bench = Bench()
        for turn in range(9):
            bench.now = 10.0 * turn
            tokens = range(100 * turn, 100 * turn + 33)
            bench.ask(0, 0, tokens=tokens)
            bench.now += later
            bench.ask(0, 2, tokens=tokens)
        assert bench.predictions.state("a") is state


def test_an_interface_that_reports_does_not_speak_for_others() -> None:
    """vLLM's responses always have cached tokens, its completions only by a setting: none are not 0."""
    bench = Bench()
    with bench.predictions.made(A, held=16, block_size=16, tokens=None) as prediction:
        pass

    told = bench.predictions.compare(prediction, b'"input_tokens":99,"cached_tokens":16', RESPONSES)
    untold = bench.predictions.compare(prediction, b'"prompt_tokens":99,"prompt_tokens_details":null')

    assert (told, untold) == ((Accuracy.EXACT, 16), None)


def test_a_pod_whose_answers_tell_nothing_says_so() -> None:
    """Once a hit was predicted and the usage has no cached tokens; not where there is no usage at all."""
    bench = Bench()
    said = []
    for held, usage in ((0, b'"prompt_tokens":99'), (1, b""), (1, b'"prompt_tokens":99'), (1, b"")):
        with bench.predictions.made(A, held=16 * held, block_size=16, tokens=None) as prediction:
            pass
        bench.predictions.compare(prediction, usage)
        said.append(bench.predictions.of(A).untold)
    bench.ask(1, 1)

    assert [bool(each) for each in said] == [False, False, True, True]
    assert "--enable-prompt-tokens-details" in said[-1]
    assert bench.predictions.of(A).untold == ""


def test_what_is_counted_begins_when_a_pod_comes() -> None:
    """Not when its first request does, or the first look at it."""
    bench = Bench()
    bench.predictions.keep([A])
    bench.now = 7.0

    assert (bench.predictions.of(A).counted_s, bench.predictions.of(A).since_s) == (7.0, 7.0)

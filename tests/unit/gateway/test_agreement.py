"""When predictions agree with what engines report, and what it means if they do not."""

import pytest

from kvsync.gateway.agreement import (
    Accuracy,
    ComparedPrompt,
    expected,
    is_doubtful,
    recomputes_last_block,
)

RIGHT, OVER, UNDER = Accuracy.EXACT, Accuracy.OVER, Accuracy.UNDER


def hit(held: int, reported: int) -> ComparedPrompt:
    """A request whose prompt the index says is held in so many blocks of 16 tokens."""
    return ComparedPrompt(held=16 * held, reported=16 * reported, block_size=16)


@pytest.mark.parametrize(
    ("held", "reported", "recomputes", "outcome"),
    [
        (3, 3, False, RIGHT),
        (3, 2, False, OVER),
        (2, 3, False, UNDER),
        (3, 2, True, RIGHT),
        (1, 0, True, RIGHT),
    ],
)
def test_outcome(held: int, reported: int, recomputes: bool, outcome: Accuracy) -> None:
    """An engine with EAGLE reuses one block less than it holds."""
    assert hit(held, reported).outcome(recomputes=recomputes) is outcome


def test_nothing_held_is_nothing_expected() -> None:
    """There is no last block to compute again."""
    assert expected(0, 16, recomputes=True) == 0


@pytest.mark.parametrize(
    ("recent", "before", "seen"),
    [
        pytest.param([hit(3, 2)] * 7, False, False, id="too few"),
        pytest.param([hit(3, 2)] * 8, False, True, id="enough"),
        pytest.param([hit(3, 2)] * 18 + [hit(3, 3)] * 2, False, True, id="nearly all"),
        pytest.param([hit(3, 2)] * 17 + [hit(3, 3)] * 3, False, False, id="not all"),
        pytest.param([hit(3, 1)] * 20, False, False, id="two blocks"),
        pytest.param([hit(0, 0)] * 50, False, False, id="no hits"),
        pytest.param([hit(3, 2)] * 5 + [hit(3, 3)] * 5, True, True, id="still believed"),
        pytest.param([hit(3, 2)] * 4 + [hit(3, 3)] * 5, True, False, id="no longer"),
    ],
)
def test_eagle_is_seen(recent: list[ComparedPrompt], before: bool, seen: bool) -> None:
    """It is believed in when nearly all hits are one block short, and until most are not."""
    assert recomputes_last_block(recent, before=before) is seen


@pytest.mark.parametrize(
    ("outcomes", "before", "doubtful"),
    [
        pytest.param([OVER] * 9, False, False, id="too few to tell"),
        pytest.param([OVER] * 3 + [RIGHT] * 7, False, True, id="too many wrong"),
        pytest.param([UNDER] * 2 + [RIGHT] * 8, False, False, id="as many as may be"),
        pytest.param([OVER] * 40 + [RIGHT] * 9 + [UNDER], True, False, id="the last are right"),
        pytest.param([OVER] * 2 + [RIGHT] * 8, True, True, id="better but not well"),
        pytest.param([OVER], True, True, id="doubt stays while little is known"),
    ],
)
def test_doubt(outcomes: list[Accuracy], before: bool, doubtful: bool) -> None:
    """Doubt begins with more than a share of wrong predictions, and ends when the last were right."""
    assert is_doubtful(outcomes, before=before, wrong_share=0.2, minimum=10) is doubtful

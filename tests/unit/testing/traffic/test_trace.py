"""Requests come from a trace or a seed, always the same ones."""

from pathlib import Path

import pytest

from kvsync.errors import ConfigError
from kvsync.testing.traffic.trace import generate, mooncake

LINES = """\
{"timestamp": 0, "input_length": 1000, "output_length": 500, "hash_ids": [0, 1]}
{"timestamp": 2500, "input_length": 1024, "output_length": 3, "hash_ids": [0, 2]}
{"timestamp": 3000, "input_length": 600, "output_length": 7, "hash_ids": [0, 1]}
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A trace of three requests."""
    path = tmp_path / "trace.jsonl"
    path.write_text(LINES)
    return path


def test_a_trace_gives_times_lengths_and_bounded_answers(trace: Path) -> None:
    """Milliseconds become seconds, prompts have the recorded length, answers are cut."""
    requests = mooncake(trace, model="m", limit=10, max_tokens=16)

    assert [(r.number, r.at_s, len(r.token_ids), r.max_tokens, r.model) for r in requests] == [
        (0, 0.0, 1000, 16, "m"),
        (1, 2.5, 1024, 3, "m"),
        (2, 3.0, 600, 7, "m"),
    ]


def test_equal_hash_ids_are_equal_tokens(trace: Path) -> None:
    """Prompts share exactly the tokens of their common hash ids, a partial last block included."""
    first, second, third = (r.token_ids for r in mooncake(trace, model="m", limit=3, max_tokens=1))

    assert first[:512] == second[:512]
    assert first[512] != second[512]
    assert first[:600] == third


def test_a_limit_reads_only_so_many(trace: Path) -> None:
    """A slice of a long trace can be read without the rest."""
    assert len(mooncake(trace, model="m", limit=2, max_tokens=1)) == 2


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param("{", "JSONDecodeError", id="no JSON"),
        pytest.param('{"timestamp": 0}', "KeyError: 'input_length'", id="a field is missing"),
        pytest.param(
            '{"timestamp": 0, "input_length": 513, "output_length": 1, "hash_ids": [4]}',
            "input_length 513 does not fit 1 hash ids",
            id="longer than its blocks",
        ),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, problem: str) -> None:
    """What is wrong with a trace is said with file, line and reason."""
    path = tmp_path / "bad.jsonl"
    path.write_text(LINES + line + "\n")

    with pytest.raises(ConfigError, match=r"bad\.jsonl:4") as raised:
        mooncake(path, model="m", limit=10, max_tokens=1)
    assert problem in str(raised.value)


def test_generated_requests_depend_on_the_seed_only() -> None:
    """The same seed gives the same requests, a longer list begins with the shorter one."""
    assert generate(3, 20, model="m") == generate(3, 30, model="m")[:20]
    assert generate(3, 20, model="m") != generate(4, 20, model="m")


def test_generated_conversations_share_prefixes() -> None:
    """Most prompts continue an earlier one, and none exceeds what a small model takes."""
    prompts = [request.token_ids for request in generate(1, 100, model="m")]
    continued = sum(
        any(prompt[: len(earlier)] == earlier for earlier in prompts[:position])
        for position, prompt in enumerate(prompts)
    )

    assert continued > 60
    assert max(map(len, prompts)) < 1200


def test_generated_arrivals_keep_the_rate() -> None:
    """Times increase, and about as many requests arrive per second as asked for."""
    times = [request.at_s for request in generate(1, 1000, model="m", rate_per_s=50)]

    assert times == sorted(times)
    assert times[-1] == pytest.approx(20, rel=0.15)

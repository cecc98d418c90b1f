"""What an answer's end says of its prompt, interface by interface."""

import pytest

from kvsync.gateway.answers.usage import COMPLETIONS, MESSAGES, RESPONSES, UsageTerms


@pytest.mark.parametrize(
    ("end_of_answer", "ever", "expected"),
    [
        pytest.param(
            b'"usage":{"prompt_tokens_details":{"cached_tokens":48}}}', False, 48, id="whole-answer"
        ),
        pytest.param(b'{"cached_tokens": 0}\n\ndata: {"cached_tokens": 32}\n\n', False, 32, id="last-chunk"),
        pytest.param(b'"usage":{"prompt_tokens":50,"prompt_tokens_details":null}}', False, None, id="never"),
        pytest.param(b'"usage":{"prompt_tokens":50,"prompt_tokens_details":null}}', True, 0, id="left-out"),
        pytest.param(b'"choices":[]}\n\ndata: [DONE]\n\n', True, None, id="no-usage"),
        pytest.param(rb'"text":"say \"cached_tokens\": 9 please"', False, None, id="generated-text"),
        pytest.param(rb'"text":"say \"prompt_tokens\": 9 please"', True, None, id="generated-usage"),
        pytest.param(b'"cached_tokens":' + b"9" * 4000, False, None, id="no-such-number"),
        pytest.param(b"", True, None, id="empty"),
    ],
)
def test_cached_tokens(end_of_answer: bytes, ever: bool, expected: int | None) -> None:
    """The engine's own count is found in its answer, and only there; left out, it is 0 if it ever came."""
    assert COMPLETIONS.cached_tokens(end_of_answer, ever=ever) == expected


@pytest.mark.parametrize(
    ("terms", "usage", "expected"),
    [
        pytest.param(
            RESPONSES,
            b'"usage":{"input_tokens":50,"input_tokens_details":{"cached_tokens":32,"cached_tokens_per_turn":[]}}',
            (32, 50),
            id="response",
        ),
        pytest.param(
            MESSAGES,
            b'"usage":{"input_tokens":18,"output_tokens":4,"cache_read_input_tokens":32}}',
            (32, 50),
            id="message",
        ),
        pytest.param(MESSAGES, b'"usage":{"input_tokens":50,"output_tokens":4}}', (None, 50), id="not told"),
        pytest.param(
            MESSAGES, b'{"input_tokens":50}}\n\n{"output_tokens":4}', (None, 50), id="message_start"
        ),
        pytest.param(RESPONSES, b'"status":"queued","usage":null', (None, None), id="in the background"),
    ],
)
def test_other_interfaces(terms: UsageTerms, usage: bytes, expected: tuple[int | None, int | None]) -> None:
    """Cached tokens and all of the prompt's, of which Anthropic's count leaves out the cached ones."""
    assert (terms.cached_tokens(usage), terms.prompt_tokens(usage)) == expected

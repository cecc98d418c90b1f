"""What the end of an answer says of its prompt: how many tokens it had, and how many were cached. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class UsageTerms:
    """How an interface names what it counts: cached tokens, and the fields that together are the prompt.

    No generated text looks like these: within a JSON string the quotes have backslashes before them.
    """

    cached: str
    prompt: Sequence[str]

    def cached_tokens(self, tail: bytes, *, ever: bool = False) -> int | None:
        """Find a prompt's cached tokens in the end of an answer; None when it says nothing.

        From an engine that `ever` reported some in these terms, a usage without them means none.
        """
        found = _last(self.cached, tail)
        return 0 if found is None and ever and _last(self.prompt[0], tail) is not None else found

    def prompt_tokens(self, tail: bytes) -> int | None:
        """Find how many tokens the prompt had for the engine; None when it does not say."""
        if _last(self.prompt[0], tail) is None:
            return None
        return sum(_last(name, tail) or 0 for name in self.prompt)


COMPLETIONS = UsageTerms("cached_tokens", ("prompt_tokens",))
RESPONSES = UsageTerms("cached_tokens", ("input_tokens",))
MESSAGES = UsageTerms(
    "cache_read_input_tokens", ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
)
"""Anthropic's: tokens that were cached are no input tokens."""


def _last(name: str, tail: bytes) -> int | None:
    found: list[bytes] = re.findall(rb'"%b"\s*:\s*(\d{1,15})(?!\d)' % name.encode(), tail)
    return int(found[-1]) if found else None

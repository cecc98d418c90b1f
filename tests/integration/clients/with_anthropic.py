"""The scenarios of messages, with Anthropic's package."""

from collections.abc import Callable
from typing import Any

import anthropic

from tests.integration.clients.plan import Got, Step, main
from tests.integration.clients.with_openai import called

CALLS: dict[str, Callable[[Any], Any]] = {
    "/v1/messages": lambda client: client.messages.create,
    "/v1/messages/count_tokens": lambda client: client.messages.count_tokens,
}


def play(url: str, step: Step) -> Got:
    """Call the method for the path."""
    client = anthropic.Anthropic(base_url=url, api_key="none", max_retries=0, timeout=step.timeout_s)
    return called(CALLS[step.path](client), step, anthropic)


if __name__ == "__main__":
    main(play, lambda step: step.path in CALLS)

"""The scenarios, with OpenAI's package."""

import inspect
from collections.abc import Callable
from typing import Any

import httpx2
import openai

from tests.integration.clients.plan import AGAIN, LEAVE, Got, Step, main, pause

CALLS: dict[str, Callable[[Any], Any]] = {
    "/v1/completions": lambda client: client.completions.create,
    "/v1/chat/completions": lambda client: client.chat.completions.create,
    "/v1/embeddings": lambda client: client.embeddings.create,
    "/v1/responses": lambda client: client.responses.create,
}


def play(url: str, step: Step) -> Got:
    """Call the method for the path; what it does not know goes in its `extra_body`."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=step.timeout_s)
    return called(CALLS[step.path](client), step, openai, client.responses.retrieve)


def called(
    create: Callable[..., Any], step: Step, package: Any, retrieve: Callable[[str], Any] = lambda _: None
) -> Got:
    """Call a method of a package that Stainless generated, as OpenAI's and Anthropic's are."""
    known = inspect.signature(create).parameters
    given = {name: value for name, value in step.fields.items() if name in known}
    rest = {name: value for name, value in step.fields.items() if name not in known}
    events: list[Any] = []
    try:
        answer = create(**given, extra_body=rest)
        if step.act == AGAIN:
            answer = retrieve(answer.id)
        if not given.get("stream"):
            return {"status": 200, "events": [answer.model_dump(mode="json")]}
        for event in answer:
            events.append(event.model_dump(mode="json"))
            pause(step, len(events))
            if step.act == LEAVE:
                answer.close()
                break
    except package.APITimeoutError:
        return {"status": 0, "events": []}
    except package.APIStatusError as refused:
        if refused.status_code != 200:  # else it is an event within a stream, for Anthropic's
            return {"status": refused.status_code, "body": refused.response.text}
        return {"status": 200, "events": events, "broken": str(refused)}
    except (package.APIError, httpx2.HTTPError) as broken:
        return {"status": 200, "events": events, "broken": f"{type(broken).__name__}: {broken}"}
    return {"status": 200, "events": events}


if __name__ == "__main__":
    main(play, lambda step: step.path in CALLS)

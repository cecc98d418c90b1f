"""The scenarios, with aiohttp."""

import asyncio

import aiohttp

from tests.integration.clients.plan import LEAVE, Got, Step, main, pause

JSON = {"content-type": "application/json"}


def play(url: str, step: Step) -> Got:
    """Send the body as it is, and read the answer part by part."""
    return RUNNER.run(_play(url, step))


async def _play(url: str, step: Step) -> Got:
    parts: list[bytes] = []
    limit = aiohttp.ClientTimeout(total=step.timeout_s)
    try:
        async with await _session().post(
            url + step.path, data=step.body, headers=JSON, timeout=limit
        ) as answer:
            async for part in answer.content.iter_any():
                parts.append(part)
                pause(step, len(parts))
                if step.act == LEAVE:
                    answer.close()
                    break
    except TimeoutError:
        return {"status": 0, "body": ""}
    return {"status": answer.status, "body": b"".join(parts).decode()}


SESSIONS: list[aiohttp.ClientSession] = []


def _session() -> aiohttp.ClientSession:
    """Return the one session, which can only be made in the event loop."""
    if not SESSIONS:
        SESSIONS.append(aiohttp.ClientSession())
    return SESSIONS[0]


if __name__ == "__main__":
    with asyncio.Runner() as RUNNER:
        main(play)
        RUNNER.run(_session().close())

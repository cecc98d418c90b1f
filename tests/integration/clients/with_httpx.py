"""The scenarios, with httpx."""

import httpx

from tests.integration.clients.plan import LEAVE, Got, Step, main, pause

JSON = {"content-type": "application/json"}
CLIENT = httpx.Client(trust_env=False)


def play(url: str, step: Step) -> Got:
    """Send the body as it is, and read the answer part by part."""
    parts: list[bytes] = []
    try:
        with CLIENT.stream(
            "POST", url + step.path, content=step.body, headers=JSON, timeout=step.timeout_s
        ) as answer:
            for part in answer.iter_bytes():
                parts.append(part)
                pause(step, len(parts))
                if step.act == LEAVE:
                    break
    except httpx.ReadTimeout:
        return {"status": 0, "body": ""}
    return {"status": answer.status_code, "body": b"".join(parts).decode()}


if __name__ == "__main__":
    main(play)

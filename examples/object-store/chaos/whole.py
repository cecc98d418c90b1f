"""Says whether all that the gateway lists can be read, is what it was, and has its copies: status 0.

Before the first fault there is nothing: then it stores what is looked for after each of them.
"""

import hashlib
import os
import sys
import time

import httpx
import psycopg

FILES, FILE_BYTES = 20, 300_000

PATIENCE_S = 30.0
"""For the copies that are made anew after a fault."""


def main() -> int:
    """Return the exit status."""
    with httpx.Client(base_url=os.environ["GATEWAY_URL"], timeout=30, trust_env=False) as http:
        kept = {f"whole-{number}": _content(number) for number in range(FILES)}
        if http.get("/files/whole-0/metadata").status_code == 404:
            for name, content in kept.items():
                http.put(f"/files/{name}", content=content).raise_for_status()
        wrong = [name for name, content in kept.items() if http.get(f"/files/{name}").content != content]
        wrong += [name for name in _names(http) if not _is_right(http, name)]
    short = _short_of_copies()
    for line in [*(f"{name} is not what it was" for name in wrong), *short]:
        print(line)
    return 1 if wrong or short else 0


def _content(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest() * (FILE_BYTES // 32)


def _names(http: httpx.Client) -> list[str]:
    names: list[str] = []
    after = ""
    while True:
        page = http.get("/files", params={"after": after, "limit": 1000}).raise_for_status().json()
        names += [each["name"] for each in page["files"]]
        if not (after := page["next"]):
            return names


def _is_right(http: httpx.Client, name: str) -> bool:
    answer = http.get(f"/files/{name}")
    announced = answer.headers.get("x-checksum-sha256")
    return answer.is_success and hashlib.sha256(answer.content).hexdigest() == announced


def _short_of_copies() -> list[str]:
    query = (
        "SELECT count(*) FROM chunk JOIN object ON object.id = object_id WHERE state = 'visible' AND "
        "cardinality(ARRAY(SELECT unnest(servers) INTERSECT SELECT id FROM server)) < 2"
    )
    end = time.monotonic() + PATIENCE_S
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
        while True:
            row = connection.execute(query).fetchone()
            if not row or not row[0]:
                return []
            if time.monotonic() > end:
                return [f"{row[0]} chunks have fewer than two copies"]
            time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())

"""Says whether data is whole: what both replicas answer is what the database has.

Every version is read by its name, from a replica whose memory was emptied, and compared; what has not been
brought to all levels yet gets some time for it.
"""

import os
import sys
import time

import httpx
import psycopg

PATIENCE_S = 20.0


def problems(client: httpx.Client, database: psycopg.Connection) -> list[str]:
    """Return what is not as it should be."""
    found: list[str] = []
    rows = database.execute("SELECT subject, version, state, digest FROM schemas").fetchall()
    if not rows:
        return ["the database has no schema"]
    for subject, version, state, digest in rows:
        answer = client.get(f"/subjects/{subject}/versions/{version}")
        if state == "deleted":
            if answer.status_code != 410:
                found.append(f"{subject}/{version} was deleted, and the answer is {answer.status_code}")
        elif answer.status_code != 200 or (answer.json()["state"], answer.json()["digest"]) != (
            state,
            digest,
        ):
            found.append(
                f"{subject}/{version} is {state}, and the answer is {answer.status_code}: {answer.text[:200]}"
            )
    unsettled = database.execute("SELECT count(*) FROM unsettled").fetchone()
    if unsettled and unsettled[0]:
        found.append(f"{unsettled[0]} changes are not in all levels yet")
    return found


def main() -> int:
    """Print what is wrong; the exit status is 0 if nothing is."""
    deadline = time.monotonic() + PATIENCE_S
    headers = {"authorization": f"Bearer {os.environ['REGISTRY_TOKEN']}"}
    found: list[str] = []
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as database:
        for url in (os.environ["API_URL"], os.environ["SECOND_URL"]):
            with httpx.Client(base_url=url, headers=headers, timeout=10, trust_env=False) as client:
                client.post("/admin/purge", json={"levels": ["memory"]}).raise_for_status()
                while (now := problems(client, database)) and time.monotonic() < deadline:
                    time.sleep(0.5)
                found += [f"{url}: {each}" for each in now]
    for problem in found[:20]:
        print(problem)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""What stays in the memory of a registry that is asked for long."""

import os
import re
from concurrent.futures import ThreadPoolExecutor

import httpx

ROUND = 4000
HEADERS = {"authorization": "Bearer admin-of-the-tests"}


def resident(client: httpx.Client) -> float:
    """Return how much memory the registry holds now, in bytes."""
    found = re.search(r"^process_resident_memory_bytes (\S+)$", client.get("/metrics").text, re.MULTILINE)
    assert found
    return float(found[1])


def test_memory_stays_where_it_is() -> None:
    """After the first round of reads, writes and validations, three more add less than a tenth."""
    with httpx.Client(base_url=os.environ["API_URL"], headers=HEADERS, timeout=30, trust_env=False) as client:

        def ask(number: int) -> int:
            subject, schema = f"memory-{number % 50}", {"title": str(number % 200)}
            if number % 20 < 3:
                body = {"schema": schema, "version": f"1.{number % 200}.0"}
                return client.post(f"/subjects/{subject}/versions", json=body).status_code
            return client.get(f"/subjects/{subject}/versions/1.{number % 200}.0").status_code

        def round_of_requests() -> float:
            with ThreadPoolExecutor(8) as pool:
                assert not {500, 503} & set(pool.map(ask, range(ROUND)))
            return resident(client)

        first = round_of_requests()
        later = [round_of_requests() for _ in range(3)]
    assert later[-1] < 1.1 * first, (first, later)

"""Stores the files that the requests of the stage `load` read."""

import os
import random
from concurrent.futures import ThreadPoolExecutor

import httpx

FILES = 50

FILE_BYTES = 16_384


def main() -> None:
    """Store them at the gateway of the stage."""
    with httpx.Client(base_url=os.environ["GATEWAY_URL"], timeout=30, trust_env=False) as http:

        def store(number: int) -> None:
            content = random.Random(number).randbytes(FILE_BYTES)  # noqa: S311
            http.put(f"/files/seed-{number}", content=content).raise_for_status()

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(store, range(1, FILES + 1)))


if __name__ == "__main__":
    main()

"""Makes ready what the load reads: ten subjects with twenty versions each."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx

SUBJECTS, VERSIONS = 10, 20


def main() -> int:
    """Register everything; the exit status is 0 if all of it is there."""
    url, token = os.environ["API_URL"], os.environ["REGISTRY_TOKEN"]
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=30, trust_env=False) as client:

        def register(number: int) -> None:
            for minor in range(VERSIONS):
                schema = {
                    "type": "object",
                    "title": f"version {minor}",
                    "properties": {"id": {"type": "integer"}, "name": {"type": "string"}},
                    "required": ["id"],
                }
                body = {"schema": schema, "version": f"1.{minor}.0"}
                client.post(f"/subjects/seed-{number}/versions", json=body).raise_for_status()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(register, range(SUBJECTS)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs the suites without the pipeline: on servers that the variables name, or else on those of compose.yaml.

python scripts/run_tests.py                          # all suites
python scripts/run_tests.py --suite e2e --verbose
python scripts/run_tests.py --skip-slow --workers 8
python scripts/run_tests.py --sizes full             # up to 10 GB
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

TOP = Path(__file__).parents[1]

SUITES = ("unit", "grpc", "e2e", "concurrency")

COMPOSE = ("docker", "compose", "--file", str(TOP / "compose.yaml"))

ADDRESSES = {
    "GATEWAY_URL": "http://127.0.0.1:8080",
    "DATABASE_URL": "postgresql://postgres:objects@127.0.0.1:5432/objects",
    **{f"STORAGE_{number}_HOST": "127.0.0.1" for number in (1, 2, 3)},
    **{f"STORAGE_{number}_PORT": str(9000 + number) for number in (1, 2, 3)},
}
"""Where compose.yaml puts the servers."""


def pytest_words(given: argparse.Namespace) -> list[str]:
    """Return the command line of pytest."""
    words = [sys.executable, "-m", "pytest", *(f"tests/{suite}" for suite in given.suite or SUITES)]
    words += [f"--sizes={given.sizes}"]
    words += ["-m", "not slow"] if given.skip_slow else []
    words += [f"--numprocesses={given.workers}", "--dist=loadfile"] if given.workers > 1 else []
    return [*words, "-v"] if given.verbose else words


def needs_servers(suites: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Say whether servers have to be started: the suites need some, and no variable names them."""
    return list(suites) != ["unit"] and "GATEWAY_URL" not in environ


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status of pytest."""
    given = _parser().parse_args(argv)
    environ = dict(os.environ)
    if not needs_servers(given.suite or SUITES, environ):
        return subprocess.run(pytest_words(given), cwd=TOP, check=False).returncode
    try:
        subprocess.run([*COMPOSE, "up", "--build", "--detach", "--wait"], check=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        mend = "start Docker, or use `kvsync-ci run --repository .`, which needs none"
        print(f"the servers of compose.yaml could not be started: {exc}; {mend}", file=sys.stderr)
        return 2
    try:
        return subprocess.run(
            pytest_words(given), cwd=TOP, env={**environ, **ADDRESSES}, check=False
        ).returncode
    finally:
        if not given.keep:
            subprocess.run([*COMPOSE, "down", "--volumes"], check=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--suite", action="append", choices=SUITES, help="only this one; may be repeated")
    parser.add_argument("--sizes", choices=("quick", "full"), default="quick", help="how large files are")
    parser.add_argument("--workers", type=int, default=1, help="how many processes share the tests")
    parser.add_argument("--skip-slow", action="store_true", help="without tests that are marked slow")
    parser.add_argument("--keep", action="store_true", help="leave the servers of compose.yaml running")
    parser.add_argument("--verbose", action="store_true", help="a line for each test")
    return parser


if __name__ == "__main__":
    sys.exit(main())

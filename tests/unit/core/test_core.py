"""Which implementation of the core is used, and that it is left out where it was not built."""

import subprocess
import sys

import pytest

from kvsync import core
from kvsync.codec import encode
from kvsync.errors import ConfigError
from kvsync.events import BlockRemoved, EventBatch

WITHOUT = """
import sys
sys.modules["kvsync._core"] = None  # an import then fails as that of a module that is not there
import kvsync
from kvsync import core
core.choose("auto")
print(core.chosen(), kvsync.decode(bytes.fromhex(sys.argv[1])).events, kvsync.block_hashes([1, 2], 1))
try:
    core.choose("native")
except kvsync.ConfigError as error:
    print(error.problems[0])
"""


def test_the_implementation_that_is_chosen_is_used(either_core: str) -> None:
    """What `/status` and `--version` say is true."""
    assert core.chosen() == either_core
    assert (core.compiled is None) is (either_core == "python")


def test_an_implementation_that_does_not_exist_is_refused() -> None:
    """The error names those that do, and the variable."""
    with pytest.raises(ConfigError, match=r"'rust' is not auto, python or native \(KVSYNC_CORE\)"):
        core.choose("rust")


def test_without_a_compiler_all_is_done_in_python() -> None:
    """What was installed without the compiled core works, and says so when that is asked for."""
    batch = EventBatch(ts=1.0, events=(BlockRemoved(block_hashes=(5,)),))
    argv = [sys.executable, "-c", WITHOUT, encode(batch).hex()]

    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout.splitlines()

    assert said[0].startswith(f"python {batch.events!r} [")
    assert said[1].startswith("core: native was not built")

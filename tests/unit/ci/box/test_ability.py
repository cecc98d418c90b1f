"""Why no box can be made, and what mends it."""

import pytest

from kvsync.ci.box.ability import is_mapped, reason, unable
from kvsync.testing.processes.tools import ToolAnswer, Tools


@pytest.mark.parametrize(
    ("said", "mend"),
    [
        ("bwrap is not installed", "apt-get install bubblewrap"),
        ("bwrap: setting up uid map: Permission denied", "AppArmor profile"),
        ("bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted", "AppArmor profile"),
        (
            "bwrap: No permissions to create new namespace, likely because...",
            "kernel.unprivileged_userns",
        ),
        ("bwrap: Creating new namespace failed: Operation not permitted", "KVSYNC_CI_BOX_KIND=container"),
        ("bwrap: something new", "see what it says"),
    ],
    ids=["none", "ubuntu", "ubuntu, of its network", "sysctl", "container", "other"],
)
def test_what_it_says_has_a_mend(said: str, mend: str) -> None:
    """Both are in the reason."""
    found = reason(ToolAnswer(exit_code=1, errors=said))

    assert said in found
    assert mend in found


def test_without_bubblewrap_there_is_none(tmp_path: str) -> None:
    """The mend says how to install it."""
    assert "install bubblewrap" in unable(None, Tools(search_path=str(tmp_path)))


@pytest.mark.parametrize(
    ("uid_map", "has_it"),
    [
        ("         0          0 4294967295\n", True),
        ("         0       1000          1\n", False),
        ("         0       1000          1\n         1     100000      65536\n", True),
        ("         0     100000      61184\n", False),
        ("", False),
    ],
    ids=["machine", "unshare", "rootless container", "too short", "unset"],
)
def test_a_user_namespace_may_lack_the_user(uid_map: str, *, has_it: bool) -> None:
    """Root of one that has no other users cannot become another."""
    assert is_mapped(uid_map, 61184) is has_it

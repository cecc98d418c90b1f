"""Whether a box can be made on this machine, and what mends it where none can."""

import os
import platform
from pathlib import Path

from kvsync.ci.box.box import USER, namespaces
from kvsync.ci.box.seccomp import MACHINES
from kvsync.testing.processes.tools import ON_PATH, ToolAnswer, Tools

PROGRAM = "bwrap"

NO_BOX = "no box for untrusted code: "

IN_A_CONTAINER = (
    "in a container that is made for one run and holds no secret, set KVSYNC_CI_BOX_KIND=container there"
)

NAMESPACES_FORBIDDEN = (
    "let bwrap make user namespaces: an AppArmor profile for it with `userns`, or "
    "sysctl kernel.apparmor_restrict_unprivileged_userns=0"
)

NONE_FOR_USERS = (
    "let users make namespaces: sysctl kernel.unprivileged_userns_clone=1 and user.max_user_namespaces "
    f"above 0; {IN_A_CONTAINER}"
)

MENDS = {
    "is not installed": "install bubblewrap (apt-get install bubblewrap, dnf install bubblewrap)",
    "uid map: Permission denied": NAMESPACES_FORBIDDEN,
    "RTM_NEWADDR": NAMESPACES_FORBIDDEN,
    "No permissions to create": NONE_FOR_USERS,
    "not permitted": f"a container forbids it: {IN_A_CONTAINER}",
}
"""What bubblewrap says where it cannot, and what mends that; the first that fits."""


def user_inside() -> int | None:
    """Return whom commands in a box become: another user where we are root, and None where we are not.

    Nor where we are only called root, in a user namespace that has no other users.
    """
    maps = [Path(f"/proc/self/{name}").read_text(encoding="ascii") for name in ("uid_map", "gid_map")]
    return USER if os.geteuid() == 0 and all(is_mapped(each, USER) for each in maps) else None


def is_mapped(map_: str, user: int) -> bool:
    """Say whether a user namespace has a user, or a group, by its map (see user_namespaces(7)). Pure."""
    ranges = [[int(word) for word in line.split()] for line in map_.splitlines()]
    return any(first <= user < first + count for first, _, count in ranges)


def unable(user: int | None, tools: Tools = ON_PATH) -> str:
    """Return why no box can be made here, with its mend; empty when one can."""
    if platform.machine() not in MACHINES:
        return f"{NO_BOX}the machine is {platform.machine()}; use {' or '.join(MACHINES)}"
    answer = tools.ask(PROGRAM, *namespaces(user), "--ro-bind", "/", "/", "--proc", "/proc", "true")
    return "" if answer.ok else reason(answer)


def reason(answer: ToolAnswer) -> str:
    """Say why there is no box, and what mends it. Pure."""
    mend = next((mend for sign, mend in MENDS.items() if sign in answer.reason), "see what it says")
    return f"{NO_BOX}{answer.reason}; {mend}"

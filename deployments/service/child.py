"""A command that never outlives the process that started it.

`python -m deployments.service.child PARENT SIGNAL SOCKET COMMAND...`

- The kernel sends it the signal when the thread that started it ends, even by SIGKILL; so it is started
  from a main thread. Only Linux can do that; elsewhere the command just runs.
- Signals are reset to their defaults. Prefect's worker, started with SIGINT ignored, as a shell
  does in the background, does not end even on SIGTERM.
- It becomes the command, so that there is no second process and the id of the first is the right one.
- A module of Python runs in here, concealed, with the secrets that come through SOCKET: another program could
  be looked into, and gets none (kvsync.ci.concealment).
"""

import os
import signal
import sys

from kvsync.ci.concealment import become, conceal, receive
from kvsync.ci.interruption import end_with_parent


def main(parent: int, parting: int, handed: str, argv: list[str]) -> None:
    """Become the command, bound to the life of the parent."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    if end_with_parent(parent, parting):
        if argv[:2] == [sys.executable, "-m"]:
            conceal()
            receive(handed)
            become(argv[2], argv[3:])
        else:
            os.execvp(argv[0], argv)  # noqa: S606  # an argument list


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])

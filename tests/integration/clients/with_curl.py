"""The scenarios, with curl."""

import subprocess

from tests.integration.clients.plan import GIVE_UP, LEAVE, Got, Step, main, pause

TIMED_OUT = 28
"""curl's exit code."""


def play(url: str, step: Step) -> Got:
    """Send the body through curl's standard input; its head is printed before the answer."""
    command = ["curl", "-sS", "-N", "-i", "--noproxy", "*", "--max-time", str(step.timeout_s)]
    command += ["-H", "content-type: application/json", "--data-binary", "@-", url + step.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as curl:
        assert curl.stdin is not None
        assert curl.stdout is not None
        curl.stdin.write(step.body)
        curl.stdin.close()
        status = _status(curl.stdout.readline())
        if status == 100:
            curl.stdout.readline()
            status = _status(curl.stdout.readline())
        while curl.stdout.readline().strip():
            pass
        lines: list[bytes] = []
        for line in curl.stdout:
            lines.append(line)
            pause(step, len(lines))
            if step.act == LEAVE and line.startswith(b"data"):
                curl.terminate()
                break
    assert step.act != GIVE_UP or curl.returncode == TIMED_OUT, curl.returncode
    return {"status": status, "body": b"".join(lines).decode()}


def _status(line: bytes) -> int:
    return int(line.split()[1]) if line else 0


if __name__ == "__main__":
    main(play)

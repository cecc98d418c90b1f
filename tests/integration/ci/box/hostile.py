"""What the test of a stranger may try: `python hostile.py PLACES.json`, of nothing but the standard library.

PLACES says where secrets were planted, so that nothing depends on searching well. Each line is a function
that returns what it found or managed to do, "" for nothing; an exception is nothing, too. The results are
printed as JSON, one for each line.
"""
# ruff: noqa: D103  # the names of the lines say what they try

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from itertools import islice
from pathlib import Path

PTRACE_ATTACH, PTRACE_DETACH = 16, 17
KEYCTL, KEY_READ = 250, 11
REQUEST_KEY = 249

places = json.loads(Path(sys.argv[1]).read_text())
canary = places["yranac"][::-1]  # so that the file that tells of it does not have it
libc = ctypes.CDLL(None, use_errno=True)


def read(path: object) -> object:
    return canary in Path(str(path)).read_text(errors="replace") and f"read {path}"


def search(folder: object) -> object:
    for path in islice(Path(str(folder)).rglob("*"), 2000):
        try:
            if path.is_file() and path.stat().st_size < 10**6 and (found := read(path)):
                return found
        except OSError:
            continue
    return ""


def own_environment() -> object:
    return [name for name, value in os.environ.items() if canary in value]


def environment_of_every_process() -> object:
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if canary.encode() in path.read_bytes():
                return f"read {path}"
        except OSError:
            continue
    return ""


def command_line_of_every_process() -> object:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"argument-{canary}".encode() in path.read_bytes():
                return f"read {path}"
        except OSError:
            continue
    return ""


def memory_of_a_process() -> object:
    pid = places["pid"]
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if "[stack]" in line:
            begin, end = (int(each, 16) for each in line.split()[0].split("-"))
            with Path(f"/proc/{pid}/mem").open("rb") as memory:
                memory.seek(begin)
                return canary.encode() in memory.read(end - begin) and f"read the memory of {pid}"
    return ""


def trace_of_a_process() -> object:
    pid = places["pid"]
    if libc.ptrace(PTRACE_ATTACH, pid, None, None):
        return ""
    os.waitpid(pid, 0x40000000)
    libc.ptrace(PTRACE_DETACH, pid, None, None)
    return f"traced {pid}"


def files_of_a_process() -> object:
    return read(f"/proc/{places['pid']}/root{places['home']}/.git-credentials")


def home() -> object:
    return search(Path("~").expanduser())


def home_by_its_path() -> object:
    return search(places["home"])


def cloud_credentials() -> object:
    return read(f"{places['home']}/.aws/credentials")


def git_credentials() -> object:
    words = ["git", "credential", "fill"]
    said = "protocol=https\nhost=example.org\n\n"
    done = subprocess.run(words, input=said, capture_output=True, text=True, timeout=10)
    return canary in done.stdout and "git told"


def configuration() -> object:
    return read(f"{places['repository']}/kvsync-ci.toml")


def archive() -> object:
    return read(f"{places['reports']}/archive.db")


def inbox() -> object:
    return search(f"{places['reports']}/.prefect/inbox")


def database_of_prefect() -> object:
    return read(f"{places['reports']}/.prefect/prefect.db")


def another_run() -> object:
    return search(f"{places['reports']}/another")


def ledger() -> object:
    return read(f"{places['run_dir']}/ledger.jsonl")


def temporary_files() -> object:
    return read(places["temporary"])


def shared_memory() -> object:
    return read(places["shared"])


def key_of_the_kernel() -> object:
    number = libc.syscall(REQUEST_KEY, b"user", places["key"].encode(), None, 0)
    buffer = ctypes.create_string_buffer(100)
    size = libc.syscall(KEYCTL, KEY_READ, number, buffer, 100)
    return size > 0 and canary in buffer.raw[:size].decode() and "read a key"


def abstract_socket() -> object:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect("\0" + places["abstract"])
        return canary in client.recv(100).decode() and "an abstract socket answered"


def socket_in_a_folder() -> object:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(places["socket"])
        return canary in client.recv(100).decode() and "a socket answered"


def ask(url: str, body: bytes | None = None) -> object:
    with urllib.request.urlopen(url, data=body, timeout=5) as answer:  # noqa: S310  # of a test
        return canary in answer.read().decode() and f"{url} answered"


def api_of_prefect() -> object:
    return ask(f"{places['api']}/flow_runs/filter", b"{}")


def start_a_run() -> object:
    return ask(f"{places['api']}/deployments/1/create_flow_run", b"{}")


def answer_a_status() -> object:
    return ask(f"{places['api']}/repos/a/b/statuses/1", b'{"state": "success"}')


def address_of_the_machine() -> object:
    return ask(places["machine"])


def metadata() -> object:
    return ask("http://169.254.169.254/latest/meta-data/")


def write(path: object) -> object:
    Path(str(path)).write_text("changed")
    return f"wrote {path}"


def write_into_the_reports() -> object:
    return write(f"{places['reports']}/archive.db-hostile")


def write_a_result() -> object:
    folder = Path(places["run_dir"], "results")
    folder.mkdir(exist_ok=True)
    return write(folder / "unit.json")


def write_into_the_home() -> object:
    return write(f"{places['home']}/.bashrc")


def write_into_the_pipeline() -> object:
    return write(f"{places['repository']}/conftest.py")


def write_into_temporary_files() -> object:
    return write(places["temporary"])


def write_behind_a_link() -> object:
    link = Path(places["run_dir"], "evidence", "x")
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(places["home"])
    return write(link / "behind-a-link")


def end_a_process() -> object:
    os.kill(places["pid"], signal.SIGCONT)
    return f"could have ended {places['pid']}"


def outlive() -> object:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                Path("alive").write_text(f"{time.monotonic_ns()}")
                time.sleep(0.05)
        os._exit(0)
    while not Path("alive").exists():
        time.sleep(0.02)
    return "started a daemon"


def fill_the_memory() -> object:
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(6)
    ]
    holding = [holder.stdout.readline() for holder in holders if holder.stdout]
    time.sleep(places["patience_s"])
    for holder in holders:
        holder.kill()
        holder.wait()
    return holding == [b"holds\n"] * 6 and "took 600 MiB"


HOLDS = "kept = b'x' * (100 * 2**20); print('holds', flush=True); input()"


def fill_the_disk() -> object:
    for number in range(4):
        Path(f"large-{number}").write_bytes(bytes(25 * 2**20))
    time.sleep(places["patience_s"])
    return "wrote 100 MiB"


def fill_the_process_table() -> object:
    children = []
    try:
        for _ in range(100):
            if (pid := os.fork()) == 0:
                time.sleep(60)
                os._exit(0)
            children.append(pid)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return "started 100 processes"


LINES = [
    own_environment,
    environment_of_every_process,
    command_line_of_every_process,
    memory_of_a_process,
    trace_of_a_process,
    files_of_a_process,
    home,
    home_by_its_path,
    cloud_credentials,
    git_credentials,
    configuration,
    archive,
    inbox,
    database_of_prefect,
    another_run,
    ledger,
    temporary_files,
    shared_memory,
    key_of_the_kernel,
    abstract_socket,
    socket_in_a_folder,
    api_of_prefect,
    start_a_run,
    answer_a_status,
    address_of_the_machine,
    metadata,
    write_into_the_reports,
    write_a_result,
    write_into_the_home,
    write_into_the_pipeline,
    write_into_temporary_files,
    write_behind_a_link,
    end_a_process,
    fill_the_process_table,
    outlive,
]
"""What fills memory and disk ends the box, and is tried by name."""


def main() -> None:
    wanted = [globals()[name] for name in sys.argv[2:]] or LINES
    for line in wanted:
        try:
            found = str(line() or "")
        except (OSError, ValueError, KeyError) as exc:
            found = ""
            print(line.__name__, exc, file=sys.stderr)
        print(json.dumps({line.__name__: found}), flush=True)


main()

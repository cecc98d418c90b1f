"""One command for daily use: Prefect's server and UI, a worker, the webhook receiver and a caretaker.

    server     unless PREFECT_API_URL names one; its database is in the report folder
    worker     starts the runs, each in a process of its own; containers have a worker elsewhere
    caretaker  gives runs whose process is gone a true end, and ends the runs when serve ends
    reports    shows the reports of the folder in a browser, to those who may use the UI
    receiver   turns what servers such as GitHub deliver into runs; only with a webhook secret

The end, in this order: no new deliveries, an end to the runs, no worker; what is left of a run sees to its
state and report while there still is a server to tell; then the server goes. If serve is killed, the
kernel ends all of these, the caretaker ends the runs, and the next start tells Prefect.
"""

import fcntl
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import httpx

from deployments.database import lay_out
from deployments.launch import environment
from deployments.service.password import AUTH, is_loopback, keep_password, password_file
from deployments.service.presence import living, worker_name
from deployments.service.supervisor import SupervisedCommand, Supervisor, bound
from kvsync.ci.concealment import sealed
from kvsync.ci.errors import CannotRun
from kvsync.ci.interruption import stop_on_signal
from kvsync.ci.run.parameters import REPOSITORY
from kvsync.ci.settings import PREFIX, ServeSettings, Settings, reachable
from kvsync.ci.stages.environment import secrets_apart
from kvsync.errors import ConfigError, PortInUse
from kvsync.publisher import listener_on
from kvsync.testing.errors import WaitTimeout
from kvsync.testing.processes.wait import wait_for

START_S = 120.0
"""For the server to answer, and for the deployments: 10 s on a quiet machine, far longer on a busy one."""

CARETAKER_GRACE_S = 30.0
"""For the caretaker to end the runs: they have 20 s to do so in order."""

WORKER_GRACE_S = 10.0

DRAIN_S = 60.0
"""For what is left of the runs to write reports and tell the server, and again for the caretaker."""

PORT_S = 5.0
"""How long a port may stay taken by the services of a serve that was killed."""

SECRET = f"{PREFIX}WEBHOOK_SECRET"
DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"

Say = Callable[[str], None]


def serve(report_dir: Path, settings: Settings, given: Mapping[str, str], say: Say) -> None:
    """Serve until SIGINT or SIGTERM. Raises CannotRun, ConfigError or PortInUse when that cannot begin."""
    report_dir, own_server = report_dir.resolve(), not given.get("PREFECT_API_URL")
    require_safe(settings.serve, given)
    with _held(report_dir), stop_on_signal() as stop:
        if own_server:
            given = _with_own_password(report_dir, settings, given, say)
        services = Services(report_dir, settings, surroundings(report_dir, settings.serve, given))
        supervisor = Supervisor(say)
        try:
            _begin(services, supervisor, stop, own_server=own_server)
            supervisor.watch(stop.is_set, stop)
        finally:
            _finish(services, supervisor)


@dataclass(frozen=True, slots=True)
class Services:
    """What is started, and with which environment."""

    report_dir: Path
    settings: Settings
    env: Mapping[str, str]

    @property
    def url(self) -> str:
        """The address of Prefect's API."""
        return self.env["PREFECT_API_URL"]

    @property
    def known(self) -> dict[str, str]:
        """The environment of all but the server, which alone needs its database's password."""
        return {name: text for name, text in self.env.items() if name != DATABASE}

    @property
    def logs(self) -> Path:
        """Where the services say what they do."""
        return Path(self.env["PREFECT_HOME"]) / "logs"

    @property
    def _open(self) -> dict[str, str]:
        """The environment of what needs no secret but the password of Prefect's API."""
        return {name: text for name, text in self.known.items() if not name.startswith(PREFIX)}

    def server(self) -> SupervisedCommand:
        """Prefect's server."""
        env = {name: text for name, text in self.env.items() if not name.startswith(PREFIX)}
        if password := env.get(AUTH):
            env["PREFECT_SERVER_API_AUTH_STRING"] = password
        host, port = self.settings.serve.host, self.settings.serve.port
        return self._service(
            "server", "prefect", "server", "start", f"--host={host}", f"--port={port}", env=env
        )

    def others(self) -> list[SupervisedCommand]:
        """The rest, in the order of their starts; without a secret there is no receiver.

        A pool of containers is not for a worker of processes: Prefect would let it take the runs.
        """
        serve, secret = self.settings.serve, self.settings.webhook.secret.get_secret_value()
        options = [f"--pool={serve.pool}", f"--limit={serve.limit}", f"--name={worker_name(self.report_dir)}"]
        worker = ["prefect", "worker", "start", "--type=process", *options]
        services = [
            self._service("caretaker", *self._caretaker, grace_s=CARETAKER_GRACE_S, parting=signal.SIGTERM)
        ]
        if not serve.image:
            services.insert(0, self._service("worker", *worker, grace_s=WORKER_GRACE_S))
        services.append(self._reports())
        if secret:
            receiver = ["deployments.webhook", str(self.report_dir / "webhook.db")]
            services.append(self._service("receiver", *receiver, env={**self.known, SECRET: secret}))
        return services

    def _reports(self) -> SupervisedCommand:
        serve = self.settings.serve
        names = [name for url in (serve.reports_here, serve.reports_url) if (name := urlsplit(url).hostname)]
        words = [str(self.report_dir), serve.host, str(serve.reports_port), *names]
        return self._service("reports", "deployments.service.reports", *words, env=self._open)

    def deploy(self) -> None:
        """Apply the catalogue. Raises CannotRun with what was said about it."""
        self._once("deployments.cli", "deploy", "--report-dir", str(self.report_dir))

    def mend(self) -> None:
        """Give what is left without a process its end, at once. Raises CannotRun if that does not work."""
        self._once(*self._caretaker, "--final")

    @property
    def _caretaker(self) -> list[str]:
        return ["deployments.service.caretaker", str(self.report_dir), self.env["PREFECT_HOME"]]

    def _once(self, *words: str) -> None:
        known, secret = secrets_apart(self.known)
        try:
            with sealed(secret) as handed:
                done = subprocess.run(
                    bound([sys.executable, "-m", *words], handed),
                    pass_fds=[handed],
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    cwd=REPOSITORY,
                    env=known,
                    start_new_session=True,
                    timeout=START_S,
                    check=False,
                )
        except subprocess.TimeoutExpired as exc:
            raise CannotRun(
                "serve", [f"{' '.join(words)} took longer than {START_S:.0f} s; try again"]
            ) from exc
        if done.returncode:
            raise CannotRun("serve", [(done.stderr or done.stdout).strip()])

    def _service(
        self,
        name: str,
        *words: str,
        env: Mapping[str, str] | None = None,
        grace_s: float = 10.0,
        parting: signal.Signals = signal.SIGKILL,
    ) -> SupervisedCommand:
        return SupervisedCommand(
            name=name,
            argv=[sys.executable, "-m", *words],
            env=env or self.known,
            cwd=REPOSITORY,
            log=self.logs / f"{name}.log",
            grace_s=grace_s,
            parting=parting,
        )


def surroundings(report_dir: Path, settings: ServeSettings, given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the services, which leaves nothing outside the report folder.

    Only the receiver gets to know the webhook's secret. A run starts two seconds after it was asked for,
    instead of Prefect's ten. What is older than Prefect's retention (90 days) goes from the database.
    """
    env = environment(report_dir, given)
    env |= {"PREFECT_HOME": str(report_dir / ".prefect"), "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false"}
    env.pop(SECRET, None)
    web = f"http://{reachable(settings.host)}:{settings.port}"
    ours = {"PREFECT_WORKER_QUERY_SECONDS": "2"}
    if not given.get("PREFECT_API_URL"):
        env["PREFECT_API_URL"] = f"{web}/api"
        # Prefect knows this setting by two names; its own would win over what people set by the other.
        seen_at = given.get("PREFECT_UI_URL") or web
        ours |= {
            "PREFECT_UI_URL": web,
            "PREFECT_SERVER_UI_API_URL": given.get("PREFECT_UI_API_URL") or f"{seen_at.rstrip('/')}/api",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        }
    return {**ours, **env}


def require_safe(settings: ServeSettings, given: Mapping[str, str]) -> None:
    """Raise ConfigError for a server that others can reach and that asks for no password."""
    if not is_loopback(settings.host) and not given.get(AUTH):
        problem = (
            f"{settings.host}: anyone who reaches the server can run commands here; "
            f"set {AUTH} (user:password)"
        )
        raise ConfigError("serve.host", [problem])


def _with_own_password(
    report_dir: Path, settings: Settings, given: Mapping[str, str], say: Say
) -> Mapping[str, str]:
    """Return an environment with a password for the server, if deliveries start runs and it names none."""
    if given.get(AUTH) or not settings.webhook.secret.get_secret_value():
        password_file(report_dir).unlink(missing_ok=True)
        return given
    say(f"Prefect's password: in {password_file(report_dir)}")
    return {**given, AUTH: keep_password(report_dir)}


def _begin(services: Services, supervisor: Supervisor, stop: Event, *, own_server: bool) -> None:
    settings, say = services.settings, supervisor.say
    _require_port(settings.serve.host, settings.serve.reports_port)
    if own_server:
        _require_port(settings.serve.host, settings.serve.port)
        if DATABASE not in services.env:
            _lay_out(Path(services.env["PREFECT_HOME"]))
        supervisor.start(services.server())
    deadline = time.monotonic() + START_S
    supervisor.watch(
        lambda: stop.is_set() or _answers(services.url) or time.monotonic() > deadline, pause=stop
    )
    if stop.is_set():
        return
    if not _answers(services.url):
        problem = f"no Prefect server answers at {services.url} within {START_S:.0f} s; see {services.logs}"
        raise CannotRun("serve", [problem])
    services.deploy()
    for service in services.others():
        supervisor.start(service)
    say(f"Prefect's UI:     {services.url.removesuffix('/api')}")
    receiver = receiver_at(settings) if "receiver" in supervisor.lives else f"off; {SECRET} is not set"
    say(f"webhook receiver: {receiver}")
    say(f"reports:          {settings.serve.reports_here}, in {services.report_dir}")
    say(f"logs:             {services.logs}")
    say("Ctrl-C ends it")


def receiver_at(settings: Settings) -> str:
    """Return where webhooks of every server go, whichever it is; /github is its older name."""
    return f"http://{reachable(settings.webhook.host)}:{settings.webhook.port}/webhook"


def _lay_out(home: Path) -> None:
    try:
        lay_out(home)
    except (OSError, sqlite3.Error) as exc:
        raise CannotRun("serve", [f"Prefect's database in {home}: {exc}"]) from exc


def _finish(services: Services, supervisor: Supervisor) -> None:
    """End the services in their order; what runs leave is mended while there is a server to tell."""
    if supervisor.lives:
        supervisor.say("stopping")
    for name in ("receiver", "caretaker"):
        supervisor.stop(name)
    if "worker" in supervisor.lives:
        supervisor.stop("worker")
        deadline = time.monotonic() + DRAIN_S
        home = services.env["PREFECT_HOME"]
        supervisor.watch(lambda: not living(home) or time.monotonic() > deadline, pause=Event())
        with suppress(CannotRun):
            services.mend()
    for name in ("reports", "server"):
        supervisor.stop(name)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=2).is_success
    except httpx.HTTPError:
        return False


def _require_port(host: str, port: int) -> None:
    try:
        wait_for(lambda: _is_free((host, port)), what="the port is free", timeout_s=PORT_S)
    except WaitTimeout as exc:
        address = f"{host}:{port}"
        raise PortInUse(address, listener_on(address)) from exc


def _is_free(address: tuple[str, int]) -> bool:
    try:
        socket.create_server(address).close()
    except OSError:
        return False
    return True


@contextmanager
def _held(report_dir: Path) -> Iterator[None]:
    """Hold the lock of a report folder, which the kernel gives back whatever ends us."""
    path = report_dir / ".prefect" / "serve.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            mend = "stop it, or give another --report-dir"
            problem = f"{report_dir} is served already, by process {path.read_text()}; {mend}"
            raise CannotRun("serve", [problem]) from exc
        file.truncate(0)
        print(os.getpid(), end="", file=file, flush=True)
        yield

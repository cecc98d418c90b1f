"""`kvsync-ci` on machines that lack something: what it prints, how it exits, and that it starts nothing."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kvsync.testing.processes.ledger import Ledger, leftovers
from tests.forking import COMMAND, Forking
from tests.integration.ci.conftest import Programs

ROOT = Path(__file__).resolve().parents[4]

Command = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def command(programs: Programs, fork: Forking) -> Command:
    """Run `kvsync-ci` where only the given programs exist; returns its exit status and what it printed."""
    (programs.folder / "env").symlink_to(shutil.which("env") or "/usr/bin/env")
    reports = programs.folder.parent / "reports"
    tests = programs.folder.parent / "tests" / "e2e"  # of the repository that one stands in
    tests.mkdir(parents=True)
    (tests / "test_it.py").touch()

    def run(*words: str, **variables: str) -> tuple[int, list[str]]:
        done = fork(
            COMMAND,
            *(*words, "--report-dir", str(reports)),
            env={
                **{name: text for name, text in os.environ.items() if not name.startswith("KVSYNC_")},
                "PATH": str(programs.folder),
                "PYTHONPATH": str(ROOT),
                "COLUMNS": "200",
                **variables,
            },
            cwd=programs.folder.parent,
        )
        return done.returncode, done.stdout.splitlines()

    return run


def test_a_run_is_refused_with_every_mend_before_anything_is_made(
    command: Command, programs: Programs, tmp_path: Path
) -> None:
    """Without Docker, kind and kubectl there is one message, exit status 2, and no folder of a run."""
    status, lines = command("run", "e2e", "--cluster", "kind")

    assert status == 2
    assert lines[1:] == [
        "--cluster kind cannot run here: 3 problems",
        "kind: kind is not installed; mend: install it: https://kind.sigs.k8s.io/docs/user/quick-start/",
        "kubectl: kubectl is not installed; mend: install it: https://kubernetes.io/docs/tasks/tools/",
        "docker: docker is not installed; mend: install Docker: https://docs.docker.com/engine/install/",
    ]
    assert list(tmp_path.glob("reports/*")) == []


def test_a_context_that_is_not_allowed_is_refused(command: Command, programs: Programs) -> None:
    """The message says how to allow it."""
    view = '{"contexts": [{"name": "prod"}], "current-context": "prod"}'
    programs(
        "kubectl", 'version*) echo \'{"clientVersion": {"gitVersion": "v1"}}\'', f"config*) echo '{view}'"
    )

    status, lines = command("run", "e2e", "--cluster", "kubeconfig:prod", KVSYNC_CI_IMAGE="x")

    allow = (
        "set KVSYNC_CI_ALLOWED_CONTEXTS=prod, or allowed_contexts in kvsync-ci.toml, "
        "if runs may use that cluster"
    )
    meaning = "context: prod is not allowed: a run touches only contexts that are allowed by name"
    assert status == 2
    assert lines[1:] == [
        "--cluster kubeconfig:prod cannot run here: 1 problem",
        f"{meaning}; mend: {allow}",
    ]


def test_a_tested_repository_does_not_allow_contexts(
    command: Command, programs: Programs, tmp_path: Path
) -> None:
    """Only what is configured where the pipeline is installed does, and it is refused at once."""
    view = '{"contexts": [{"name": "prod"}], "current-context": "prod"}'
    programs(
        "kubectl", 'version*) echo \'{"clientVersion": {"gitVersion": "v1"}}\'', f"config*) echo '{view}'"
    )
    (tmp_path / "kvsync-ci.toml").write_text('[cluster]\nallowed_contexts = ["prod"]\nimage = "x"\n')

    status, lines = command("run", "e2e", "--cluster", "kubeconfig", "--repository", str(tmp_path))

    assert status == 2
    assert lines[1].startswith(f"warning: {tmp_path}/kvsync-ci.toml is not read")
    assert any(line.startswith("context: prod is not allowed: a run touches only") for line in lines)
    assert list(tmp_path.glob("reports/*")) == []


@pytest.mark.parametrize("words", [["doctor"], ["run", "e2e"]], ids=["doctor", "run"])
def test_a_login_that_tests_do_not_see_is_found(
    command: Command, programs: Programs, words: list[str]
) -> None:
    """The API server is asked as tests will ask it."""
    programs(
        "kubectl",
        'version*) echo \'{"clientVersion": {"gitVersion": "v1"}}\'',
        'config*) echo \'{"contexts": [{"name": "dev"}], "current-context": "dev"}\'',
        """*/version) test "$CLOUD_TOKEN" && echo '{"gitVersion": "v1.34.0"}'""",
    )
    allowed = {"KVSYNC_CI_ALLOWED_CONTEXTS": "dev", "KVSYNC_CI_IMAGE": "x"}

    status, lines = command(*words, "--cluster", "kubeconfig", CLOUD_TOKEN="s3cret", **allowed)  # noqa: S106

    said = " ".join(" ".join(lines).split())
    assert status == 2
    assert "answers us, but not tests, whose environment has no secrets" in said


def test_the_doctor_prints_a_table_and_exits_with_2_when_something_is_missing(command: Command) -> None:
    """Each check has its line, and what is missing its mend."""
    status, lines = command("doctor")

    assert status == 2
    assert lines[0].startswith("repository /")
    assert [" ".join(line.split()) for line in lines[1:7]] == [
        "check state what it means, and how to mend it",
        "kind missing kind is not installed",
        "mend: install it: https://kind.sigs.k8s.io/docs/user/quick-start/",
        "kubectl missing kubectl is not installed",
        "mend: install it: https://kubernetes.io/docs/tasks/tools/",
        "docker missing docker is not installed",
    ]
    assert lines[-1] == "a run with --cluster kind cannot start here"


def test_the_doctor_speaks_json(command: Command) -> None:
    """A local cluster needs no program, and scripts can read that."""
    status, lines = command("doctor", "--cluster", "local", "--json")

    findings = json.loads("\n".join(lines[1:]))
    assert status == 0
    assert {finding["check"]: finding["state"] for finding in findings} == {
        f"disk of {findings[0]['check'].removeprefix('disk of ')}": "ok",
        "memory": "ok",
        "box": "not available here",
    }


@pytest.mark.parametrize(
    ("words", "variables", "message"),
    [
        (
            ("--cluster", "moon"),
            {},
            ["unknown cluster 'moon'; valid: local, kind, kubeconfig, kubeconfig:CONTEXT"],
        ),
        (
            (),
            {"KVSYNC_CI_WORKERS": "-1"},
            [
                "configuration of the pipeline: 1 problem",
                "cluster.workers: input should be greater than or equal to 0, not -1 (KVSYNC_CI_WORKERS)",
            ],
        ),
    ],
    ids=["cluster", "variable"],
)
def test_wrong_words_and_settings_are_named(
    command: Command, words: tuple[str, ...], variables: dict[str, str], message: list[str]
) -> None:
    """They are refused before anything is looked at."""
    assert command("doctor", *words, **variables) == (2, message)


def test_what_cannot_be_removed_is_named_and_the_rest_is_removed(
    command: Command, programs: Programs, tmp_path: Path
) -> None:
    """The exit status says that something is still there."""
    ledger = Ledger(tmp_path / "reports" / "run-7" / "ledger.jsonl")
    (tmp_path / "left").touch()
    ledger.intend("path", str(tmp_path / "left"))
    ledger.intend("kind-cluster", "kvsync-run-7")

    cleaned = command("clean")
    looked = command("clean", "--check")

    assert cleaned == (
        1,
        [
            "run-7: kind-cluster kvsync-run-7: not removed: cannot ask docker: docker is not installed",
            f"run-7: path {tmp_path / 'left'}",
            "1 removed, 1 not",
        ],
    )
    assert looked == (1, ["run-7: kind-cluster kvsync-run-7", "1 left behind"])
    assert not (tmp_path / "left").exists()
    assert [entry.kind for entry in leftovers([ledger.path])] == ["kind-cluster"]


def test_on_a_machine_without_docker_nothing_is_left_behind(command: Command, tmp_path: Path) -> None:
    """A run that used local processes alone is clean there."""
    ledger = Ledger(tmp_path / "reports" / "run-7" / "ledger.jsonl")
    ledger.released(ledger.intend("process", "engine"))

    assert command("clean", "--check") == (0, ["nothing is left behind"])

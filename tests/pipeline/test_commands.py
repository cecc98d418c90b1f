"""What `kvsync-ci` says about runs, and to wrong words."""

import pytest

from tests.pipeline.conftest import ROOT, Pipeline

pytestmark = pytest.mark.timeout(120)

STAGES = "unit, integration, property, machinery, e2e, benchmark, costs, load, chaos, soak, engines"


def test_every_wrong_word_is_named_at_once(pipeline: Pipeline) -> None:
    """What is wrong with stage, cluster, seed and trace is one message, with the valid names."""
    wrong = ["--cluster", "moon", "--seed", "-3", "--trace", "absent.jsonl"]

    status, lines = pipeline("run", "nonsense", *wrong)

    assert status == 2
    assert lines[0].startswith(f"repository {ROOT} at ")
    assert lines[1:] == [
        "parameters of the run: 4 problems",
        f"stages: unknown stage 'nonsense'; valid: {STAGES}",
        "cluster: unknown cluster 'moon'; valid: local, kind, kubeconfig, kubeconfig:CONTEXT",
        "seed: Input should be greater than or equal to 0",
        "trace: no such file: absent.jsonl",
    ]
    assert pipeline.runs() == []


def test_a_source_that_is_none(pipeline: Pipeline) -> None:
    """Both of its parts are said."""
    status, lines = pipeline("run", "--source", "here")

    assert status == 2
    assert [line.partition(", without password")[0] for line in lines[1:]] == [
        "parameters of the run: 2 problems",
        "source.url: give what git can fetch from",
        "source.commit: give the full hash of a commit, 40 hexadecimal digits",
    ]


def test_a_repository_that_is_not_there_is_one_line(pipeline: Pipeline) -> None:
    """It is not taken for one without tests."""
    assert pipeline("run", "--repository", "/nope") == (2, ["--repository /nope: there is no such folder"])


def test_an_empty_report_folder_has_no_runs(pipeline: Pipeline) -> None:
    """`list` and `show` say how to make a first run; `clean` finds nothing."""
    status, lines = pipeline("list")
    no_run = ["there is no run; start one with: kvsync-ci run"]
    assert pipeline("show", "last") == (2, [f"{pipeline.reports}: 1 problem", *no_run])
    assert (status, lines[0]) == (0, f"no run in {pipeline.reports}; start one with: kvsync-ci run")
    assert pipeline("clean", "--check") == (0, ["nothing is left behind"])

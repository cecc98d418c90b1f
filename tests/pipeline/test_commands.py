"""What `kvsync-ci` says about runs, and to wrong words."""

import pytest

from tests.pipeline.conftest import Pipeline

pytestmark = pytest.mark.timeout(120)

STAGES = "unit, integration, property, e2e, benchmark, load, chaos, soak"


def test_every_wrong_word_is_named_at_once(pipeline: Pipeline) -> None:
    """An unknown stage, an unknown cluster and a missing trace are one message, with the valid names."""
    status, lines = pipeline("run", "nonsense", "--cluster", "moon", "--trace", "absent.jsonl")

    assert status == 2
    assert lines == [
        "parameters of the run: 3 problem(s)",
        f"stages: unknown stage 'nonsense'; valid: {STAGES}",
        "cluster: unknown cluster 'moon'; valid: local, kind, kubeconfig, kubeconfig:CONTEXT",
        "trace: no such file: absent.jsonl",
    ]
    assert pipeline.runs() == []


def test_a_run_that_does_not_exist_is_refused_with_those_that_do(pipeline: Pipeline) -> None:
    """`show` of an unknown id lists what it could show."""
    assert pipeline("show", "yesterday") == (2, ["unknown run 'yesterday'; valid: last"])


def test_an_empty_report_folder_has_no_runs(pipeline: Pipeline) -> None:
    """`list` says how to make a first run; `clean` finds nothing."""
    status, lines = pipeline("list")
    assert (status, lines[0]) == (0, f"no run in {pipeline.reports}; start one with: kvsync-ci run")
    assert pipeline("clean", "--check") == (0, ["nothing is left behind"])

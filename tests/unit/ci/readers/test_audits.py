"""Audits: a check for each finding, nothing green without an audit, what is accepted until it expires."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kvsync.ci.readers.audits.cargo_audit import read_cargo_audit
from kvsync.ci.readers.audits.govulncheck import read_govulncheck
from kvsync.ci.readers.audits.npm_audit import read_npm_audit
from kvsync.ci.readers.audits.pip_audit import read_pip_audit
from kvsync.ci.readers.audits.sarif import read_sarif
from kvsync.ci.readers.bounds import Damaged
from kvsync.ci.readers.reading import ResultFile, result_of
from kvsync.ci.run.accepted import Accepted, accept, load_accepted
from kvsync.errors import ConfigError
from kvsync.testing.results.outcome import Outcome, StageResult
from tests.unit.ci.readers.recordings import recorded

ADVISORY = {"id": "RUSTSEC-2026-0047", "title": "bypass", "aliases": ["CVE-2026-3338"], "url": None}
PACKAGE = {"name": "aws-lc-sys", "version": "0.36.0"}

CONFIG = {"config": {"scanner_name": "govulncheck", "scan_level": "symbol"}}
SBOM = {
    "SBOM": {"go_version": "go1.26", "modules": [{"path": "example.com/m"}, {"path": "golang.org/x/text"}]}
}
OSV = {"osv": {"id": "GO-2021-0113", "aliases": ["CVE-2021-38561"], "details": "out of bounds"}}


def result(read: ResultFile, day: int = 15) -> StageResult:
    """Return an audit as a stage of a day in November."""
    started_at = datetime(2026, 11, day, tzinfo=UTC)
    found = result_of("audit", [("a", read)])
    return StageResult(
        name="audit", outcome=found.outcome, checks=found.checks, reason=found.reason, started_at=started_at
    )


def bad(read: ResultFile) -> dict[str, str]:
    """Return the kind of each check that did not pass."""
    return {check.name: check.kind for check in read.checks if check.kind != "passed"}


def cargo(
    weak: Sequence[object], warnings: object = (), *, count: int | None = None, known: int = 900
) -> str:
    """Return what cargo-audit would write."""
    count = len(weak) if count is None else count
    return json.dumps(
        {
            "database": {"advisory-count": known},
            "lockfile": {"dependency-count": 176},
            "vulnerabilities": {"found": count > 0, "count": count, "list": weak},
            "warnings": warnings,
        }
    )


def finding(*frames: dict[str, str]) -> dict[str, object]:
    """Return a finding of govulncheck."""
    return {"finding": {"osv": "GO-2021-0113", "fixed_version": "v0.3.7", "trace": frames}}


TEXT = {"module": "golang.org/x/text", "version": "v0.3.0"}
IMPORTED = {**TEXT, "package": "golang.org/x/text/language"}
CALLED = {**IMPORTED, "function": "Parse"}


def stream(*messages: object) -> str:
    """Return messages as govulncheck writes them, over several lines."""
    return "\n".join(json.dumps(each, indent=2) for each in messages)


def test_pip_audit() -> None:
    """A finding names its package, its other names, and the version that mends it."""
    read = read_pip_audit(recorded("pip-audit.json"))

    assert bad(read) == {"urllib3: PYSEC-2021-108": "failed"}
    assert "fixed in 1.26.5" in read.checks[-1].detail
    assert "CVE-2021-33503" in read.checks[-1].properties["finding"]
    old = json.dumps([{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": []}]}])
    assert bad(read_pip_audit(old)) == {"a: PYSEC-1": "failed"}


def test_what_was_not_audited_is_unknown() -> None:
    """A skipped dependency, and an audit of nothing."""
    assert result(read_pip_audit(recorded("pip-audit-skipped.json"))).outcome is Outcome.UNKNOWN
    assert result(read_pip_audit('{"dependencies": [], "fixes": []}')).outcome is Outcome.UNKNOWN


def test_npm_audit() -> None:
    """An advisory is a finding; a package that only depends on it is none."""
    found = {"lodash: GHSA-35jh-r3h4-6jhm": "failed", "minimist: GHSA-vh95-rmgr-6w4m": "failed"}

    assert bad(read_npm_audit(recorded("npm-audit.json"))) == found


def test_npm_6_and_pnpm() -> None:
    """Their form has advisories by number."""
    advisory = {"id": 1, "module_name": "a", "github_advisory_id": "GHSA-x", "cves": ["CVE-1"], "url": None}
    text = json.dumps({"advisories": {"1": advisory}, "metadata": {"totalDependencies": 3}})

    assert bad(read_npm_audit(text)) == {"a: GHSA-x": "failed"}


@pytest.mark.parametrize("text", [recorded("npm-audit-unreachable.json"), "{}", '{"metadata": {}}'])
def test_an_npm_audit_that_failed_is_damaged(text: str) -> None:
    """The registry did not answer: that is no absence of findings."""
    with pytest.raises(Damaged, match="the audit itself failed"):
        read_npm_audit(text)


def test_cargo_audit() -> None:
    """Vulnerabilities fail; what cargo-audit only warns of is shown."""
    weak = {"advisory": ADVISORY, "package": PACKAGE, "versions": {"patched": [">=0.38.0"]}}
    yanked = {"kind": "yanked", "package": {"name": "b"}, "advisory": None}
    warnings = {"yanked": [yanked]}

    assert bad(read_cargo_audit(cargo([weak], warnings))) == {
        "aws-lc-sys: RUSTSEC-2026-0047": "failed",
        "b: yanked": "skipped",
    }
    assert result(read_cargo_audit(cargo([], warnings))).outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("text", "doubt"),
    [(cargo([], count=2), "2 vulnerabilities are declared, 0 are there"), (cargo([], known=0), "was empty")],
)
def test_a_cargo_audit_in_doubt(text: str, doubt: str) -> None:
    """Fewer findings than declared, and an audit by nothing."""
    found = result(read_cargo_audit(text))

    assert found.outcome is Outcome.UNKNOWN
    assert doubt in found.reason


@pytest.mark.parametrize(
    ("frames", "kind"),
    [([TEXT], "skipped"), ([TEXT, IMPORTED], "skipped"), ([CALLED, TEXT, IMPORTED], "failed")],
    ids=["required", "imported", "called"],
)
def test_govulncheck_fails_for_what_is_called(frames: list[dict[str, str]], kind: str) -> None:
    """Of one vulnerability the nearest finding counts, in whatever order they come."""
    text = stream(CONFIG, SBOM, OSV, *map(finding, frames))

    assert bad(read_govulncheck(text)) == {"golang.org/x/text: GO-2021-0113": kind}


def test_govulncheck_of_modules_only() -> None:
    """Where nothing nearer was looked for, what is required counts."""
    config = {"config": {"scanner_name": "govulncheck", "scan_level": "module"}}

    assert list(bad(read_govulncheck(stream(config, SBOM, finding(TEXT)))).values()) == ["failed"]


def test_govulncheck_without_findings() -> None:
    """A scan that got under way and found nothing; one that only began, or is torn, is unknown."""
    clean = stream(CONFIG, SBOM, OSV)

    assert result(read_govulncheck(clean)).outcome is Outcome.PASSED
    assert result(read_govulncheck(stream(CONFIG))).outcome is Outcome.UNKNOWN
    assert result(read_govulncheck(clean[:-4])).outcome is Outcome.UNKNOWN
    with pytest.raises(Damaged, match="configuration"):
        read_govulncheck(stream(SBOM))


def test_sarif() -> None:
    """By rule and file, below the root; the lines are in the detail."""
    read = read_sarif(recorded("ruff.sarif"), "/src/shop")

    assert bad(read) == dict.fromkeys(
        (f"src/shop/bad.py: {rule}" for rule in ("F401", "F841", "S605", "S607")), "failed"
    )
    assert "src/shop/bad.py:2" in read.checks[1].detail
    assert result(read_sarif(recorded("ruff-clean.sarif"))).outcome is Outcome.PASSED


def test_sarif_notes_do_not_fail() -> None:
    """Bandit writes what is of low severity as notes."""
    read = read_sarif(recorded("bandit.sarif"))

    assert set(bad(read).values()) == {"skipped"}
    assert result(read).outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("extra", "kind"),
    [
        ({}, "failed"),
        ({"level": "note"}, "skipped"),
        ({"level": "error", "suppressions": [{"kind": "inSource"}]}, "skipped"),
        ({"level": "error", "suppressions": [{"kind": "external", "status": "rejected"}]}, "failed"),
        ({"ruleIndex": 0}, "skipped"),
        ({"kind": "pass", "level": "none"}, None),
        ({"level": "error", "baselineState": "absent"}, None),
    ],
)
def test_sarif_levels(extra: dict[str, object], kind: str | None) -> None:
    """A result is a warning unless it, or its rule, says otherwise; suppressions and baselines count."""
    rule = {"id": "R", "defaultConfiguration": {"level": "note"}}
    log = {
        "version": "2.1.0",
        "runs": [{"tool": {"driver": {"name": "t", "rules": [rule]}}, "results": [{"ruleId": "X", **extra}]}],
    }

    assert list(bad(read_sarif(json.dumps(log))).values()) == ([kind] if kind else [])


@pytest.mark.parametrize(
    ("run", "doubt"),
    [
        ({}, "no list of results"),
        ({"results": [], "invocations": [{"executionSuccessful": False}]}, "did not succeed"),
        (
            {
                "results": [],
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "toolExecutionNotifications": [{"level": "error", "message": {"text": "a crash"}}],
                    }
                ],
            },
            "a crash",
        ),
    ],
)
def test_a_sarif_run_in_doubt(run: dict[str, object], doubt: str) -> None:
    """A tool that did not scan, or not to the end, is not clean."""
    text = json.dumps({"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "t"}}, **run}]})
    found = result(read_sarif(text))

    assert found.outcome is Outcome.UNKNOWN
    assert doubt in found.reason


ENTRY = """[[accepted]]
finding = "{finding}"
package = "{package}"
owner = "@o"
reason = "internal only"
issue = "https://example.com/1"
added = 2026-11-10
expires = {expires}
"""


def entry(tmp_path: Path, finding: str, package: str = "", expires: str = "2026-11-20") -> Accepted:
    """Return a file with one entry."""
    file = tmp_path / "accepted.toml"
    file.write_text(ENTRY.format(finding=finding, package=package, expires=expires))
    return load_accepted(file)


@pytest.mark.parametrize(
    ("finding", "package", "day", "kind"),
    [
        ("PYSEC-2021-108", "urllib3", 15, "quarantined"),
        ("CVE-2021-33503", "", 20, "quarantined"),
        ("CVE-2021-33503", "idna", 15, "failed"),
        ("PYSEC-2021-108", "", 21, "failed"),
        ("PYSEC-2021-108", "", 9, "failed"),
    ],
    ids=["by id", "by alias", "another package", "expired", "not yet"],
)
def test_an_accepted_finding(tmp_path: Path, finding: str, package: str, day: int, kind: str) -> None:
    """By any of its names, in its package, from its first day to its last, by the date of the stage."""
    accepted = entry(tmp_path, finding, package)
    (stage,) = accept(accepted, [result(read_pip_audit(recorded("pip-audit.json")), day)])

    assert stage.checks[-1].kind == kind
    assert stage.outcome is (Outcome.PASSED if kind == "quarantined" else Outcome.FAILED)
    assert ("counts again" in stage.checks[-1].detail) == (day == 21)


def test_an_entry_for_nothing_is_a_remark(tmp_path: Path) -> None:
    """What was mended does not stay accepted unseen; other stages than audits do not say so."""
    tests = StageResult.unknown("unit", "not run")
    audit = result(read_pip_audit(recorded("pip-audit.json")))
    unit, after = accept(entry(tmp_path, "PYSEC-2020-1"), [tests, audit])

    assert unit == tests
    assert after.remarks == ("PYSEC-2020-1 is accepted and was not found: take it out",)
    assert after.outcome is Outcome.FAILED


def test_a_doubt_stays(tmp_path: Path) -> None:
    """Accepting a finding does not make an audit whole that was cut."""
    audit = result(read_pip_audit(recorded("pip-audit.json"))).doubted("cut")
    (after,) = accept(entry(tmp_path, "PYSEC-2021-108"), [audit])

    assert after.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("expires", ["2026-11-09", "2027-02-09", '"soon"'])
def test_an_end_is_needed(tmp_path: Path, expires: str) -> None:
    """Within 90 days, and not before its beginning."""
    with pytest.raises(ConfigError, match=r"accepted\[0\]"):
        entry(tmp_path, "X", expires=expires)

"""Which format a file is in, told by what is in it: names and endings of files say little. Pure."""

import re
from collections.abc import Callable, Mapping
from functools import partial

from kvsync.ci.readers.audits.cargo_audit import read_cargo_audit
from kvsync.ci.readers.audits.govulncheck import read_govulncheck
from kvsync.ci.readers.audits.npm_audit import read_npm_audit
from kvsync.ci.readers.audits.pip_audit import read_pip_audit
from kvsync.ci.readers.audits.sarif import read_sarif
from kvsync.ci.readers.benchmarks.action_benchmark import read_action_benchmark
from kvsync.ci.readers.benchmarks.go_bench import read_go_bench
from kvsync.ci.readers.benchmarks.hyperfine import read_hyperfine
from kvsync.ci.readers.benchmarks.pytest_benchmark import read_pytest_benchmark
from kvsync.ci.readers.bounds import Damaged, stream_of
from kvsync.ci.readers.go_test import read_go_test
from kvsync.ci.readers.profiles.cobertura import read_cobertura
from kvsync.ci.readers.profiles.coverage_py import read_coverage_py
from kvsync.ci.readers.profiles.go_cover import read_go_cover
from kvsync.ci.readers.profiles.lcov import read_lcov
from kvsync.ci.readers.reading import ResultFile
from kvsync.ci.readers.tap import read_tap

JUNIT = "junit"
"""Its reader takes files, not text: kvsync.ci.report.junit_reader."""

READERS: Mapping[str, Callable[[str], ResultFile]] = {
    "go-test": read_go_test,
    "tap": read_tap,
    "pytest-benchmark": read_pytest_benchmark,
    "go-bench": read_go_bench,
    "hyperfine": read_hyperfine,
    "customBiggerIsBetter": partial(read_action_benchmark, better="higher"),
    "customSmallerIsBetter": partial(read_action_benchmark, better="lower"),
    "pip-audit": read_pip_audit,
    "cargo-audit": read_cargo_audit,
    "npm-audit": read_npm_audit,
    "govulncheck": read_govulncheck,
    "coverage.py": read_coverage_py,
    "lcov": read_lcov,
    "go-cover": read_go_cover,
}
"""Each reads the text of a file, and raises Damaged for what is not its format."""

ROOTED: Mapping[str, Callable[[str, str], ResultFile]] = {"sarif": read_sarif, "cobertura": read_cobertura}
"""Likewise; these also take the folder from which paths are named."""

FORMATS = (JUNIT, *READERS, *ROOTED)

HEAD = 64 * 1024
"""Characters by which text is told; tools print their own lines before."""

_TAG = re.compile(r"<(?![?!])(?:[\w.-]+:)?([\w.-]+)")
_GO_EVENT = re.compile(r'^\{"(Time|Action|ImportPath)":', re.MULTILINE)
_LINES = (
    ("go-test", _GO_EVENT),
    ("tap", re.compile(r"^(TAP version \d+|1\.\.\d+|(not )?ok \d+)\b", re.MULTILINE)),
    ("go-cover", re.compile(r"\Amode: (set|count|atomic)\s*$", re.MULTILINE)),
    ("lcov", re.compile(r"^(TN:.*\n)?SF:.+\n", re.MULTILINE)),
    ("go-bench", re.compile(r"^Benchmark\S*\s+\d+\s+\S+ ns/op", re.MULTILINE)),
)


class Unrecognized(Damaged):
    """A file in none of the formats; the message says how to mend that."""


def format_of(text: str) -> str:
    """Return the name of the format of a text; raises Unrecognized."""
    head = text[:HEAD].replace("\0", "").lstrip("\ufeff \t\r\n")
    found = ""
    if head.startswith("<"):
        found = _of_xml(head)
    elif head.startswith(("{", "[")) and not _GO_EVENT.match(head):
        found = _of_json(text)
    else:
        found = next((name for name, lines in _LINES if lines.search(head)), "")
    if not found:
        begins = " ".join(head[:60].split())
        raise Unrecognized(
            f"it is in no format that is read (it begins with {begins!r}): {', '.join(FORMATS)}; "
            "name the format if it is one of these"
        )
    return found


def _of_xml(head: str) -> str:
    tag = found[1] if (found := _TAG.search(head)) else ""
    names = {"testsuites": JUNIT, "testsuite": JUNIT, "coverage": "cobertura"}
    return names.get(tag, "")


def _of_json(text: str) -> str:
    """Tell a document, or the first of a stream, by its keys; raises Unrecognized if it is not whole."""
    try:
        first = next(iter(stream_of(text)))[0]
    except Damaged as error:
        raise Unrecognized(
            f"it is damaged JSON ({error}); name its format to read what can be read"
        ) from error
    match first:
        case {"Action": str()}:
            return "go-test"
        case {"config": {"scanner_name": "govulncheck"}}:
            return "govulncheck"
        case {"benchmarks": list(), "machine_info": dict()}:
            return "pytest-benchmark"
        case {"results": [{"command": str()}, *_]}:
            return "hyperfine"
        case {"dependencies": [*_]} | [{"name": str(), "version": str()}, *_]:
            return "pip-audit"
        case {"vulnerabilities": dict(), "lockfile": dict()}:
            return "cargo-audit"
        case {"auditReportVersion": _} | {"advisories": dict()} | {"error": {"summary": _, "detail": _}}:
            return "npm-audit"
        case {"runs": list(), "version": str()} | {"runs": list(), "$schema": str()}:
            return "sarif"
        case {"files": dict(), "meta": dict()}:
            return "coverage.py"
        case [{"name": str(), "unit": str(), "value": _}, *_]:
            raise Unrecognized(
                "github-action-benchmark's list does not say which values are better: "
                "name the format customBiggerIsBetter or customSmallerIsBetter"
            )
    return ""

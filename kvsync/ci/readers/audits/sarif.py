"""SARIF 2.1.0, as linters and scanners write it. Pure.

- A result fails if its level is `error` or `warning` (which it is unless it or its rule says otherwise);
  `note`, `none` and what the code suppresses are shown as skipped. What only an earlier scan had is left out.
- The name is rule and file, without the line: code moves.
- A run that says that it did not succeed, or that has no list of results, is a doubt.
"""

from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from kvsync.ci.readers.audits.finding import AUDITED, AuditFinding
from kvsync.ci.readers.bounds import Damaged, Foreign, Many, parsed
from kvsync.ci.readers.reading import ResultFile
from kvsync.testing.results.outcome import Check


class _Text(Foreign):
    text: str = ""
    id: str = ""


class _Artifact(Foreign):
    uri: str = ""


class _Region(Foreign):
    startLine: int = 0  # noqa: N815 - SARIF's names, here and below


class _Physical(Foreign):
    artifactLocation: _Artifact = _Artifact()  # noqa: N815
    region: _Region = _Region()


class _Location(Foreign):
    physicalLocation: _Physical = _Physical()  # noqa: N815


class _Suppression(Foreign):
    status: str = "accepted"


class _RuleReference(Foreign):
    id: str = ""


class _Result(Foreign):
    ruleId: str = ""  # noqa: N815
    ruleIndex: int = -1  # noqa: N815
    rule: _RuleReference = _RuleReference()
    level: str = ""
    kind: str = "fail"
    message: _Text = _Text()
    locations: Many[_Location] = ()
    suppressions: Many[_Suppression] | None = None
    baselineState: str = ""  # noqa: N815


class _Configuration(Foreign):
    level: str = "warning"


class _Rule(Foreign):
    id: str
    helpUri: str = ""  # noqa: N815
    shortDescription: _Text = _Text()  # noqa: N815
    defaultConfiguration: _Configuration = _Configuration()  # noqa: N815


class _Driver(Foreign):
    name: str
    rules: Many[_Rule] = ()


class _Tool(Foreign):
    driver: _Driver


class _Notification(Foreign):
    level: str = "warning"
    message: _Text = _Text()


class _Invocation(Foreign):
    executionSuccessful: bool  # noqa: N815
    toolExecutionNotifications: Many[_Notification] = ()  # noqa: N815


class _Run(Foreign):
    tool: _Tool
    results: Many[_Result] | None = None
    invocations: Many[_Invocation] = ()


class _Log(Foreign):
    version: str
    runs: Many[_Run] | None = None


def read_sarif(text: str, root: str = "") -> ResultFile:
    """Return a check for each result; paths below the folder `root` are named from there. Raises Damaged."""
    log = parsed(_Log, text)
    if not log.runs:
        raise Damaged("no run of a tool is in it")
    doubts = [doubt for run in log.runs if (doubt := _doubt(run))]
    return ResultFile(
        checks=[check for run in log.runs for check in _checks(run, root)],
        doubts=doubts,
        remarks=[] if log.version == "2.1.0" else [f"it is of version {log.version}, and read as 2.1.0"],
    )


def _doubt(run: _Run) -> str:
    """Say why a run may not have found what there is."""
    name = run.tool.driver.name
    if run.results is None:
        return f"{name} has no list of results: nothing was scanned"
    if any(not each.executionSuccessful for each in run.invocations):
        return f"{name} says that it did not succeed"
    errors = [
        note for each in run.invocations for note in each.toolExecutionNotifications if note.level == "error"
    ]
    return f"{name} reports an error: {errors[0].message.text}" if errors else ""


def _checks(run: _Run, root: str) -> Iterator[Check]:
    driver = run.tool.driver
    yield Check(name=f"{driver.name}: scanned", kind="passed", properties={AUDITED: "code"})
    rules = {rule.id: rule for rule in driver.rules}
    for result in run.results or []:
        if result.baselineState == "absent" or result.kind in ("pass", "notApplicable"):
            continue
        by_index = driver.rules[result.ruleIndex] if 0 <= result.ruleIndex < len(driver.rules) else None
        rule = by_index or rules.get(result.ruleId or result.rule.id)
        yield _finding(result, rule, root).check()


def _finding(result: _Result, rule: _Rule | None, root: str) -> AuditFinding:
    place = result.locations[0].physicalLocation if result.locations else _Physical()
    path = _path(place.artifactLocation.uri, root)
    level = result.level or (rule.defaultConfiguration.level if rule else "warning")
    suppressed = any(each.status == "accepted" for each in result.suppressions or [])
    line = f"{path}:{place.region.startLine}" if place.region.startLine else path
    return AuditFinding(
        id=result.ruleId or result.rule.id or (rule.id if rule else "(no rule)"),
        where=path or "(no file)",
        title=result.message.text or result.message.id or (rule.shortDescription.text if rule else ""),
        severity=f"{level}{', suppressed in the code' if suppressed else ''}",
        mend=line,
        url=rule.helpUri if rule else "",
        counts=level in ("error", "warning") and result.kind == "fail" and not suppressed,
    )


def _path(uri: str, root: str) -> str:
    """Return a path, from `root` on where it lies in there."""
    parts = urlsplit(uri) if uri.startswith("file:") else None
    path = unquote(parts.path if parts else uri)
    within = f"{root.rstrip('/')}/"
    return path.removeprefix(within) if root else path

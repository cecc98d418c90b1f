"""The JSON of `npm audit`, of npm 7 and later and of npm 6 (whose form pnpm still writes). Pure.

npm 7 lists every package on the way to a weak one; only where an advisory is named, there is a finding.
"""

from collections.abc import Iterator

from kvsync.ci.readers.audits.finding import AuditFinding, audited
from kvsync.ci.readers.bounds import Damaged, Foreign, Many, Table, parsed
from kvsync.ci.readers.reading import ResultFile
from kvsync.testing.results.outcome import Check


class _Via(Foreign):
    source: int | str = ""
    name: str = ""
    title: str = ""
    url: str = ""
    severity: str = ""
    range: str = ""


class _Package(Foreign):
    name: str
    via: Many[_Via | str] = ()
    fixAvailable: object = None  # noqa: N815 - npm's name


class _OldAdvisory(Foreign):
    id: int | str
    module_name: str
    title: str = ""
    severity: str = ""
    url: str = ""
    vulnerable_versions: str = ""
    patched_versions: str = ""
    github_advisory_id: str = ""
    cves: Many[str] = ()


class _Metadata(Foreign):
    dependencies: object = None
    totalDependencies: int | None = None  # noqa: N815 - npm's name


class _Report(Foreign):
    vulnerabilities: Table[_Package] | None = None
    advisories: Table[_OldAdvisory] | None = None
    metadata: _Metadata = _Metadata()
    error: object = None
    message: str = ""


def read_npm_audit(text: str) -> ResultFile:
    """Return a check for each advisory; raises Damaged, also if the audit itself failed."""
    report = parsed(_Report, text)
    if report.vulnerabilities is None and report.advisories is None:
        raise Damaged(f"the audit itself failed: {report.message or report.error or 'it says nothing'}")
    found = {(each.where, each.id): each for each in (*_findings(report), *_old_findings(report))}
    return ResultFile(checks=[_audited(report.metadata), *(each.check() for each in found.values())])


def _audited(metadata: _Metadata) -> Check:
    """Return that dependencies were audited; their number is in two places, or in none."""
    counts = metadata.dependencies
    total = counts.get("total") if isinstance(counts, dict) else counts
    number = metadata.totalDependencies if metadata.totalDependencies is not None else total
    return audited("npm audit", number if isinstance(number, int) else 0)


def _findings(report: _Report) -> Iterator[AuditFinding]:
    for name, package in (report.vulnerabilities or {}).items():
        for via in package.via:
            if isinstance(via, str):
                continue
            yield AuditFinding(
                id=_id(via.url, via.source),
                where=via.name or name,
                title=via.title,
                severity=via.severity,
                url=via.url,
                mend=_mend(package.fixAvailable, via.range),
            )


def _old_findings(report: _Report) -> Iterator[AuditFinding]:
    for each in (report.advisories or {}).values():
        yield AuditFinding(
            id=each.github_advisory_id or _id(each.url, each.id),
            where=each.module_name,
            title=each.title,
            aliases=each.cves,
            severity=each.severity,
            url=each.url,
            mend=f"affected {each.vulnerable_versions}, patched in {each.patched_versions}",
        )


def _id(url: str, number: int | str) -> str:
    """Return GitHub's name of an advisory, which ends its URL; npm's number differs between registries."""
    last = url.rstrip("/").rpartition("/")[2]
    return last if last.startswith("GHSA-") else str(number)


def _mend(fix: object, affected: str) -> str:
    if isinstance(fix, dict):
        return f"affected {affected}, fixed by {fix.get('name')} {fix.get('version')}"
    return f"affected {affected}, {'a fix is there: npm audit fix' if fix else 'no fix is known'}"

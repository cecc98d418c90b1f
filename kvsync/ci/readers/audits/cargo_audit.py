"""The JSON of cargo-audit. Pure.

Its warnings (unmaintained, unsound, yanked) do not fail it, nor do they here: they are shown as skipped.
"""

from collections.abc import Iterator

from pydantic import Field

from kvsync.ci.readers.audits.finding import AuditFinding, audited
from kvsync.ci.readers.bounds import Foreign, Many, Table, parsed
from kvsync.ci.readers.reading import ResultFile


class _Advisory(Foreign):
    id: str
    title: str = ""
    aliases: Many[str] = ()
    url: str | None = None


class _Package(Foreign):
    name: str
    version: str = ""


class _Versions(Foreign):
    patched: Many[str] = ()


class _Weakness(Foreign):
    advisory: _Advisory
    package: _Package
    versions: _Versions = _Versions()


class _Weaknesses(Foreign):
    found: bool
    count: int
    list: Many[_Weakness]


class _Warning(Foreign):
    kind: str
    package: _Package
    advisory: _Advisory | None = None


class _Lockfile(Foreign):
    dependencies: int = Field(alias="dependency-count")


class _Database(Foreign):
    advisories: int = Field(alias="advisory-count")


class _Settings(Foreign):
    ignore: Many[str] = ()


class _Report(Foreign):
    database: _Database | None = None
    lockfile: _Lockfile
    settings: _Settings = _Settings()
    vulnerabilities: _Weaknesses
    warnings: Table[Many[_Warning]] | Many[_Warning] = ()


def read_cargo_audit(text: str) -> ResultFile:
    """Return a check for each finding; raises Damaged."""
    report = parsed(_Report, text)
    weak = report.vulnerabilities
    if weak.count != len(weak.list) or weak.found != bool(weak.list):
        doubt = f"{weak.count} vulnerabilities are declared, {len(weak.list)} are there"
    else:
        is_empty = report.database is not None and not report.database.advisories
        doubt = "its database of advisories was empty" if is_empty else ""
    ignored = report.settings.ignore
    return ResultFile(
        checks=[
            audited("cargo-audit", report.lockfile.dependencies),
            *(each.check() for each in _findings(report)),
        ],
        remarks=[f"told to ignore {', '.join(ignored)}"] if ignored else [],
    ).doubted(doubt)


def _findings(report: _Report) -> Iterator[AuditFinding]:
    for each in report.vulnerabilities.list:
        patched = each.versions.patched
        yield AuditFinding(
            id=each.advisory.id,
            where=each.package.name,
            version=each.package.version,
            title=each.advisory.title,
            aliases=each.advisory.aliases,
            url=each.advisory.url or "",
            mend=f"patched in {', '.join(patched)}" if patched else "no version without it is known",
        )
    groups = report.warnings
    for warning in (
        groups if isinstance(groups, tuple) else [each for group in groups.values() for each in group]
    ):
        advisory = warning.advisory
        yield AuditFinding(
            id=advisory.id if advisory else warning.kind,
            where=warning.package.name,
            version=warning.package.version,
            title=f"{warning.kind}: {advisory.title}" if advisory else warning.kind,
            aliases=advisory.aliases if advisory else (),
            url=(advisory.url or "") if advisory else "",
            counts=False,
        )

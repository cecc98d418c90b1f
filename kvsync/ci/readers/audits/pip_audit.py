"""The JSON of pip-audit, in its present form and in that before version 2.5. Pure.

A dependency that was skipped was not audited, which leaves the audit undecided.
"""

from pydantic import RootModel

from kvsync.ci.readers.audits.finding import AuditFinding, audited
from kvsync.ci.readers.bounds import Foreign, Many, parsed
from kvsync.ci.readers.reading import ResultFile
from kvsync.testing.results.outcome import Check


class _Weakness(Foreign):
    id: str
    aliases: Many[str] = ()
    fix_versions: Many[str] = ()
    description: str = ""


class _Dependency(Foreign):
    name: str
    version: str = ""
    vulns: Many[_Weakness] = ()
    skip_reason: str = ""


class _Report(Foreign):
    dependencies: Many[_Dependency]


class _OldReport(RootModel[Many[_Dependency]]):
    """The form without fixes."""


def read_pip_audit(text: str) -> ResultFile:
    """Return a check for each finding and for each dependency that was skipped; raises Damaged."""
    if text.lstrip().startswith("["):
        dependencies = parsed(_OldReport, text).root
    else:
        dependencies = parsed(_Report, text).dependencies
    looked_at = [each for each in dependencies if not each.skip_reason]
    return ResultFile(
        checks=[
            audited("pip-audit", len(looked_at)),
            *(
                Check(name=f"{each.name}: not audited", kind="not-run", detail=each.skip_reason)
                for each in dependencies
                if each.skip_reason
            ),
            *(_finding(each, weakness).check() for each in looked_at for weakness in each.vulns),
        ]
    )


def _finding(dependency: _Dependency, weakness: _Weakness) -> AuditFinding:
    fixed = weakness.fix_versions
    return AuditFinding(
        id=weakness.id,
        where=dependency.name,
        version=dependency.version,
        title=weakness.description,
        aliases=weakness.aliases,
        mend=f"fixed in {', '.join(fixed)}" if fixed else "no version without it is known",
    )

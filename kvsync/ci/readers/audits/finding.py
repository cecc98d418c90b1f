"""What an audit found: a weakness of a dependency, or a place in the code. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from kvsync.testing.results.outcome import Check, StageResult

IDS = "finding"
"""The property of a check that is a finding: its names, with spaces between them."""

AUDITED = "audited"
"""The property of a check that says how much was audited."""

PACKAGE = "package"
"""The property that says of which package, or in which file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFinding:
    """One finding. `counts`: it fails the audit; what its tool only warns of is shown and decides nothing.

    `where`: a package, or a file with its line behind it in `title`; `aliases`: other names of the same.
    """

    id: str
    where: str
    title: str
    aliases: Sequence[str] = ()
    version: str = ""
    severity: str = ""
    mend: str = ""
    url: str = ""
    counts: bool = True

    def check(self) -> Check:
        """Return the finding as a check; its name holds no version: its history goes on after an update."""
        version = f"{self.where} {self.version}" if self.version else ""
        said = (self.title, version, self.severity, self.mend, " ".join(self.aliases), self.url)
        return Check(
            name=f"{self.where}: {self.id}",
            kind="failed" if self.counts else "skipped",
            detail="\n".join(filter(None, said)),
            properties={IDS: " ".join([self.id, *self.aliases]), PACKAGE: self.where},
        )


def audited(tool: str, number: int, what: str = "dependencies") -> Check:
    """Return the check that something was audited: an audit of nothing proves nothing."""
    name, said = f"{tool}: {what} audited", {AUDITED: f"{number} {what}"}
    if number > 0:
        return Check(name=name, kind="passed", properties=said)
    return Check(name=name, kind="not-run", detail=f"no {what} were looked at", properties=said)


def is_audit(result: StageResult) -> bool:
    """Say whether a stage audited something."""
    return result.has(lambda check: AUDITED in check.properties)

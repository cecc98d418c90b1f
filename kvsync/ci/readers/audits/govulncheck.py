"""The stream of `govulncheck -format json` (protocol 1). Pure.

One vulnerability is reported up to three times: that a module has it, that a package with it is imported,
that a function with it is called. With symbols scanned only what is called fails, as it does without JSON;
where only modules or packages are scanned, each counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from kvsync.ci.readers.audits.finding import AuditFinding, audited
from kvsync.ci.readers.bounds import Damaged, Foreign, Many, stream_of
from kvsync.ci.readers.reading import ResultFile
from kvsync.testing.results.outcome import Check

LEVELS = ("only required", "imported, not called", "called")


class _Config(Foreign):
    scan_level: str = "symbol"


class _Osv(Foreign):
    id: str
    summary: str = ""
    details: str = ""
    aliases: Many[str] = ()


class _Frame(Foreign):
    module: str = ""
    version: str = ""
    package: str = ""
    function: str = ""
    receiver: str = ""


class _Finding(Foreign):
    osv: str
    fixed_version: str = ""
    trace: Many[_Frame] = ()

    @property
    def level(self) -> int:
        """How near it is: see LEVELS."""
        frame = self.trace[0] if self.trace else _Frame()
        return 2 if frame.function else 1 if frame.package else 0


class _Sbom(Foreign):
    modules: Many[object] = ()


class _Message(Foreign):
    config: _Config | None = None
    progress: object = None
    SBOM: _Sbom | None = None
    osv: _Osv | None = None
    finding: _Finding | None = None


@dataclass(slots=True)
class _Scan:
    config: _Config | None = None
    is_under_way: bool = False
    modules: int = 0
    osvs: dict[str, _Osv] = field(default_factory=dict)
    findings: dict[tuple[str, str], _Finding] = field(default_factory=dict)

    def take(self, message: _Message) -> None:
        """Take a message in; of one vulnerability in one module, the nearest finding stays."""
        self.config = message.config or self.config
        self.is_under_way = self.is_under_way or bool(message.progress or message.SBOM or message.osv)
        self.modules += len(message.SBOM.modules) if message.SBOM else 0
        if message.osv:
            self.osvs[message.osv.id] = message.osv
        if each := message.finding:
            key = (each.osv, each.trace[0].module if each.trace else "")
            known = self.findings.get(key)
            if known is None or each.level > known.level:
                self.findings[key] = each


def read_govulncheck(text: str) -> ResultFile:
    """Return a check for each vulnerability; raises Damaged."""
    scan, doubt = _Scan(), ""
    try:
        for value, _ in stream_of(text):
            scan.take(_Message.model_validate(value))
    except (Damaged, ValidationError) as error:
        doubt = (
            f"it breaks off: {error}" if isinstance(error, Damaged) else "a message is not one of govulncheck"
        )
    if scan.config is None:
        raise Damaged(doubt or "it does not begin with the configuration of a scan")
    if not scan.is_under_way:
        doubt = doubt or "it ends before anything was scanned"
    return ResultFile(checks=[_audited(scan), *_checks(scan, scan.config)]).doubted(doubt)


def _audited(scan: _Scan) -> Check:
    return audited("govulncheck", scan.modules or int(scan.is_under_way), "modules")


def _checks(scan: _Scan, config: _Config) -> Sequence[Check]:
    found = []
    for (name, module), each in scan.findings.items():
        osv, frame = scan.osvs.get(name) or _Osv(id=name), each.trace[0] if each.trace else _Frame()
        called = ".".join(filter(None, [frame.package, frame.receiver, frame.function]))
        finding = AuditFinding(
            id=name,
            where=module or "(no module)",
            version=frame.version,
            title=osv.summary or osv.details,
            aliases=osv.aliases,
            severity=f"{LEVELS[each.level]}{f': {called}' if frame.function else ''}",
            mend=f"fixed in {each.fixed_version}" if each.fixed_version else "no version without it is known",
            url=f"https://pkg.go.dev/vuln/{name}",
            counts=each.level == 2 or config.scan_level != "symbol",
        )
        found.append(finding.check())
    return found

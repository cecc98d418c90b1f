"""Which stages a run has: those that it names, or those that the file says are part of such runs. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pathspec import GitIgnoreSpec

from kvsync.ci.project.chaos_stage import ChaosStageTable, PodSelector
from kvsync.ci.project.coverage import CommandCoverage, PytestCoverage
from kvsync.ci.project.found_stages import BenchmarkStageTable
from kvsync.ci.project.load_stage import LoadStageTable
from kvsync.ci.project.model import CommandStageTable, Project, PytestStageTable, StageTable
from kvsync.ci.project.relations import combinations, combined_name, filled, in_order
from kvsync.ci.project.shards import SHARD, Shard
from kvsync.ci.project.stage_fields import When
from kvsync.ci.project.values import Profile, ProfileKind, Schedule, Trigger
from kvsync.errors import ConfigError, UnknownName


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What kind of run it is. `changed` are the paths that a pull request changes, None where not known."""

    profile: Profile = "quick"
    trigger: Trigger = "manual"
    schedule: Schedule | None = None
    changed: Sequence[str] | None = None
    trusted: bool = True


@dataclass(frozen=True, slots=True)
class ProjectStage:
    """One stage, for one combination of its matrix: `origin` is its name in the file.

    `load` is the stage whose requests it sends while faults act; `shard` the part of its tests that it has.
    """

    name: str
    origin: str
    table: StageTable
    values: dict[str, str] = field(default_factory=dict)
    load: LoadStageTable | None = None
    shard: Shard | None = None

    @property
    def uses_cluster(self) -> bool:
        """Whether its tests use the cluster that a run asks for."""
        if isinstance(self.table, ChaosStageTable):
            return any(isinstance(fault.on, PodSelector) for fault in self.table.faults.values())
        return self.needs_image

    @property
    def needs_image(self) -> bool:
        """Whether engines and a gateway are started there; faults act on pods that are there already."""
        return isinstance(self.table, PytestStageTable) and self.table.cluster

    def coverage_of(self, profile: Profile) -> CommandCoverage | PytestCoverage | None:
        """Return what is measured and asked of its coverage in runs of a profile, None if nothing is."""
        if not isinstance(self.table, PytestStageTable | CommandStageTable):
            return None
        found = self.table.coverage
        return found if found and profile in found.profiles else None

    @property
    def is_compared(self) -> bool:
        """Whether it is measured in turns with the commit at which the code left its base."""
        return isinstance(self.table, BenchmarkStageTable) and self.table.compare is not None

    @property
    def folder(self) -> str:
        """Where its tests are, or where its command is started; "" for the top."""
        return filled(getattr(self.table, "folder", None) or "", self.values)


def profiled(stages: Mapping[str, ProjectStage], asked: Mapping[str, ProfileKind]) -> dict[str, ProjectStage]:
    """Return the stages, those that are asked for with a profile of their program.

    A stage is named as it is, or as in the file. Raises ConfigError for one that has no such program.
    """
    found = dict(stages)
    for name, kind in asked.items():
        for each in stages.values():
            if name in (each.name, each.origin):
                if not isinstance(each.table, PytestStageTable | CommandStageTable):
                    what = (
                        f"{name} is of the kind {each.table.kind}; stages of pytest and command have profiles"
                    )
                    raise ConfigError("parameters of the run", [f"profilers: {what}"])
                found[each.name] = replace(each, table=each.table.model_copy(update={"profile": kind}))
    return found


def stages_of(project: Project) -> dict[str, ProjectStage]:
    """Return every stage that there is, in the order in which they run."""
    links = {name: (*table.needs, *table.after) for name, table in project.stages.items()}
    found = {}
    for origin in in_order(links):
        table = project.stages[origin]
        for values in combinations(table.every_value):
            name = combined_name(origin, values)
            found[name] = ProjectStage(
                name, origin, table, values, _load_of(table, project), _shard_of(table, origin, values)
            )
    return found


def _shard_of(table: StageTable, origin: str, values: dict[str, str]) -> Shard | None:
    numbers = table.shards if isinstance(table, PytestStageTable) else None
    if not numbers:
        return None
    whole = combined_name(origin, {name: value for name, value in values.items() if name != SHARD})
    names = tuple(combined_name(whole, {SHARD: str(number)}) for number in range(1, numbers + 1))
    return Shard(number=int(values[SHARD]), stages=names, whole=whole)


def _load_of(table: StageTable, project: Project) -> LoadStageTable | None:
    name = table.steady.load if isinstance(table, ChaosStageTable) else None
    load = project.stages.get(name) if name else None
    return load if isinstance(load, LoadStageTable) else None


def choose(project: Project, names: Sequence[str], occasion: Occasion) -> tuple[str, ...]:
    """Return the names of the stages of a run; a name stands for all that its matrix makes.

    Raises UnknownName for one that there is not, and ConfigError when nothing is left to run. A fork's commit
    has no stage that needs a cluster.
    """
    every = stages_of(project)
    for name in names:
        if not any(name in (each.name, each.origin) for each in every.values()):
            raise UnknownName("stage", name, every)
    asked = {
        each.name
        for each in every.values()
        if ({each.name, each.origin} & set(names) if names else is_part(each.table.when, occasion))
    }
    chosen = _with_needs(project, every, asked)
    left = {name for name in chosen if occasion.trusted or not every[name].uses_cluster}
    if not left:
        why = (
            "every stage asked for needs a cluster, which is not for forks" if chosen else _no_part(occasion)
        )
        raise ConfigError("stages of the run", [why])
    order = [name for name in every if name in left]
    return _as_named(order, names, every)


def is_part(when: When, occasion: Occasion) -> bool:
    """Say whether such a run has a stage by itself. What a run changes and is not known, may be anything."""
    if occasion.profile not in when.profiles or occasion.trigger not in when.triggers:
        return False
    if occasion.trigger == "schedule" and occasion.schedule and occasion.schedule not in when.schedules:
        return False
    if not when.paths or occasion.changed is None:
        return True
    patterns = GitIgnoreSpec.from_lines(when.paths)
    return any(patterns.match_file(path) for path in occasion.changed)


def _no_part(occasion: Occasion) -> str:
    what = f"{occasion.trigger} in the profile {occasion.profile}"
    return f"no stage is part of a run by {what}: name one, or change its `when` in the file"


def _with_needs(project: Project, every: dict[str, ProjectStage], asked: set[str]) -> set[str]:
    """Return also what the asked ones need, and what that needs."""
    found = set(asked)
    waiting = [every[name].origin for name in asked]
    seen: set[str] = set()
    while waiting:
        origin = waiting.pop()
        for needed in project.stages[origin].needs if origin not in seen else ():
            if needed in project.services:
                continue
            found |= {each.name for each in every.values() if each.origin == needed}
            waiting.append(needed)
        seen.add(origin)
    return found


def _as_named(order: Sequence[str], names: Sequence[str], every: dict[str, ProjectStage]) -> tuple[str, ...]:
    """Put stages in the order in which they are named, where nothing in the file says otherwise."""
    ranks = {name: rank for rank, name in reversed(list(enumerate(names)))}

    def rank(name: str) -> int:
        return min(ranks.get(name, len(names)), ranks.get(every[name].origin, len(names)))

    named = sorted(order, key=rank)
    links = {
        name: [
            other
            for other in named
            if every[other].origin in (*every[name].table.needs, *every[name].table.after)
        ]
        for name in named
    }
    return tuple(in_order(links))

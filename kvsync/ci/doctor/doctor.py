"""Looks at this machine, and at a cluster, before a run uses them: asks, and has findings judge the answers.

Nothing is changed, pulled or left behind. Checks run in parallel, each for a bounded time, and one that
breaks does not hide the others.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from kvsync.ci.cluster_settings import ClusterChoice, ClusterSettings
from kvsync.ci.doctor import docker as docker_findings
from kvsync.ci.doctor import findings
from kvsync.ci.doctor import kubernetes as kubernetes_findings
from kvsync.ci.doctor.findings import Finding, FindingState
from kvsync.ci.doctor.kubernetes import NEEDED, REVIEW_OUTPUT, TO_DRAIN, TO_INJECT, Contexts, Rights
from kvsync.testing.clusters.kubernetes.machine import CLUSTER_LABEL
from kvsync.testing.clusters.kubernetes.manifests import MANAGED
from kvsync.testing.processes.tools import ON_PATH, ToolAnswer, Tools, kubectl

REGISTRY_S = 8.0
"""A registry needs a token and two round trips to answer."""

INOTIFY = Path("/proc/sys/fs/inotify")

OURS = ",".join(f"{label}={value}" for label, value in MANAGED.items())
"""Selects what any run created."""

AVAILABLE = "jsonpath={range .items[*]}{.metadata.name} {.status.availableReplicas}{'\\n'}{end}"

SERVER_VERSION = ("get", "--raw", "/version")

Examination = Callable[[], Sequence[Finding]]

AskServer = Callable[..., ToolAnswer]
"""Asks the API server through kubectl, with these arguments and `text` as its input."""


def examine(
    choice: ClusterChoice,
    settings: ClusterSettings,
    *,
    folder: Path,
    name: str = "",
    reuse: str = "",
    tools: Tools = ON_PATH,
    environ: Mapping[str, str] | None = None,
    with_image: bool = True,
    repository: Path | None = None,
) -> list[Finding]:
    """Look at everything that a run with this cluster needs; `folder` is where its reports go.

    `name` is that of the Kind cluster to be made, "" if it is not known yet; `reuse` that of one to be used
    if it exists. `environ` is what tests see of our environment and log in with; None for all of it.
    `with_image` says whether the run needs the image of gateway and simulator there, and `repository` what it
    would be built from, None if that is not known yet.
    """
    reports = [_disk(folder, findings.LOCAL_BYTES)]
    match choice.kind:
        case "local":
            return [*reports, findings.memory(psutil.virtual_memory().available, nodes=0)]
        case "kind":
            checks: list[Examination] = [
                lambda: [docker_findings.kind(tools.ask("kind", "version")), _kubectl(tools)],
                lambda: _docker(tools, settings, name, reuse, with_image=with_image, repository=repository),
            ]
        case "kubeconfig":
            checks = [
                lambda: [
                    _kubectl(tools),
                    *([kubernetes_findings.image(settings.image)] if with_image else []),
                ],
                lambda: _kubeconfig(tools, settings, choice.context, environ),
            ]
    return [*_all(checks), *reports]


def _all(checks: Sequence[Examination]) -> list[Finding]:
    """Run checks in parallel; a defect in one of them is a finding like any other."""
    with ThreadPoolExecutor(max_workers=len(checks)) as pool:
        return [finding for each in pool.map(_guarded, checks) for finding in each]


def _guarded(check: Examination) -> Sequence[Finding]:
    try:
        return check()
    except Exception as exc:  # programs and kernels may answer in unforeseen ways
        return [findings.missing("doctor", f"a check broke: {exc!r}", "report this as a bug of kvsync-ci")]


def _docker(
    tools: Tools,
    settings: ClusterSettings,
    name: str,
    reuse: str,
    *,
    with_image: bool,
    repository: Path | None,
) -> list[Finding]:
    found = docker_findings.docker(tools.ask("docker", "version", "--format", "{{.Server.Version}}"))
    if found.state is not FindingState.OK:
        rest = ("node image", "base image", "cluster name", "memory", "kernel")
        return [found, *(findings.unavailable(each, "not looked at: see docker") for each in rest)]
    clusters = _clusters(tools)
    if in_use := reuse in clusters:
        named = findings.ok("cluster name", f"{reuse} is there, and will be used")
    else:
        named = docker_findings.cluster_name(reuse or name, clusters)
    nodes = 0 if in_use else settings.workers + 1
    checks: list[Examination] = [
        lambda: _node_image(tools, settings.node_image, needed=not in_use),
        lambda: [_our_image(tools, settings, repository)] if with_image else [],
        lambda: _capacity(tools, nodes),
        lambda: [_inotify(nodes)] if INOTIFY.exists() else [],
    ]
    without = "not in a fresh Kind cluster; faults that only it can do will be not run"
    return [found, named, *_all(checks), findings.unavailable("Chaos Mesh", without)]


def _node_image(tools: Tools, wanted: str, *, needed: bool) -> list[Finding]:
    """Judge the nodes' image if it is needed, and in it, or in another version of it, the kernel."""
    program = tools.find("kind")
    image = wanted or (docker_findings.built_in_image(Path(program).read_bytes()) if program else "")
    if not image:
        meaning = "the one that kind was released with; it is pulled if it is not here"
        return [findings.ok("node image", meaning), *docker_findings.kernel(None)]
    finding, here = _image(tools, "node image", image, "KVSYNC_CI_KIND_NODE_IMAGE")
    kernel = docker_findings.kernel(_kernel(tools, here[0]) if here else None)
    return [finding, *kernel] if needed else kernel


def _our_image(tools: Tools, settings: ClusterSettings, repository: Path | None) -> Finding:
    if settings.image:
        return _image(tools, "image", settings.image, "KVSYNC_CI_IMAGE")[0]
    if repository and (
        absent := [each for each in docker_findings.BUILT_FROM if not (repository / each).exists()]
    ):
        return docker_findings.no_image(absent)
    return _image(tools, "base image", settings.base_image, "KVSYNC_CI_BASE_IMAGE")[0]


def _image(tools: Tools, check: str, image: str, setting: str) -> tuple[Finding, list[str]]:
    """Judge an image; also return the images here that can stand in for it, the image itself first."""
    if tools.ask("docker", "image", "inspect", "--format={{.Id}}", image).ok:
        return findings.ok(check, f"{image} is here"), [image]
    listed = tools.ask("docker", "image", "ls", "--format={{.Repository}}:{{.Tag}}").lines
    instead = docker_findings.similar(image, listed)
    registry = tools.ask("docker", "manifest", "inspect", image, timeout_s=REGISTRY_S)
    finding = docker_findings.absent_image(check, image, registry=registry, setting=setting, instead=instead)
    return finding, instead


def _kernel(tools: Tools, image: str) -> ToolAnswer:
    """Try in a container without a network, which ends by itself even if we are killed."""
    container = ["docker", "run", "--rm", "--network=none", "--cap-add=NET_ADMIN", f"--label={OURS}"]
    return tools.ask(*container, "--entrypoint=timeout", image, "5", "sh", "-c", docker_findings.KERNEL_PROBE)


def _clusters(tools: Tools) -> set[str]:
    label = f'{{{{.Label "{CLUSTER_LABEL}"}}}}'
    return set(
        tools.ask("docker", "ps", "--all", f"--filter=label={CLUSTER_LABEL}", f"--format={label}").lines
    )


def _capacity(tools: Tools, nodes: int) -> list[Finding]:
    """Judge memory and disk; where Docker runs in a virtual machine, its disk cannot be seen from here."""
    available, root = psutil.virtual_memory().available, ""
    match tools.ask("docker", "info", "--format={{json .}}").document:
        case {"MemTotal": int(total), "DockerRootDir": str(root)}:
            available = min(available, total)
    memory = findings.memory(available, nodes=nodes)
    return [memory, _disk(Path(root), findings.IMAGES_BYTES)] if root and Path(root).exists() else [memory]


def _disk(folder: Path, needed: int) -> Finding:
    place = next(each for each in (folder.resolve(), *folder.resolve().parents) if each.exists())
    return findings.disk(shutil.disk_usage(place).free, place=str(folder), needed=needed)


def _inotify(nodes: int) -> Finding:
    instances, watches = (
        int((INOTIFY / name).read_text()) for name in ("max_user_instances", "max_user_watches")
    )
    return findings.inotify(instances, watches, nodes=nodes)


def _kubectl(tools: Tools) -> Finding:
    return kubernetes_findings.kubectl(tools.ask("kubectl", "version", "--client", "--output=json"))


def pin(
    choice: ClusterChoice, settings: ClusterSettings, environ: Mapping[str, str], tools: Tools = ON_PATH
) -> tuple[ClusterChoice, ClusterSettings]:
    """Return the same with the kubeconfig's file and context that kubectl would use by default now.

    The current context may change during a run. Of several files, the first that has the context is taken.
    """
    if choice.kind != "kubeconfig":
        return choice, settings
    files = [settings.kubeconfig.absolute()] if settings.kubeconfig else kubeconfigs(environ)
    views = {file: tools.ask(*kubectl(file, None, "config", "view", "--output=json")) for file in files}
    found = {file: Contexts.read(view.document) for file, view in views.items()}
    context = choice.context or next((each.current for each in found.values() if each.current), None)
    file = next((file for file, each in found.items() if context in each.names), next(iter(found), None))
    return replace(choice, context=context), settings.model_copy(update={"kubeconfig": file})


def kubeconfigs(environ: Mapping[str, str]) -> list[Path]:
    """Return the files that kubectl reads by default and that exist: KUBECONFIG's, or the one at home."""
    named = [each for each in environ.get("KUBECONFIG", "").split(os.pathsep) if each]
    files = [Path(each) for each in named] or [
        Path(environ.get("HOME", "~")).expanduser() / ".kube" / "config"
    ]
    return [file.absolute() for file in files if file.is_file()]


def _kubeconfig(
    tools: Tools, settings: ClusterSettings, wanted: str | None, environ: Mapping[str, str] | None
) -> list[Finding]:
    view = tools.ask(*kubectl(settings.kubeconfig, None, "config", "view", "--output=json"))
    found = [kubernetes_findings.kubeconfig(view, settings.kubeconfig)]
    contexts = Contexts.read(view.document)
    if found[0].state is FindingState.OK:
        found.append(kubernetes_findings.context(wanted, contexts, settings.allowed_contexts))
    if found[-1].state is FindingState.OK:
        context = wanted or contexts.current
        ask = asking(replace(tools, environ=environ), settings.kubeconfig, context)
        server = kubernetes_findings.api_server(version := ask(*SERVER_VERSION))
        if server.state is FindingState.OK:
            checks = [lambda: _rights(ask), lambda: [stuck_namespaces(ask)], lambda: [_chaos_mesh(ask)]]
            return [*found, server, *_all(checks)]
        hidden = environ is not None and asking(tools, settings.kubeconfig, context)(*SERVER_VERSION).ok
        found.append(kubernetes_findings.hidden_login(version) if hidden else server)
    rest = ("API server", "permissions", "namespaces", "Chaos Mesh")
    asked = {each.check for each in found}
    because = f"not looked at: see {found[-1].check}"
    return found + [findings.unavailable(each, because) for each in rest if each not in asked]


def asking(tools: Tools, kubeconfig: object, context: object) -> AskServer:
    """Return a function that asks the API server of a context."""

    def ask(*words: str, text: str = "") -> ToolAnswer:
        argv = kubectl(kubeconfig, context, "--request-timeout=5s", *words)
        return tools.ask(*argv, text=text, timeout_s=REGISTRY_S)

    return ask


def _rights(ask: AskServer) -> list[Finding]:
    return kubernetes_findings.permissions(_reviewed(ask, [*NEEDED, *TO_DRAIN]))


def _reviewed(ask: AskServer, rights: Rights) -> ToolAnswer:
    question = json.dumps(kubernetes_findings.reviews(rights))
    return ask("create", "--filename=-", f"--output={REVIEW_OUTPUT}", text=question)


def stuck_namespaces(ask: AskServer) -> Finding:
    """See whether a namespace of any run cannot be deleted."""
    listed = ask("get", "namespaces", f"--selector={OURS}", "--output=json")
    return kubernetes_findings.namespaces(listed, datetime.now(UTC))


def _chaos_mesh(ask: AskServer) -> Finding:
    controllers = (
        "--selector=app.kubernetes.io/part-of=chaos-mesh,app.kubernetes.io/component=controller-manager"
    )
    return kubernetes_findings.chaos_mesh(
        ask("get", "crd", "--output=name"),
        ask("get", "deployments", "--all-namespaces", controllers, f"--output={AVAILABLE}"),
        _reviewed(ask, TO_INJECT),
    )

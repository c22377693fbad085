"""The stack's objects on the daemon: are they there, as planned, and well. Pure functions of an observation."""

from collections.abc import Iterator, Sequence

from components.settings import CdpBrowser, NoEdge
from ops.machine.daemon import DEFAULT_SOCKET
from ops.observe.doctor.findings import Finding, error, warning
from ops.observe.doctor.observation import LOOKED_FROM, HostFacts, Observation, Planned, same_image
from ops.stack.inventory import Container

LOOPBACK = {"127.0.0.1", "::1"}
# A container that Docker has started again more often since it was created is in a loop, or was.
MANY_RESTARTS = 3
# PostgreSQL keeps three for the superuser; the server opens up to five at once.
SPARE_CONNECTIONS = 8


def check_images(seen: Observation) -> Iterator[Finding]:
    """Every image that this version names, or that the state runs, is on the daemon."""
    if seen.host is None:
        return
    for reference, found in seen.host.present.items():
        if found is None:
            yield error("image", reference, "is not on the daemon", f"bin/ops images build -s {seen.stack}")


def check_port(seen: Observation) -> Iterator[Finding]:
    """Each port that the stack publishes is ours or free."""
    if seen.settings is None or seen.host is None:
        return
    # Behind an edge the gateway is published nowhere.
    published = isinstance(seen.settings.edge, NoEdge)
    ports = {"host.port": (seen.settings.host.port, seen.host.port_free)} if published else {}
    if isinstance(seen.settings.browser, CdpBrowser):
        ports["browser.proxy_port"] = (seen.settings.browser.proxy_port, seen.host.proxy_port_free)
    ours = {outside for one in seen.host.containers if one.status == "running" for _, outside, _ in one.published}
    for key, (port, free) in ports.items():
        if not free and port not in ours:
            yield error(
                "port",
                f"127.0.0.1:{port}",
                "another program listens on it",
                f"end that program (ss -ltnp 'sport = :{port}' names it), or write another {key} into {seen.stack.file_name}",
            )


def check_containers_exist(seen: Observation) -> Iterator[Finding]:
    """Every container of the state is there; none of the stack's label is there beside them."""
    if seen.host is None or not _recorded(seen):
        return
    there = {one.name for one in seen.host.containers}
    planned = {one.name for one in _planned(seen)}
    for name in sorted(planned - there):
        yield error("container", name, "does not exist", _again(seen))
    for name in sorted(there - planned):
        yield error(
            "orphan", name, "carries this stack's label and is not in its state", f"{docker_command(seen)} rm --force {name}"
        )


def check_containers_run(seen: Observation) -> Iterator[Finding]:
    """Every container runs, is not paused, does not restart again and again."""
    for one, _ in _known_containers(seen):
        if one.status == "paused":
            yield error("container", one.name, "is paused", f"{docker_command(seen)} unpause {one.name}")
        elif one.status == "restarting" or (one.status == "running" and one.restarts > MANY_RESTARTS):
            yield error(
                "container",
                one.name,
                f"restart loop: Docker has started it again {one.restarts} times, last exit {one.exit_code}",
                f"bin/ops logs -s {seen.stack} {one.part} says why; correct that, then {docker_command(seen)} restart {one.name}",
            )
        elif one.status != "running":
            killed = ", killed: out of memory" if one.oom_killed else ""
            yield error("container", one.name, f"does not run ({one.status}, exit {one.exit_code}{killed})", _start(seen, one))


def _start(seen: Observation, container: Container) -> str:
    if container.oom_killed:
        return _more_memory(seen, container)
    return f"{docker_command(seen)} start {container.name}"


def check_health(seen: Observation) -> Iterator[Finding]:
    """A container that runs is healthy; one that was killed for want of memory gets more."""
    for one, _ in _known_containers(seen):
        if one.status != "running":
            continue
        if one.health == "unhealthy":
            yield error(
                "health",
                one.name,
                "runs and is unhealthy",
                f"{docker_command(seen)} restart {one.name} (bin/ops logs -s {seen.stack} {one.part} says why)",
            )
        elif one.health == "starting":
            yield warning("health", one.name, "is still starting", "wait a minute and ask again")
        if one.oom_killed:
            yield error("memory", one.name, "ran out of memory: a process in it was killed", _more_memory(seen, one))


def _more_memory(seen: Observation, container: Container) -> str:
    key = {"server": "server.memory_mib", "postgres": "database.memory_mib"}.get(container.part)
    if key is None:
        return f"{docker_command(seen)} restart {container.name}"
    return f"write a larger {key} into {seen.stack.file_name}, then pulumi up -s {seen.stack}"


def check_image_drift(seen: Observation) -> Iterator[Finding]:
    """A container runs the image of the state, under the id that the name has now, and of this version of the project."""
    for one, planned in _known_containers(seen):
        if seen.host is None or planned is None:
            continue
        newer = same_image(planned.image, seen.named)
        if one.image != planned.image:
            yield error("image", one.name, f"runs {one.image}, and the state says {planned.image}", _recreate(seen, one))
        elif newer is not None and newer != one.image:
            yield warning(
                "image",
                one.name,
                f"runs {one.image}, and this version of the project names {newer}",
                f"bin/ops images build -s {seen.stack}, then pulumi up -s {seen.stack}",
            )
        elif (now := seen.host.present.get(one.image)) is not None and now != one.image_id:
            yield warning("image", one.name, f"was made from an older {one.image}", _recreate(seen, one))


def check_hardening(seen: Observation) -> Iterator[Finding]:
    """A container is as closed as the program makes it, whoever made it."""
    for one, planned in _known_containers(seen):
        for problem in _openings(one, planned):
            yield error("hardening", one.name, problem, _recreate(seen, one))


def _openings(container: Container, planned: Planned | None) -> Iterator[str]:
    if container.privileged:
        yield "is privileged: it has the whole machine"
    if not container.read_only:
        yield "its root can be written to"
    if not container.capabilities_dropped:
        yield "has kernel capabilities"
    if not container.no_new_privileges:
        yield "may gain privileges"
    if not container.system_calls_filtered:
        yield "has no system call filter (seccomp=unconfined)"
    for address, port, _ in container.published:
        if address not in LOOPBACK:
            yield f"port {port} is published on {address or '0.0.0.0'}, beyond this machine"  # noqa: S104
    if planned is not None and planned.memory_mib != container.memory_mib:
        has = f"{container.memory_mib} MiB" if container.memory_mib else "none"
        yield f"its memory limit is {has}, and the state says {planned.memory_mib} MiB"


def check_isolation(seen: Observation) -> Iterator[Finding]:
    """What must not be reached is not, the firewall is in force, and Docker's own rules are there as well."""
    settings, host = seen.settings, seen.host
    if settings is None or host is None:
        return
    for opening in host.openings or ():
        yield error("isolation", opening.partition(" ")[0], opening.partition(" ")[2], f"script/up --stack {seen.stack}")
    if host.openings is None and any(one.status == "running" and one.part in LOOKED_FROM for one in host.containers):
        yield warning("isolation", f"stack {seen.stack}", "could not be checked", f"bin/ops smoke -s {seen.stack} says why")
    if host.docker_rules_lost:
        yield warning(
            "isolation",
            "Docker",
            "its own rules for the stack's networks are gone (a flush, firewalld, another daemon); the firewall still holds",
            "sudo systemctl restart docker",
        )
    if not settings.host.firewall:
        problem = "is false: containers reach the host and private addresses, and Docker's rules alone keep networks apart"
        fix = f"write host.firewall: true into {seen.stack.file_name}, then pulumi up -s {seen.stack}"
        yield warning("isolation", "host.firewall", problem, fix)
        version = seen.daemon_facts.version if seen.daemon_facts else ""
        if version.partition(".")[0].isdigit() and int(version.partition(".")[0]) < 28:
            for one in host.containers:
                if one.published:
                    problem = (
                        f"Docker {version} lets neighbours of this host in by its address, also where the port is on loopback"
                    )
                    yield warning("isolation", one.name, problem, f"{fix}; or install Docker 28 or newer")


def check_volumes(seen: Observation) -> Iterator[Finding]:
    """Volumes of the state are there, and no others of this stack."""
    if seen.host is not None and seen.pulumi.deployed is not None:
        gone = "does not exist: what was in it is gone, unless you have a backup"
        yield from _differences(seen, "volume", seen.pulumi.deployed.volumes, seen.host.volumes, gone)


def check_networks(seen: Observation) -> Iterator[Finding]:
    """Networks of the state are there, and no others of this stack."""
    if seen.host is not None and seen.pulumi.deployed is not None:
        yield from _differences(seen, "network", seen.pulumi.deployed.networks, seen.host.networks, "does not exist")


def _differences(seen: Observation, kind: str, planned: Sequence[str], there: Sequence[str], gone: str) -> Iterator[Finding]:
    for name in sorted(set(planned) - set(there)):
        yield error(kind, name, gone, _again(seen))
    for name in sorted(set(there) - set(planned)):
        remedy = f"{docker_command(seen)} {kind} rm {name}"
        yield warning("orphan", name, "carries this stack's label and is not in its state", remedy)


def check_gateway(seen: Observation) -> Iterator[Finding]:
    """The API answers through the gateway. Silent while one of the two has a finding of its own, and behind an edge, where the
    public names are asked instead.
    """
    if seen.settings is None or seen.host is None or not isinstance(seen.settings.edge, NoEdge):
        return
    well = {one.part for one in seen.host.containers if one.status == "running" and one.health == "healthy"}
    if {"gateway", "server"} <= well and seen.host.heartbeat != 200:
        answer = f"answers {seen.host.heartbeat}" if seen.host.heartbeat else "does not answer"
        yield error(
            "gateway",
            f"127.0.0.1:{seen.settings.host.port}",
            f"the API {answer}",
            f"{docker_command(seen)} restart {seen.stack.prefix('gateway')}",
        )


def check_connections(seen: Observation) -> Iterator[Finding]:
    """PostgreSQL takes more connections: what it keeps for the superuser and a few more are left."""
    if seen.host is None or seen.host.connections is None:
        return
    used, allowed = seen.host.connections
    if used > allowed - SPARE_CONNECTIONS:
        yield error(
            "database",
            seen.stack.prefix("postgres"),
            f"{used} of {allowed} connections are in use",
            f"{docker_command(seen)} restart {seen.stack.prefix('server')} (closes its connections)",
        )


def check_retention(seen: Observation) -> Iterator[Finding]:
    """Retention does its rounds: after a jump of the clock it waits for a day."""
    if seen.host is not None and seen.host.retention_waits:
        yield warning(
            "clock",
            seen.stack.prefix("retention"),
            f"removes nothing: {seen.host.retention_waits}",
            "set the clock right if it is wrong; otherwise wait a day",
        )


def check_llm(seen: Observation) -> Iterator[Finding]:
    """The server can connect to the language model."""
    if seen.settings is not None and seen.host is not None and seen.host.llm_error:
        yield error(
            "language model",
            seen.settings.llm.provider,
            f"the server cannot connect to it: {seen.host.llm_error}",
            "let Docker's containers out to it (DNS, firewall), or correct llm in "
            f"{seen.stack.file_name}, then pulumi up -s {seen.stack}",
        )


def check_chrome(seen: Observation) -> Iterator[Finding]:
    """The server can use the Chrome elsewhere, asked as Skyvern asks it."""
    settings, answer = seen.settings, seen.host.chrome if seen.host else None
    if settings is None or not isinstance(settings.browser, CdpBrowser) or answer is None or not answer.problem:
        return
    file = seen.stack.file_name
    problem, fix = {
        "name": (
            f"the server cannot resolve this name ({answer.detail})",
            f"write Chrome's IP address as browser.url into {file}, then pulumi up -s {seen.stack}",
        ),
        "connect": (
            f"no answer to the server ({answer.detail})",
            "start Chrome with its debugging port, and let this port through the firewall of its machine (docs/browsers.md)",
        ),
        "status": (
            f"answers with status {answer.detail}: Chrome refuses a Host header that is not an IP address",
            f"write Chrome's IP address as browser.url, or as browser.host_header, into {file}, then pulumi up -s {seen.stack}",
        ),
        "other": (
            "something answers that is not Chrome's debugging port",
            f"correct the port of browser.url in {file}, then pulumi up -s {seen.stack}",
        ),
        "redirect": (
            f"Chrome sends the server on to {answer.detail}, which it does not reach",
            f"write the IP address and port of browser.url as browser.host_header into {file}, then pulumi up -s {seen.stack}",
        ),
    }[answer.problem]
    yield error("Chrome", settings.browser.url, problem, fix)


def check_sandbox(seen: Observation) -> Iterator[Finding]:
    """The kernel lets Chromium make its sandbox. Silent where the server runs, for it has tried."""
    limit, settings = seen.namespace_limit, seen.settings
    if not limit or settings is None or isinstance(settings.browser, CdpBrowser) or not settings.browser.sandbox:
        return
    server = next((one for one in seen.host.containers if one.part == "server"), None) if seen.host else None
    if server is not None and server.status == "running" and server.health == "healthy":
        return
    value = {"user.max_user_namespaces": 15000, "kernel.unprivileged_userns_clone": 1}.get(limit, 0)
    fix = f"echo {limit}={value} | sudo tee /etc/sysctl.d/60-skyvern.conf && sudo sysctl --system (docs/browsers.md)"
    # AppArmor has rules of its own for containers: before a server has tried, its setting proves nothing.
    told = warning if limit.startswith("kernel.apparmor") and server is None else error
    yield told("sandbox", limit, "keeps Chromium from making its sandbox, and without it the server does not start", fix)


def _known_containers(seen: Observation) -> Iterator[tuple[Container, Planned | None]]:
    """The stack's own containers with their plan; orphans have a finding already. Without a state, every labelled one."""
    host: HostFacts | None = seen.host
    planned = {one.name: one for one in _planned(seen)}
    for one in host.containers if host else ():
        if one.name in planned or not _recorded(seen):
            yield one, planned.get(one.name)


def _recorded(seen: Observation) -> bool:
    """Whether a state tells what should be there. A stack that was never deployed has its own finding."""
    return seen.pulumi.deployed is not None


def _planned(seen: Observation) -> list[Planned]:
    return list(seen.pulumi.deployed.containers) if seen.pulumi.deployed else []


def docker_command(seen: Observation) -> str:
    """``docker`` for the stack's daemon, as a person types it."""
    return "docker" if seen.docker_host == DEFAULT_SOCKET else f"docker --host {seen.docker_host}"


def _again(seen: Observation) -> str:
    """Only a refresh makes the engine see what somebody removed by hand."""
    return f"pulumi up --refresh -s {seen.stack}"


def _recreate(seen: Observation, container: Container) -> str:
    return f"{docker_command(seen)} rm --force {container.name}, then {_again(seen)}"


CHECKS = (
    check_images,
    check_port,
    check_containers_exist,
    check_containers_run,
    check_health,
    check_image_drift,
    check_hardening,
    check_isolation,
    check_volumes,
    check_networks,
    check_gateway,
    check_connections,
    check_retention,
    check_llm,
    check_chrome,
    check_sandbox,
)

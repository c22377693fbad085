"""The stack's objects on the daemon: whether they exist, as planned, and are healthy. Pure functions of an observation."""

from collections.abc import Iterator

from components.settings import CdpBrowser, NoBackup, NoEdge
from ops.observe import backups, internet
from ops.observe.doctor.findings import Finding, error, warning
from ops.observe.doctor.observation import PROBED_PARTS, Observation, Planned, published_ports, same_image
from ops.observe.doctor.remedies import docker_at, docker_command, on_swarm, refresh, restart, restart_container, write
from ops.stack.inventory import Container, Replica

LOOPBACK = {"127.0.0.1", "::1"}
# A container that Docker has restarted more often since it was created is in a loop, or was.
MANY_RESTARTS = 3
# PostgreSQL keeps three for the superuser; the server opens up to five at once.
SPARE_CONNECTIONS = 8


def check_images(observation: Observation) -> Iterator[Finding]:
    """Every image that this version names, or that a container of the state runs, is on the daemon."""
    if observation.host is None:
        return
    for reference, image_id in observation.host.present.items():
        if image_id is None:
            yield error("image", reference, "is not on the daemon", f"bin/ops images build -s {observation.stack}")
    for host, references in observation.host.lacking.items():
        names = f"{references[0]}{f' and {len(references) - 1} more' if len(references) > 1 else ''}"
        yield error("image", names, f"is not at {host}", f"script/up --stack {observation.stack} brings it there")


def check_port(observation: Observation) -> Iterator[Finding]:
    """Each port that the stack publishes is ours or free."""
    if observation.settings is None or observation.host is None:
        return
    ours = {outside for container in observation.host.running.values() for _, outside, _ in container.published}
    for key, port in published_ports(observation.settings).items():
        if not observation.host.free_ports.get(key, True) and port not in ours:
            listed = f"ss -ltnp 'sport = :{port}' names it"
            fix = f"end that program ({listed}), or write another {key} into {observation.stack.file_name}"
            yield error("port", f"127.0.0.1:{port}", "another program listens on it", fix)


def check_containers_exist(observation: Observation) -> Iterator[Finding]:
    """Every container of the state exists, and no other has the stack's label."""
    if observation.host is None or observation.pulumi.deployed is None:
        return
    existing = {container.name for container in observation.host.containers}
    existing |= {service.name for service in observation.host.services}
    planned = {container.name for container in observation.pulumi.deployed.containers}
    for name in sorted(planned - existing):
        yield error("container", name, "does not exist", refresh(observation))
    for name in sorted(existing - planned):
        docker = docker_command(observation)
        fix = f"{docker} service rm {name}" if on_swarm(observation) else f"{docker} rm --force {name}"
        yield error("orphan", name, "has this stack's label and is not in its state", fix)


def check_services(observation: Observation) -> Iterator[Finding]:
    """Of each service of a Swarm, as many tasks run as there should be, and its last update was not given up."""
    stack = observation.stack
    for service in observation.host.services if observation.host else ():
        if not service.problem:
            continue
        count = f"{service.running} of {service.wanted} tasks run: "
        part = service.name.removeprefix(stack.prefix(""))
        if "no suitable node" in service.problem:
            fix = f"bin/ops cluster status -s {stack} shows the machines, docs/cluster.md where tasks may be"
        elif "No such image" in service.problem:
            fix = f"script/up --stack {stack} brings the images to every machine"
        elif "bind source path does not exist" in service.problem:
            fix = "mount the share of host.shared_folder on every machine; the Swarm then starts it by itself"
        elif not service.wanted:
            fix = f"script/up --stack {stack} starts it"
        else:
            fix = f"bin/ops logs -s {stack} {part} shows more; correct that, then script/up --stack {stack}"
        complete = service.running >= service.wanted > 0
        report = warning if complete else error
        yield report("service", service.name, f"{'' if complete else count}{service.problem}", fix)


def check_containers_run(observation: Observation) -> Iterator[Finding]:
    """Every container runs, is not paused, and is not in a restart loop."""
    docker = docker_command(observation)
    for container, _ in _known_containers(observation):
        name = container.name
        if container.status == "paused":
            # To a Swarm, its task runs, so there is no finding of its service.
            fix = (
                f"{docker_at(container.host)} unpause {container.id}"
                if isinstance(container, Replica)
                else f"{docker} unpause {name}"
            )
            yield error("container", name, "is paused", fix)
        elif isinstance(container, Replica) and container.status != "running":
            # Of its service there is a finding, with the engine's reason; what the kernel did, the engine does not know.
            if container.oom_killed:
                yield error("container", name, "was killed: out of memory", _more_memory(observation, container))
        elif container.status == "restarting" or (container.status == "running" and container.restarts > MANY_RESTARTS):
            yield error(
                "container",
                name,
                f"restart loop: Docker has restarted it {container.restarts} times, last exit {container.exit_code}",
                f"bin/ops logs -s {observation.stack} {container.part} shows why; correct that, then "
                f"{restart_container(observation, name)}",
            )
        elif container.status != "running":
            killed = ", killed: out of memory" if container.oom_killed else ""
            fix = _more_memory(observation, container) if container.oom_killed else f"{docker} start {name}"
            yield error("container", name, f"does not run ({container.status}, exit {container.exit_code}{killed})", fix)


def check_health(observation: Observation) -> Iterator[Finding]:
    """A container that runs is healthy, and no process in it was killed because it ran out of memory."""
    for container, _ in _known_containers(observation):
        name = container.name
        if container.status != "running":
            continue
        if container.health == "unhealthy":
            logs = f"bin/ops logs -s {observation.stack} {container.part}"
            fix = f"{restart_container(observation, name)} ({logs} shows why)"
            yield error("health", name, "runs and is unhealthy", fix)
        elif container.health == "starting":
            yield warning("health", name, "is still starting", "wait a minute and run this again")
        if container.oom_killed:
            yield error("memory", name, "ran out of memory: a process in it was killed", _more_memory(observation, container))


def _more_memory(observation: Observation, container: Container) -> str:
    key = {"server": "server.memory_mib", "postgres": "database.memory_mib"}.get(container.part)
    if key is None:
        return restart_container(observation, container.name)
    return write(observation, f"a larger {key}")


def check_image_drift(observation: Observation) -> Iterator[Finding]:
    """A container runs the image of the state and of this version of the project, with the id that its name has now."""
    for container, planned in _known_containers(observation):
        if observation.host is None or planned is None:
            continue
        name, image = container.name, container.image
        named = same_image(planned.image, observation.named)
        present = observation.host.present.get(image)
        if image != planned.image:
            problem = f"runs {image}, and the state has {planned.image}"
            yield error("image", name, problem, _recreate(observation, container))
        elif named is not None and named != image:
            fix = f"bin/ops images build -s {observation.stack}, then pulumi up -s {observation.stack}"
            yield warning("image", name, f"runs {image}, and this version of the project names {named}", fix)
        elif present is not None and present != container.image_id:
            yield warning("image", name, f"was made from an older {image}", _recreate(observation, container))


def check_hardening(observation: Observation) -> Iterator[Finding]:
    """A container is as hardened as the program declares it, whoever created it."""
    for container, planned in _known_containers(observation):
        for problem in _hardening_problems(container, planned):
            yield error("hardening", container.name, problem, _recreate(observation, container))


def _hardening_problems(container: Container, planned: Planned | None) -> Iterator[str]:
    if container.privileged:
        yield "is privileged: it controls the whole machine"
    if not container.read_only:
        yield "its root file system can be written to"
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
        yield f"its memory limit is {has}, and the state has {planned.memory_mib} MiB"


def check_isolation(observation: Observation) -> Iterator[Finding]:
    """Nothing is reached that must not be, the firewall is in force, and Docker's own rules exist as well."""
    settings, host = observation.settings, observation.host
    if settings is None or host is None:
        return
    for opening in host.openings or ():
        yield error("isolation", opening.partition(" ")[0], opening.partition(" ")[2], f"script/up --stack {observation.stack}")
    if host.openings is None and PROBED_PARTS & host.running.keys():
        fix = f"bin/ops smoke -s {observation.stack} shows why"
        yield warning("isolation", f"stack {observation.stack}", "could not be checked", fix)
    if host.docker_rules_lost:
        yield warning(
            "isolation",
            "Docker",
            "its own rules for the stack's networks are gone (a flush, firewalld, another daemon); the firewall still holds",
            "sudo systemctl restart docker",
        )
    if not settings.host.firewall and not on_swarm(observation):
        problem = "is false: containers reach the host and private addresses, and Docker's rules alone keep networks apart"
        fix = write(observation, "host.firewall: true")
        yield warning("isolation", "host.firewall", problem, fix)
        version = observation.daemon_facts.version if observation.daemon_facts else ""
        if version.partition(".")[0].isdigit() and int(version.partition(".")[0]) < 28:
            problem = f"Docker {version} lets neighbours of this host in by its address, also if the port is on loopback"
            for container in host.containers:
                if container.published:
                    yield warning("isolation", container.name, problem, f"{fix}; or install Docker 28 or newer")


def check_volumes_and_networks(observation: Observation) -> Iterator[Finding]:
    """Every volume and network of the state exists, and no other has the stack's label."""
    host, deployed = observation.host, observation.pulumi.deployed
    if host is None or deployed is None:
        return
    lost = "does not exist: its data is gone, unless you have a backup"
    for kind, problem, planned, existing in (
        ("volume", lost, set(deployed.volumes), set(host.volumes)),
        ("network", "does not exist", set(deployed.networks), set(host.networks)),
    ):
        backed_up = observation.settings is not None and not isinstance(observation.settings.backup, NoBackup)
        for name in sorted(planned - existing):
            fix = refresh(observation)
            if kind == "volume" and backed_up:
                fix = f"bin/ops restore -s {observation.stack}, then script/up --stack {observation.stack}"
            yield error(kind, name, problem, fix)
        for name in sorted(existing - planned):
            fix = f"{docker_command(observation)} {kind} rm {name}"
            yield warning("orphan", name, "has this stack's label and is not in its state", fix)


def check_gateway(observation: Observation) -> Iterator[Finding]:
    """The API answers through the gateway.

    Silent while gateway or server has its own finding, and behind an edge, where the public names are asked instead.
    """
    if observation.settings is None or observation.host is None or not isinstance(observation.settings.edge, NoEdge):
        return
    healthy = {part for part, container in observation.host.running.items() if container.health == "healthy"}
    if {"gateway", "server"} <= healthy and observation.host.heartbeat != 200:
        answer = f"answers {observation.host.heartbeat}" if observation.host.heartbeat else "does not answer"
        address = f"127.0.0.1:{observation.settings.host.port}"
        yield error("gateway", address, f"the API {answer}", restart(observation, "gateway"))


def check_in_windows(observation: Observation) -> Iterator[Finding]:
    """On WSL, programs of Windows get the stack's answers at its ports of localhost."""
    windows = observation.host.windows if observation.host else None
    if observation.settings is None or windows is None:
        return
    ports = published_ports(observation.settings)
    for key, programs in windows.listeners.items():
        fix = f"end {programs[0]} in Windows, or {write(observation, f'another {key}')}"
        yield error("port", f"localhost:{ports[key]} in Windows", f"{', '.join(programs)} listens on it", fix)
    if windows.status is None or "host.port" in windows.listeners:
        return
    port, another = observation.settings.host.port, write(observation, "another host.port")
    if windows.status:
        yield error("port", f"localhost:{port} in Windows", f"another program answers with {windows.status}", another)
    else:
        fix = f"wsl --shutdown in Windows, then start it again; if that does not help, {another}"
        yield error("port", f"localhost:{port} in Windows", "nothing answers there, and the gateway does here", fix)


def check_internet(observation: Observation) -> Iterator[Finding]:
    """Browsers reach the internet, unless the machine is offline by the stack file."""
    if observation.host is None or observation.host.answers is None:
        return
    failure = internet.failure(observation.host.answers)
    if failure is not None:
        offline = f"on a machine that is offline on purpose, write host.internet: false into {observation.stack.file_name}"
        yield error("internet", observation.stack.prefix("egress"), failure.problem, f"{failure.cure}; {offline}")


def check_connections(observation: Observation) -> Iterator[Finding]:
    """PostgreSQL accepts more connections: those reserved for the superuser and a few more are left."""
    if observation.host is None or observation.host.connections is None:
        return
    used, allowed = observation.host.connections
    if used > allowed - SPARE_CONNECTIONS:
        yield error(
            "database",
            observation.stack.prefix("postgres"),
            f"{used} of {allowed} connections are in use",
            f"{restart(observation, 'server')} (closes its connections)",
        )


def check_database(observation: Observation) -> Iterator[Finding]:
    """A PostgreSQL elsewhere answers the stack, with a certificate that is trusted."""
    if observation.host is not None and observation.host.database_error is not None:
        yield error(
            "database",
            f"{observation.stack.file_name}: database.url",
            f"the server does not let the stack in: {observation.host.database_error}",
            "start the server, or correct its certificate, user or database.url (docs/database.md), then "
            f"script/up --stack {observation.stack}",
        )


def check_retention(observation: Observation) -> Iterator[Finding]:
    """Retention removes old files: after a jump of the clock it waits for a day."""
    if observation.host is not None and observation.host.retention_waits:
        yield warning(
            "clock",
            observation.stack.prefix("retention"),
            f"removes nothing: {observation.host.retention_waits}",
            "set the clock right if it is wrong; otherwise wait a day",
        )


def check_automation(observation: Observation) -> Iterator[Finding]:
    """What the monitor has counted, as ``ops status`` and the dashboard show it. Without a monitor, nothing is known."""
    host = observation.host
    today = None if host is None else host.today
    if today is None:
        return
    for title in today.missed_schedules:
        problem = "was due within the last 24 hours, and no run was made"
        yield warning("automation", title, problem, f"start it by hand, then read bin/ops logs -s {observation.stack} server")


def check_backup(observation: Observation) -> Iterator[Finding]:
    """There is a young set in the repository, the last look at it found nothing wrong, and a drill has passed since."""
    settings, host = observation.settings, observation.host
    if settings is None or host is None:
        return
    stack, name = observation.stack, observation.stack.prefix("backup")
    if isinstance(settings.backup, NoBackup):
        if settings.deployment.only_from_main:
            fix = write(observation, "backup.type and its place (docs/backup.md)")
            yield warning("backup", stack.file_name, "backup.type is none: a lost disk is the loss of everything", fix)
        return
    facts = host.backup
    if facts is None:
        if "backup" in host.running:
            problem = "has not looked at its repository yet"
            yield warning("backup", name, problem, f"bin/ops backup now -s {stack} shows what it waits for")
        return
    again = f"bin/ops backup now -s {stack}"
    if facts.age_seconds is None:
        level = error if facts.problem or facts.too_old else warning
        waited = f"in the {backups.age(facts.waited_seconds)} since the backup first ran, no set was made"
        yield level("backup", name, f"{waited}{f': {facts.problem}' if facts.problem else ''}", again)
    elif facts.too_old:
        why = f": {facts.problem}" if facts.problem else ""
        yield error("backup", name, f"the newest set is {backups.age(facts.age_seconds)} old{why}", again)
    elif facts.problem:
        yield warning("backup", name, facts.problem, f"correct that, then {again}")
    if facts.ahead:
        last = facts.ahead[0]
        problem = (
            f"{len(facts.ahead)} sets are of a time that has not come, the last is {last}: a clock was ahead when they "
            "were made, or this one is behind"
        )
        fix = (
            "correct the clock if it is behind (date -u); if it is right, they do not count until then, and are restored by "
            f"name: bin/ops restore {last} -s {stack}"
        )
        yield warning("backup", name, problem, fix)
    if facts.locked_days and facts.unpruned_days is not None and facts.unpruned_days > 2 * (facts.locked_days + 1):
        problem = f"nothing was removed from the repository for {facts.unpruned_days} days, because sets were interrupted"
        fix = f"let one be made to its end: {again}; without an interruption in {facts.locked_days + 1} days the rest follows"
        yield warning("backup", name, problem, fix)
    drill = facts.drill
    due, days = settings.backup.drill_every_days, facts.good_days
    if drill is None:
        if due and facts.waited_seconds > 2 * due * 86400:
            problem = f"none was ever made, and one is due every {due} days"
            yield warning("backup", "drill", problem, f"bin/ops drill -s {stack}")
    elif drill.verdict != "passed":
        problem = f"{drill.verdict}: {drill.reason}; {backups.last_good(drill)}"
        yield error("backup", f"drill of {drill.at.date()}", problem, f"bin/ops drill -s {stack}")
    elif due and days is not None and days > 2 * due:
        problem = f"the last good one was {days} days ago, and one is due every {due} days"
        yield warning("backup", "drill", problem, f"bin/ops drill -s {stack}")


def check_kit(observation: Observation) -> Iterator[Finding]:
    """The recovery kit is newer than the newest secret: without it, no set can be read once this machine is gone."""
    settings, deployed = observation.settings, observation.pulumi.deployed
    if settings is None or isinstance(settings.backup, NoBackup) or deployed is None or deployed.secrets_changed is None:
        return
    if observation.kit_made is None or observation.kit_made < deployed.secrets_changed:
        problem = "was never made" if observation.kit_made is None else "is older than the newest of the stack's secrets"
        fix = f"bin/ops backup kit -s {observation.stack} --output FILE, then keep FILE elsewhere"
        yield warning("backup", "recovery kit", problem, fix)


def check_llm(observation: Observation) -> Iterator[Finding]:
    """The server can connect to the language model."""
    if observation.settings is not None and observation.host is not None and observation.host.llm_error:
        yield error(
            "language model",
            observation.settings.llm.provider,
            f"the server cannot connect to it: {observation.host.llm_error}",
            "let Docker's containers out to it (DNS, firewall), or correct llm in "
            f"{observation.stack.file_name}, then pulumi up -s {observation.stack}",
        )


def check_chrome(observation: Observation) -> Iterator[Finding]:
    """The server can use the Chrome on another machine, asked as Skyvern asks it."""
    settings, answer = observation.settings, observation.host.chrome if observation.host else None
    if settings is None or not isinstance(settings.browser, CdpBrowser) or answer is None or not answer.problem:
        return
    problem, fix = {
        "name": (
            f"the server cannot resolve this name ({answer.detail})",
            write(observation, "Chrome's IP address as browser.url"),
        ),
        "connect": (
            f"no answer to the server ({answer.detail})",
            "start Chrome with its debugging port, and let this port through the firewall of its machine (docs/browsers.md)",
        ),
        "status": (
            f"answers with status {answer.detail}: Chrome refuses a Host header that is not an IP address",
            write(observation, "Chrome's IP address as browser.url, or as browser.host_header,"),
        ),
        "other": (
            "something answers that is not Chrome's debugging port",
            f"correct the port of browser.url in {observation.stack.file_name}, then pulumi up -s {observation.stack}",
        ),
        "redirect": (
            f"Chrome sends the server on to {answer.detail}, which the server does not reach",
            write(observation, "the IP address and port of browser.url as browser.host_header"),
        ),
    }[answer.problem]
    yield error("Chrome", settings.browser.url, problem, fix)


def check_sandbox(observation: Observation) -> Iterator[Finding]:
    """The kernel lets Chromium make its sandbox. Silent while the server is healthy: it has made one."""
    limit, settings = observation.namespace_limit, observation.settings
    if not limit or settings is None or isinstance(settings.browser, CdpBrowser) or not settings.browser.sandbox:
        return
    containers = observation.host.containers if observation.host else ()
    server = next((container for container in containers if container.part == "server"), None)
    if server is not None and server.status == "running" and server.health == "healthy":
        return
    value = {"user.max_user_namespaces": 15000, "kernel.unprivileged_userns_clone": 1}.get(limit, 0)
    fix = f"echo {limit}={value} | sudo tee /etc/sysctl.d/60-skyvern.conf && sudo sysctl --system (docs/browsers.md)"
    # AppArmor has separate rules for containers: before a server has tried, its setting proves nothing.
    report = warning if limit.startswith("kernel.apparmor") and server is None else error
    yield report("sandbox", limit, "keeps Chromium from making its sandbox, and without it the server does not start", fix)


def _known_containers(observation: Observation) -> Iterator[tuple[Container, Planned | None]]:
    """The stack's containers with their plan; orphans have a finding already. Without a state, every labelled container."""
    deployed = observation.pulumi.deployed
    planned = {container.name: container for container in deployed.containers} if deployed else {}
    for container in observation.host.containers if observation.host else ():
        if container.name in planned or deployed is None:
            yield container, planned.get(container.name)


def _recreate(observation: Observation, container: Container) -> str:
    if on_swarm(observation):
        return restart_container(observation, container.name)
    return f"{docker_command(observation)} rm --force {container.name}, then {refresh(observation)}"

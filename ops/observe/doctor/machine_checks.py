"""Machine and daemon: whether they meet the stack file's demands. Pure functions of an observation."""

from collections.abc import Iterator

from components.settings import OllamaLlm
from ops.images import needs
from ops.machine import docker_faults, system
from ops.machine.daemon import DEFAULT_SOCKET, Daemon, over_ssh, without_socket
from ops.observe import internet
from ops.observe.doctor.findings import Finding, error, warning
from ops.observe.doctor.observation import Observation
from ops.observe.doctor.remedies import on_swarm, restart, write
from ops.ownership import shown
from ops.stack import routes

# The oldest daemon that the stack has run on (its API is 1.41).
OLDEST_DOCKER = (20, 10)
# Layer stores that copy whole images, or that Docker no longer maintains.
POOR_DRIVERS = {"vfs", "devicemapper", "aufs"}
SKEW_SECONDS = 5
# Docker keeps no reserve; PostgreSQL stops when a disk is full.
HEAD_ROOM_MIB = 3 * 1024
# All images together take 3.5 GiB; a build needs its layers once more.
BUILD_MIB = 10 * 1024
FEWEST_INODES = 50_000
# Of a network without host.mtu.
DOCKER_MTU = 1500


def check_docker(observation: Observation) -> Iterator[Finding]:
    """The docker command exists, and the daemon of the stack file answers."""
    if observation.settings is None:
        return
    if observation.daemon is Daemon.NO_CLI:
        yield error("docker", "docker", "the command is not on PATH", f"script/bootstrap --stack {observation.stack}")
    elif observation.daemon is Daemon.DENIED:
        fix = "sudo usermod -aG docker $USER, then log in again"
        yield error("docker", observation.docker_host, "this user may not use it", fix)
    elif observation.daemon is Daemon.NO_SOCKET:
        yield error("docker", observation.docker_host, "is not a socket", without_socket(observation.docker_host))
    elif observation.daemon is Daemon.PODMAN:
        fix = f"install Docker Engine, or name its socket in host.docker_host of {observation.stack.file_name}"
        yield error("docker", observation.docker_host, "is Podman, on which this stack does not run", fix)
    elif observation.daemon is Daemon.SILENT:
        why = "nothing answers on the socket" if observation.socket_exists else "the socket does not exist"
        fix = f"start that daemon, or correct host.docker_host in {observation.stack.file_name}"
        if observation.docker_host.startswith("ssh://"):
            why, fix = "nothing answers without a password", over_ssh(observation.docker_host)
        elif observation.docker_host == DEFAULT_SOCKET:
            fix = f"script/bootstrap --stack {observation.stack}"
        yield error("docker", observation.docker_host, f"no daemon: {why}", fix)


def check_version(observation: Observation) -> Iterator[Finding]:
    """The daemon is new enough."""
    if observation.daemon_facts is None:
        return
    numbers = tuple(int(part) for part in observation.daemon_facts.version.split(".")[:2] if part.isdigit())
    if len(numbers) == 2 and numbers < OLDEST_DOCKER:
        wanted = ".".join(f"{number:02d}" for number in OLDEST_DOCKER)
        fix = "install a current Docker Engine"
        yield error("docker version", observation.daemon_facts.version, f"is older than {wanted}", fix)


def check_remapping(observation: Observation) -> Iterator[Finding]:
    """Containers may have the host's network where they need it."""
    if observation.daemon_facts is not None and observation.daemon_facts.remapped:
        yield error("docker", observation.docker_host, docker_faults.REMAPPED, docker_faults.WITHOUT_REMAPPING)


def check_limits(observation: Observation) -> Iterator[Finding]:
    """The kernel's cgroups, version 1 or 2, can hold the limits of the containers."""
    facts = observation.daemon_facts
    if facts is not None and facts.unsupported:
        what = ", ".join(facts.unsupported)
        yield error(
            "cgroups",
            f"version {facts.cgroup_version}",
            f"no {what} limit, so a browser can take the whole machine",
            "boot the kernel with cgroup_enable=memory swapaccount=1, or with cgroup v2",
        )


def check_storage_driver(observation: Observation) -> Iterator[Finding]:
    """Layers are shared, not copied."""
    if observation.daemon_facts is not None and observation.daemon_facts.storage_driver in POOR_DRIVERS:
        yield warning(
            "storage driver",
            observation.daemon_facts.storage_driver,
            "copies every layer, or is no longer maintained",
            'write "storage-driver": "overlay2" into /etc/docker/daemon.json and restart Docker',
        )


def check_wsl(observation: Observation) -> Iterator[Finding]:
    """WSL 2, with an init that starts Docker."""
    if observation.machine.wsl == 1:
        yield error("WSL", "WSL 1", "has no kernel that runs containers", "wsl --set-version DISTRIBUTION 2 in Windows")
    elif observation.machine.wsl == 2 and not observation.machine.systemd:
        yield warning(
            "WSL",
            "systemd",
            "is off, so Docker inside WSL does not start by itself",
            "write [boot] systemd=true into /etc/wsl.conf, then wsl --shutdown in Windows",
        )


def check_memory(observation: Observation) -> Iterator[Finding]:
    """Each limit fits into the host, and so does their sum."""
    if observation.settings is None or observation.daemon_facts is None:
        return
    host_mib, file = observation.daemon_facts.memory_mib, observation.stack.file_name
    limits = {name: section.memory_mib for name, section in observation.settings if hasattr(section, "memory_mib")}
    too_large = [name for name, mib in limits.items() if mib > host_mib]
    for name in too_large:
        yield error(
            "memory",
            f"{name}.memory_mib",
            f"{limits[name]} MiB, and the host has {host_mib} MiB",
            f"write a smaller {name}.memory_mib into {file}",
        )
    total = _sum_of_limits(observation, limits)
    # On a Swarm they are on several machines.
    if total > host_mib and not too_large and not on_swarm(observation):
        fix = (
            "raise memory= below [wsl2] in %UserProfile%\\.wslconfig, then wsl --shutdown"
            if observation.machine.wsl
            else f"write a smaller server.memory_mib into {file}"
        )
        yield warning("memory", "all limits", f"{total} MiB together, and the host has {host_mib} MiB", fix)


# Section of the stack file -> container, where their names differ. Containers without a section have fixed limits (in the state).
_CONTAINER_OF = {"database": "postgres", "llm": "ollama"}


def _sum_of_limits(observation: Observation, limits: dict[str, int]) -> int:
    deployed = observation.pulumi.deployed.containers if observation.pulumi.deployed else ()
    configured = {observation.stack.prefix(_CONTAINER_OF.get(name, name)) for name in limits}
    if observation.settings is not None and observation.settings.database.elsewhere:
        limits = {name: limit for name, limit in limits.items() if name != "database"}
    return sum(limits.values()) + sum(planned.memory_mib for planned in deployed if planned.name not in configured)


def check_cpus(observation: Observation) -> Iterator[Finding]:
    """No limit above the host's cores: Docker refuses to create such a container."""
    if observation.settings is None or observation.daemon_facts is None:
        return
    host_cpus = observation.daemon_facts.cpus
    for name, section in observation.settings:
        cpus = getattr(section, "cpus", None)
        if cpus is not None and cpus > host_cpus:
            yield error(
                "CPUs",
                f"{name}.cpus",
                f"{cpus:g}, and the host has {host_cpus}; Docker refuses the container",
                f"write {name}.cpus: {host_cpus} into {observation.stack.file_name}",
            )


def check_gpu(observation: Observation) -> Iterator[Finding]:
    """Ollama's container uses the GPU that the stack file asks for; before it runs, Docker can hand it out."""
    settings, daemon = observation.settings, observation.daemon_facts
    if settings is None or daemon is None or not isinstance(settings.llm, OllamaLlm) or not settings.llm.gpu:
        return
    runs = observation.host is not None and "ollama" in observation.host.running
    if observation.host is not None and observation.host.gpu_error:
        yield error(
            "GPU",
            observation.stack.prefix("ollama"),
            f"does not use it, so the model runs on the CPU: {observation.host.gpu_error}",
            # A systemctl daemon-reload on the host takes the devices away (NVIDIA/nvidia-container-toolkit#48).
            restart(observation, "ollama"),
        )
    if not runs and "nvidia" not in daemon.runtimes:
        yield error(
            "GPU",
            "llm.gpu",
            "Docker has no NVIDIA runtime, so Ollama's container cannot be started",
            f"install NVIDIA's container toolkit as in docs/llm.md, or write llm.gpu: false into {observation.stack.file_name}",
        )


def check_disk(observation: Observation) -> Iterator[Finding]:
    """Free space for the images that have to be built, and head room; on WSL also in Windows, where its disk is a file.

    Where this machine's disk is full, a daemon may not even start.
    """
    if observation.full is not None:
        folder, free_mib = observation.full
        problem = f"{free_mib} MiB are free on its disk, {system.ROOM_MIB} MiB are needed"
        yield error("disk", shown(folder), problem, "free some (df -h shows how full it is)")
    settings, host = observation.settings, observation.host
    if settings is None or host is None:
        return
    missing = [reference for reference, image_id in host.present.items() if image_id is None]
    share = len(missing) / max(1, len(needs.parts(settings.images.source, needs.asked_for(settings))))
    needed = HEAD_ROOM_MIB + round(BUILD_MIB * min(1.0, share))
    purpose = f" for {len(missing)} images and head room" if missing else ""
    prune = "docker system prune (without --volumes) removes what nothing uses; or give Docker a larger disk"
    grows = "make space on that drive in Windows: WSL's disk is a file there, which grows as it is used"
    for disk, fix in ((host.disk, prune), (host.windows.disk if host.windows else None, grows)):
        if disk is None:
            continue
        if disk.free_mib < needed:
            yield error("disk", disk.where, f"{disk.free_mib} MiB are free, {needed} MiB are needed{purpose}", fix)
        if disk.free_inodes is not None and disk.free_inodes < FEWEST_INODES:
            yield error("disk", disk.where, f"{disk.free_inodes} inodes are free, {FEWEST_INODES} are needed", fix)


def check_clock(observation: Observation) -> Iterator[Finding]:
    """Keys and session tokens carry times: Docker's clock, this machine's and one outside agree."""
    fix = f"sudo {system.set_clock(wsl=observation.machine.wsl > 0)}"
    outside = internet.clock_ahead(observation.host.answers or ()) if observation.host else None
    if outside is not None and abs(outside[0]) > SKEW_SECONDS:
        where = "ahead of" if outside[0] > 0 else "behind"
        yield error("clock", "the containers' clock", f"is {abs(outside[0]):.0f} s {where} that of {outside[1]}", fix)
    if observation.daemon_facts is not None and abs(observation.daemon_facts.skew_seconds) > SKEW_SECONDS:
        skew = observation.daemon_facts.skew_seconds
        where = "ahead of" if skew > 0 else "behind"
        yield error("clock", "Docker's clock", f"is {abs(skew):.0f} s {where} this machine's", fix)
    # A guess where no clock outside could be asked. Under WSL no clock is ever called synchronised.
    if observation.clock_synchronized is False and outside is None and not observation.machine.wsl:
        yield warning("clock", "this machine", "its clock is not synchronised", fix)


def check_networks(observation: Observation) -> Iterator[Finding]:
    """No route of the host leads to addresses that the stack's networks have, or will have."""
    network, settings = observation.network, observation.settings
    if network is None or settings is None:
        return
    collisions = network.collisions() if network.own else network.overlaps(routes.planned(observation.stack, settings))
    for route in collisions:
        taken = sorted(name for subnet, name in network.own.items() if subnet.overlaps(route.network))
        yield error(
            "networks",
            network.describe(route),
            f"is a route of the host to addresses of {', '.join(taken) or 'the networks to be made'}: one hides the other",
            write(observation, f"host.networks: {network.proposal(observation.stack)}"),
        )


def check_mtu(observation: Observation) -> Iterator[Finding]:
    """Packets of the stack's networks are not larger than the host's own."""
    network, settings = observation.network, observation.settings
    if network is None or settings is None or network.mtu is None:
        return
    size, interface = network.mtu
    ours = settings.host.mtu or DOCKER_MTU
    if size < ours:
        yield warning(
            "MTU",
            "host.mtu" if settings.host.mtu else "networks",
            f"their packets have up to {ours} bytes, and those of the host's {interface} {size}: pages may hang over TLS",
            write(observation, f"host.mtu: {size}"),
        )

"""Machine and daemon: whether they meet the stack file's demands. Pure functions of an observation."""

from collections.abc import Iterator

from components.settings import OllamaLlm
from ops.images import needs
from ops.machine.daemon import DEFAULT_SOCKET, Daemon
from ops.observe.doctor.findings import Finding, error, warning
from ops.observe.doctor.observation import Observation

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


def check_docker(observation: Observation) -> Iterator[Finding]:
    """The docker command exists, and the daemon of the stack file answers."""
    if observation.settings is None:
        return
    if observation.daemon is Daemon.NO_CLI:
        yield error("docker", "docker", "the command is not on PATH", f"script/bootstrap --stack {observation.stack}")
    elif observation.daemon is Daemon.DENIED:
        fix = "sudo usermod -aG docker $USER, then log in again"
        yield error("docker", observation.docker_host, "this user may not use it", fix)
    elif observation.daemon is Daemon.SILENT:
        why = "nothing answers on the socket" if observation.socket_exists else "the socket does not exist"
        fix = f"start that daemon, or correct host.docker_host in {observation.stack.file_name}"
        if observation.docker_host == DEFAULT_SOCKET:
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
    if total > host_mib and not too_large:
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
    """Docker can hand out the GPU that the stack file asks for. Silent while Ollama runs: it has the GPU already."""
    settings, daemon = observation.settings, observation.daemon_facts
    if settings is None or daemon is None or not isinstance(settings.llm, OllamaLlm) or not settings.llm.gpu:
        return
    runs = observation.host is not None and "ollama" in observation.host.running
    if not runs and "nvidia" not in daemon.runtimes:
        yield error(
            "GPU",
            "llm.gpu",
            "Docker has no NVIDIA runtime, so Ollama's container cannot be started",
            f"install NVIDIA's container toolkit as in docs/llm.md, or write llm.gpu: false into {observation.stack.file_name}",
        )


def check_disk(observation: Observation) -> Iterator[Finding]:
    """Free space for the images that have to be built, and head room."""
    if observation.settings is None or observation.host is None or observation.host.disk is None:
        return
    disk = observation.host.disk
    missing = [reference for reference, image_id in observation.host.present.items() if image_id is None]
    share = len(missing) / max(1, len(needs.parts(observation.settings.images.source, needs.asked_for(observation.settings))))
    needed = HEAD_ROOM_MIB + round(BUILD_MIB * min(1.0, share))
    fix = "docker system prune (without --volumes) removes what nothing uses; or give Docker a larger disk"
    if disk.free_mib < needed:
        purpose = f" for {len(missing)} images and head room" if missing else ""
        yield error("disk", disk.where, f"{disk.free_mib} MiB are free, {needed} MiB are needed{purpose}", fix)
    if disk.free_inodes is not None and disk.free_inodes < FEWEST_INODES:
        yield error("disk", disk.where, f"{disk.free_inodes} inodes are free, {FEWEST_INODES} are needed", fix)


def check_clock(observation: Observation) -> Iterator[Finding]:
    """Keys and session tokens carry times; the daemon's clock and ours agree, and ours is synchronised."""
    if observation.daemon_facts is not None and abs(observation.daemon_facts.skew_seconds) > SKEW_SECONDS:
        skew = observation.daemon_facts.skew_seconds
        where = "ahead of" if skew > 0 else "behind"
        fix = "wsl --shutdown in Windows, then start it again" if observation.machine.wsl else "sudo timedatectl set-ntp true"
        yield error("clock", "Docker's clock", f"is {abs(skew):.0f} s {where} this machine's", fix)
    if observation.clock_synchronized is False:
        yield warning("clock", "this machine", "its clock is not synchronised", "sudo timedatectl set-ntp true")


CHECKS = (
    check_docker,
    check_version,
    check_limits,
    check_storage_driver,
    check_wsl,
    check_memory,
    check_cpus,
    check_gpu,
    check_disk,
    check_clock,
)

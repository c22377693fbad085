"""Machine and daemon: are they what the stack file asks for. Pure functions of an observation."""

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
# Docker keeps no reserve of its own; PostgreSQL stops when a disk is full.
HEAD_ROOM_MIB = 3 * 1024
# All images together take 3.5 GiB; a build needs its layers once more.
BUILD_MIB = 10 * 1024
FEWEST_INODES = 50_000


def check_docker(seen: Observation) -> Iterator[Finding]:
    """The docker command is there and the daemon of the stack file answers."""
    if seen.settings is None:
        return
    if seen.daemon is Daemon.NO_CLI:
        yield error("docker", "docker", "the command is not on PATH", f"script/bootstrap --stack {seen.stack}")
    elif seen.daemon is Daemon.DENIED:
        yield error("docker", seen.docker_host, "this user may not use it", "sudo usermod -aG docker $USER, then log in again")
    elif seen.daemon is Daemon.SILENT:
        why = "nothing answers on the socket" if seen.socket_exists else "the socket does not exist"
        fix = f"start that daemon, or correct host.docker_host in {seen.stack.file_name}"
        if seen.docker_host == DEFAULT_SOCKET:
            fix = f"script/bootstrap --stack {seen.stack}"
        yield error("docker", seen.docker_host, f"no daemon: {why}", fix)


def check_version(seen: Observation) -> Iterator[Finding]:
    """The daemon is new enough."""
    if seen.daemon_facts is None:
        return
    numbers = tuple(int(part) for part in seen.daemon_facts.version.split(".")[:2] if part.isdigit())
    if len(numbers) == 2 and numbers < OLDEST_DOCKER:
        wanted = ".".join(f"{number:02d}" for number in OLDEST_DOCKER)
        yield error("docker version", seen.daemon_facts.version, f"is older than {wanted}", "install a current Docker Engine")


def check_limits(seen: Observation) -> Iterator[Finding]:
    """The kernel's cgroups, version 1 or 2, can hold the limits of the containers."""
    facts = seen.daemon_facts
    if facts is not None and facts.unsupported:
        what = ", ".join(facts.unsupported)
        yield error(
            "cgroups",
            f"version {facts.cgroup_version}",
            f"no {what} limit, so a browser can take the whole machine",
            "boot the kernel with cgroup_enable=memory swapaccount=1, or with cgroup v2",
        )


def check_storage_driver(seen: Observation) -> Iterator[Finding]:
    """Layers are shared, not copied."""
    if seen.daemon_facts is not None and seen.daemon_facts.storage_driver in POOR_DRIVERS:
        yield warning(
            "storage driver",
            seen.daemon_facts.storage_driver,
            "copies every layer, or is no longer maintained",
            'write "storage-driver": "overlay2" into /etc/docker/daemon.json and restart Docker',
        )


def check_wsl(seen: Observation) -> Iterator[Finding]:
    """WSL 2, with an init that starts Docker."""
    if seen.machine.wsl == 1:
        yield error("WSL", "WSL 1", "has no kernel that runs containers", "wsl --set-version DISTRIBUTION 2 in Windows")
    elif seen.machine.wsl == 2 and not seen.machine.systemd:
        yield warning(
            "WSL",
            "systemd",
            "is off, so Docker inside WSL does not start by itself",
            "write [boot] systemd=true into /etc/wsl.conf, then wsl --shutdown in Windows",
        )


def check_memory(seen: Observation) -> Iterator[Finding]:
    """Each limit fits into the host, and so does their sum."""
    if seen.settings is None or seen.daemon_facts is None:
        return
    there, file = seen.daemon_facts.memory_mib, seen.stack.file_name
    asked = {name: section.memory_mib for name, section in seen.settings if hasattr(section, "memory_mib")}
    too_large = [name for name, mib in asked.items() if mib > there]
    for name in too_large:
        yield error(
            "memory",
            f"{name}.memory_mib",
            f"{asked[name]} MiB, and the host has {there} MiB",
            f"write a smaller {name}.memory_mib into {file}",
        )
    total = _sum_of_limits(seen, asked)
    if total > there and not too_large:
        fix = (
            "raise memory= below [wsl2] in %UserProfile%\\.wslconfig, then wsl --shutdown"
            if seen.machine.wsl
            else f"write a smaller server.memory_mib into {file}"
        )
        yield warning("memory", "all limits", f"{total} MiB together, and the host has {there} MiB", fix)


# Which container a section's limit belongs to; the others have fixed ones, which the state knows.
_CONTAINER_OF = {"database": "postgres", "llm": "ollama"}


def _sum_of_limits(seen: Observation, asked: dict[str, int]) -> int:
    deployed = seen.pulumi.deployed.containers if seen.pulumi.deployed else ()
    configured = {seen.stack.prefix(_CONTAINER_OF.get(name, name)) for name in asked}
    return sum(asked.values()) + sum(one.memory_mib for one in deployed if one.name not in configured)


def check_cpus(seen: Observation) -> Iterator[Finding]:
    """No limit above the host's cores: Docker refuses to create such a container."""
    if seen.settings is None or seen.daemon_facts is None:
        return
    there = seen.daemon_facts.cpus
    for name, section in seen.settings:
        cpus = getattr(section, "cpus", None)
        if cpus is not None and cpus > there:
            yield error(
                "CPUs",
                f"{name}.cpus",
                f"{cpus:g}, and the host has {there}; Docker refuses the container",
                f"write {name}.cpus: {there} into {seen.stack.file_name}",
            )


def check_gpu(seen: Observation) -> Iterator[Finding]:
    """Docker can hand out the GPU that the stack file asks for. Silent where Ollama runs, for it has got it."""
    settings, daemon = seen.settings, seen.daemon_facts
    if settings is None or daemon is None or not isinstance(settings.llm, OllamaLlm) or not settings.llm.gpu:
        return
    runs = seen.host is not None and any(one.part == "ollama" and one.status == "running" for one in seen.host.containers)
    if not runs and "nvidia" not in daemon.runtimes:
        yield error(
            "GPU",
            "llm.gpu",
            "Docker has no NVIDIA runtime, so Ollama's container cannot be started",
            f"install NVIDIA's container toolkit as in docs/llm.md, or write llm.gpu: false into {seen.stack.file_name}",
        )


def check_disk(seen: Observation) -> Iterator[Finding]:
    """Room for what has to be built, and head room."""
    if seen.settings is None or seen.host is None or seen.host.disk is None:
        return
    disk = seen.host.disk
    missing = [one for one, found in seen.host.present.items() if found is None]
    share = len(missing) / max(1, len(needs.parts(seen.settings.images.source, needs.asked_for(seen.settings))))
    needed = HEAD_ROOM_MIB + round(BUILD_MIB * min(1.0, share))
    fix = "docker system prune (without --volumes) removes what nothing uses; or give Docker a larger disk"
    if disk.free_mib < needed:
        what = f" for {len(missing)} images and head room" if missing else ""
        yield error("disk", disk.where, f"{disk.free_mib} MiB are free, {needed} MiB are needed{what}", fix)
    if disk.free_inodes is not None and disk.free_inodes < FEWEST_INODES:
        yield error("disk", disk.where, f"{disk.free_inodes} inodes are free, {FEWEST_INODES} are needed", fix)


def check_clock(seen: Observation) -> Iterator[Finding]:
    """Keys and session tokens carry times; the daemon's clock and ours agree and are set by somebody."""
    if seen.daemon_facts is not None and abs(seen.daemon_facts.skew_seconds) > SKEW_SECONDS:
        off = seen.daemon_facts.skew_seconds
        where = "ahead of" if off > 0 else "behind"
        fix = "wsl --shutdown in Windows, then start it again" if seen.machine.wsl else "sudo timedatectl set-ntp true"
        yield error("clock", "Docker's clock", f"is {abs(off):.0f} s {where} this machine's", fix)
    if seen.clock_synchronized is False:
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

"""One hardened service: it has to opt out in writing. And how plain Docker runs it, as a container.

Not here: how a Swarm does (swarm.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import pulumi
import pulumi_docker as docker

from components.host.handover import Handover
from components.host.labels import environment_label, stack_labels


@dataclass(frozen=True, kw_only=True)
class Health:
    """A health check inside the container.

    command: program and arguments, run without a shell.
    start_seconds: how long a failing check does not count after the start.
    interval_seconds: between two checks, each of which starts a process in the container: 80 ms of a processor. Docker from 25
    on asks every 5 s until the container is healthy for the first time, older ones do not (moby, daemon/health.go).
    restart_cures: whether an engine that restarts what is unhealthy may do so; not where that costs work and changes nothing.
    reads_secrets: the check needs secret variables, which an engine may keep from it.
    """

    command: Sequence[str]
    start_seconds: int
    interval_seconds: int = 10
    timeout_seconds: int = 5
    retries: int = 4
    restart_cures: bool = True
    reads_secrets: bool = False


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A volume, or a folder of the host, at a path of the container."""

    path: str
    volume: pulumi.Input[str] | None = None
    host_folder: str | None = None
    read_only: bool = False


class Engine(Protocol):
    """What runs the services of a stack. All that a service needs of it is here, so that another one can take its place."""

    def run(self, name: str, args: "ServiceArgs", parent: pulumi.Resource) -> pulumi.Output[str]:
        """Declares what runs a service, below its parent; the name that it has on the machine. name: logical, of the service."""


@dataclass(frozen=True, kw_only=True)
class ServiceArgs:
    """A service of the stack.

    part: its name: the network alias and, behind the stack's prefix, the container's name.
    prefix: physical prefix of the stack, ``skyvern-dev``.
    image: reference with a digest, or one of ours by the hash of its context.
    user: numeric ``uid:gid``; never root, except for the firewall.
    environment: plain and secret values; each secret stays the only secret element of the list. A plain value has to be a text
    and not an Output, or previews hide it.
    networks: names of the networks, where the part's name is its alias; an empty list cuts it off.
    tmpfs: writable path -> size in MiB, on top of ``/tmp`` (64 MiB). The root itself is read-only.
    executable_tmp: programs may be started from ``/tmp``, but not from the other paths.
    memory_mib, cpus: hard limits; swap is not on top of memory.
    cpu_shares: in place of cpus, the weight while other containers want the processors as well; Docker's default is 1024.
    gpu: all of the host's NVIDIA GPUs.
    published_port: port on 127.0.0.1 of the host -> port of the container.
    seccomp: a profile as JSON, in place of Docker's own.
    filters_packets: on the host's own network, with the capability to change its packet filter; the firewall alone.
    stop_seconds: grace between SIGTERM and SIGKILL.
    hand_over: the new container is healthy before the old one goes (handover.py); without effect where a port is published.
    engine: what runs it. replicas: how many at once, where it has several machines.
    reads_secret_files: the image has no shell; for each secret, its program reads the file that ``KEY_FILE`` names.
    """

    part: str
    prefix: str
    image: pulumi.Input[str]
    user: str
    health: Health
    networks: Sequence[pulumi.Input[str]]
    memory_mib: int
    cpus: float | None = None
    cpu_shares: int | None = None
    command: Sequence[pulumi.Input[str]] | None = None
    entrypoint: Sequence[str] | None = None
    environment: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()
    tmpfs: Mapping[str, int] = field(default_factory=dict)
    executable_tmp: bool = False
    gpu: bool = False
    published_port: tuple[int, int] | None = None
    seccomp: str | None = None
    filters_packets: bool = False
    shm_mib: int = 64
    stop_seconds: int = 10
    hand_over: bool = False
    engine: Engine = field(default_factory=lambda: DockerEngine())
    replicas: int = 1
    reads_secret_files: bool = False


def go_duration(seconds: int) -> str:
    """Whole seconds as Go prints them (``1m0s``): another spelling of the same time would be a change at each plan."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s" if minutes else f"{rest}s"


def assignment(key: str, value: pulumi.Input[str]) -> pulumi.Input[str]:
    """``KEY=value`` of an environment. Plain text stays what it is: as Outputs, they were a tenth of what a program does."""
    return f"{key}={value}" if isinstance(value, str) else pulumi.Output.concat(key, "=", value)


def delete_timeout(stop_seconds: int) -> pulumi.CustomTimeouts | None:
    """How long the provider waits for a container that stops slowly; None for its own 20 minutes (resource_docker_container.go).

    Behind these it gives up and fails the update, whatever destroy_grace_seconds says.
    """
    return pulumi.CustomTimeouts(delete=f"{stop_seconds + 300}s") if stop_seconds > 900 else None


class HardenedService(pulumi.ComponentResource):
    """A service with a read-only root, no capabilities, no new privileges, limits, rotated logs and a health check.

    ``pulumi up`` waits until it is healthy. Not here: a process limit, which the provider cannot express (an nproc ulimit counts
    per user of the host, not per container).
    """

    def __init__(self, name: str, args: ServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:HardenedService", name, None, opts)
        self.container_name = args.engine.run(name, args, self)
        self.register_outputs({"containerName": self.container_name})


class DockerEngine:
    """One Docker daemon: a service is a container."""

    def run(self, name: str, args: ServiceArgs, parent: pulumi.Resource) -> pulumi.Output[str]:
        """As the protocol says; the container's name."""
        health = args.health
        # Room for a slow disk on top of the time in which the check may fail.
        wait_seconds = health.start_seconds + health.retries * (health.interval_seconds + health.timeout_seconds) + 30
        container_name = f"{args.prefix}-{args.part}"
        hands_over = args.hand_over and args.published_port is None
        container = docker.Container(
            name,
            name=container_name,
            hostname=args.part,
            image=args.image,
            entrypoints=args.entrypoint,
            command=args.command,
            user=args.user,
            envs=[assignment(key, value) for key, value in sorted(args.environment.items())],
            network_mode="host" if args.filters_packets else args.networks[0] if args.networks else "none",
            networks_advanced=[
                docker.ContainerNetworksAdvancedArgs(name=network, aliases=[args.part]) for network in args.networks
            ],
            ports=[]
            if args.published_port is None
            else [
                docker.ContainerPortArgs(
                    ip="127.0.0.1", external=args.published_port[0], internal=args.published_port[1], protocol="tcp"
                )
            ],
            volumes=[
                docker.ContainerVolumeArgs(
                    volume_name=mount.volume,
                    host_path=mount.host_folder,
                    container_path=mount.path,
                    read_only=mount.read_only,
                )
                for mount in sorted(args.mounts, key=lambda mount: mount.path)
            ],
            tmpfs={
                path: f"rw,nosuid,nodev,{'exec' if args.executable_tmp and path == '/tmp' else 'noexec'},size={mib}m,mode=1777"  # noqa: S108
                for path, mib in sorted({"/tmp": 64, **args.tmpfs}.items())  # noqa: S108
            },
            read_only=True,
            privileged=False,
            # With its prefix, as the provider reads it back.
            capabilities=docker.ContainerCapabilitiesArgs(
                drops=["ALL"], adds=["CAP_NET_ADMIN"] if args.filters_packets else None
            ),
            # The daemon takes a profile by value; docker's command line is what reads files.
            security_opts=["no-new-privileges:true", *([] if args.seccomp is None else [f"seccomp={args.seccomp}"])],
            init=True,
            ipc_mode="private",
            memory=args.memory_mib,
            memory_swap=args.memory_mib,
            # With at least one decimal, as the provider reads it back.
            cpus=None if args.cpus is None else str(round(float(args.cpus), 2)),
            cpu_shares=args.cpu_shares,
            shm_size=args.shm_mib,
            # The provider reads "all" back as it is written, so a second plan is empty.
            gpus="all" if args.gpu else None,
            restart="unless-stopped",
            stop_timeout=args.stop_seconds,
            destroy_grace_seconds=args.stop_seconds,
            log_driver="json-file",
            log_opts={"max-file": "3", "max-size": "10m"},
            labels=[
                docker.ContainerLabelArgs(label=label, value=value)
                for label, value in {**environment_label(args.environment), **stack_labels(args.prefix, args.part)}.items()
            ],
            healthcheck=docker.ContainerHealthcheckArgs(
                tests=["CMD", *health.command],
                interval=go_duration(health.interval_seconds),
                timeout=go_duration(health.timeout_seconds),
                start_period=go_duration(health.start_seconds),
                retries=health.retries,
            ),
            must_run=True,
            wait=True,
            wait_timeout=wait_seconds,
            # The name is fixed, so the old container has to be removed first, or to give it away.
            opts=pulumi.ResourceOptions(
                parent=parent,
                delete_before_replace=not hands_over,
                custom_timeouts=delete_timeout(args.stop_seconds),
                # A preview makes nothing.
                hooks=self._hand_over(name, container_name, parent) if hands_over and not pulumi.runtime.is_dry_run() else None,
            ),
        )
        return container.name

    @staticmethod
    def _hand_over(name: str, container: str, parent: pulumi.Resource) -> pulumi.ResourceHookBinding:
        provider = parent.get_provider("docker:index/container:Container")
        if provider is None:
            raise TypeError("a container needs the provider of its daemon")
        return Handover(container, cast("docker.Provider", provider).host).hooks(name)

"""How a Docker Swarm runs a service: what is a container on one daemon (service.py) is a service of the Swarm, with its secrets.

What a daemon has to give to all services, because none can ask for it (ops cluster): the seccomp profile and no-new-privileges.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import TypeVar

import pulumi
import pulumi_docker as docker

from components.host import secret_files
from components.host.labels import stack_labels
from components.host.service import Mount, ServiceArgs, delete_timeout, go_duration

MIB = 1024 * 1024
Label = TypeVar("Label")
# From the end of a program to the end of its container, on a busy machine.
REMOVAL_SECONDS = 30
# A check that a restart does not cure never makes a task unhealthy: a day of it, asked every nine seconds.
_PATIENCE = 10_000


class SwarmEngine:
    """A Swarm: a service has as many tasks as it has replicas, on whichever machines, hardened as a container is.

    An update that does not get healthy is rolled back by the engine, and ``pulumi up`` fails. A task that becomes unhealthy is
    replaced. Not here: a GPU, a port of the host and the host's network, which no part of a stack past one machine has; and no
    network at all.
    """

    def __init__(self, names_key: pulumi.Input[str]) -> None:
        """names_key: of a stack and secret. Names of secrets have a hash of the value, by which a short one could be guessed."""
        self._names_key = pulumi.Output.secret(names_key)

    def run(self, name: str, args: ServiceArgs, parent: pulumi.Resource) -> pulumi.Output[str]:
        """As components/host/service.py has it; the service's name."""
        refuse(args)
        secrets = [
            self._secret(f"{name}-{key}", args, key, value, parent)
            for key, value in sorted(args.environment.items())
            if not isinstance(value, str)
        ]
        environment = {key: value for key, value in args.environment.items() if isinstance(value, str)}
        commands, arguments = args.entrypoint, args.command
        opened = ["sh", "-c", secret_files.OPEN, args.part]
        if secrets and args.reads_secret_files:
            environment |= {f"{one.file_name}_FILE".rpartition("/")[2]: f"{one.file_name}" for one in secrets}
        elif secrets:
            commands, arguments = opened, [*(args.entrypoint or ()), *(args.command or ())]
        health = args.health
        order = "start-first" if args.hand_over else "stop-first"
        service = docker.Service(
            name,
            name=f"{args.prefix}-{args.part}",
            labels=_labels(docker.ServiceLabelArgs, args.prefix, args.part),
            task_spec=docker.ServiceTaskSpecArgs(
                container_spec=docker.ServiceTaskSpecContainerSpecArgs(
                    image=args.image,
                    hostname=args.part,
                    commands=commands,
                    args=arguments,
                    user=args.user,
                    env=dict(sorted(environment.items())),
                    labels=_labels(docker.ServiceTaskSpecContainerSpecLabelArgs, args.prefix, args.part),
                    mounts=[*map(_mount, sorted(args.mounts, key=lambda mount: mount.path)), *_in_memory(args)],
                    secrets=secrets,
                    read_only=True,
                    cap_drops=["ALL"],
                    init=True,
                    # When a service is removed, the provider waits as long for its tasks' containers to go, and then gives up.
                    stop_grace_period=short_duration(args.stop_seconds + REMOVAL_SECONDS),
                    healthcheck=docker.ServiceTaskSpecContainerSpecHealthcheckArgs(
                        # What a check is given is the service's environment, without what the command has opened for itself.
                        tests=["CMD", *(opened if health.reads_secrets else ()), *health.command],
                        interval=short_duration(health.interval_seconds),
                        timeout=short_duration(health.timeout_seconds),
                        start_period=short_duration(health.start_seconds),
                        retries=health.retries if health.restart_cures else _PATIENCE,
                    ),
                ),
                # By id: by its name, a refresh plans a replacement.
                networks_advanceds=[
                    docker.ServiceTaskSpecNetworksAdvancedArgs(id=network, aliases=[args.part], driver_opts=[])
                    for network in args.networks
                ],
                resources=docker.ServiceTaskSpecResourcesArgs(
                    limits=docker.ServiceTaskSpecResourcesLimitsArgs(
                        memory_bytes=args.memory_mib * MIB,
                        # A weight, which some have in place of a limit, no service has.
                        nano_cpus=round((args.cpus or 1) * 1_000_000_000),
                    )
                ),
                restart_policy=docker.ServiceTaskSpecRestartPolicyArgs(condition="any", delay="5s", window="0s", max_attempts=0),
                log_driver=docker.ServiceTaskSpecLogDriverArgs(name="json-file", options={"max-file": "3", "max-size": "10m"}),
            ),
            mode=docker.ServiceModeArgs(replicated=docker.ServiceModeReplicatedArgs(replicas=args.replicas)),
            # WSL's kernels have no IPVS, which the default needs.
            endpoint_spec=docker.ServiceEndpointSpecArgs(mode="dnsrr"),
            update_config=docker.ServiceUpdateConfigArgs(
                parallelism=1,
                order=order,
                failure_action="rollback",
                monitor=short_duration(health.interval_seconds * (health.retries + 1)),
            ),
            rollback_config=docker.ServiceRollbackConfigArgs(parallelism=1, order=order, failure_action="pause"),
            converge_config=docker.ServiceConvergeConfigArgs(delay="2s", timeout=short_duration(_converge_seconds(args))),
            opts=pulumi.ResourceOptions(
                parent=parent,
                # Its name is fixed.
                delete_before_replace=True,
                # There are none: the state has nothing after a creation, an empty map after a refresh, and one would be a change.
                ignore_changes=["taskSpec.containerSpec.sysctl"],
                custom_timeouts=delete_timeout(args.stop_seconds),
            ),
        )
        return service.name

    def _secret(
        self, name: str, args: ServiceArgs, key: str, value: pulumi.Input[str], parent: pulumi.Resource
    ) -> docker.ServiceTaskSpecContainerSpecSecretArgs:
        """A secret as a file named like its variable. It never changes: another value makes another one."""
        text = pulumi.Output.secret(value)
        digest = pulumi.Output.unsecret(
            pulumi.Output.all(self._names_key, text).apply(lambda both: _digest(both[0], both[1], key))
        )
        labels = {**stack_labels(args.prefix, args.part), "skyvern.variable": key}
        made = docker.Secret(
            name,
            name=pulumi.Output.concat(f"{args.prefix}-{args.part}-", digest),
            data=text.apply(_base64),
            labels=[docker.SecretLabelArgs(label=label, value=of_label) for label, of_label in sorted(labels.items())],
            opts=pulumi.ResourceOptions(parent=parent),
        )
        user, _, group = args.user.partition(":")
        return docker.ServiceTaskSpecContainerSpecSecretArgs(
            secret_id=made.id,
            secret_name=made.name,
            file_name=f"{secret_files.FOLDER}/{key}",
            file_uid=user,
            file_gid=group or user,
            file_mode=0o400,
        )


def refuse(args: ServiceArgs) -> None:
    """ValueError for what a Swarm cannot give a service."""
    secret = any(not isinstance(value, str) for value in args.environment.values())
    wanted = {
        "a GPU": args.gpu,
        "a port of the host": args.published_port is not None,
        "the host's network": args.filters_packets,
        # It would be on docker0 of its machine, beside every other container without one.
        "no network": not args.networks,
        # A shell comes in front of the command, so the image's own would be lost.
        "secrets without a command": secret and args.command is None,
    }
    if cannot := [what for what, asked in wanted.items() if asked]:
        raise ValueError(f"{args.part}: a service of a Swarm cannot have {', '.join(cannot)}")


def short_duration(seconds: int) -> str:
    """Whole seconds as the provider spells them for a service (``1m``, not ``1m0s``), or a second plan changes them."""
    text = go_duration(seconds)
    text = text.removesuffix("0s") if text.endswith("m0s") else text
    return text.removesuffix("0m") if text.endswith("h0m") else text


def _converge_seconds(args: ServiceArgs) -> int:
    """How long an update may take: each task stops and starts, and where one fails all of it goes back."""
    health = args.health
    start = health.start_seconds + health.retries * (health.interval_seconds + health.timeout_seconds)
    return 2 * args.replicas * (start + args.stop_seconds + REMOVAL_SECONDS) + 60


def _digest(names_key: str, text: str, key: str) -> str:
    return hmac.new(names_key.encode(), f"{key}={text}".encode(), hashlib.sha256).hexdigest()[:16]


def _labels(kind: type[Label], prefix: str, part: str) -> list[Label]:
    return [kind(label=label, value=value) for label, value in stack_labels(prefix, part).items()]  # type: ignore[call-arg]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _mount(mount: Mount) -> docker.ServiceTaskSpecContainerSpecMountArgs:
    return docker.ServiceTaskSpecContainerSpecMountArgs(
        target=mount.path,
        source=mount.host_folder or mount.volume,
        type="bind" if mount.host_folder else "volume",
        read_only=mount.read_only,
    )


def _in_memory(args: ServiceArgs) -> list[docker.ServiceTaskSpecContainerSpecMountArgs]:
    """Paths in memory, without programs; /dev/shm among them, for whose size a service has no other argument."""
    sizes: Mapping[str, int] = {"/tmp": 64, **args.tmpfs, "/dev/shm": args.shm_mib}  # noqa: S108
    return [
        _executable(path, mib)
        if args.executable_tmp and path == "/tmp"  # noqa: S108
        else docker.ServiceTaskSpecContainerSpecMountArgs(
            target=path,
            # As it is read back, like the mode, of which Docker keeps these bits alone. One user is in a container.
            source="",
            type="tmpfs",
            read_only=False,
            tmpfs_options=docker.ServiceTaskSpecContainerSpecMountTmpfsOptionsArgs(size_bytes=mib * MIB, mode=0o777),
        )
        for path, mib in sorted(sizes.items())
    ]


def _executable(path: str, mib: int) -> docker.ServiceTaskSpecContainerSpecMountArgs:
    """In memory, with programs, as a volume that goes with its task: a service's tmpfs has size and mode alone, and is noexec."""
    return docker.ServiceTaskSpecContainerSpecMountArgs(
        target=path,
        source="",
        type="volume",
        read_only=False,
        volume_options=docker.ServiceTaskSpecContainerSpecMountVolumeOptionsArgs(
            driver_name="local",
            driver_options={"device": "tmpfs", "o": f"nosuid,nodev,size={mib}m,mode=1777", "type": "tmpfs"},
            no_copy=True,
        ),
    )

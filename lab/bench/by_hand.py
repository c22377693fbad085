"""The stack as a person would script it: the same containers by ``docker run``, each after those that it needs is healthy."""

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from ops.clients.docker import Docker
from ops.stack import inventory

# Each needs the one before it healthy, as components/host has it; everything else starts at once.
CHAIN = ("postgres", "roles", "server")
_NANOSECOND = 1_000_000_000
_PROLOGUE = """\
set -euo pipefail
healthy() {{
  until [[ $({docker} inspect --format '{{{{.State.Health.Status}}}}' "$1") == healthy ]]; do sleep 0.2; done
}}
"""


def script(docker: Docker, containers: Iterable[Mapping[str, Any]], networks: Iterable[Mapping[str, Any]]) -> str:
    """A bash script that makes networks, volumes and containers from what ``docker inspect`` says of existing ones.

    It ends when all are healthy. It holds the secrets of their environments.
    """
    program = shlex.join(docker.command())
    by_part = {one["Config"]["Labels"]["skyvern.part"]: one for one in containers}
    lines = [_PROLOGUE.format(docker=program)]
    lines += [f"{program} {shlex.join(_network(one))} >/dev/null &" for one in networks]
    lines.append("wait")
    # Those that nobody needs first in the background; the chain in the foreground.
    for part in sorted(set(by_part) - set(CHAIN)):
        lines.append(f"({_start(program, by_part[part])}) &")
    for part in CHAIN:
        lines += [_start(program, by_part[part]), f"healthy {by_part[part]['Name'].lstrip('/')}"]
    lines.append("wait")
    lines += [f"healthy {one['Name'].lstrip('/')}" for one in by_part.values()]
    return "\n".join(lines) + "\n"


def remove(docker: Docker, stack: str) -> None:
    """Removes what the script has made, by its labels and names."""
    if names := [one.id for one in inventory.labelled(docker, stack, "container")]:
        docker.run("rm", "--force", *names)
    if names := [one.id for one in inventory.labelled(docker, stack, "network")]:
        docker.run("network", "rm", *names)
    names = docker.run("volume", "ls", "--quiet", "--filter", f"name=^skyvern-{stack}-").split()
    if names:
        docker.run("volume", "rm", *names)


def _network(one: Mapping[str, Any]) -> list[str]:
    labels = [flag for key, value in one["Labels"].items() for flag in ("--label", f"{key}={value}")]
    options = [flag for key, value in one["Options"].items() for flag in ("--opt", f"{key}={value}")]
    return ["network", "create", *(["--internal"] if one["Internal"] else []), *labels, *options, one["Name"]]


def _start(program: str, one: Mapping[str, Any]) -> str:
    """``docker create``, the further networks, ``docker start``: a container has one network when it is created."""
    config, host = one["Config"], one["HostConfig"]
    name = one["Name"].lstrip("/")
    first = host["NetworkMode"]
    health = config["Healthcheck"]
    command = config["Cmd"] or []
    entrypoint = config["Entrypoint"] or []
    flags = ["--name", name, "--hostname", config["Hostname"], "--user", config["User"], "--network", first]
    alias = config["Labels"]["skyvern.part"]
    if first != "none":
        flags += ["--network-alias", alias]
    for key, value in sorted(config["Labels"].items()):
        flags += ["--label", f"{key}={value}"]
    for element in config["Env"]:
        flags += ["--env", element]
    for mount in one["Mounts"]:
        if mount["Type"] == "volume":
            flags += ["--volume", f"{mount['Name']}:{mount['Destination']}{'' if mount['RW'] else ':ro'}"]
    for path, options in sorted((host["Tmpfs"] or {}).items()):
        flags += ["--tmpfs", f"{path}:{options}"]
    for inside, bindings in (host["PortBindings"] or {}).items():
        flags += [flag for bound in bindings for flag in ("--publish", f"{bound['HostIp']}:{bound['HostPort']}:{inside}")]
    for key, value in host["LogConfig"]["Config"].items():
        flags += ["--log-opt", f"{key}={value}"]
    profiles = ""
    for option in host["SecurityOpt"] or []:
        key, _, value = option.partition("=")
        if value.startswith("{"):
            # The daemon tells a profile in full; docker reads it from a file.
            profiles += f" --security-opt {key}=<(printf %s {shlex.quote(value)})"
        else:
            flags += ["--security-opt", option]
    flags += ["--read-only", "--cap-drop", "ALL", "--init", "--restart", "unless-stopped", "--ipc", "private"]
    flags += ["--memory", str(host["Memory"]), "--memory-swap", str(host["MemorySwap"]), "--shm-size", str(host["ShmSize"])]
    flags += ["--cpus", str(host["NanoCpus"] / _NANOSECOND), "--stop-timeout", str(config.get("StopTimeout") or 10)]
    flags += ["--health-cmd", shlex.join(health["Test"][1:]), "--health-retries", str(health["Retries"])]
    for flag, key in (("interval", "Interval"), ("timeout", "Timeout"), ("start-period", "StartPeriod")):
        flags += [f"--health-{flag}", f"{health[key] // _NANOSECOND}s"]
    if entrypoint:
        flags += ["--entrypoint", entrypoint[0]]
    lines = [f"{program} create{profiles} {shlex.join([*flags, config['Image'], *entrypoint[1:], *command])} >/dev/null"]
    others = sorted(set(one["NetworkSettings"]["Networks"]) - {first})
    lines += [f"{program} network connect --alias {alias} {network} {name}" for network in others]
    lines.append(f"{program} start {name} >/dev/null")
    return "; ".join(lines)

"""Projects of docker compose on a daemon, by the labels that compose (v1 and v2) puts on their containers.

Not here: compose itself, which is not called: its file may be gone, or be of another version.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ops.clients import process
from ops.clients.docker import Docker
from ops.errors import UserError

PROJECT = "com.docker.compose.project"


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container of a service.

    restart: as ``docker update --restart`` takes it. started: when it last was, as Docker writes it.
    environment: may hold secrets.
    mounts: path in the container to what is there, a folder of the host or the name of a volume.
    """

    name: str
    service: str
    image: str
    running: bool
    restart: str
    started: str
    environment: Mapping[str, str] = field(repr=False)
    mounts: Mapping[str, str]

    def place(self, path: str) -> tuple[str, str] | None:
        """What is mounted there, and the folder in it: ``("data", "videos")``. None for what is in the container alone."""
        for there in sorted(self.mounts, key=len, reverse=True):
            if path == there or path.startswith(f"{there.rstrip('/')}/"):
                return self.mounts[there], path[len(there) :].strip("/")
        return None


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project with its containers, running or not. folder: of its compose file, on the machine that compose was called on."""

    name: str
    folder: str
    containers: tuple[Container, ...]


@process.reads("docker")
def find(docker: Docker, where: str) -> Project:
    """A project by its name, its folder or its compose file; UserError if it has no containers."""
    listed = docker.run("ps", "--all", "--quiet", "--filter", f"label={PROJECT}").split()
    documents: list[dict[str, Any]] = json.loads(docker.run("inspect", *listed)) if listed else []
    # Those of docker compose run are gone soon.
    ours = [one for one in documents if _labels(one).get(f"{PROJECT.rpartition('.')[0]}.oneoff") != "True"]
    paths = {str(Path(where).absolute()), str(Path(where).resolve())}
    names = {_labels(one)[PROJECT] for one in ours if where == _labels(one)[PROJECT] or paths & _paths(one)}
    if len(names) != 1:
        raise UserError(f"{where}: {_instead(ours, names)} on {docker.host}")
    (name,) = names
    chosen = [one for one in ours if _labels(one)[PROJECT] == name]
    folder = _labels(chosen[0]).get(f"{PROJECT}.working_dir", "")
    containers = sorted((_container(one) for one in chosen), key=lambda one: one.name)
    return Project(name=name, folder=folder, containers=tuple(containers))


def _instead(documents: list[dict[str, Any]], names: set[str]) -> str:
    if names:
        return f"is of several projects of docker compose, write the name of one: {', '.join(sorted(names))};"
    projects = {_labels(one)[PROJECT]: _labels(one).get(f"{PROJECT}.working_dir", "") for one in documents}
    there = ", ".join(f"{name} ({folder})" for name, folder in sorted(projects.items()))
    return (
        f"is not a project of docker compose with containers (after docker compose down: docker compose create); there is "
        f"{there or 'none'}"
    )


def _labels(document: Mapping[str, Any]) -> Mapping[str, str]:
    labels: Mapping[str, str] = document["Config"]["Labels"]
    return labels


def _paths(document: Mapping[str, Any]) -> set[str]:
    """The folder of its file and its files, which compose v1 notes as they were given."""
    labels = _labels(document)
    folder = labels.get(f"{PROJECT}.working_dir", "")
    files = labels.get(f"{PROJECT}.config_files", "").split(",")
    return {folder, *(str(PurePosixPath(folder) / file) for file in files if file)} - {""}


def _container(document: Mapping[str, Any]) -> Container:
    policy = document["HostConfig"].get("RestartPolicy") or {}
    count = policy.get("MaximumRetryCount") or 0
    return Container(
        name=document["Name"].lstrip("/"),
        service=_labels(document).get(f"{PROJECT.rpartition('.')[0]}.service", ""),
        image=document["Config"]["Image"],
        running=document["State"]["Status"] in {"running", "restarting", "paused"},
        restart=(policy.get("Name") or "no") + (f":{count}" if count else ""),
        started=document["State"].get("StartedAt", ""),
        environment=dict(one.split("=", 1) for one in document["Config"].get("Env") or [] if "=" in one),
        mounts={
            mount["Destination"]: mount["Name"] if mount["Type"] == "volume" else mount["Source"]
            for mount in document.get("Mounts") or []
            if mount["Type"] in {"bind", "volume"}
        },
    )

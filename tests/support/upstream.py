"""Upstream's docker compose stack as Docker describes its containers."""

from collections.abc import Sequence
from typing import Any

FOLDERS = ("artifacts", "videos", "har", "log")


def document(
    project: str,
    service: str,
    *,
    folder: str = "/srv/acme",
    files: str = "",
    status: str = "running",
    restart: str = "unless-stopped",
    environment: Sequence[str] = (),
    mounts: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """A container of a project. mounts: folders of the host, and where they are in the container."""
    labels = {"project": project, "service": service, "oneoff": "False", "project.working_dir": folder}
    if files:
        labels["project.config_files"] = files
    return {
        "Name": f"/{project}-{service}-1",
        "Config": {
            "Image": f"public/{service}:1",
            "Env": list(environment),
            "Labels": {f"com.docker.compose.{name}": value for name, value in labels.items()},
        },
        "State": {"Status": status, "StartedAt": "2026-11-01T09:00:00.000000001Z"},
        "HostConfig": {"RestartPolicy": {"Name": restart, "MaximumRetryCount": 0}},
        "Mounts": [{"Type": "bind", "Source": source, "Destination": there} for source, there in mounts],
    }


def stack(*, status: str = "running", environment: Sequence[str] = (), database: str = "postgres") -> list[dict[str, Any]]:
    """The containers of upstream's compose file at the guide's date: no vault, no downloads."""
    address = f"DATABASE_STRING=postgresql+psycopg://skyvern:old-secret-pass@{database}:5432/skyvern"
    mounts = [(f"/srv/acme/{name}", f"/data/{name}") for name in FOLDERS]
    return [
        document("acme", "postgres", status=status, environment=["POSTGRES_PASSWORD=old-secret-pass"]),
        document("acme", "skyvern", status=status, environment=[address, *environment], mounts=mounts),
        document("acme", "skyvern-ui", status=status, mounts=mounts[:1], restart="always"),
    ]

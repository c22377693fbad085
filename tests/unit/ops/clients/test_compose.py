"""Projects of docker compose, found by their labels as v1 and v2 write them."""

import json
from pathlib import Path
from typing import Any

import pytest

from ops.clients import compose
from ops.errors import UserError
from tests.support.daemon import Daemon, daemon
from tests.support.upstream import document


def holding(*documents: dict[str, Any]) -> Daemon:
    return daemon(**{"ps --all": "a", "inspect": json.dumps(documents)})


def test_a_project_is_found_by_its_name_its_folder_and_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(tmp_path)
    there = holding(
        document("acme", "skyvern", folder=folder, files=f"{folder}/docker-compose.yml"),
        document("acme", "postgres", folder=folder, files=f"{folder}/docker-compose.yml"),
        document("other", "web", folder="/srv/other"),
    )
    monkeypatch.chdir(tmp_path)
    for where in ("acme", folder, f"{folder}/docker-compose.yml", ".", "docker-compose.yml"):
        project = compose.find(there, where)
        assert (project.name, project.folder) == ("acme", folder)
        assert [one.service for one in project.containers] == ["postgres", "skyvern"]


def test_compose_v1_notes_its_file_as_it_was_given(tmp_path: Path) -> None:
    there = holding(document("acme", "skyvern", folder=str(tmp_path), files="docker-compose.yml,./more.yml"))
    assert compose.find(there, str(tmp_path / "more.yml")).name == "acme"


def test_what_there_is_is_named() -> None:
    there = holding(document("acme", "skyvern", folder="/srv/acme"))
    with pytest.raises(UserError, match=r"^skyvern: is not a project .* there is acme \(/srv/acme\) on unix:///x$"):
        compose.find(there, "skyvern")
    with pytest.raises(UserError, match=r"there is none on unix:///x$"):
        compose.find(daemon(), "skyvern")


def test_a_folder_of_two_projects_is_not_guessed() -> None:
    there = holding(document("a", "x", folder="/srv/x"), document("b", "x", folder="/srv/x"))
    with pytest.raises(UserError, match=r"^/srv/x: is of several projects of docker compose, write the name of one: a, b; on"):
        compose.find(there, "/srv/x")


def test_a_container_as_docker_describes_it() -> None:
    one = document("acme", "skyvern", restart="on-failure", environment=["A=b=c", "EMPTY="])
    one["HostConfig"]["RestartPolicy"]["MaximumRetryCount"] = 3
    one["Mounts"] = [
        {"Type": "bind", "Source": "/srv/acme/videos", "Destination": "/data/videos"},
        {"Type": "volume", "Name": "data", "Source": "/var/lib/docker/volumes/data/_data", "Destination": "/data"},
        {"Type": "tmpfs", "Source": "", "Destination": "/run"},
    ]
    once = document("acme", "skyvern")
    once["Config"]["Labels"]["com.docker.compose.oneoff"] = "True"
    (container,) = compose.find(holding(one, once), "acme").containers
    assert container.restart == "on-failure:3"
    assert container.environment == {"A": "b=c", "EMPTY": ""}
    assert container.place("/data/videos") == ("/srv/acme/videos", "")
    assert container.place("/data/har") == ("data", "har")
    assert container.place("/database") is None
    # Secrets are in the environment.
    assert "b=c" not in repr(container)

"""The pure parts of script/bench: what the flat program registers, what the plain script starts, how a row reads."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab import bench
from lab.bench import by_hand
from lab.bench.first_run import seconds_by_step
from lab.workspace import flatten
from ops.clients.docker import Docker

STACK = "urn:pulumi:bench::skyvern::"
SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "plaintext": json.dumps("hidden")}
RESOURCES: list[dict[str, Any]] = [
    {"urn": f"{STACK}pulumi:pulumi:Stack::skyvern-bench", "type": "pulumi:pulumi:Stack", "custom": False},
    {"urn": f"{STACK}pulumi:providers:docker::daemon", "type": "pulumi:providers:docker", "custom": True, "inputs": {}},
    {"urn": f"{STACK}skyvern:host:Networks::networks", "type": "skyvern:host:Networks", "custom": False},
    {
        "urn": f"{STACK}docker:index/network:Network::data",
        "type": "docker:index/network:Network",
        "custom": True,
        "inputs": {"__defaults": [], "name": "skyvern-bench-data"},
    },
    {
        "urn": f"{STACK}docker:index/container:Container::server",
        "type": "docker:index/container:Container",
        "custom": True,
        "inputs": {"__defaults": [], "envs": ["A=1", SECRET], "labels": [{"__defaults": [], "label": "a"}]},
        "dependencies": [f"{STACK}docker:index/network:Network::data", f"{STACK}skyvern:host:Networks::networks"],
    },
]


def container(part: str, **host: Any) -> dict[str, Any]:
    """What ``docker inspect`` says of a container of the stack."""
    return {
        "Name": f"/skyvern-bench-{part}",
        "Config": {
            "Labels": {"skyvern.part": part, "skyvern.stack": "bench"},
            "Healthcheck": {
                "Test": ["CMD", "sh", "-c", "test -e '/tmp/a b'"],
                "Retries": 3,
                "Interval": 5 * 10**9,
                "Timeout": 3 * 10**9,
                "StartPeriod": 60 * 10**9,
            },
            "Cmd": ["run", "it's"],
            "Entrypoint": ["tool", "--flag"],
            "Hostname": part,
            "User": "1:1",
            "Env": ["KEY=va lue"],
            "Image": "localhost/skyvern/x:1",
        },
        "HostConfig": {
            "NetworkMode": "skyvern-bench-data",
            "Tmpfs": {"/tmp": "rw,size=64m"},  # noqa: S108
            "PortBindings": {},
            "LogConfig": {"Config": {"max-file": "3"}},
            "SecurityOpt": ["no-new-privileges:true"],
            "Memory": 1024,
            "MemorySwap": 1024,
            "ShmSize": 64,
            "NanoCpus": 500_000_000,
            **host,
        },
        "Mounts": [{"Type": "volume", "Name": "skyvern-bench-v", "Destination": "/v", "RW": False}],
        "NetworkSettings": {"Networks": {"skyvern-bench-data": {}, "skyvern-bench-app": {}}},
    }


def test_the_flat_program_has_the_custom_resources_in_order_with_their_secrets_opened() -> None:
    network, server = flatten(RESOURCES)
    assert (network["name"], network["inputs"], network["after"]) == ("data", {"name": "skyvern-bench-data"}, [])
    assert server["inputs"] == {"envs": ["A=1", "hidden"], "labels": [{"label": "a"}]}
    assert server["after"] == [network["urn"]]


def test_the_script_starts_the_chain_in_order_and_the_rest_at_once() -> None:
    parts = ("egress", "postgres", "roles", "server")
    text = by_hand.script(Docker("unix:///x"), [container(part) for part in parts], [])
    assert subprocess.run(["bash", "-n"], input=text.encode(), check=False).returncode == 0
    lines = text.splitlines()
    waits = [number for number, line in enumerate(lines) if line.startswith("healthy skyvern-bench-")]
    starts = {part: next(number for number, line in enumerate(lines) if f"start skyvern-bench-{part}" in line) for part in parts}
    assert starts["egress"] < starts["postgres"] < waits[0] < starts["roles"] < waits[1] < starts["server"] < waits[2]
    assert lines[starts["egress"]].endswith("&")
    assert not lines[starts["server"]].endswith("&")
    assert {lines[number].split()[-1] for number in waits} == {f"skyvern-bench-{part}" for part in parts}


def test_the_script_gives_a_container_what_it_had() -> None:
    published = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18080"}]}
    parts = [container("postgres"), container("roles"), container("server", PortBindings=published)]
    line = next(
        line for line in by_hand.script(Docker("unix:///x"), parts, []).splitlines() if "start skyvern-bench-server" in line
    )
    for expected in (
        "--env 'KEY=va lue'",
        "--volume skyvern-bench-v:/v:ro",
        "--publish 127.0.0.1:18080:8080/tcp",
        "--cap-drop ALL",
        "--security-opt no-new-privileges:true",
        "--read-only",
        "--cpus 0.5",
        "--health-start-period 60s",
        "--entrypoint tool localhost/skyvern/x:1 --flag run",
        "network connect --alias server skyvern-bench-app skyvern-bench-server",
    ):
        assert expected in line


def test_the_script_gives_docker_the_seccomp_profile_in_a_file(tmp_path: Path) -> None:
    # docker opens what it is given as a file; given the profile itself, it said "file name too long".
    profile = '{"comment": "it\'s a profile"}'
    (tmp_path / "docker").write_text(
        """#!/usr/bin/env bash
[[ $* != *create*skyvern-bench-server* ]] || for one in "$@"; do
  [[ $one != seccomp=* ]] || cat "${one#seccomp=}" > "$0.profile"
done
echo healthy
"""
    )
    (tmp_path / "docker").chmod(0o755)
    parts = [container("postgres"), container("roles"), container("server", SecurityOpt=[f"seccomp={profile}"])]
    text = by_hand.script(Docker("unix:///x"), parts, [])
    subprocess.run(["bash"], input=text.encode(), env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, check=True)
    assert (tmp_path / "docker.profile").read_text() == profile


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        (
            bench.Row(name="up", ours=41.2, against="a script", theirs=40, unit="s", goal="<= 1.1"),
            ("up", "41 s", "a script", "40 s", "1.03", "<= 1.1"),
        ),
        (
            bench.Row(name="memory", ours=1.5, against="idle", theirs=0, unit="MiB"),
            ("memory", "1.50 MiB", "idle", "0.00 MiB", "-", ""),
        ),
    ],
)
def test_a_row_shows_both_figures_and_their_ratio(row: bench.Row, cells: tuple[str, ...]) -> None:
    assert row.cells() == cells


def test_works_take_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def work(name: str, figures: list[float]) -> float:
        order.append(name)
        return figures.pop(0)

    ours, theirs = [9.0, 1.0, 5.0, 3.0], [8.0, 2.0, 2.0, 4.0]
    assert bench.take_turns(3, lambda: work("a", ours), lambda: work("b", theirs), say=lambda _: None) == [3.0, 2.0]
    assert order == ["a", "b"] * 4


def test_the_steps_of_a_first_run_are_read_from_what_it_printed() -> None:
    printed = """\
bootstrap: installing
[1/3] Docker ...
      Docker answers
      done in 2 s
[2/3] pulumi up -s dev ...
Duration: 40s
      done in 48 s
[3/3] smoke ...
      ok    workflow run  5.3 s
"""
    assert seconds_by_step(printed, 61.5) == {"Python environment": 11.5, "Docker": 2, "pulumi up -s dev": 48}


def test_an_unknown_part_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["previews"]) == 1
    assert capsys.readouterr().err == (
        "bench: previews is not a part; write one of preview, edge, up, memory, requests, artifacts, first-run\n"
    )

"""Machines of a Docker Swarm as ``ops cluster`` sees them; a test replaces what it is about."""

from dataclasses import replace
from typing import Any

from ops.machine import daemon_config
from ops.observe.cluster import Cluster, Member, Node

PROFILE = f"/etc/docker/{daemon_config.profile_name()}"
HOSTS = [f"ssh://deploy@{name}.example.net" for name in "abc"]
B = HOSTS[1]


def node(letter: str = "a", /, **changed: Any) -> Node:
    """A machine that is right."""
    right = Node(
        host=f"ssh://deploy@{letter}.example.net",
        name=letter,
        version="28.2.2",
        processor="amd64",
        seccomp=PROFILE,
        no_new_privileges=True,
        state="active",
        id=f"id{letter}",
        manager=True,
    )
    return replace(right, **changed)


def member(letter: str = "a", /, **changed: Any) -> Member:
    """The same as the managers know it."""
    right = Member(
        id=f"id{letter}",
        name=letter,
        address=f"10.0.0.{ord(letter) - 96}",
        manager=True,
        leader=letter == "a",
        ready=True,
        availability="active",
        reachability="reachable",
        version="28.2.2",
    )
    return replace(right, **changed)


THREE = Cluster(nodes=[node(letter) for letter in "abc"], members=[member(letter) for letter in "abc"])

"""The ``docker`` program of a world's daemon, as far as the hooks around a container ask it (components/host/handover.py).

``python -m lab.standins.providers.docker_command --host ANY ARGUMENT…``; the world is that of the engine's plugins.
"""

import os
import re
import sys
from pathlib import Path

from lab.standins.providers.world import WORLD_VARIABLE, World


def answer(world: World, arguments: list[str]) -> str:
    """What a command prints; KeyError for a container that does not exist, ValueError for a command that is not known here."""
    with world.edit() as data:
        names: dict[str, str] = {container["name"]: identifier for identifier, container in data["containers"].items()}
        match arguments:
            case ["ps", "--all", "--quiet", "--filter", asked] if found := re.fullmatch(r"name=\^(.+)\$", asked):
                return names.get(found[1], "")
            case ["rename", old, new]:
                data["containers"][names[old]]["name"] = new
                running = Path(data["running"])
                (running / old).rename(running / new)
                return ""
        raise ValueError(f"docker {' '.join(arguments)}: not known to this daemon")


def main() -> int:
    if WORLD_VARIABLE not in os.environ:
        print("Cannot connect to the Docker daemon: this test has none", file=sys.stderr)
        return 1
    # Behind --host and its address.
    print(answer(World(Path(os.environ[WORLD_VARIABLE])), sys.argv[3:]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

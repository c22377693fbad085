"""A user's home with own programs on PATH, so that nothing is installed, started or downloaded. The fixtures, which a conftest.py
imports, and what the programs answer.
"""

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from ops.machine import daemon, engine, engine_from_modules, system
from ops.machine.engine import EngineKind, EngineRecord
from ops.machine.system import Machine
from ops.paths import write_whole

SERVER = Machine(root=True, debian=True, wsl=0, systemd=True)
USER = Machine(root=False, debian=True, wsl=0, systemd=True)

DOCKER_ANSWERS = "echo 28.0.1"
DOCKER_SILENT = "echo 'Cannot connect to the Docker daemon' >&2; exit 1"
DOCKER_DENIED = "echo 'permission denied while trying to connect to the Docker daemon socket' >&2; exit 1"


@dataclass
class Home:
    """A user's home and the folder of programs on its PATH. ``say`` is the progress, kept in ``lines``."""

    path: Path
    bin: Path
    lines: list[str]

    def say(self, line: str) -> None:
        self.lines.append(line)

    def program(self, name: str, body: str, folder: Path | None = None) -> Path:
        """A program that records its arguments in ``NAME.log`` and then runs ``body``."""
        file = (folder or self.bin) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'#!/bin/bash\necho "$*" >> {self.path}/{name}.log\n{body}\n')
        file.chmod(0o755)
        return file

    def calls(self, name: str) -> list[str]:
        """The arguments of each call of a program, a line a call."""
        log = self.path / f"{name}.log"
        return log.read_text().splitlines() if log.exists() else []

    def plugins(self) -> None:
        """Pulumi's plugins, as the official installer leaves them."""
        for name, version in engine.plugin_versions().items():
            (self.path / ".pulumi" / "plugins" / f"resource-{name}-v{version}").mkdir(parents=True)

    def record_engine(self) -> None:
        """A Pulumi CLI on PATH, and the decision for it as an earlier run recorded it."""
        self.program("pulumi", "echo v3.272.0")
        record = EngineRecord(kind=EngineKind.PATH, version="3.272.0", bin_dir=str(self.bin), pulumi_home=None, forced=False)
        write_whole(engine.record_file(), json.dumps(asdict(record)))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home in which nothing has been prepared, on a machine whose network does not answer."""
    for name in list(os.environ):
        if name.startswith(("PULUMI_", "XDG_", "DOCKER_")):
            monkeypatch.delenv(name)
    own = Home(path=tmp_path / "home", bin=tmp_path / "bin", lines=[])
    own.path.mkdir()
    own.bin.mkdir()
    monkeypatch.setenv("HOME", str(own.path))
    # Without the machine's own docker and pulumi; what the doubles are made of is in /bin.
    monkeypatch.setenv("PATH", f"{own.bin}:{tmp_path / 'tools'}")
    (tmp_path / "tools").mkdir()
    for tool in ("bash", "cat", "sleep", "chmod", "mkdir", "touch", "id", "cut", "sha256sum", "dirname", "basename", "rm", "cp"):
        (tmp_path / "tools" / tool).symlink_to(shutil.which(tool, path="/usr/bin:/bin") or tool)
    monkeypatch.setattr(system, "answers", lambda *_, **__: False)
    monkeypatch.setattr(daemon, "DOCKERD_LOG", tmp_path / "dockerd.log")
    return own


@pytest.fixture
def built(home: Home, monkeypatch: pytest.MonkeyPatch) -> engine_from_modules.Engine:
    """The engine from modules, which takes no time to build here and says "built" when it is."""
    folder = home.path / ".cache/skyvern-stack/engine"
    made = engine_from_modules.Engine(bin_dir=folder / "bin", pulumi_home=folder / "home", version="3.256.0")
    made.pulumi_home.mkdir(parents=True)
    home.program("pulumi", "echo v3.256.0", made.bin_dir)
    home.program("go", "echo go1.26.8")

    def ensure(**_: object) -> engine_from_modules.Engine:
        home.say("built")
        return made

    monkeypatch.setattr(engine_from_modules, "ensure", ensure)
    return made

"""The pack's wheel, built and installed without a network."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.policy.pack import PACK

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
OFFLINE = ["--no-index", "--no-deps"]


def build(folder: Path) -> Path:
    """The wheel, built from a copy, in which the build leaves nothing behind."""
    copy = folder / "policy"
    shutil.copytree(PACK, copy, ignore=shutil.ignore_patterns("__pycache__"))
    before = sorted(copy.rglob("*"))
    subprocess.run([*PIP, "wheel", *OFFLINE, "--no-build-isolation", "-w", folder, copy], check=True)
    assert sorted(copy.rglob("*")) == before
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, environment: Path) -> None:
    """Makes an environment with the wheel alone; what the wheel depends on is lent by the environment of the tests."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    subprocess.run([*PIP, "--python", environment / "bin" / "python", "install", *OFFLINE, wheel], check=True)
    (packages,) = environment.glob("lib/python3*/site-packages")
    (packages / "lent.pth").write_text(f"{sysconfig.get_path('purelib')}\n")


def path(environment: Path) -> Path:
    """The path that the wheel's command prints, from another folder."""
    command = environment / "bin" / "skyvern-policies"
    return Path(subprocess.run([command, "path"], cwd="/", check=True, capture_output=True, text=True).stdout.strip())

"""Builds the wheel of the pack: the same files, run by the interpreter of the environment that they are installed into."""

import re
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

DECLARATION = Path(__file__).with_name("PulumiPolicy.yaml")
# From lib/python3.x/site-packages/skyvern_policies to the environment around it.
ENVIRONMENT = "virtualenv: ../../../.."


class BuildPack(build_py):
    """Copies the pack and gives it another interpreter than this project's."""

    def run(self) -> None:
        super().run()
        text, replaced = re.subn(r"virtualenv: \.\./\.venv$", ENVIRONMENT, DECLARATION.read_text(), flags=re.MULTILINE)
        if replaced != 1:
            raise SystemExit(f"{DECLARATION.name}: runtime.options.virtualenv is not ../.venv")
        Path(self.build_lib, "skyvern_policies", DECLARATION.name).write_text(text)

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Of the folder, all but this file."""
        return [module for module in super().find_package_modules(package, package_dir) if module[1] != "setup"]


# Setuptools leaves build/ and *.egg-info beside its sources, and a guarded stack is not deployed from a checkout with new files.
scratch = tempfile.TemporaryDirectory()
setup(
    version=re.search(r"^version: (\S+)$", DECLARATION.read_text(), re.MULTILINE)[1],  # type: ignore[index]
    cmdclass={"build_py": BuildPack},
    options={"build": {"build_base": scratch.name}, "egg_info": {"egg_base": scratch.name}},
)

"""A stack with automations behind the real engine, against a double of Skyvern's API."""

import itertools
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from ops.machine.engine_from_modules import Engine
from ops.paths import ROOT
from skyvern_provider.kinds import computed_workflow_id
from tests.engine.project import Project
from tests.support.skyvern_api import Skyvern

PASSWORD = "a-password-that-nobody-may-see"
PROGRAM = """\
import json
import pathlib

import pulumi

from components.automations import files
from components.automations.automations import Automations, AutomationsArgs
from components.settings import parse

given = json.loads(pathlib.Path("given.json").read_text())
settings = parse({"automations": given["settings"]}, file="Pulumi.test.yaml", secret_keys=frozenset({"automations"})).automations
data = pulumi.ComponentResource("tiny:index:Data", "data")
if settings.files:
    Automations("auto", AutomationsArgs(
        api_url=given["url"], api_key=pulumi.Output.secret(given["key"]), settings=settings, data=data,
        automations=files.load(pathlib.Path.cwd(), settings, "Pulumi.test.yaml"),
    ))
"""
FILE = """\
folder: Blog
workflow:
  title: Daily
  workflow_definition:
    parameters:
      - {key: naver, parameter_type: credential}
    blocks:
      - {block_type: wait, label: settle, wait_sec: 2}
credentials: {naver: naver-account}
schedules:
  morning: {cron: "0 9 * * 1-5", timezone: Asia/Seoul}
"""


class Story:
    """A project with one file, and the server that it is applied to."""

    def __init__(self, engine: Engine, folder: Path, skyvern: Skyvern, url: str) -> None:
        variables = {"PYTHONPATH": str(ROOT), "SKYVERN_PROVIDER_PYTHON": sys.executable}
        self.project, self.skyvern, self.url = Project(engine, folder, PROGRAM, variables), skyvern, url
        described = self.project.folder / "Pulumi.yaml"
        plugins = {"providers": [{"name": "skyvern", "path": str(ROOT / "skyvern_provider")}]}
        described.write_text(described.read_text() + yaml.safe_dump({"plugins": plugins}))
        (self.project.folder / "automations").mkdir()
        self.identifier = computed_workflow_id(skyvern.key, "pulumi/daily")
        self.write(FILE)
        self.give()

    def write(self, text: str, name: str = "daily") -> None:
        (self.project.folder / "automations" / f"{name}.yaml").write_text(text)

    def give(
        self, files: Sequence[str] = ("daily",), password: str = PASSWORD, name: str = "naver-account", **settings: str
    ) -> None:
        """What the stack file says. name: of the credential."""
        credential = {"tested_url": "https://naver.com", "username": "someone", "password": password}
        given = {
            "url": self.url,
            "key": self.skyvern.key,
            "settings": {"files": list(files), "credentials": {name: credential}, **settings},
        }
        (self.project.folder / "given.json").write_text(json.dumps(given))

    def up(self) -> str:
        """Deploys; what was printed. Afterwards ``skyvern.calls`` has the requests of this update."""
        self.skyvern.calls.clear()
        return self.project.succeed("up", "--yes", "--skip-preview")

    def kill_provider(self) -> None:
        """SIGKILL for the plugin process of this project's engine."""
        backend = self.project.variables["PULUMI_BACKEND_URL"].encode()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if b"skyvern_provider" in path.read_bytes() and backend in path.with_name("environ").read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)

    def title(self) -> str:
        return str(self.skyvern.versions[self.identifier][-1]["title"])


def cut_at_each_request(story: Story, change: Callable[[int], None]) -> Iterator[int]:
    """The update of a change loses its provider at its first request, that of the next change at its second one, and so on.

    The request is carried out and nobody hears of it. change: makes the one of a number. Yields the number once the next update
    has finished the work; ends with the first update that makes fewer requests.
    """
    for number in itertools.count(1):
        change(number)
        story.skyvern.requests.clear()

        def cut(at: int = number) -> None:
            if len(story.skyvern.requests) == at:
                story.kill_provider()

        story.skyvern.before_answer = cut
        done = story.project.run("up", "--yes", "--skip-preview")
        story.skyvern.before_answer = lambda: None
        assert "Traceback" not in done.stdout
        if len(story.skyvern.requests) < number:
            assert done.returncode == 0, done.stdout
            assert number > 8
            return
        if done.returncode:
            story.up()
        yield number

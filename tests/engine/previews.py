"""Changes to a stack as the real engine plans them, with stand-ins for Cloudflare and for the Docker daemon.

One stack is deployed; each scenario is a change to its file or its program that is previewed and never applied. What the engine
says is also kept, trimmed, in tests/unit/golden/preview, where the reports are made from it without an engine:

    .venv/bin/python -m tests.engine.previews [SCENARIO...]      records anew
"""

import contextlib
import datetime
import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.standins.providers import install
from ops.machine.engine_from_modules import Engine, ensure
from ops.paths import ROOT
from ops.preview import engine as previews
from ops.preview import events, state
from ops.preview.engine import Run
from tests.engine.project import OwnStack
from tests.engine.stack import ACCESS, CLOUDFLARE, VERCEL, Stack

RECORDED = ROOT / "tests" / "unit" / "golden" / "preview"
PROGRAM = (ROOT / "__main__.py").read_text()
EDGE: dict[str, Any] = {"edge": {**CLOUDFLARE, **ACCESS}}

# Every image of ours is built on Debian, so that another Debian is another image of each.
OTHER_IMAGES = f"""\
from components.host import images

images.OFFICIAL = {{
    **images.OFFICIAL,
    "debian": "debian:trixie-slim@sha256:{"d" * 64}",
    "postgres": "postgres:17.7-trixie@sha256:{"e" * 64}",
}}
"""
CARELESS = """\

import pulumi_docker as docker

docker.Container(
    "helper",
    name="helper",
    hostname="helper",
    image="adminer:latest",
    ports=[docker.ContainerPortArgs(internal=8080, external=8888)],
    envs=["DATABASE_PASSWORD=kZ8mQ2vT5xW1cR7nB4hJ9pL3"],
    privileged=True,
)
"""
# A container that breaks one rule.
WRITABLE = """\
import pulumi_docker as docker

hardened = docker.Container


def container(*name, **arguments):
    if name[0].endswith("-egress-squid"):
        arguments["read_only"] = False
    return hardened(*name, **arguments)


docker.Container = container
"""


class PreviewStack(Stack):
    """A deployed stack that is previewed."""

    def __init__(self, engine: Engine, folder: Path, home: Path) -> None:
        super().__init__(engine, folder, home, PROGRAM)
        self.project.variables["PULUMI_OPTION_POLICY_PACK"] = str(ROOT / "policy")
        self.of_commands = OwnStack("test", root=self.project.folder, variables=self.project.variables)

    def as_before(self) -> None:
        """The file and the program as they are deployed."""
        self.write(**EDGE)
        self.project.program(PROGRAM)
        self.project.variables["PULUMI_OPTION_POLICY_PACK"] = str(ROOT / "policy")

    def deployment(self) -> state.Deployment:
        """Its state, with its secrets."""
        return self.of_commands.state(show_secrets=True)

    def run(self, *command: str) -> Run:
        """What the engine says to ``pulumi COMMAND``."""
        return previews._run(previews._Context.of(self.of_commands), *command)

    def exempt(self, rule: str, resource: str, expires: datetime.date) -> None:
        """A container that breaks a rule, and the policies with an exemption for it."""
        self.project.program(WRITABLE + PROGRAM)
        pack = self.project.folder.parent / "policies"
        shutil.rmtree(pack, ignore_errors=True)
        shutil.copytree(ROOT / "policy", pack, ignore=shutil.ignore_patterns("__pycache__"))
        declared = pack / "PulumiPolicy.yaml"
        declared.write_text(declared.read_text().replace("../.venv", sys.prefix))
        levels = pack / "levels.yaml"
        exemption = {"stack": "test", "rule": rule, "resource": resource, "reason": "its upstream writes below /usr"}
        text = json.dumps([exemption])[1:-2]
        levels.write_text(levels.read_text().replace("exemptions: []", f'exemptions: [{text}, "expires": {expires}}}]'))
        self.project.variables["PULUMI_OPTION_POLICY_PACK"] = str(pack)


@dataclass(frozen=True)
class Scenario:
    """change: what somebody did. drifted: what happened outside; undone afterwards. Both get the deployed stack."""

    change: Callable[[PreviewStack], None] = lambda stack: None
    drifted: Callable[[dict[str, Any]], None] | None = None


def _removed_and_redirected(data: dict[str, Any]) -> None:
    gone = next(key for key, one in data["containers"].items() if one["name"] == "skyvern-test-artifacts")
    del data["containers"][gone]
    record = next(one for one in data["records"].values() if one["name"] == "app.example.com")
    record["content"] = "elsewhere.example.net"


EXEMPTED_UNTIL = datetime.date(2026, 12, 1)

SCENARIOS: dict[str, Scenario] = {
    "no-change": Scenario(),
    "image-bump": Scenario(lambda stack: stack.project.program(OTHER_IMAGES + PROGRAM)),
    # No connector can be built from packages.
    "database-volume": Scenario(
        lambda stack: stack.write(
            edge={**EDGE["edge"], "connector_image": f"docker.io/cloudflare/cloudflared:2026.9.3@sha256:{'c' * 64}"},
            images={"source": "packages"},
        )
    ),
    "new-public-host": Scenario(lambda stack: stack.write(edge=CLOUDFLARE, frontend=VERCEL)),
    "rotation": Scenario(lambda stack: stack.write(**EDGE, rotation={"database": 2, "api_key": 2, "tunnel": 2})),
    "policy-violation": Scenario(lambda stack: stack.project.program(PROGRAM + CARELESS)),
    "exemption": Scenario(
        lambda stack: stack.exempt("docker-container-root-read-only", "*::skyvern-host-egress-squid", EXEMPTED_UNTIL)
    ),
    "failed": Scenario(lambda stack: stack.write(edge={**CLOUDFLARE, "domain": "https://example.com"}, host={"prt": 1})),
    "drift": Scenario(drifted=_removed_and_redirected),
}


@contextlib.contextmanager
def drifted(stack: PreviewStack, scenario: Scenario) -> Iterator[None]:
    """With what happened outside."""
    before = stack.world.read()
    if scenario.drifted is not None:
        with stack.world.edit() as data:
            scenario.drifted(data)
    yield
    if scenario.drifted is not None:
        with stack.world.edit() as data:
            data |= before


NAMES = {
    "urn:pulumi:test::tiny::": "urn:pulumi:prod::skyvern::",
    "skyvern-test": "skyvern-prod",
    "tiny-test": "skyvern-prod",
    "Pulumi.test.yaml": "Pulumi.prod.yaml",
    "stack test:": "stack prod:",
    "a name with test in it": "a name with prod in it",
    '"value": "test"': '"value": "prod"',
    f"{ROOT}/": "",
}


def trimmed(run: Run, *, drift: bool = False) -> dict[str, Any]:
    """What a report needs of a run, with names that do not say "test"."""
    kept = [event for event in (_trimmed_event(one, drift=drift) for one in run.events) if event]
    ran = set(events.rules_run(run.events))
    kept += [{"policyAnalyzeStackSummaryEvent": {"passed": sorted(ran)}}] if ran else []
    errors = [line for line in run.output.splitlines() if line.startswith("error:")]
    text = json.dumps({"code": run.code, "output": "\n".join(errors), "events": kept}, sort_keys=True)
    for here, there in NAMES.items():
        text = text.replace(here, there)
    # A pack is named with its folder.
    text = re.sub(r"\|local\|[^\"\\]*", "|local|policy", text)
    found: dict[str, Any] = json.loads(text)
    return found


def _trimmed_event(event: Mapping[str, Any], *, drift: bool) -> dict[str, Any] | None:
    for kind in ("policyEvent", "summaryEvent"):
        if kind in event:
            return {kind: event[kind]}
    if event.get("diagnosticEvent", {}).get("severity") in {"error", "warning"}:
        return {"diagnosticEvent": event["diagnosticEvent"]}
    for kind in ("resourcePreEvent", "resOutputsEvent"):
        if kind in event:
            meta = event[kind]["metadata"]
            stack = meta["type"] == "pulumi:pulumi:Stack" and not drift
            if kind == ("resOutputsEvent" if not drift else "resourcePreEvent") and not stack:
                return None
            if not stack and not (meta.get("new") or meta.get("old") or {}).get("custom"):
                return None
            keep = {"urn", "type", "op", "detailedDiff", "keys", "diffs"}
            slim = {key: meta[key] for key in keep if meta.get(key) is not None}
            # A replacement comes as three steps with the same properties.
            same = meta["op"] in {"same", "create-replacement", "delete-replaced"} and not stack
            # What the provider says differs, and is told by its outputs.
            named = {re.split(r"[.\[]", path)[0] for path in meta.get("detailedDiff") or {}}
            for side in ("old", "new"):
                if held := meta.get(side):
                    told = {key: held[key] for key in ("custom", "protect", "retainOnDelete", "external") if held.get(key)}
                    inputs, outputs = held.get("inputs") or {}, held.get("outputs") or {}
                    if same:
                        inputs = {key: inputs[key] for key in ("name", "image", "hostname") if key in inputs}
                    if not drift and not stack:
                        outputs = {key: outputs[key] for key in named & set(outputs) if side == "old" and not same}
                    slim[side] = {**told, "inputs": _shortened(inputs), "outputs": _shortened(outputs)}
            return {kind: {"metadata": slim}}
    return None


def _shortened(value: Any) -> Any:
    """Without the one text that is long and on one line: the browser's seccomp profile."""
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    if isinstance(value, str) and len(value) > 1000 and "\n" not in value:
        return f"{value[:20]} {hashlib.sha256(value.encode()).hexdigest()}"
    return value


def write(path: Path, found: dict[str, Any]) -> None:
    """One event a line, so that a difference can be read."""
    parts = []
    for part, run in found.items():
        events = ",\n".join(json.dumps(event, sort_keys=True) for event in run["events"])
        parts.append(f'"{part}": {{"code": {run["code"]}, "output": {json.dumps(run["output"])}, "events": [\n{events}\n]}}')
    path.write_text("{" + ",\n".join(parts) + "}\n")


def record(names: list[str]) -> None:
    """Plays the scenarios and writes what the engine said."""
    with tempfile.TemporaryDirectory() as folder:
        engine = ensure(progress=print)
        home = install(Path(folder) / "home", engine.pulumi_home, "cloudflare", "docker", "vercel")
        stack = PreviewStack(engine, Path(folder), home)
        stack.as_before()
        RECORDED.mkdir(parents=True, exist_ok=True)

        def keep(name: str) -> None:
            found = {"preview": trimmed(stack.run("preview"))}
            if name in {"no-change", "drift"}:
                found["drift"] = trimmed(stack.run("refresh", "--preview-only"), drift=True)
            write(RECORDED / f"{name}.json", found)
            print(name, len(found["preview"]["events"]), "events", flush=True)

        if not names or "first-deployment" in names:
            keep("first-deployment")
        stack.up()
        for name, scenario in SCENARIOS.items():
            if not names or name in names:
                stack.as_before()
                scenario.change(stack)
                with drifted(stack, scenario):
                    keep(name)


if __name__ == "__main__":
    record(sys.argv[1:])

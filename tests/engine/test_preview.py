"""``ops preview`` on the real engine: what it says of changes, that it changes nothing, and that no secret gets out."""

import base64
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from lab.standins.providers import World, docker, install
from ops import preview as command
from ops.machine.engine_from_modules import Engine
from ops.preview import Options, model, report, state
from ops.preview import engine as engine_module
from ops.preview.model import Preview
from ops.redaction import Redactor
from tests.engine.previews import RECORDED, SCENARIOS, PreviewStack, drifted
from tests.engine.project import OwnStack, Project

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def stack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> PreviewStack:
    """The whole program, deployed."""
    folder = tmp_path_factory.mktemp("preview")
    made = PreviewStack(engine, folder, install(folder / "home", engine.pulumi_home, "cloudflare", "docker"))
    made.as_before()
    made.up()
    return made


def recorded(name: str) -> Preview:
    """The preview that the engine made when its events were recorded."""
    found = json.loads((RECORDED / f"{name}.json").read_text())
    about = dataclasses.replace(EMPTY, stack="prod")
    preview = engine_module.build(
        about, engine_module.Run(**found["preview"]), Redactor.of([]), engine_module.disposable_volumes()
    )
    if "drift" in found:
        preview = dataclasses.replace(
            preview, drift=engine_module.build_drift(engine_module.Run(**found["drift"]), Redactor.of([]))
        )
    return preview


EMPTY = model.load('[{"stack": "", "made": "2026-01-01T00:00:00Z"}]', file="test")[0]


def essence(preview: Preview) -> object:
    """What must be the same for the recorded events and for those of today; images change with every commit."""
    steps = [(one.name, one.operation, one.reasons, [each.path for each in one.diffs]) for one in preview.steps]
    policies = [(one.rule, one.outcome, one.level, one.message, one.urn.rpartition("::")[2]) for one in preview.policies]
    exposures = [(one.change, one.kind, one.where) for one in preview.exposures]
    rotations = [one.name for one in preview.rotations]
    return steps, policies, exposures, preview.outages, rotations, preview.outcome, preview.rules_run


def drifted_things(preview: Preview) -> object:
    """The same of the drift."""
    return [(one.name, one.operation, [each.path for each in one.diffs]) for one in preview.drift.steps]


@pytest.mark.parametrize(("name", "code"), [("rotation", 2), ("policy-violation", 3)])
def test_the_engine_of_today_says_what_was_recorded(
    stack: PreviewStack, name: str, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = state.digest(stack.deployment())
    stack.as_before()
    SCENARIOS[name].change(stack)
    monkeypatch.setattr(engine_module, "_unmanaged", lambda context: ())
    # One look at a drift is enough.
    drift = name == "rotation"
    with drifted(stack, SCENARIOS["drift"]):
        assert command.main([stack.of_commands], Options(form="json", output=tmp_path / "preview.json", drift=drift)) == code
    text = (
        (tmp_path / "preview.json")
        .read_text()
        .replace("skyvern-test", "skyvern-prod")
        .replace("with test in it", "with prod in it")
        .replace("stack test:", "stack prod:")
    )
    (made,) = model.load(text, file="preview.json")
    again = "the program or the engine has changed: python -m tests.engine.previews"
    assert essence(made) == essence(recorded(name)), again
    assert drifted_things(made) == (drifted_things(recorded("drift")) if drift else []), again
    # Nothing has been changed, and the digest sees whether it has.
    assert made.state_digest == before == state.digest(stack.deployment())


# --- Secrets ---------------------------------------------------------------------------------------------------------------

# Known by value: of the configuration. Not known to anybody, but it becomes a secret. Known by nothing but their form.
CONFIGURED = "correct-horse-battery/staple+42"
BECOMING = "tr0ub4dor-and-three"
URL_PASSWORD = "in the url of nobody".replace(" ", "-")
RANDOM = "kZ8mQ2vT5xW1cR7nB4hJ9pL3sD6fG0yA"
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvXzEyMzQ1Njc4OSJ9.c2lnbmF0dXJlLW9mLWEtdGVzdA"
PASSPHRASE = "only a test"

SECRETIVE = """\
import base64

import pulumi
import pulumi_docker as docker

known = pulumi.Config().require("known")
becoming = "BECOMING"
plain = ["PLAIN_URL=https://user:URL_PASSWORD@example.com/VERSION", f"DISGUISED={known}", "LATER=" + RANDOM_WORD]
docker.Network("net", name="net", labels=[docker.NetworkLabelArgs(label="note", value=LABEL)], options={"a": OPTION})
container = docker.Container(
    "leaky",
    name="leaky",
    image="one:VERSION",
    envs=[*plain, ENVIRONMENT],
    command=["run", "--header", "Basic " + base64.b64encode(f"user:{known}".encode()).decode(), becoming],
    labels=[
        docker.ContainerLabelArgs(label="token", value="TOKEN"),
        docker.ContainerLabelArgs(label="skyvern.environment", value="\\n".join([*plain, TOLD])),
    ],
)
pulumi.export("clear", f"postgresql://someone:{known}@host/db?VERSION")
pulumi.export("later", OUTPUT)
pulumi.log.warn(f"the key {known} is about to expire", container)
pulumi.log.warn(f"{becoming} and RANDOM and TOKEN")
"""
BEFORE = {
    "VERSION": "1",
    "LABEL": "becoming",
    "OPTION": "known",
    "ENVIRONMENT": '"WAS_PLAIN=" + becoming',
    "TOLD": '"WAS_PLAIN=" + becoming',
    "OUTPUT": "becoming",
}
AFTER = {
    "VERSION": "2",
    "LABEL": "pulumi.Output.secret(becoming)",
    "OPTION": '"nothing"',
    "ENVIRONMENT": 'pulumi.Output.concat("WAS_PLAIN=", pulumi.Output.secret(becoming))',
    "TOLD": '"WAS_PLAIN"',
    "OUTPUT": "pulumi.Output.secret(becoming)",
}
FAILING = f"""
docker.Volume(f"volume-{{known}}", name="v")
raise RuntimeError(f"cannot log in at https://user:{{known}}@example.com with {RANDOM} and {{known}}")
"""


def secretive(values: dict[str, str]) -> str:
    values = {**values, "URL_PASSWORD": URL_PASSWORD, "RANDOM_WORD": repr(RANDOM), "BECOMING": BECOMING, "TOKEN": TOKEN}
    return re.sub("|".join(values), lambda found: values[found[0]], SECRETIVE).replace("RANDOM ", f"{RANDOM} ")


def test_a_secret_in_any_place_gets_nowhere(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    world = World.create(tmp_path / "world.json", {"tokens": []})
    docker.add_daemon(world)
    home = install(tmp_path / "home", engine.pulumi_home, "docker")
    project = Project(engine, tmp_path, secretive(BEFORE), {"PULUMI_HOME": str(home), **world.variables()})
    project.succeed("config", "set", "--secret", "known", CONFIGURED)
    project.succeed("config", "set", "--plaintext", "apiToken", RANDOM)
    project.succeed("up", "--yes", "--skip-preview")
    stack = OwnStack("test", root=project.folder, variables=project.variables)
    monkeypatch.setattr(engine_module, "_unmanaged", lambda context: ())
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with world.edit() as data:
        (network,) = data["networks"].values()
        network["labels"] = [{"label": "by-hand", "value": f"{BECOMING} {CONFIGURED}"}]
    capfd.readouterr()

    raw: list[str] = []
    run = engine_module._run

    def overheard(context: Any, *arguments: str) -> engine_module.Run:
        done = run(context, *arguments)
        raw.append(f"{json.dumps(list(done.events))} {done.output}")
        return done

    monkeypatch.setattr(engine_module, "_run", overheard)
    shown = []
    for program, exit_code in ((secretive(AFTER), 2), (secretive(AFTER) + FAILING, 1)):
        project.program(program)
        stored, file = tmp_path / "preview.json", tmp_path / "report.md"
        assert command.main([stack], Options(form="json", output=stored)) == exit_code, stored.read_text()
        assert command.main([], Options(output=file, limit=0), [stored]) == exit_code
        shown += [file.read_text(), stored.read_text()]
    said = capfd.readouterr()
    everything = "\n".join([*shown, said.out, said.err])
    assert list(temporary.iterdir()) == []
    forms = [
        CONFIGURED,
        BECOMING,
        URL_PASSWORD,
        RANDOM,
        TOKEN,
        PASSPHRASE,
        base64.b64encode(f"user:{CONFIGURED}".encode()).decode(),
    ]
    assert [form for form in forms if form in everything] == []
    # They were all there to be found, but for the passphrase.
    assert [form for form in forms if not any(form in one for one in raw)] == [PASSPHRASE]

    # What is not secret is still told.
    changed, document, failed = shown[0], shown[1], shown[2]
    assert "`one:1` → `one:2`" in changed
    assert "is about to expire" in changed
    assert "https://user:[secret]@example.com/2" in changed
    assert "cannot log in at https://user:[secret]@example.com with [secret] and [secret]" in failed
    assert "by-hand" in document
    assert report.MARKER in failed

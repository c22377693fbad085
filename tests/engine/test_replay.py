"""What earlier versions of this program left, under the program, SDKs and engine of today: nothing that holds data is replaced.

With stand-ins of the providers: that the published ones plan the same is for a first real run (docs/official.md).
"""

import dataclasses
from pathlib import Path

import pytest

from lab.standins.providers import install
from ops.machine.engine_from_modules import Engine
from ops.observe.doctor import policies
from ops.preview import engine as previews
from ops.preview import model
from ops.preview.model import Preview
from tests.engine import states
from tests.engine.previews import PreviewStack

pytestmark = pytest.mark.timeout(900)

STATES = sorted(states.FOLDER.glob("*.json"))
ABOUT = model.load('[{"stack": "test", "made": "2026-01-01T00:00:00Z"}]', file="test")[0]


@pytest.fixture(scope="module", params=STATES, ids=lambda path: path.stem)
def stack(request: pytest.FixtureRequest, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> PreviewStack:
    """A stack with the state of an earlier version."""
    path: Path = request.param
    folder = tmp_path_factory.mktemp("replay")
    made = PreviewStack(engine, folder, install(folder / "home", engine.pulumi_home, "cloudflare", "docker"))
    document = states.load(path)
    made.salt = states.salt(document)
    made.as_before()
    states.belong(made.world, document)
    made.project.succeed("stack", "import", "--file", str(path))
    return made


@pytest.fixture(scope="module")
def preview(stack: PreviewStack) -> Preview:
    run = stack.run("preview")
    redactor = previews._Context.of(stack.of_commands).redactor
    return previews.build(dataclasses.replace(ABOUT), run, redactor, previews.disposable_volumes())


def test_there_is_a_state_of_an_earlier_version() -> None:
    assert STATES


def test_nothing_that_holds_data_or_a_secret_is_replaced_or_deleted(preview: Preview) -> None:
    assert preview.failure == ""
    removed = [step for step in preview.steps if step.operation in {"replace", "delete"}]
    assert [step.name for step in removed if step.stateful or step.protected] == []


def test_a_container_is_replaced_for_its_image_alone(preview: Preview) -> None:
    """The tag of an image of ours is the hash of its files. Whatever else replaces one is in CHANGELOG.md."""
    # Each is checked half as often.
    known = {"image", "healthcheck.interval", "healthcheck.retries"}
    others = {step.name: step.reasons for step in preview.steps if step.operation == "replace" and set(step.reasons) - known}
    # POSTGRES_INITDB_ARGS has --data-checksums; the gateway's rules, its command, wait with a key that only Skyvern knows.
    for name in ("skyvern-host-postgres-server", "skyvern-host-gateway-caddy"):
        others.pop(name, None)
    assert others == {}


def test_what_it_left_is_judged_by_the_rules_of_today(stack: PreviewStack) -> None:
    found = policies.observe_policies(stack.of_commands, stack.project.variables)
    assert (found.error, [one for one in found.violations if one.mandatory]) == ("", [])

"""The policy pack behind the real engine: what it refuses, in which stack, and how it treats unknown values."""

import json
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops.machine.engine_from_modules import Engine
from ops.paths import ROOT
from tests.engine.project import Project
from tests.policy import wheel

pytestmark = pytest.mark.timeout(600)
PACK = ROOT / "policy"
KEY = "kZ8mQ2vT5xW1cR7nB4hJ9pL3"

# A container that no rule objects to, but for CHANGES.
CONTAINER = """\
import pulumi
import pulumi_docker as docker

stack = pulumi.get_stack()
provider = docker.Provider("docker", host="unix:///run/nobody-listens-here.sock", disable_docker_daemon_check=True)
good = dict(
    name=f"tiny-{stack}-one",
    image="postgres:17@sha256:" + "ab" * 32,
    user="999:999",
    network_mode="none",
    read_only=True,
    capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
    security_opts=["no-new-privileges:true"],
    memory=256,
    memory_swap=256,
    cpus="1.0",
    restart="unless-stopped",
    log_opts={"max-size": "10m"},
    healthcheck=docker.ContainerHealthcheckArgs(tests=["CMD", "true"]),
    wait=True,
    opts=pulumi.ResourceOptions(provider=provider),
)
docker.Container("one", **{**good, **CHANGES})
"""
# The same for a service on a network that is to be made, whose id is unknown at a preview.
SERVICE = """\
import pulumi
import pulumi_docker as docker

stack = pulumi.get_stack()
provider = docker.Provider("docker", host="unix:///run/nobody-listens-here.sock", disable_docker_daemon_check=True)
opts = pulumi.ResourceOptions(provider=provider)
network = docker.Network(
    "data", name=f"tiny-{stack}-data", driver="overlay", internal=True, options={"encrypted": "true"}, opts=opts
)
secret = docker.Secret("key", name=f"tiny-{stack}-key", data=pulumi.Output.secret("a2V5"), opts=opts)
spec = dict(
    image="postgres:17@sha256:" + "ab" * 32,
    user="999:999",
    read_only=True,
    cap_drops=["ALL"],
    healthcheck=docker.ServiceTaskSpecContainerSpecHealthcheckArgs(tests=["CMD", "true"]),
    secrets=[
        docker.ServiceTaskSpecContainerSpecSecretArgs(secret_id=secret.id, secret_name=secret.name, file_name="/run/secrets/key")
    ],
)
docker.Service(
    "one",
    name=f"tiny-{stack}-one",
    task_spec=docker.ServiceTaskSpecArgs(
        container_spec=docker.ServiceTaskSpecContainerSpecArgs(**{**spec, **CHANGES}),
        networks_advanceds=[docker.ServiceTaskSpecNetworksAdvancedArgs(id=network.id, aliases=["one"])],
        resources=docker.ServiceTaskSpecResourcesArgs(
            limits=docker.ServiceTaskSpecResourcesLimitsArgs(memory_bytes=2**28, nano_cpus=10**9)
        ),
        log_driver=docker.ServiceTaskSpecLogDriverArgs(name="json-file", options={"max-size": "10m"}),
    ),
    endpoint_spec=docker.ServiceEndpointSpecArgs(mode="dnsrr"),
    update_config=docker.ServiceUpdateConfigArgs(failure_action="rollback", order="start-first"),
    converge_config=docker.ServiceConvergeConfigArgs(timeout="3m"),
    opts=opts,
)
"""
# A password whose length another resource decides.
PASSWORD = """\
import pulumi
import pulumi_random as random

length = random.RandomInteger("length", min=8, max=8, keepers={"epoch": EPOCH})
random.RandomPassword("password", length=length.result, special=False, opts=pulumi.ResourceOptions(protect=True))
"""


@pytest.fixture
def project(engine: Engine, tmp_path: Path) -> Project:
    project = Project(engine, tmp_path, "")
    project.succeed("stack", "init", "dev", "--no-select")
    return project


def container(changes: str) -> str:
    return CONTAINER.replace("CHANGES", changes)


def preview(project: Project, *, stack: str = "test", refused: bool, pack: Path = PACK) -> str:
    """``pulumi preview`` with the pack; what it prints."""
    done = project.run("preview", "-s", stack, "--policy-pack", str(pack))
    assert (done.returncode != 0) == refused, done.stdout
    return done.stdout


def copy_of_the_pack(folder: Path, levels: str) -> Path:
    """The pack as another project has it: another folder, another interpreter's path, other levels."""
    pack = folder / "their-policies"
    shutil.copytree(PACK, pack, ignore=shutil.ignore_patterns("__pycache__"))
    declaration = pack / "PulumiPolicy.yaml"
    assert "virtualenv: ../.venv\n" in declaration.read_text()
    declaration.write_text(declaration.read_text().replace("../.venv", sys.prefix))
    (pack / "levels.yaml").write_text(levels)
    return pack


def test_a_good_container_passes_and_its_secret_is_known_for_one(project: Project) -> None:
    project.program(container(f'{{"envs": [pulumi.Output.secret("SECRET_KEY={KEY}")]}}'))
    shown = preview(project, refused=False)
    assert "skyvern-host" in shown
    assert "advisory" not in shown


def test_a_bad_container_is_refused_by_name(project: Project) -> None:
    project.program(container(f'{{"privileged": True, "envs": ["SECRET_KEY={KEY}"]}}'))
    shown = preview(project, refused=True)
    assert "[mandatory] [severity: critical]  docker-container-unprivileged" in shown
    assert "one: privileged: the container is root on the host; write privileged=False" in shown
    assert "one: envs[SECRET_KEY]: it is in plain text in the state and in every preview" in shown
    assert shown.count("[mandatory]") == 2
    policies = shown.partition("Policies:")[2]
    assert KEY not in policies


def test_a_good_service_passes(project: Project) -> None:
    project.program(SERVICE.replace("CHANGES", "{}"))
    shown = preview(project, refused=False)
    assert "[mandatory]" not in shown
    # What the id decides is said to be unknown, for the service and for the stack; nothing else is.
    assert "one: taskSpec.networksAdvanceds[0].id: known after the update only" in shown
    assert shown.count("known after the update only") == 2


def test_a_bad_service_is_refused_by_the_rules_for_containers(project: Project) -> None:
    mount = 'docker.ServiceTaskSpecContainerSpecMountArgs(type="bind", source="/var/run/docker.sock", target="/x")'
    changes = f'{{"read_only": False, "env": {{"A": "b", "MAIL_PASSWORD": "{KEY}"}}, "mounts": [{mount}]}}'
    project.program(SERVICE.replace("CHANGES", changes))
    shown = preview(project, refused=True)
    assert "[mandatory] [severity: critical]  docker-container-docker-socket-unmounted" in shown
    assert "one: taskSpec.containerSpec.mounts[0].source: whoever opens Docker's socket is root on the host" in shown
    assert "one: taskSpec.containerSpec.readOnly: an intruder can change the programs" in shown
    assert "one: taskSpec.containerSpec.env[MAIL_PASSWORD]: it is in plain text in the state and in every preview" in shown
    assert "one: taskSpec.containerSpec.env[MAIL_PASSWORD]: docker inspect shows it to everyone who may use Docker" in shown
    assert shown.count("[mandatory]") == 4
    assert KEY not in shown.partition("Policies:")[2]


def test_the_wheel_of_the_pack_runs_in_its_own_environment(project: Project, tmp_path: Path) -> None:
    wheel.install(wheel.build(tmp_path), tmp_path / "theirs")
    project.program(container('{"privileged": True}'))
    shown = preview(project, refused=True, pack=wheel.path(tmp_path / "theirs"))
    assert "[mandatory] [severity: critical]  docker-container-unprivileged" in shown
    assert shown.count("[mandatory]") == 1


def test_a_rule_has_another_level_in_another_stack(project: Project) -> None:
    project.program(container('{"envs": ["LOG_LEVEL=DEBUG"]}'))
    preview(project, stack="dev", refused=False)
    assert "docker-container-log-level-quiet" in preview(project, stack="test", refused=True)


def test_a_value_of_the_last_state_stands_in_for_one_that_is_not_known(project: Project) -> None:
    project.program(PASSWORD.replace("EPOCH", '"1"'))
    # Nothing has been deployed: the length is unknown, which is reported and refuses nothing.
    shown = preview(project, refused=False)
    assert "password: length: known after the update only" in shown
    # The update knows it.
    shown = project.fail("up", "--yes", "--skip-preview", "--policy-pack", str(PACK))
    assert "random-password-long" in shown
    assert "randomPassword" not in project.succeed("stack", "export")

    project.succeed("up", "--yes", "--skip-preview")
    assert "as it was last deployed" not in preview(project, refused=True)
    # Now a new length is to come, and the one that is deployed is too short.
    project.program(PASSWORD.replace("EPOCH", '"2"'))
    shown = preview(project, refused=True)
    assert "password: length: it can be guessed (as it was last deployed)" in shown


def test_exemptions_and_levels_of_others(project: Project, tmp_path: Path) -> None:
    project.program(container('{"read_only": False}'))
    exemption = (
        "exemptions:\n- stack: test\n  rule: docker-container-root-read-only\n  resource: '*::one'\n"
        "  reason: it writes below /usr\n  expires: 2999-01-31\n"
    )
    pack = copy_of_the_pack(tmp_path, exemption)
    shown = preview(project, refused=False, pack=pack)
    assert "exempted until 2999-01-31 (it writes below /usr): one: readOnly:" in shown

    (pack / "levels.yaml").write_text(exemption.replace("2999", "2020"))
    shown = preview(project, refused=True, pack=pack)
    assert "policy-exemption-current" in shown
    assert "expired on 2020-01-31" in shown
    assert "docker-container-root-read-only" in shown

    # Resources that go away are not judged, and an exemption for them is not a mistake.
    project.variables["PULUMI_OPTION_POLICY_PACK"] = str(pack)
    project.succeed("destroy", "--yes", "--skip-preview")
    del project.variables["PULUMI_OPTION_POLICY_PACK"]

    (pack / "levels.yaml").write_text("default: strict\n")
    shown = preview(project, refused=True, pack=pack)
    assert "their-policies/levels.yaml: default: is not a level; write one of advisory, mandatory, disabled" in shown
    assert "Traceback" not in shown


def test_levels_from_the_command_line(project: Project, tmp_path: Path) -> None:
    project.program(container('{"read_only": False}'))
    levels = tmp_path / "levels.json"
    levels.write_text('{"docker-container-root-read-only": "advisory"}')
    shown = project.succeed("preview", "--policy-pack", str(PACK), "--policy-pack-config", str(levels))
    assert "[advisory] [severity: medium]  docker-container-root-read-only" in shown


# A component that carries the day of the last drill, as components/host/backup.py does.
BACKUP = """\
import pulumi

pulumi.ComponentResource("skyvern:host:Backup", "backup", DRILLED)
"""


def test_a_drill_is_asked_for_from_the_fifteenth_day_of_a_state_on(project: Project) -> None:
    """What a component is given reaches the pack, and so does the day on which it was made."""
    project.program(BACKUP.replace("DRILLED", "None"))
    assert "not known whether the backups can be restored; from " in preview(project, refused=False)
    project.succeed("up", "--yes", "--skip-preview", "--policy-pack", str(PACK))
    assert "not known whether the backups can be restored; from " in preview(project, refused=False)

    state = json.loads(project.succeed("stack", "export"))
    (backup,) = (one for one in state["deployment"]["resources"] if one["type"] == "skyvern:host:Backup")
    day = datetime.now(UTC) - timedelta(days=16)
    backup["created"] = day.isoformat().replace("+00:00", "Z")
    (project.folder / "older.json").write_text(json.dumps(state))
    project.succeed("stack", "import", "--file", "older.json")
    assert "[mandatory]" in preview(project, refused=True)

    project.program(BACKUP.replace("DRILLED", repr({"drilled": str(datetime.now(UTC).date())})))
    assert "stack-restore-drilled" not in preview(project, refused=False)
    project.program(BACKUP.replace("DRILLED", repr({"drilled": "2026-01-01"})))
    assert "it is more than 92 days ago" in preview(project, refused=True)

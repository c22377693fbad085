"""The engine of tools/engine, for real: programs, errors, policy packs, and the names that its plugins answer to."""

import inspect
import json
import subprocess
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pulumi
import pulumi_docker
import pulumi_random
import pytest
from pulumi import _types

from ops.machine.engine_from_modules import Engine
from tests.engine.project import Project

# docker.Image and its BuilderVersion live in the published plugin itself, not in the provider behind the bridge.
NOT_BRIDGED = {"docker:index/image:Image"}


PASSWORD = """\
import pulumi
import pulumi_random

password = pulumi_random.RandomPassword("password", length=24)
pulumi.export("password", password.result)
"""


def test_a_stack_from_its_first_up_to_nothing(engine: Engine, tmp_path: Path) -> None:
    project = Project(engine, tmp_path, PASSWORD)
    project.succeed("up", "--yes", "--skip-preview")
    project.succeed("up", "--yes", "--skip-preview", "--expect-no-changes")
    project.succeed("preview", "--expect-no-changes")
    project.succeed("refresh", "--yes", "--skip-preview", "--expect-no-changes")

    outputs = json.loads(project.succeed("stack", "output", "--json", "--show-secrets"))
    assert len(outputs["password"]) == 24
    state = project.succeed("stack", "export")
    assert outputs["password"] not in state
    plain = json.loads(project.succeed("stack", "export", "--show-secrets"))
    bcrypt_hash = next(
        resource["outputs"]["bcryptHash"]
        for resource in plain["deployment"]["resources"]
        if resource["type"] == "random:index/randomPassword:RandomPassword"
    )
    assert "$2a$" in json.dumps(bcrypt_hash)
    assert "$2a$" not in state

    project.succeed("destroy", "--yes", "--skip-preview")
    assert "resources" not in json.loads(project.succeed("stack", "export"))["deployment"]


def test_a_program_sees_its_stack_and_its_configuration(engine: Engine, tmp_path: Path) -> None:
    project = Project(
        engine,
        tmp_path,
        """\
import os, pulumi
config = pulumi.Config()
pulumi.export("seen", {
    "names": [pulumi.get_organization(), pulumi.get_project(), pulumi.get_stack()],
    "dry": pulumi.runtime.is_dry_run(),
    "folders": [pulumi.get_root_directory(), os.getcwd()],
    "plain": config.require_object("plain"),
    "virtualenv": os.environ["VIRTUAL_ENV"],
})
pulumi.export("hidden", config.require_secret("hidden"))
""",
    )
    project.succeed("config", "set", "--path", "plain.key", "value")
    project.succeed("config", "set", "--secret", "hidden", "a secret value")
    shown = project.succeed("up", "--yes", "--skip-preview")
    assert "a secret value" not in shown
    assert "a secret value" not in project.succeed("stack", "export")
    folder = str(project.folder)
    outputs = json.loads(project.succeed("stack", "output", "--json", "--show-secrets"))
    assert outputs == {
        "seen": {
            "names": ["organization", "tiny", "test"],
            "dry": False,
            "folders": [folder, folder],
            "plain": {"key": "value"},
            "virtualenv": sys.prefix,
        },
        "hidden": "a secret value",
    }


class TestErrors:
    """What a person reads when a program fails: its own words, and a traceback only for a defect."""

    @pytest.fixture
    def project(self, engine: Engine, tmp_path: Path) -> Project:
        return Project(engine, tmp_path, "")

    def diagnostics(self, project: Project) -> str:
        """The last part of a failed preview; above it the display repeats lines beside their resource."""
        return project.fail("preview").split("Diagnostics:")[1]

    def test_one_line_and_exit_1(self, project: Project) -> None:
        project.program('import sys\nprint("Pulumi.test.yaml: edge.domain: is missing", file=sys.stderr)\nsys.exit(1)\n')
        shown = self.diagnostics(project)
        assert shown.count("Pulumi.test.yaml: edge.domain: is missing") == 1
        assert "Program exited with non-zero exit code: 1" in shown
        assert "Traceback" not in shown

    def test_run_error(self, project: Project) -> None:
        project.program('import pulumi\nraise pulumi.RunError("write the bare domain")\n')
        shown = self.diagnostics(project)
        assert "error: write the bare domain" in shown
        assert "Traceback" not in shown

    def test_a_logged_error_and_exit_32_add_nothing(self, project: Project) -> None:
        project.program('import pulumi, sys\npulumi.log.error("write the bare domain")\nsys.exit(32)\n')
        shown = self.diagnostics(project)
        assert shown.count("write the bare domain") == 1
        assert "unhandled" not in shown
        assert "exit code" not in shown

    def test_an_exception_shows_the_programs_own_frames_once(self, project: Project) -> None:
        project.program('def broken():\n    raise ValueError("a defect")\n\nbroken()\n')
        shown = self.diagnostics(project)
        assert shown.count("ValueError: a defect") == 1
        assert "in broken" in shown
        assert "pulumi-language-python-exec" not in shown

    def test_a_virtual_environment_that_is_not_there(self, project: Project) -> None:
        declaration = project.folder / "Pulumi.yaml"
        declaration.write_text(declaration.read_text().replace(sys.prefix, ".missing"))
        shown = project.fail("preview")
        assert f'{project.folder}/.missing: runtime option "virtualenv" names no virtual environment' in shown


def test_a_plugin_that_the_program_does_not_use_is_not_fetched(engine: Engine, tmp_path: Path) -> None:
    # pulumi_cloudflare and pulumiverse_vercel are installed here; their plugins are in no package registry.
    project = Project(engine, tmp_path, PASSWORD)
    shown = project.succeed("preview", "--logtostderr", "-v=5")
    assert "vercel" not in shown
    assert "cloudflare" not in shown


POLICY = """\
from pulumi_policy import EnforcementLevel, PolicyPack, ResourceValidationPolicy


def long_enough(args, report):
    if args.resource_type == "random:index/randomPassword:RandomPassword" and args.props["length"] < 20:
        report("a password has 20 characters")


PolicyPack(
    name="tiny",
    enforcement_level=EnforcementLevel.MANDATORY,
    policies=[ResourceValidationPolicy(name="long-enough", description="Long passwords.", validate=long_enough)],
)
"""


def test_a_policy_pack_refuses_and_lets_pass(engine: Engine, tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "PulumiPolicy.yaml").write_text(
        f"description: tiny\nruntime:\n  name: python\n  options:\n    virtualenv: {sys.prefix}\n"
    )
    (pack / "__main__.py").write_text(POLICY)
    project = Project(engine, tmp_path, PASSWORD.replace("24", "8"))
    shown = project.fail("up", "--yes", "--policy-pack", str(pack))
    assert "long-enough" in shown
    assert "a password has 20 characters" in shown
    assert "random" not in project.succeed("stack", "export")

    project.program(PASSWORD)
    # The environment's way to name a pack: plain `pulumi up` checks it too.
    project.variables["PULUMI_OPTION_POLICY_PACK"] = str(pack)
    assert "tiny" in project.succeed("up", "--yes", "--skip-preview")
    project.succeed("destroy", "--yes", "--skip-preview")


def test_a_broken_policy_pack_says_why(engine: Engine, tmp_path: Path) -> None:
    pack = tmp_path / "pack"
    pack.mkdir()
    (pack / "PulumiPolicy.yaml").write_text(
        f"description: tiny\nruntime:\n  name: python\n  options:\n    virtualenv: {sys.prefix}\n"
    )
    (pack / "__main__.py").write_text("import not_installed_anywhere\n")
    project = Project(engine, tmp_path, PASSWORD)
    assert "No module named 'not_installed_anywhere'" in project.fail("preview", "--policy-pack", str(pack))


def test_docker_plugin_checks_and_plans_without_a_daemon(engine: Engine, tmp_path: Path) -> None:
    project = Project(
        engine,
        tmp_path,
        f"""\
import pulumi, pulumi_docker as docker
provider = docker.Provider("docker", host="unix://{tmp_path}/none.sock", disable_docker_daemon_check=True)
opts = pulumi.ResourceOptions(provider=provider)
network = docker.Network("network", name="tiny", internal=True, opts=opts)
docker.Volume("volume", name="tiny", opts=opts)
docker.RemoteImage("image", name="tiny:1", keep_locally=True, opts=opts)
docker.Container("container", image="tiny:1", command=["true"], opts=opts,
    networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=network.name, aliases=["tiny"])],
    capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]), healthcheck={{"tests": ["CMD", "true"]}})
""",
    )
    plan = json.loads(project.succeed("preview", "--json"))
    planned = {step["newState"]["type"]: step["newState"].get("inputs") for step in plan["steps"]}
    assert planned["docker:index/container:Container"]["command"] == ["true"]
    (advanced,) = planned["docker:index/container:Container"]["networksAdvanced"]
    assert (advanced["name"], advanced["aliases"]) == ("tiny", ["tiny"])
    assert {"docker:index/network:Network", "docker:index/volume:Volume"} < set(planned)


@pytest.mark.parametrize(("name", "sdk"), [("docker", pulumi_docker), ("random", pulumi_random)])
def test_plugin_answers_to_what_the_sdk_sends(engine: Engine, name: str, sdk: Any) -> None:
    (binary,) = engine.pulumi_home.glob(f"plugins/resource-{name}-v*/pulumi-resource-{name}")
    answer = json.loads(subprocess.run([binary, "-names"], stdout=subprocess.PIPE, check=True).stdout)
    resources = {
        cls.__dict__["pulumi_type"]: sdk.__dict__[f"{cls.__name__}Args"]
        for _, cls in inspect.getmembers(sdk, inspect.isclass)
        if issubclass(cls, pulumi.CustomResource) and not issubclass(cls, pulumi.ProviderResource)
    }
    assert set(resources) - NOT_BRIDGED == set(answer["resources"])
    for token, args in resources.items():
        if token not in NOT_BRIDGED:
            assert differences(shape(args), answer["resources"][token], token) == []
    assert differences(shape(sdk.ProviderArgs), answer["config"], "provider") == []


def shape(annotation: Any) -> Any:
    """The shape of an SDK type, written as tools/engine/names writes it: None, a list of a shape, or properties."""
    if typing.get_origin(annotation) is typing.Union:
        # Input[T] and Optional[T]: the first alternative is T.
        return shape(typing.get_args(annotation)[0])
    if inspect.isclass(annotation) and _types.is_input_type(annotation):
        return {key: shape(value) for key, value in _types.input_type_types(annotation).items()}
    if typing.get_origin(annotation) is not None and issubclass(typing.get_origin(annotation), Sequence):
        return [shape(typing.get_args(annotation)[0])]
    return None


def differences(sent: Any, answered: Any, path: str) -> list[str]:
    """Paths at which the SDK sends something that the plugin does not have or has in another shape."""
    if isinstance(sent, Mapping) and isinstance(answered, Mapping):
        return [
            line
            for key in sent
            for line in (differences(sent[key], answered[key], f"{path}.{key}") if key in answered else [f"{path}.{key}"])
        ]
    if isinstance(sent, list) and isinstance(answered, list):
        return differences(sent[0], answered[0], f"{path}[]")
    return [] if sent == answered else [f"{path}: {sent!r} is sent, {answered!r} is known"]

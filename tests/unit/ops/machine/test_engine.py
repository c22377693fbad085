"""ops.machine.engine: which Pulumi CLI is taken and how it gets there, with doubles for the CLI, its installer and Go."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from ops.errors import UserError
from ops.machine import engine, engine_from_modules, system
from ops.machine.engine import Cli, EngineKind, decide_engine
from ops.machine.engine_from_modules import Engine
from ops.paths import ROOT
from tests.support.home import SERVER, USER, Home

CLI = Cli(bin_dir=Path("/opt/pulumi/bin"), version=(3, 272, 0), language_host=True)


def never() -> bool:
    raise AssertionError("the network was asked without need")


@pytest.mark.parametrize(
    ("requested", "on_path", "installed", "plugins", "reachable", "kind"),
    [
        ("auto", CLI, False, True, never, EngineKind.PATH),
        ("auto", CLI, False, False, lambda: True, EngineKind.PATH),
        ("auto", CLI, False, False, lambda: False, EngineKind.MODULES),
        ("auto", None, True, True, never, EngineKind.OFFICIAL),
        ("auto", None, False, False, lambda: True, EngineKind.OFFICIAL),
        ("auto", None, False, False, lambda: False, EngineKind.MODULES),
        ("official", CLI, False, True, never, EngineKind.PATH),
        ("official", None, False, False, lambda: True, EngineKind.OFFICIAL),
        ("modules", CLI, True, True, never, EngineKind.MODULES),
    ],
)
def test_where_the_cli_comes_from(
    requested: engine.EngineChoice,
    on_path: Cli | None,
    installed: bool,
    plugins: bool,
    reachable: Callable[[], bool],
    kind: EngineKind,
) -> None:
    assert decide_engine(requested, on_path=on_path, installed=installed, plugins=plugins, reachable=reachable)[0] is kind


@pytest.mark.parametrize(
    ("on_path", "why"),
    [
        (Cli(bin_dir=Path("/x"), version=(3, 207, 0), language_host=True), "3.207.0, older than 3.225.0"),
        (Cli(bin_dir=Path("/x"), version=(3, 272, 0), language_host=False), "no Python language host"),
        (None, "none on PATH"),
    ],
)
def test_a_cli_that_does_not_do_is_replaced_and_the_reason_given(on_path: Cli | None, why: str) -> None:
    kind, reason = decide_engine("auto", on_path=on_path, installed=False, plugins=True, reachable=lambda: True)
    assert kind is EngineKind.OFFICIAL
    assert why in reason


def test_an_official_cli_that_is_not_available_is_one_line() -> None:
    with pytest.raises(UserError, match=r"^Pulumi: get\.pulumi\.com does not answer.*--engine modules"):
        decide_engine("official", on_path=None, installed=False, plugins=False, reachable=lambda: False)
    # The cure, followed.
    kind, _ = decide_engine("modules", on_path=None, installed=False, plugins=False, reachable=lambda: False)
    assert kind is EngineKind.MODULES


def test_a_cli_on_path_is_used_and_recorded(home: Home) -> None:
    home.program("pulumi", "echo v3.270.0")
    home.program("pulumi-language-python", "true")
    home.plugins()
    made = engine.ensure_engine(None, home.say)
    assert (made.kind, made.version, made.bin_dir) == (EngineKind.PATH, "3.270.0", str(home.bin))
    assert engine.read_record() == made


def test_plugins_that_are_missing_are_installed_at_the_sdk_version(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "answers", lambda *_, **__: True)
    home.program("pulumi", "echo v3.270.0")
    home.program("pulumi-language-python", "true")
    engine.ensure_engine(None, home.say)
    expected = [f"plugin install resource {name} {version}" for name, version in engine.plugin_versions().items()]
    assert [call for call in home.calls("pulumi") if call.startswith("plugin")] == expected


def test_plain_pulumi_asks_for_the_same_version() -> None:
    """`pulumi up` of an older CLI, without script/env, ends in one line: it would deploy without the policy pack."""
    project = YAML(typ="safe").load(ROOT / "Pulumi.yaml")
    assert project["requiredPulumiVersion"] == ">=" + ".".join(map(str, engine.MINIMUM_CLI))


def test_a_stack_gets_the_plugins_that_it_needs_and_no_others(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """O6: the engine fetched them all before the first preview, unseen; Vercel's comes from GitHub."""
    monkeypatch.setattr(system, "answers", lambda *_, **__: True)
    home.program("pulumi", "echo v3.270.0")
    home.program("pulumi-language-python", "true")
    home.plugins()
    engine.ensure_engine(None, home.say)
    assert [call for call in home.calls("pulumi") if call.startswith("plugin")] == []
    engine.ensure_engine(None, home.say, frozenset({"cloudflare", "vercel"}))
    versions = engine.plugin_versions({"cloudflare", "vercel"})
    assert [call for call in home.calls("pulumi") if call.startswith("plugin")] == [
        f"plugin install resource cloudflare {versions['cloudflare']}",
        f"plugin install resource vercel {versions['vercel']} --server github://api.github.com/pulumiverse",
    ]
    assert f"installing the vercel plugin {versions['vercel']} from github://api.github.com/pulumiverse" in home.lines


@pytest.mark.parametrize(("plugin", "remedy"), [("cloudflare", "run this again"), ("vercel", "with GITHUB_TOKEN set if")])
def test_a_plugin_that_cannot_be_installed_is_one_line(
    home: Home, monkeypatch: pytest.MonkeyPatch, plugin: str, remedy: str
) -> None:
    """O6."""
    monkeypatch.setattr(system, "answers", lambda *_, **__: True)
    home.program("pulumi", "[[ $1 == plugin ]] || { echo v3.270.0; exit; }; echo 'error: 403 rate limit exceeded' >&2; exit 255")
    home.program("pulumi-language-python", "true")
    home.plugins()
    with pytest.raises(UserError, match=rf"^Pulumi: the {plugin} plugin .*403 rate limit exceeded; .*{remedy}[^\n]*$"):
        engine.ensure_engine(None, home.say, frozenset({plugin}))


def test_an_edge_asks_for_the_official_engine_again(home: Home, built: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """No registry has its plugins, so an engine that was built of modules is not enough for it."""
    (home.path / ".cache/skyvern-stack/engine" / engine_from_modules.content_hash()).mkdir(parents=True)
    assert engine.ensure_engine(None, home.say).kind is EngineKind.MODULES
    asked: list[str] = []

    def answers(url: str, *_: object) -> bool:
        asked.append(url)
        return False

    monkeypatch.setattr(system, "answers", answers)
    engine.ensure_engine(None, home.say)
    assert asked == []
    engine.ensure_engine(None, home.say, frozenset({"cloudflare"}))
    assert asked == [engine.official_url()]


def test_the_installer_needs_curl(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """O4: wget alone passed the check, and the installer knows curl only."""
    from pulumi.automation import PulumiCommand

    monkeypatch.setattr(system, "answers", lambda *_, **__: True)
    home.program("wget", "true")
    monkeypatch.setattr(system, "observe_machine", lambda: USER)
    with pytest.raises(UserError, match=r"^Pulumi: its installer needs curl; run `sudo apt-get install curl ca-certificates`$"):
        engine.ensure_engine(None, home.say)
    home.program("apt-get", f"[[ $1 == install ]] || exit 0; cp {home.bin}/wget {home.bin}/curl")
    monkeypatch.setattr(system, "observe_machine", lambda: SERVER)
    monkeypatch.setattr(PulumiCommand, "install", lambda root, version: home.program("pulumi", "true", Path(root) / "bin"))
    assert engine.ensure_engine(None, home.say).kind is EngineKind.OFFICIAL
    assert home.calls("apt-get")[-1].endswith(" curl ca-certificates")


def test_the_official_installer_gets_the_sdk_version(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from pulumi.automation import PulumiCommand

    monkeypatch.setattr(system, "answers", lambda *_, **__: True)
    home.program("curl", "true")
    asked = []

    def install(root: str, version: object) -> None:
        asked.append((root, str(version)))
        home.program("pulumi", "echo v3.272.0", Path(root) / "bin")

    monkeypatch.setattr(PulumiCommand, "install", install)
    made = engine.ensure_engine(None, home.say)
    assert asked == [(str(engine.official_root()), engine.sdk_version())]
    assert made.kind is EngineKind.OFFICIAL
    assert made.pulumi_home is None


# As the installer prints it: colours, the address of the archive, and at its exit always where to get help.
BEGIN = "\x1b[1;34m=== Installing Pulumi v3.272.0 ===\x1b[0m\n\x1b[1;37m+ Downloading https://get.pulumi.com/x.tar.gz...\x1b[0m\n"
RED = "\x1b[1;31m"
END = "\x1b[1;37m=== If something went wrong, join us on slack ===\x1b[0m\n"


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (f"curl: (6) Could not resolve host\n{RED}error: failed to download\x1b[0m\n", "curl: (6) Could not resolve"),
        ("  0  161M    0\r 12  161M\rcurl: (22) The requested URL returned error: 503\n", "curl: (22) The requested"),
        ("+ Extracting to /x\ntar: pulumi/pulumi: No space left on device\ntar: Exiting\n", "tar: pulumi/pulumi: No"),
        ("install.sh: line 201: tar: command not found\n", "install.sh: line 201: tar: command not found"),
        (f"{RED}error: We're sorry, Pulumi is not supported on your platform.\x1b[0m\n", "error: We're sorry, Pulumi is"),
    ],
)
def test_the_reason_of_an_installer_that_fails(output: str, reason: str) -> None:
    """O5: every failure read "join us on slack"."""
    line = engine.installer_reason(BEGIN + output + END)
    assert line.startswith(reason)
    assert "\x1b" not in line


def test_an_installer_that_gives_no_reason() -> None:
    assert engine.installer_reason("") == ""
    assert engine.installer_reason(BEGIN).startswith("+ Downloading ")


def test_an_installer_that_fails_is_one_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from pulumi.automation import PulumiCommand

    monkeypatch.setattr(system, "answers", lambda *_, **__: True)
    home.program("curl", "true")

    def install(root: str, version: object) -> None:
        raise subprocess.CalledProcessError(1, "install.sh", output=b"Downloading\nerror: disk is full\n")

    monkeypatch.setattr(PulumiCommand, "install", install)
    with pytest.raises(UserError, match=r"^Pulumi: the official installer failed: error: disk is full; "):
        engine.ensure_engine(None, home.say)
    assert engine.read_record() is None


def test_the_engine_from_modules_is_announced_before_it_is_built(home: Home, built: Engine) -> None:
    made = engine.ensure_engine(None, home.say)
    assert made.kind is EngineKind.MODULES
    assert made.pulumi_home == str(built.pulumi_home)
    before = "\n".join(home.lines[: home.lines.index("built")])
    assert "get.pulumi.com does not answer" in before
    assert "6 minutes" in before


def test_the_engine_from_modules_gives_way_once_the_official_engine_is_available(
    home: Home, built: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert engine.ensure_engine(None, home.say).kind is EngineKind.MODULES
    # In a shell that evaluated script/env, the built CLI comes first on PATH and PULUMI_HOME is its home.
    monkeypatch.setenv("PATH", f"{built.bin_dir}:{os.environ['PATH']}")
    monkeypatch.setenv("PULUMI_HOME", str(built.pulumi_home))
    home.program("pulumi", "echo v3.272.0")
    home.program("pulumi-language-python", "true")
    home.plugins()
    made = engine.ensure_engine(None, home.say)
    assert (made.kind, made.bin_dir) == (EngineKind.PATH, str(home.bin))


def test_a_choice_made_with_an_option_stays(home: Home, built: Engine) -> None:
    home.program("pulumi", "echo v3.272.0")
    home.program("pulumi-language-python", "true")
    home.plugins()
    assert engine.ensure_engine("modules", home.say).kind is EngineKind.MODULES
    assert engine.ensure_engine(None, home.say).kind is EngineKind.MODULES
    assert engine.ensure_engine("auto", home.say).kind is EngineKind.PATH


def test_a_record_whose_cli_has_gone_does_not_count(home: Home) -> None:
    home.record_engine()
    assert engine.read_record() is not None
    (home.bin / "pulumi").unlink()
    assert engine.read_record() is None


@pytest.mark.parametrize("text", ["", "{}", '{"kind": "other"}', "[]", '{"kind": "path", "unknown": 1}'])
def test_a_damaged_record_does_not_count(home: Home, text: str) -> None:
    home.record_engine()
    engine.record_file().write_text(text)
    assert engine.read_record() is None


def test_a_half_installed_plugin_is_missing(home: Home) -> None:
    home.plugins()
    version = engine.plugin_versions()["docker"]
    assert engine.missing_plugins(home.path / ".pulumi") == {}
    (home.path / ".pulumi" / "plugins" / f"resource-docker-v{version}.partial").touch()
    assert engine.missing_plugins(home.path / ".pulumi") == {"docker": version}

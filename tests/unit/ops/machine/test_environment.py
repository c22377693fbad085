"""ops.machine.environment: the variables of every child process that runs Pulumi."""

import json
import subprocess
from pathlib import Path

import pytest

from ops import switched_off
from ops.machine import backend, engine, environment
from ops.machine.engine_from_modules import Engine
from ops.paths import ROOT
from tests.support.home import Home


def test_the_environment_of_a_local_stack(home: Home) -> None:
    home.record_engine()
    backend.ensure_state(home.say)
    variables = environment.for_stacks()
    assert variables["PATH"].split(":")[:3] == [str(home.bin), str(ROOT / ".venv" / "bin"), str(ROOT / "bin")]
    assert variables["PULUMI_BACKEND_URL"] == f"file://{backend.local_state_dir()}"
    assert variables["PULUMI_CONFIG_PASSPHRASE_FILE"] == str(backend.passphrase_file())
    assert variables["PULUMI_SKIP_UPDATE_CHECK"] == "true"
    # O6: otherwise the plugins of Cloudflare and Vercel are fetched for stacks without an edge.
    assert variables["PULUMI_OPTION_SKIP_PLUGIN_PRE_INSTALL"] == "true"
    # Of every command, also plain pulumi's refresh and destroy: seen with 24 volumes on a host over SSH, at 32 calls at a time,
    # as Pulumi makes them on eight cores, "Session open refused by peer", and after that "Connection reset".
    assert variables["PULUMI_PARALLEL"] == "8"
    # A shell that has them from script/env is refused nothing.
    assert not list(switched_off.effects(variables))
    assert "PULUMI_HOME" not in variables


def test_the_environment_twice_is_the_same(home: Home, built: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.ensure_engine(None, home.say)
    backend.ensure_state(home.say)
    first = environment.for_stacks()
    for name, value in first.items():
        monkeypatch.setenv(name, value)
    assert environment.for_stacks() == first


def test_the_built_engine_finds_the_users_login(home: Home, built: Engine) -> None:
    (home.path / ".pulumi").mkdir()
    (home.path / ".pulumi" / "credentials.json").write_text(json.dumps({"current": "s3://bucket"}))
    engine.ensure_engine(None, home.say)
    backend.ensure_state(home.say)
    variables = environment.for_stacks()
    assert variables["PULUMI_HOME"] == str(built.pulumi_home)
    assert variables["PULUMI_CREDENTIALS_PATH"] == str(home.path / ".pulumi")
    assert variables["PULUMI_BACKEND_URL"] == "s3://bucket"


def test_the_policy_pack_is_named_only_where_there_is_one(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    home.record_engine()
    assert "PULUMI_OPTION_POLICY_PACK" not in environment.for_engine()
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "PulumiPolicy.yaml").touch()
    assert environment.for_engine()["PULUMI_OPTION_POLICY_PACK"] == str(tmp_path / "policy")


def test_exports_survive_a_shell() -> None:
    nasty = {"PATH": "/a b:/c'd:/$(touch /tmp/x):/`id`", "OTHER": 'x"y\\z\nnew line', "EMPTY": ""}
    script = environment.exports(nasty) + "".join(f"printf '%s\\0' \"${name}\"; " for name in nasty)
    for shell in ("bash", "sh"):
        printed = subprocess.run([f"/bin/{shell}", "-c", script], capture_output=True, check=True, env={}).stdout
        assert printed.decode().split("\0")[:-1] == list(nasty.values())

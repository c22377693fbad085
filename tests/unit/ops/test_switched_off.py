"""ops.switched_off: a variable of the shell that switches a check off ends every command of ours with its name."""

import os
import re
import subprocess

import pytest

from ops import bootstrap, cli, switched_off
from ops.deploy import up
from ops.errors import UserError
from ops.paths import ROOT

REFUSED = {
    "GIT_SSL_NO_VERIFY": "1",
    "PYTHONHTTPSVERIFY": "0",
    "NODE_TLS_REJECT_UNAUTHORIZED": "0",
    "npm_config_strict_ssl": "false",
    "NPM_CONFIG_STRICT_SSL": "False",
    "PIP_TRUSTED_HOST": "mirror.example.com",
    "UV_INSECURE_HOST": "mirror.example.com",
    "GOINSECURE": "*",
    "GOFLAGS": "-trimpath --mod=mod",
    "PULUMI_SKIP_CONFIRMATIONS": "true",
    "PULUMI_OPTION_POLICY_PACK_CONFIG": "levels.json",
    "PULUMI_OPTION_TARGET": "urn:pulumi:prod::skyvern::a::b",
    "PULUMI_OPTION_SOMETHING_NEW": "1",
}
FINE = {
    "GIT_SSL_NO_VERIFY": "false",
    "PYTHONHTTPSVERIFY": "1",
    "NODE_TLS_REJECT_UNAUTHORIZED": "1",
    "npm_config_strict_ssl": "true",
    "PIP_TRUSTED_HOST": "",
    "GOFLAGS": "-mod=readonly -trimpath",
    "PULUMI_OPTION_POLICY_PACK": "policy",
    "PULUMI_OPTION_COLOR": "never",
    "GIT_SSL_CAINFO": "/etc/ssl/certs/ca-certificates.crt",
    "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt",
    "PULUMI_CONFIG_PASSPHRASE": "a-passphrase",
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_by_name_without_its_value(name: str) -> None:
    with pytest.raises(UserError) as told:
        switched_off.check({**FINE, name: REFUSED[name]})
    (line,) = str(told.value).splitlines()
    assert line.startswith(f"{name}: ")
    assert "unset it" in line
    assert "example.com" not in line


def test_what_switches_nothing_off_is_left_alone() -> None:
    assert not list(switched_off.effects(FINE))


def test_every_entry_refuses_it_before_anything_else(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NODE_TLS_REJECT_UNAUTHORIZED", "0")
    assert up.main(["--stack", "dev", "--yes"]) == 1
    assert capsys.readouterr().err.startswith("NODE_TLS_REJECT_UNAUTHORIZED: ")
    assert bootstrap.main(["--print-env"]) == 1
    assert capsys.readouterr().err.startswith("NODE_TLS_REJECT_UNAUTHORIZED: ")
    monkeypatch.setattr("sys.argv", ["ops", "version"])
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().err.startswith("error: NODE_TLS_REJECT_UNAUTHORIZED: ")


def test_the_script_refuses_it_before_pip_runs() -> None:
    done = subprocess.run(
        [ROOT / "script" / "bootstrap", "--venv"],
        env={**os.environ, "PIP_TRUSTED_HOST": "mirror.example.com"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("bootstrap: PIP_TRUSTED_HOST: ")


def test_every_installation_asks_for_hashes() -> None:
    """By the text of the calls: nothing here installs a package by its name alone."""
    files = [*ROOT.glob("images/*/Dockerfile"), *(path for path in ROOT.glob("script/*")), ROOT / "lab/standins/vercel/build.py"]
    calls = [
        line for path in files for line in path.read_text().splitlines() if re.search(r"pip\"?,? \"?(install|download)", line)
    ]
    assert len(calls) >= 4
    for line in calls:
        assert "--require-hashes" in line or "*options" in line, line
    npm = [line for path in files for line in path.read_text().splitlines() if re.search(r"npm\"?,? \"?(ci|install)\b", line)]
    assert npm
    for line in npm:
        assert '"ci", "--ignore-scripts"' in line, line


def test_no_call_switches_a_check_off() -> None:
    words = (
        "--allow-unauthenticated",
        "--no-check-gpg",
        "AllowInsecure",
        "trusted=yes",
        "--trusted-host",
        "--insecure",
        "verify=False",
    )
    switches = "|".join([*map(re.escape, words), r"curl [^|]*\s-\w*k\b"])
    for pattern in ("images/*/*", "script/*", "ops/**/*.py", "lab/**/*.py"):
        files = [path for path in ROOT.glob(pattern) if path.is_file() and path.suffix not in {".pyc", ".sum"}]
        assert len(files) > 5, pattern
        for path in files:
            assert not re.search(switches, path.read_text()), path

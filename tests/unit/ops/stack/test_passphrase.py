"""ops.stack.passphrase: a passphrase that is not the stack's is found before anything is made (F03)."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.errors import UserError
from ops.machine import backend
from ops.machine.backend import State
from ops.stack import passphrase
from ops.stack.stack import Stack
from tests.support.home import Home

# Written by Pulumi 3.256 with the passphrase "only a test".
SALT = "v1:/hGk9DugJvM=:v1:h0oiYducSSBHBd7p:p1F8+2rBajrIQp8Mx3+tMhThWOWbWw=="
PLAIN = f"# A comment.\nencryptionsalt: {SALT}\nconfig:\n  skyvern:host:\n    port: 8080\n"
SECRET = f"{PLAIN}  skyvern:llm:\n    api_key:\n      secure: v1:a:b\n  skyvern:smtp:\n    secure: v1:c:d\n"


@pytest.fixture
def stack(home: Home, tmp_path: Path) -> Stack:
    (tmp_path / "Pulumi.dev.yaml").write_text(PLAIN)
    return Stack("dev", root=tmp_path)


def check(stack: Stack, environ: dict[str, str], salt_of_state: str | None = None) -> None:
    folder = stack.root / "state"
    if salt_of_state is not None:
        path = folder / ".pulumi" / "stacks" / "skyvern" / "dev.json"
        path.parent.mkdir(parents=True)
        provider = {"type": "passphrase", "state": {"salt": salt_of_state}}
        path.write_text(json.dumps({"checkpoint": {"latest": {"secrets_providers": provider}}}))
    passphrase.check(stack, State(url=f"file://{folder}", local=True, passphrase=True), environ)


RIGHT = {"PULUMI_CONFIG_PASSPHRASE": "only a test"}
WRONG = {"PULUMI_CONFIG_PASSPHRASE": "another-passphrase"}


def test_the_right_passphrase_passes(stack: Stack) -> None:
    check(stack, RIGHT, SALT)


def test_a_salt_of_another_passphrase_is_one_line_with_the_cure(stack: Stack) -> None:
    """F03, without encrypted values: a colleague's committed salt, or WSL was installed again."""
    with pytest.raises(UserError) as told:
        check(stack, WRONG)
    line = str(told.value)
    assert line.startswith("Pulumi.dev.yaml: encryptionsalt: is of another passphrase than that of PULUMI_CONFIG_PASSPHRASE; ")
    assert "(sed -i '/^encryptionsalt:/d' Pulumi.dev.yaml)" in line
    assert "another-passphrase" not in line
    # The cure, followed.
    stack.file.write_text("".join(line for line in PLAIN.splitlines(keepends=True) if not line.startswith("encryptionsalt:")))
    check(stack, WRONG)


def test_with_encrypted_values_the_line_cannot_simply_go(stack: Stack) -> None:
    """F03: they could not be read any more, so they are named."""
    stack.file.write_text(SECRET)
    with pytest.raises(
        UserError, match=r"and so is llm\.api_key, smtp; put that passphrase back from your copy, or remove"
    ) as told:
        check(stack, WRONG)
    assert "sed" not in str(told.value)


def test_on_a_new_machine_no_passphrase_is_generated_over_it(stack: Stack) -> None:
    """F03: before the passphrase of this machine is made, which could open nothing of the file."""
    stack.file.write_text(SECRET)
    with pytest.raises(UserError, match=r"than that of .*/passphrase \(which is not there\), and so is llm\.api_key"):
        check(stack, {})
    assert not backend.passphrase_file().exists()
    # The cure: the copy is put back.
    backend.passphrase_file().parent.mkdir(parents=True)
    backend.passphrase_file().write_text("only a test\n")
    check(stack, {})


def test_the_passphrase_of_a_file(stack: Stack, tmp_path: Path) -> None:
    named = tmp_path / "named"
    named.write_text("only a test\n")
    check(stack, {"PULUMI_CONFIG_PASSPHRASE_FILE": str(named)})
    named.write_text("another\n")
    with pytest.raises(UserError, match=f"than that of {named};"):
        check(stack, {"PULUMI_CONFIG_PASSPHRASE_FILE": str(named)})


def test_a_state_of_another_passphrase_is_named_first(stack: Stack) -> None:
    """Without the line in the file the stack could still not be read."""
    with pytest.raises(
        UserError, match=r"^stack dev: the state in file://.* was encrypted with another passphrase than that of PULUMI"
    ):
        check(stack, WRONG, SALT)


def test_another_manager_of_secrets_needs_no_passphrase(stack: Stack) -> None:
    stack.file.write_text(f"secretsprovider: awskms://alias/x\n{PLAIN}")
    check(stack, WRONG)
    passphrase.check(stack, State(url="https://api.pulumi.com", local=False, passphrase=False), WRONG)


@given(st.text() | st.from_regex(r"v1:[A-Za-z0-9+/=]{0,20}:v1:[A-Za-z0-9+/=]{0,20}:[A-Za-z0-9+/=]{0,20}", fullmatch=True))
def test_a_salt_of_any_form_ends_in_an_answer(salt: str) -> None:
    assert passphrase.opens(salt, None) in {True, False}


@pytest.mark.parametrize("salt", ["", "x", "v2:a:b", "v1:!:v1:!:!", "v1:AAAA:v1:AAAA:AAAA"])
def test_a_salt_that_no_pulumi_wrote_is_pulumis_to_judge(stack: Stack, salt: str) -> None:
    assert passphrase.opens(salt, "x") is True


def test_every_command_that_asks_pulumi_says_whose_it_should_be(stack: Stack, tmp_path: Path) -> None:
    """F03, past script/up: rotate, apply, preview and status had Pulumi's own line."""
    programs = tmp_path / "programs"
    programs.mkdir()
    pulumi = programs / "pulumi"
    pulumi.write_text("#!/bin/sh\necho 'error: could not load stack: incorrect passphrase' >&2\nexit 255\n")
    pulumi.chmod(0o755)
    variables = {**WRONG, "PATH": f"{programs}:/usr/bin:/bin", "PULUMI_BACKEND_URL": f"file://{tmp_path}/state"}
    with pytest.raises(UserError, match=r"^Pulumi\.dev\.yaml: encryptionsalt: is of another passphrase"):
        Stack("dev", root=stack.root, variables=variables).state()

"""The recovery kit: whole or refused, and unreadable without its passphrase."""

import json
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ops.backups import kit
from ops.backups.kit import Kit
from ops.errors import UserError
from ops.stack import kits
from ops.stack.secrets import generated, last_change
from ops.stack.stack import Stack

KIT = Kit(
    stack="prod",
    made="2026-11-28T12:00:00+00:00",
    commit="a" * 40,
    stack_file="config:\n  skyvern:backup:\n    type: path\n",
    passphrase="correct horse",
    repository_key="k" * 64,
    state='{"version": 3}',
)


def test_a_kit_survives_its_text() -> None:
    assert kit.parse(kit.text(KIT)) == KIT


@pytest.mark.parametrize(
    "document",
    ["", "[]", "not a kit", json.dumps({"form": kit.FORM}), kit.text(KIT)[:-40]],
    ids=["empty", "list", "text", "without its parts", "cut off"],
)
def test_half_a_kit_is_refused_and_not_repeated(document: str) -> None:
    with pytest.raises(UserError, match="is not a whole kit; give the file that ops backup kit wrote") as refused:
        kit.parse(document)
    assert KIT.repository_key not in str(refused.value)


def test_a_kit_of_another_form_names_the_commit() -> None:
    with pytest.raises(UserError, match="use the commit that made it"):
        kit.parse(json.dumps({**asdict(KIT), "form": "skyvern recovery kit 9"}))


def test_its_secrets_are_in_no_representation() -> None:
    assert KIT.passphrase not in repr(KIT)
    assert KIT.repository_key not in repr(KIT)


def test_encrypted_it_opens_with_its_passphrase_and_with_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GNUPGHOME", str(tmp_path / "gnupg"))
    (tmp_path / "gnupg").mkdir(mode=0o700)
    right, wrong, file = tmp_path / "right", tmp_path / "wrong", tmp_path / "kit.asc"
    right.write_text("a passphrase\n")
    wrong.write_text("another one\n")
    try:
        _encrypt_and_open(file, right, wrong)
    finally:
        # Which gpg starts and leaves behind.
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], check=False)


def _encrypt_and_open(file: Path, right: Path, wrong: Path) -> None:
    kit.encrypt(kit.text(KIT), file, right)
    assert file.stat().st_mode & 0o777 == 0o600
    assert KIT.repository_key not in file.read_text()
    assert kit.read(file, right) == KIT
    with pytest.raises(UserError, match="is the passphrase of the kit right"):
        kit.read(file, wrong)
    with pytest.raises(UserError, match="exists; name a file that does not"):
        kit.encrypt(kit.text(KIT), file, right)


def test_where_no_one_can_be_asked_the_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="add --passphrase-file"):
        kit.encrypt(kit.text(KIT), tmp_path / "kit.asc")


@pytest.mark.parametrize("given", [{"output": None, "plain": False}, {"output": Path("x"), "plain": True}])
def test_one_of_the_two_forms_is_asked_for(given: dict[str, object]) -> None:
    with pytest.raises(UserError, match="add --output FILE for an encrypted file, or --plain"):
        kit.make(Stack("dev"), passphrase_file=None, progress=print, **given)  # type: ignore[arg-type]  # a case of each


def test_when_a_kit_was_made_is_known_for_each_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert kits.made_at(Stack("prod")) is None
    kits.note(Stack("prod"))
    assert kits.made_at(Stack("prod")) is not None
    assert kits.made_at(Stack("dev")) is None
    (tmp_path / "skyvern-stack" / "kits.json").write_text("{")
    assert kits.made_at(Stack("prod")) is None


STATE = {
    "resources": [
        {"urn": "urn:pulumi:dev::skyvern::x::skyvern-secrets-backup", "type": "random:index/randomPassword:RandomPassword",
         "created": "2026-11-28T10:00:00.5Z", "outputs": {"result": {"plaintext": '"the key"'}}},
        {"urn": "urn:pulumi:dev::skyvern::x::skyvern-secrets-api-key", "type": "random:index/randomPassword:RandomPassword",
         "created": "2026-11-28T11:00:00Z", "outputs": {"result": {"plaintext": '"another"'}}},
        {"urn": "urn:pulumi:dev::skyvern::x::skyvern-secrets-api-key", "type": "random:index/randomPassword:RandomPassword",
         "created": "2026-11-28T12:00:00Z", "delete": True},
        {"urn": "urn:pulumi:dev::skyvern::x::skyvern-host-x", "type": "docker:index/container:Container",
         "created": "2026-11-29T12:00:00Z"},
    ]
}  # fmt: skip


def test_the_newest_secret_is_not_the_newest_resource() -> None:
    changed = last_change(STATE)
    assert changed is not None
    assert changed.isoformat() == "2026-11-28T11:00:00+00:00"
    assert last_change({}) is None


def test_a_generated_secret_is_read_from_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stack, "state", lambda self, show_secrets: STATE)
    found = generated(Stack("dev"), "backup", "vault-key")
    assert {name: secret.get_secret_value() for name, secret in found.items()} == {"backup": "the key"}


def test_a_stack_without_a_backup_has_no_kit(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    with pytest.raises(UserError, match=r"backup\.type: is none, so there is nothing to restore"):
        kit.collect(Stack("dev", root=tmp_path))


def test_nothing_of_a_kit_is_lost_by_its_dataclass() -> None:
    assert kit.parse(kit.text(replace(KIT, commit=""))).commit == ""

"""ops.deploy.restore: what is said about schedules that come back, that a resume is alone on its stack, what a kit keeps.

Not here: what is refused and the copy that is filled (tests/unit/ops/backups/test_copies.py).
"""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.settings.automations import AutomationSettings
from components.settings.backup import Backup, NoBackup, PathBackup
from ops.backups import copies, exchange, external, notes
from ops.backups.copies import Schedule
from ops.backups.exchange import Kept
from ops.backups.kit import Kit
from ops.clients.docker import Docker
from ops.deploy import restore, update
from ops.errors import UserError
from ops.machine import backend
from ops.machine.daemon import DEFAULT_SOCKET
from ops.stack import checkpoint
from ops.stack.file import parse
from ops.stack.stack import Stack
from tests.support.checkout import commit, init
from tests.support.daemon import daemon
from tests.support.lock import REFUSED, held

DEV = Stack("dev")
MORNING = Schedule(id="ws_1", name="아침", when="0 9 * * *")
EVENING = Schedule(id="ws_2", name="저녁", when="0 18 * * *")


def test_a_schedule_that_had_been_deleted_is_named() -> None:
    """It comes back with the data, and what the automations' files do not name stays where it is."""
    there = daemon(psql="ws_2\n")
    deleted = restore._deleted_here(DEV, there, ["ws_1", "ws_2"])
    said: list[str] = []
    restore._tell_paused(DEV, [MORNING, EVENING], deleted, said.append)
    assert said[1:3] == [
        "  아침: 0 9 * * *",
        "  저녁: 0 18 * * *; was deleted after the set was made: delete it again in the UI if it is not to run",
    ]


def test_with_automations_the_command_that_applies_the_files_again_is_named() -> None:
    """Pulumi's state is newer than the set, so a plain update would see no difference."""
    said: list[str] = []
    restore._tell_automations(DEV, AutomationSettings(files=["daily"]), said.append)
    restore._tell_automations(DEV, AutomationSettings(), said.append)
    assert said == ["automations are as the set has them: pulumi up --refresh -s dev applies their files again"]


def test_of_a_database_that_is_lost_nothing_is_known() -> None:
    assert restore._deleted_here(DEV, daemon(psql=UserError("docker: exit 2")), ["ws_1"]) == frozenset()


def test_a_resume_beside_another_command_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    there = daemon()
    monkeypatch.setattr(Stack, "docker", lambda self: there)
    with held(), pytest.raises(UserError, match=REFUSED):
        restore.resume(DEV, yes=True)
    assert there.asked == []


def test_a_restore_into_another_engine_touches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It filled the new place, and the repair after it took the services out of the state."""
    there = daemon()
    service = {"type": "docker:index/service:Service", "outputs": {"name": "skyvern-dev-server"}}
    monkeypatch.setattr(Stack, "state", lambda self: {"resources": [service]})
    monkeypatch.setattr(Stack, "docker", lambda self: there)
    monkeypatch.setattr(notes, "alone", lambda stack: nullcontext())
    monkeypatch.setattr(exchange, "image_of", lambda stack: "backup")
    monkeypatch.setattr(copies, "source", lambda stack: SimpleNamespace(stack=stack, docker=there, references={"backup": "x"}))
    with pytest.raises(UserError, match="nothing was changed: it runs on a Swarm"):
        restore.restore(DEV, None, yes=True, discard_newer=False)
    with pytest.raises(UserError, match="nothing was changed: it runs on a Swarm"):
        restore.undo(DEV, yes=True)
    assert there.asked == []


@pytest.mark.parametrize(
    ("command", "nothing"),
    [
        ("ops resume", "no schedule of stack dev is paused by a restore"),
        ("ops restore --undo", "stack dev has nothing that a restore replaced"),
    ],
)
# Without one its image is not built, and nothing was restored.
@pytest.mark.parametrize("backup", [PathBackup(type="path", path="/srv/backup"), NoBackup()])
def test_without_the_backups_image_it_is_one_line(
    backup: Backup, command: str, nothing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    there = daemon(**{"image inspect": UserError("docker: exit 1: Error: No such image: localhost/skyvern/backup")})
    settings = Stack("dev").settings().model_copy(update={"backup": backup})
    monkeypatch.setattr(Stack, "docker", lambda self: there)
    monkeypatch.setattr(Stack, "settings", lambda self: settings)
    monkeypatch.setattr(Stack, "state", lambda self: {})
    missing = r"the image localhost/skyvern/backup:\w+ is not on unix:///x; run bin/ops images build -s dev"
    with pytest.raises(UserError, match=f"^{command}: {nothing if isinstance(backup, NoBackup) else missing}$"):
        (restore.resume if command == "ops resume" else restore.undo)(DEV, yes=True)
    assert [asked.split()[0] for asked in there.asked] == ["image"]


# --- From the kit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [[], ["skyvern-dev-postgres", "skyvern-dev-artifacts"], ["skyvern-prod-postgres"]])
def test_a_kit_keeps_what_volumes_without_containers_have(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], left: list[str]
) -> None:
    """As after docker system prune, or a destroy that stopped at them; of a machine with none, nothing is kept."""
    stack, image = Stack("dev"), "backup"
    new = Kept(stamp="20261130-100000", set="20261130T090000Z", volumes={}, state="exchanged")
    source = SimpleNamespace(record=lambda name: SimpleNamespace(name=name), references={"backup": image}, settings=None)
    removed: list[Kept] = []
    monkeypatch.setattr(notes, "alone", lambda stack: nullcontext())
    monkeypatch.setattr(copies, "source", lambda stack: source)
    monkeypatch.setattr(copies, "refuse_newer", lambda *_: None)
    monkeypatch.setattr(external, "server", lambda *_: None)
    monkeypatch.setattr(restore, "clear", lambda *_: None)
    monkeypatch.setattr(restore, "_ask", lambda *_, **__: None)
    monkeypatch.setattr(restore, "replace", lambda *_, **__: new.stamp)
    monkeypatch.setattr(exchange, "kept", lambda *_: [replace(new, stamp="20261129-100000"), new])
    monkeypatch.setattr(exchange, "remove", lambda docker, stack, image, one, server: removed.append(one))
    monkeypatch.setattr(Docker, "run", lambda self, *words, **_: "\n".join(left) if words[:2] == ("volume", "ls") else "")
    restore._take_data(stack, Docker("unix:///x"), None, yes=True)
    ours = any("dev" in name for name in left)
    assert removed == ([] if ours else [new])
    assert ("to go back: bin/ops restore --undo -s dev" in capsys.readouterr().out) is ours


KIT_FILE = """\
# shop: the second cell.
config:
  skyvern:host:
    docker_host: ssh://deploy@old.example.net   # in the cellar
    port: 8090
  skyvern:edge: {provider: cloudflare, domain: example.com, cell: shop, api_token: {secure: x}}
encryptionsalt: v1:abc
"""
PROVIDER = "urn:pulumi:shop::skyvern::skyvern:platform:SkyvernPlatform$skyvern:host:DockerBackend$pulumi:providers:docker::x"


def a_kit() -> Kit:
    address = {"host": "ssh://deploy@old.example.net", "context": ""}
    resources = [
        {"urn": PROVIDER, "type": "pulumi:providers:docker", "inputs": address, "outputs": address},
        {"urn": PROVIDER.replace("DockerBackend", "Mine"), "type": "pulumi:providers:docker", "inputs": address},
    ]
    state = json.dumps({"version": 3, "deployment": {"resources": resources}})
    return Kit(stack="shop", made="", commit="", stack_file=KIT_FILE, passphrase="", repository_key="", state=state)


def taken(folder: Path, here: str | None) -> tuple[str, list[str]]:
    """The stack file after it was taken from the kit, as again on a retry, and the lines of it."""
    path, lines = folder / "Pulumi.shop.yaml", list[str]()
    if here is not None:
        path.write_text(here)
    stack = Stack("shop", root=folder)
    restore._take_files(stack, a_kit(), lines.append)
    text = path.read_text()
    restore._take_files(stack, a_kit(), print)
    assert path.read_text() == text
    return text, lines


def test_a_stack_moves_to_the_machine_that_its_file_names(tmp_path: Path) -> None:
    """As docs/scale.md has it; the kit's file took the place of the one that had been edited, at each attempt."""
    new = KIT_FILE.replace("old.example", "new.example").replace("8090", "8095")
    assert taken(tmp_path, new) == (
        # Everything else as the kit has it, comments as well.
        KIT_FILE.replace("old.example", "new.example"),
        [
            "Pulumi.shop.yaml: from the kit",
            "Pulumi.shop.yaml: host.docker_host: ssh://deploy@new.example.net: kept, the kit has another",
        ],
    )


def test_machines_of_another_swarm_are_kept(tmp_path: Path) -> None:
    text, lines = taken(tmp_path, "config:\n  skyvern:host: {nodes: [ssh://b, ssh://c]}\n")
    assert "docker_host: ssh://deploy@old.example.net   # in the cellar\n" in text
    assert parse(text, "x")["skyvern:host"]["nodes"] == ["ssh://b", "ssh://c"]
    assert lines[1:] == ["Pulumi.shop.yaml: host.nodes: ssh://b, ssh://c: kept, the kit has another"]


@pytest.mark.parametrize("here", [None, "config: {}\n", "config: [\n", "config:\n  skyvern:host:\n    secure: x\n"])
def test_a_file_that_names_no_machine_is_the_kits(tmp_path: Path, here: str | None) -> None:
    assert taken(tmp_path, here) == (KIT_FILE, ["Pulumi.shop.yaml: from the kit"])
    assert taken(tmp_path, KIT_FILE) == (KIT_FILE, [])


@pytest.mark.parametrize(
    ("resources", "salt", "stays"), [(["x"], "v1:abc", True), (["x"], "v1:other", False), ([], "v1:abc", False)]
)
def test_what_is_corrected_between_two_attempts_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resources: list[str], salt: str, stays: bool
) -> None:
    """A key of the bucket that was renewed after the kit was made: the kit's file took its place again, at each attempt."""
    monkeypatch.setattr(checkpoint, "read", lambda url, short: {"resources": resources} if short == "shop" else {})
    corrected = KIT_FILE.replace("secure: x", "secure: renewed").replace("v1:abc", salt)
    text, lines = taken(tmp_path, corrected)
    assert text == (corrected if stays else KIT_FILE)
    assert lines == [
        "Pulumi.shop.yaml: "
        + ("stays as it is, because an earlier attempt took it and the state from the kit" if stays else "from the kit")
    ]


@pytest.mark.parametrize(
    ("committed", "here", "kept"),
    [
        # In an archive; in a clone as it is, with the file of every clone and with an older machine of the stack's.
        (None, DEFAULT_SOCKET, False),
        (DEFAULT_SOCKET, DEFAULT_SOCKET, False),
        ("ssh://deploy@older.example.net", "ssh://deploy@older.example.net", False),
        # In one where it was edited, and where no commit has the file.
        ("ssh://deploy@old.example.net", DEFAULT_SOCKET, True),
        ("", DEFAULT_SOCKET, True),
    ],
)
def test_the_daemon_of_a_fresh_checkout_is_no_decision(git_folder: Path, committed: str | None, here: str, kept: bool) -> None:
    """Where the disk died, the kit's machine is the right one, and not that of the file which each clone has."""

    def written(address: str) -> str:
        return f"config: {{skyvern:host: {{docker_host: '{address}'}}}}\n"

    if committed is not None:
        (git_folder / ("Pulumi.shop.yaml" if committed else "program.py")).write_text(written(committed))
        init(git_folder)
        commit(git_folder)
    text, _ = taken(git_folder, written(here))
    assert (text != KIT_FILE) is kept


def test_the_state_of_a_kit_asks_the_machine_that_the_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refresh takes the address from the state: it asked the machine that is gone, or kept what still runs on the old one."""
    (tmp_path / "Pulumi.shop.yaml").write_text(KIT_FILE.replace("old.example", "new.example"))
    asked: list[tuple[str, bytes | None]] = []

    def pulumi(_: Stack, *words: str, stdin: bytes | None = None, **__: float) -> bytes:
        asked.append((" ".join(words[:2]), stdin))
        return b"{}"

    monkeypatch.setattr(Stack, "pulumi", pulumi)
    monkeypatch.setattr(backend, "ensure_state", lambda _: None)
    monkeypatch.setattr(update, "ensure_stack", lambda *_: None)
    restore._take_state(Stack("shop", root=tmp_path), a_kit(), print)
    imported = next(json.loads(stdin or b"") for words, stdin in asked if words == "stack import")
    ours, mine = imported["deployment"]["resources"]
    new = {"host": "ssh://deploy@new.example.net", "context": ""}
    assert (ours["inputs"], ours["outputs"], mine["inputs"]["host"]) == (new, new, "ssh://deploy@old.example.net")
    assert asked[-1][0].startswith("refresh")


@pytest.mark.parametrize("corrected", [True, False])
def test_a_machine_that_is_corrected_between_two_attempts_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, corrected: bool
) -> None:
    """The state was there by then, and went on asking the old one."""
    (tmp_path / "Pulumi.shop.yaml").write_text(KIT_FILE.replace("old.example", "new.example" if corrected else "old.example"))
    asked: list[tuple[str, bytes | None]] = []

    def pulumi(_: Stack, *words: str, stdin: bytes | None = None, **__: float) -> bytes:
        asked.append((" ".join(words[:2]), stdin))
        return a_kit().state.encode()

    monkeypatch.setattr(Stack, "pulumi", pulumi)
    monkeypatch.setattr(Stack, "state", lambda self: {"resources": ["x"]})
    monkeypatch.setattr(backend, "ensure_state", lambda _: None)
    monkeypatch.setattr(update, "ensure_stack", lambda *_: None)
    lines: list[str] = []
    restore._take_state(Stack("shop", root=tmp_path), a_kit(), lines.append)
    imported = [json.loads(stdin or b"") for words, stdin in asked if words == "stack import"]
    assert [one["deployment"]["resources"][0]["inputs"]["host"] for one in imported] == (
        ["ssh://deploy@new.example.net"] if corrected else []
    )
    assert lines == []

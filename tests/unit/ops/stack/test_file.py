"""ops.stack.file: a stack file read without the engine, one line for each way in which it can be wrong, and edits in place."""

from pathlib import Path

import pytest

from ops.errors import UserError
from ops.stack import file
from ops.stack.stack import Stack, only_from_main
from tests.support.checkout import commit

# What is wrong with a stack file, by its bytes.
UNREADABLE = {
    "not YAML": b"config:\n  skyvern:host: [\n",
    "an impossible date": b"config:\n  a:date: 2026-13-45\n",
    "a value that is not of its type": b"config:\n  a:flag: !!bool maybe\n",
    "a list": b"- config\n",
    "a text": b"config\n",
    "a list as config": b"config:\n  - skyvern:host\n",
    "a text as config": b"config: skyvern:host\n",
    "Latin-1": "config: {}  # Gr\u00f6\u00dfe\n".encode("latin-1"),
    "UTF-16": "config: {}\n".encode("utf-16"),
    "a zero byte": b"config:\0\n",
}


def stack_file(folder: Path, content: str | bytes) -> Path:
    path = folder / "Pulumi.dev.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refused(path: Path) -> str:
    """The one line for a file, the same for its configuration and for its settings."""
    with pytest.raises(UserError) as raised:
        file.read(path)
    with pytest.raises(UserError) as of_settings:
        file.settings(path)
    (line,) = str(raised.value).splitlines()
    assert str(of_settings.value) == line
    return line


# --- Reading -------------------------------------------------------------------------------------------------------------


def test_the_settings_are_read_without_the_engine(tmp_path: Path) -> None:
    path = stack_file(
        tmp_path,
        """
encryptionsalt: v1:abc
config:
  other:key: 1
  skyvern:host:
    docker_host: unix:///run/mine.sock
  skyvern:llm:
    provider: anthropic
    key: ANTHROPIC_CLAUDE4.5_SONNET
    api_key:
      secure: v1:ciphertext
""",
    )
    assert file.settings(path).host.docker_host == "unix:///run/mine.sock"
    assert file.settings(path).llm.provider == "anthropic"


@pytest.mark.parametrize(
    "section",
    [
        "monitor: {enabled: true, channels: {secure: v1:x}}",
        "backup: {type: sftp, host: a.example.com, user: b, path: c, known_host: ssh-ed25519 A, private_key: {secure: v1:x}}",
        "backup: {type: s3, bucket: abc, access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: {secure: v1:x}}",
        "smtp: {host: a.example.com, username: b@example.com, password: {secure: v1:x}}",
    ],
)
def test_a_secret_of_whatever_form_may_be_encrypted(tmp_path: Path, section: str) -> None:
    """With channels or a private key that were encrypted, as docs say, no command went on: what stood for them was refused."""
    file.settings(stack_file(tmp_path, f"config:\n  skyvern:{section}\n"))


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "encryptionsalt: v1:abc\n", "config:\n", "config: {}\n"])
def test_a_file_without_settings_has_the_defaults(tmp_path: Path, text: str) -> None:
    path = stack_file(tmp_path, text)
    assert file.read(path) == {}
    assert file.settings(path).host.port == 8080


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ("not YAML", "is not valid YAML in line 3; correct it (docs/configuration.md)"),
        ("an impossible date", "is not valid YAML; correct it (docs/configuration.md)"),
        ("a value that is not of its type", "is not valid YAML; correct it (docs/configuration.md)"),
        ("a list", "is not a stack file; write its settings below config: (docs/configuration.md)"),
        ("a text", "is not a stack file; write its settings below config: (docs/configuration.md)"),
        ("a list as config", "is not a stack file; write its settings below config: (docs/configuration.md)"),
        ("a text as config", "is not a stack file; write its settings below config: (docs/configuration.md)"),
        ("Latin-1", "is not UTF-8 text; save it as UTF-8"),
        ("UTF-16", "is not UTF-8 text; save it as UTF-8"),
        ("a zero byte", "is not valid YAML; correct it (docs/configuration.md)"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path: Path, wrong: str, line: str) -> None:
    assert refused(stack_file(tmp_path, UNREADABLE[wrong])) == f"Pulumi.dev.yaml: {line}"


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "Pulumi.dev.yaml"
    assert refused(folder) == f"Pulumi.dev.yaml: cannot be read ([Errno 2] No such file or directory: '{folder}')"
    folder.mkdir()
    assert refused(folder) == f"Pulumi.dev.yaml: cannot be read ([Errno 21] Is a directory: '{folder}')"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        # For Pulumi, a key without a prefix is the project's.
        ("config:\n  host: {docker_host: ssh://deploy@h.example}\n", ["host: is without its prefix; write skyvern:host"]),
        ("config:\n  1: {}\n", ["1: is without its prefix; write skyvern:1"]),
        # As Pulumi once wrote every key, and still reads it.
        ("config:\n  skyvern:config:host: {}\n", ["skyvern:config:host: is an old form; write skyvern:host"]),
        ("config:\n  skyvren:host: {}\n", ["skyvren:host: unknown prefix; write skyvern:host"]),
        ("config:\n  Skyvern:host: {}\n", ["Skyvern:host: unknown prefix; write skyvern:host"]),
        ("config:\n  skyvren:config:host: {}\n", ["skyvren:config:host: unknown prefix; write skyvern:host"]),
        ("confg:\n  skyvern:host: {}\n", ["confg: unknown key; write config"]),
        ("Config:\n  skyvern:host: {}\n", ["Config: unknown key; write config"]),
        ("encryptionSalt: v1:abc\n", ["encryptionSalt: unknown key; write encryptionsalt"]),
        ("skyvern:host:\n  port: 8081\n", ["skyvern:host: unknown key; write it below config, or remove it"]),
        (
            "confg: {}\nconfig:\n  host: {}\n  deployment: {}\n",
            [
                "confg: unknown key; write config",
                "host: is without its prefix; write skyvern:host",
                "deployment: is without its prefix; write skyvern:deployment",
            ],
        ),
    ],
)
def test_a_key_that_would_not_be_read_is_one_line(tmp_path: Path, text: str, lines: list[str]) -> None:
    """They were dropped in silence: the stack was updated on this host, whichever the file named."""
    with pytest.raises(UserError) as raised:
        file.read(stack_file(tmp_path, text))
    assert str(raised.value).splitlines() == [f"Pulumi.dev.yaml: {line}" for line in lines]


def test_what_pulumi_keeps_and_keys_of_others_are_no_mistakes(tmp_path: Path) -> None:
    text = """
secretsprovider: passphrase
encryptionsalt: v1:abc
encryptedkey: abc
environment: [shared]
config:
  pulumi:tags: {owner: ops}
  cloudflare:apiToken: {secure: v1:x}
  docker:host: unix:///run/mine.sock
  skyvern:host: {port: 8081}
"""
    assert file.settings(stack_file(tmp_path, text)).host.port == 8081


@pytest.mark.parametrize("key", ["deployment", "skyvern:config:deployment", "skyvren:deployment"])
def test_a_guard_under_a_key_that_is_not_read_guards(key: str) -> None:
    assert only_from_main(f"config:\n  {key}: {{only_from_main: true}}\n", "shop") is True
    assert only_from_main("config:\n  pulumi:tags: {}\n", "shop") is False


def test_each_wrong_setting_is_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        file.settings(stack_file(tmp_path, "config:\n  skyvern:host:\n    firewal: true\n    port: 80\n"))
    lines = str(raised.value).splitlines()
    assert sorted(line.partition(": ")[2].partition(":")[0] for line in lines) == ["host.firewal", "host.port"]
    assert all(line.startswith("Pulumi.dev.yaml: ") for line in lines)


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_file_that_cannot_be_read_guards_its_stack(checkout: Path, content: bytes) -> None:
    """Here as on main, and without a traceback: the guard is asked before the settings are."""
    assert not Stack("dev", root=checkout).guarded
    stack_file(checkout, content)
    assert Stack("dev", root=checkout).guarded
    commit(checkout)
    stack_file(checkout, "config: {}\n")
    assert Stack("dev", root=checkout).guarded
    assert only_from_main("config: {}\n", "dev") is False


# --- Editing -------------------------------------------------------------------------------------------------------------

COMMENTED = """\
# Ours.
config:
  skyvern:images:
    source: official  # of the registry
  skyvern:host:
    port: "8090"
"""


def test_a_setting_is_written_and_everything_else_stays(tmp_path: Path) -> None:
    path = stack_file(tmp_path, COMMENTED)
    path.chmod(0o640)
    file.write_settings(path, {"images": {"source": "packages"}})
    assert path.read_text() == COMMENTED.replace("official", "packages")
    file.write_settings(path, {"rotation": {"api_key": 2}})
    assert path.read_text() == COMMENTED.replace("official", "packages") + "  skyvern:rotation:\n    api_key: 2\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["Pulumi.dev.yaml"]


def test_a_setting_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    path = stack_file(tmp_path, COMMENTED)
    before = path.stat()
    file.write_settings(path, {"images": {"source": "official"}})
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("text", ["", "config: {}\n", "config:\n  skyvern:host:\n    port: 8080\n"])
def test_a_setting_is_added_where_there_was_none(tmp_path: Path, text: str) -> None:
    path = stack_file(tmp_path, text)
    file.write_settings(path, {"images": {"source": "packages"}})
    assert file.settings(path).images.source == "packages"


@pytest.mark.parametrize("text", ["config:\n", "config:\n  skyvern:host:\n"])
def test_an_empty_section_is_written_to(tmp_path: Path, text: str) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text(text)
    file.write_settings(path, {"host": {"port": 8081}})
    assert file.sections(file.read(path)) == {"host": {"port": 8081}}


@pytest.mark.parametrize("section", ["foo", "[1]", "{secure: v1:abc}"])
def test_what_is_no_section_is_not_written_to(tmp_path: Path, section: str) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    before = f"config:\n  skyvern:images: {section}\n"
    path.write_text(before)
    with pytest.raises(UserError, match=r"^Pulumi.dev.yaml: images: is not a section that can be written to; "):
        file.write_settings(path, {"images": {"source": "packages"}})
    assert path.read_text() == before


def test_a_file_of_thousands_of_brackets_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "Pulumi.dev.yaml"
    path.write_text("[" * 5000)
    with pytest.raises(UserError, match=r"^Pulumi.dev.yaml: is not valid YAML"):
        file.read(path)

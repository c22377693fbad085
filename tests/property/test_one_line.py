"""Whatever is typed, set, broken or missing: never a traceback, one line on what is wrong, and nothing is changed.

In this process, so that many can be tried: the entries of bin/ops, script/up and script/bootstrap on a checkout and a home of
their own, with none of the machine's programs. What the real programs say is the business of the other tests.
"""

import contextlib
import io
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st

from ops import bootstrap, cli
from ops.clients import terminal
from ops.deploy import up
from ops.errors import UserError
from ops.machine import daemon, go, system
from ops.paths import ROOT
from tests.property.examples import one_in
from tests.support.hostile import COMPANY, HOSTILE
from tests.support.stack_outputs import OUTPUTS

DEV = (ROOT / "Pulumi.dev.yaml").read_text()
FAULT = "a fault of this program"


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str
    changed: set[str]

    def check(self, *codes: int) -> None:
        """One line, no traceback, nothing of a fault of ours."""
        printed = self.out + self.err
        assert "Traceback" not in printed, printed
        assert FAULT not in printed, printed
        assert self.code in codes, (self.code, printed)
        if self.code:
            # A stack file has a line for each mistake, each with the name of the file.
            lines = [line for line in self.err.splitlines() if line]
            assert len(lines) <= 1 or all(".yaml: " in line for line in lines), self.err
            assert lines or self.out, "ended without a word"


@dataclass
class Machine:
    """A checkout, a home and the programs on its PATH, in one folder."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.folder / "checkout"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def program(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def files(self) -> dict[str, Any]:
        """What must stay as it is: the checkout, the state and the passphrase; not logs and compiled modules."""
        found: dict[str, Any] = {}
        for path in (*self.root.rglob("*"), *(self.home / ".config").rglob("*"), *(self.home / ".docker").rglob("*")):
            info = path.lstat()
            found[str(path)] = (info.st_mode, path.read_bytes() if stat.S_ISREG(info.st_mode) else b"")
        return found

    def run(self, entry: Callable[[], int | None]) -> Ended:
        before = self.files()
        environ = {
            "HOME": str(self.home),
            "PATH": str(self.folder / "bin"),
            # Where a person's terminal, language and time are.
            "TERM": "dumb",
            "LANG": "C.UTF-8",
            **self.variables,
        }
        # As Python opens them.
        out, err = _stream("strict"), _stream("backslashreplace")
        with (
            mock.patch.dict(os.environ, environ, clear=True),
            mock.patch("ops.stack.stack.ROOT", self.root),
            mock.patch.object(system, "answers", return_value=False),
            mock.patch.object(daemon, "DOCKERD_LOG", self.folder / "dockerd.log"),
            mock.patch.object(sys, "stdin", io.StringIO("")),
            mock.patch.object(time, "sleep", _patience_ends),
            mock.patch.object(go, "ensure_go", side_effect=UserError("Go: nothing is downloaded here")),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                code = entry() or 0
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        after = self.files()
        changed = {path for path in {*before, *after} if before.get(path) != after.get(path)}
        fault = next(iter(self.folder.rglob("fault.log")), None)
        return Ended(code, _text(out), _text(err) + (fault.read_text() if fault else ""), changed)

    def ops(self, *arguments: str) -> Ended:
        with mock.patch.object(sys, "argv", ["ops", *arguments]):
            return self.run(lambda: cli.main())

    def up(self, *arguments: str) -> Ended:
        return self.run(lambda: up.main(list(arguments)))

    def bootstrap(self, *arguments: str) -> Ended:
        return self.run(lambda: bootstrap.main(list(arguments)))


def _patience_ends(seconds: float, real: Callable[[float], None] = time.sleep) -> None:
    """Whatever is waited for does not come; a program that is being started does."""
    if sys._getframe(1).f_globals["__name__"] != "subprocess":
        raise UserError("waited for in vain")
    real(seconds)


def _stream(errors: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors, write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    return str(stream.buffer.getvalue().decode())  # type: ignore[attr-defined]  # a BytesIO


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="skyvern-property-") as folder:
        made = Machine(Path(folder))
        for part in ("checkout", "home", "bin"):
            (made.folder / part).mkdir()
        made.root.joinpath("Pulumi.dev.yaml").write_text(DEV)
        shutil.copy(ROOT / "Pulumi.yaml", made.root)
        yield made


# --- Command lines -------------------------------------------------------------------------------------------------------

# As a shell can pass them: no NUL, and bytes that are no UTF-8 as Python gets them.
WORDS = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "",
        "-",
        "--",
        "dev",
        "prod",
        "../dev",
        "a/b/c/d",
        "organization/skyvern/dev",
        "x" * 300,
        "--help",
        "-s",
        "\udcff",
        "한국어",
        "a\nb",
    ]
)


def _commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Every command of a program with its options, by its own parser: none that is added is left out."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*path, name))
        else:
            yield (*path, name), tuple(option for parameter in command.params for option in parameter.opts if option[:1] == "-")


COMMANDS: Mapping[tuple[str, ...], tuple[str, ...]] = dict(_commands(typer.main.get_command(cli.app)))
LINES = st.one_of(
    st.lists(WORDS, max_size=4),
    st.sampled_from(sorted(COMMANDS)).flatmap(
        lambda path: st.lists(WORDS | st.sampled_from([*COMMANDS[path], "--stack", "-s"]), max_size=5).map(
            lambda rest: [*path, *rest]
        )
    ),
)


@one_in(2)
@given(LINES)
@example(["smoke", "--ca-file", "/nonexistent"])
@example(["smoke", "--connect-to", "host:port:x"])
@example(["preview", "--from", "/etc/passwd"])
@example(["preview", "--from", "/"])
@example(["apply", "--review", "/"])
@example(["apply", "--review", "/etc/passwd"])
@example(["review", "--output", "/dev/null/x"])
@example(["init", "x", "--api-key-file", "/"])
@example(["logs", "--since", "yesterday"])
@example(["github", "outcome", "--stack", "dev", "/"])
@example(["restore", "--kit", "/"])
@example(["restore", "--kit", "/etc/passwd", "--passphrase-file", "/"])
@example(["restore", "", "--yes"])
@example(["restore", "--file", "../../etc/passwd", "--yes"])
@example(["backup", "kit", "--output", "/", "--passphrase-file", "/"])
@example(["import", "compose", "/etc/passwd"])
@example(["import", "compose", "/", "--rehearse"])
@example(["import", "compose", "x", "--switch", "--yes"])
@example(["cluster", "init", "h", "--pool", "10.0.0.0/99", "--yes"])
@example(["cluster", "join", "ssh://x@y:z", "--yes"])
@example(["cluster", "drain", "-s", "../dev"])
@example(["alerts", "silence", "x", "--for", "-1h"])
@example(["alerts", "silence", "x", "--for", "9" * 400])
@example(["alerts", "kakao"])
@example(["automations", "next", "--count", "9" * 400])
@example(["automations", "pull", "x", "--as", "../../etc/passwd"])
@example(["run", "x", "--param", "a"])
@example(["run", "x", "--param", "=", "--watch"])
@example(["fleet", "cost", "--days", "-1"])
@example(["fleet", "status", "x" * 300])
def test_any_command_line(line: list[str]) -> None:
    with machine() as made:
        config = made.home / ".config/skyvern-stack"
        ended = made.ops(*line)
        ended.check(0, 1, 2, 3)
        # Those that change a stack hold its lock meanwhile.
        assert all(path == str(config) or (Path(path).parent == config and path.endswith(".lock")) for path in ended.changed)


@given(
    st.lists(
        WORDS | st.sampled_from(["--stack", "--images", "--engine", "--yes", "--unreviewed", "--only", "--print-env"]), max_size=5
    )
)
def test_any_arguments_of_the_scripts(line: list[str]) -> None:
    with machine() as made:
        for entry in (made.up, made.bootstrap):
            ended = entry(*line)
            ended.check(0, 1, 2)
            assert not {path for path in ended.changed if not path.startswith(str(made.home))}


# --- Stack files ---------------------------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["8080", "unix:///x", "dev", "~", "!!x"]),
)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=8
)
SECTIONS = st.dictionaries(
    st.sampled_from(["host", "server", "llm", "edge", "images", "browser", "deployment", "rotation", "nothing"]).map(
        "skyvern:{}".format
    ),
    TREES
    | st.dictionaries(
        st.sampled_from(["port", "docker_host", "provider", "source", "secure", "memory_mib", "type"]), TREES, max_size=3
    ),
    max_size=3,
)


def _yaml(document: Any) -> bytes:
    import yaml

    return yaml.safe_dump(document, allow_unicode=True).encode("utf-8", errors="surrogatepass")


STACK_FILES = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=60).map(lambda text: text.encode("utf-8", errors="surrogatepass")),
    st.builds(lambda config: _yaml({"config": config}), SECTIONS),
    st.builds(lambda salt, config: _yaml({"encryptionsalt": salt, "config": config}), SCALARS, SECTIONS),
    st.sampled_from(
        [
            DEV.replace("config:", text).encode()
            for text in (
                "config: [",
                "config: &a *a",
                "config: {<<: 1}",
                "%YAML 9\n---\nconfig:",
                "config:\n? [a]\n:",
                "--- 1\n---\nconfig:",
            )
        ]
    ),
)


@one_in(4)
@given(STACK_FILES)
@example(b"")
@example(b"encryptionsalt: 1\nconfig: {}\n")
@example(b"encryptionsalt: [v1]\nconfig: {}\n")
@example(b"config:\n  skyvern:images: 1\n")
@example(b"config:\n  1: 2\n")
@example(b"config:\n  skyvern:host: {port: 1.5e999}\n")
def test_any_stack_file(content: bytes) -> None:
    with machine() as made:
        made.root.joinpath("Pulumi.dev.yaml").write_bytes(content)
        for ended in (made.up("--yes"), made.bootstrap(), made.ops("status"), made.ops("images", "list"), made.ops("preview")):
            ended.check(0, 1, 2, 3)
            assert not {path for path in ended.changed if not path.startswith(str(made.home))}


# --- Environments --------------------------------------------------------------------------------------------------------

VALUES = st.sampled_from(
    ["", "x", "/", "/nonexistent", "relative/path", "/dev/null", "a\nb", "한국어", "0", "-1", "%", "://", "file://%zz", "~"]
)
NAMES = sorted(
    {*HOSTILE, *COMPANY, "HOME", "PATH", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "TERM", "COLUMNS", "LINES", "LC_ALL", "TZ"}
    - {"LANG"}
)


@one_in(4)
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5))
@example({"PULUMI_BACKEND_URL": "file://%zz"})
@example({"PULUMI_CONFIG_PASSPHRASE_FILE": "/"})
@example({"XDG_CONFIG_HOME": "/dev/null"})
@example({"XDG_CACHE_HOME": "/dev/null"})
@example({"HOME": "/nonexistent"})
@example({"HOME": "relative"})
@example({"COLUMNS": "x", "TERM": ""})
@example({"DOCKER_CONFIG": "/dev/null"})
@example({"SSL_CERT_FILE": "/nonexistent"})
@example({"https_proxy": "://"})
def test_any_environment(variables: dict[str, str]) -> None:
    with machine() as made:
        made.variables = variables
        for ended in (
            made.up("--yes"),
            made.bootstrap("--print-env"),
            made.ops("status"),
            made.ops("doctor"),
            made.ops("version"),
        ):
            ended.check(0, 1, 2)
            assert not {path for path in ended.changed if path.startswith(str(made.root))}


def test_the_whole_of_a_hostile_environment() -> None:
    with machine() as made:
        made.variables = dict(HOSTILE)
        for ended in (made.up("--yes"), made.ops("status"), made.ops("doctor"), made.ops("preview")):
            ended.check(0, 1)


# --- Broken files and programs -------------------------------------------------------------------------------------------

FILES = (
    ".config/skyvern-stack/passphrase",
    ".config/skyvern-stack/state/.pulumi/stacks/skyvern/dev.json",
    ".config/skyvern-stack/state/.pulumi/stacks/skyvern/dev.json.attrs",
    ".config/skyvern-stack/state/.pulumi/meta.yaml",
    ".pulumi/credentials.json",
    ".docker/config.json",
)
CONTENTS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"", b"{}", b"[]", b"1", b"null", b'"x"', b"{", b'{"checkpoint": 1}', b'{"checkpoint": {"latest": []}}', b"\xff\xfe"]
    ),
    st.sampled_from(
        [
            b'{"checkpoint": {"latest": {"resources": [1]}}}',
            b'{"checkpoint": {"latest": {"resources": {"a": 1}}}}',
            b'{"checkpoint": {"latest": {"manifest": 1}}}',
            b'{"checkpoint": {"latest": {"secrets_providers": [], "pending_operations": 1}}}',
            b'{"checkpoint": {"latest": {"secrets_providers": {"type": "passphrase", "state": 1}}}}',
            b'{"current": ["x"], "credsStore": 1, "credHelpers": [1]}',
        ]
    ),
    # A folder in its place.
    st.none(),
)


@one_in(4)
@given(st.dictionaries(st.sampled_from(FILES), CONTENTS, min_size=1, max_size=3))
def test_any_content_of_a_file_that_is_read(contents: dict[str, bytes | None]) -> None:
    with machine() as made:
        made.program("docker", "echo 28.0.1")
        _prepare(made)
        for name, content in contents.items():
            path = made.home / name
            if any(not parent.is_dir() for parent in path.parents if parent.exists()):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                path.mkdir(exist_ok=True)
            else:
                path.write_bytes(content)
        for ended in (made.up("--yes"), made.bootstrap("--print-env"), made.ops("status"), made.ops("doctor")):
            ended.check(0, 1)


def _prepare(made: Machine) -> None:
    """As script/bootstrap leaves it: an engine is recorded."""
    made.program("pulumi", "echo v3.272.0")
    made.program("pulumi-language-python", "true")

    def record() -> int:
        from ops.machine import engine

        for name, version in engine.plugin_versions().items():
            (made.home / ".pulumi" / "plugins" / f"resource-{name}-v{version}").mkdir(parents=True)
        return bootstrap.main(["--only", "engine"])

    assert made.run(record).code == 0


PROGRAMS = ("docker", "pulumi", "git")
ANSWERS = st.sampled_from(
    [
        "exit 1",
        "exit 255",
        "echo; exit 0",
        "echo 'Emulate Docker CLI using podman'",
        "echo '[]'",
        "echo '{}'",
        "echo null",
        "echo 1",
        "echo '[1]'",
        "echo '[{}]'",
        "echo '{\"deployment\": 1}'",
        "printf '\\xff\\xfe\\n'",
        "echo v3.272.0",
        "echo a b c; echo d",
        "kill -9 $$",
        "echo x >&2; exit 3",
    ]
)


@one_in(4)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(PROGRAMS, ANSWERS)), st.booleans())
def test_programs_that_are_missing_or_answer_something_else(answers: dict[str, str], prepared: bool) -> None:
    with machine() as made:
        if prepared:
            _prepare(made)
        for name, body in answers.items():
            made.program(name, body)
        for line in COMPLETE:
            made.ops(*line).check(0, 1, 2, 3)
        made.up("--yes").check(1)


# What a running stack's pulumi answers, whatever it is asked; with what a person would type.
COMPLETE = (
    ["status"],
    ["doctor"],
    ["logs"],
    ["preview"],
    ["images", "list"],
    ["smoke"],
    ["rollback", "--yes"],
    ["end-sessions"],
)
DEPLOYED = (
    *COMPLETE,
    ["rollback", "--yes", "--with-data"],
    ["run", "a", "--param", "b=c", "--watch"],
    ["drift"],
    ["rotate", "api-key", "--yes"],
    ["upgrade-database", "--yes"],
    ["upgrade-database", "--undo", "--yes"],
    ["restore", "--yes"],
    ["restore", "--undo", "--yes"],
    ["restore", "--workflow", "w", "--yes"],
    ["resume", "--yes"],
    ["drill"],
    ["alerts", "test"],
    ["alerts", "list"],
    ["alerts", "silence", "x"],
    ["backup", "now"],
    ["backup", "list"],
    ["backup", "check"],
    ["backup", "kit", "--plain"],
    ["fleet", "status"],
    ["fleet", "doctor"],
    ["fleet", "cost"],
    ["fleet", "dashboard"],
    ["cluster", "init", "--yes"],
    ["cluster", "join", "ssh://a@b.example", "--yes"],
    ["cluster", "status"],
    ["cluster", "drain", "ssh://a@b.example"],
    ["cluster", "leave", "ssh://a@b.example", "--yes"],
    ["import", "compose", "x"],
    ["import", "compose", "x", "--rehearse", "--yes"],
    ["import", "compose", "x", "--switch", "--yes"],
    ["automations", "list"],
    ["automations", "next"],
    ["automations", "pull", "w"],
)


def _deploy(made: Machine) -> None:
    """As an up leaves it, for who asks pulumi."""
    _prepare(made)
    made.program("docker", "echo 28.0.1")
    assert made.bootstrap().code == 0
    parts = ("backup", "egress", "firewall", "gateway", "monitor", "postgres", "roles", "server", "smoke-site")
    more = {
        "containers": {part: f"skyvern-dev-{part}" for part in parts},
        "app_url": "http://localhost:1",
        "api_url": "http://localhost:1",
    }
    secrets = dict.fromkeys(("ui_password", "api_key", "smoke_api_key", "metrics_key"), "a-secret")
    (made.folder / "outputs.json").write_text(json.dumps({**OUTPUTS.model_dump(mode="json"), **more, **secrets}))
    made.program(
        "pulumi",
        f"""case "$*" in
          version) echo v3.272.0 ;;
          *"stack ls"*) echo '[{{"name": "dev", "current": true}}]' ;;
          *"stack output"*) /bin/cat {made.folder}/outputs.json ;;
          *"stack export"*) echo '{{"version": 3, "deployment": {{"resources": []}}}}' ;;
          *) exit 1 ;;
        esac""",
    )


@pytest.mark.parametrize("line", DEPLOYED[len(COMPLETE) :], ids=" ".join)
def test_commands_on_a_stack_whose_docker_answers_something_else(line: list[str]) -> None:
    """All of them, because each reads something else: with a few generated examples most would never be tried."""
    with machine() as made:
        _deploy(made)
        for answer in ("echo; exit 0", "echo '[{}]'", "echo 1", "kill -9 $$"):
            made.program("docker", answer)
            made.ops(*line).check(0, 1, 2, 3)


def test_every_command_is_tried_on_a_deployed_stack() -> None:
    tried = {path for path in COMMANDS for line in DEPLOYED if tuple(line[: len(path)]) == path}
    without_a_stack = {"apply", "configuration", "github", "images", "init", "review", "version"}
    # ops alerts kakao asks for a login in a browser.
    assert {path for path in COMMANDS if path not in tried and path[0] not in without_a_stack} == {("alerts", "kakao")}


def test_the_line_about_a_fault_of_ours_is_found_here(capsys: pytest.CaptureFixture[str]) -> None:
    """By whose words the tests above know it."""

    def work() -> None:
        raise KeyError("x")

    with machine() as made, mock.patch.dict(os.environ, {"HOME": str(made.home)}):
        assert terminal.run_main("x", work) == 1
    assert FAULT in capsys.readouterr().err

"""``ops init`` with doubles and on a real pseudo-terminal: what is asked, refused and written, and that no key is shown."""

import os
import pty
import select
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML
from typer.testing import CliRunner

from ops import cli
from ops.clients import process
from ops.deploy import init, kakao, update
from ops.deploy.init import Facts
from ops.errors import UserError
from ops.machine import backend, environment, windows
from ops.machine.daemon import Daemon
from ops.paths import ROOT
from ops.stack.stack import Stack

KEY = "sk-test-0123456789abcdef"
FACTS = Facts(memory_mib=8000, cpus=2, own_ports=frozenset({8080, 8090, 18090, 18555}))
GIVEN = {
    "--docker-host": "unix:///run/x.sock",
    "--images": "official",
    "--port": "18555",
    "--timezone": "Asia/Seoul",
    "--memory-mib": "4096",
    "--cpus": "2",
    "--llm": "none",
}
FILE = """\
# The stack that runs the business.
config:
  skyvern:images:
    source: official # or packages
  skyvern:host:
    docker_host: unix:///run/x.sock
    # Not dev's port.
    port: 18090
  skyvern:llm:
    provider: openai
    key: OPENAI_GPT4O_MINI
    secondary_key: OPENAI_GPT4O_MINI
    api_key:
      secure: v1:abc
encryptionsalt: v1:salt
"""


def as_committed(name: str) -> str:
    """A stack file of the checkout without what the first up of a stack writes into it."""
    kept = [line for line in (ROOT / name).read_text().splitlines(keepends=True) if not line.startswith("encryptionsalt:")]
    return "".join(kept).replace("source: packages", "source: official")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[list[str], bytes | None]]]:
    """A checkout with its templates; Pulumi and Docker are doubles. The commands that were run, with their standard input."""
    for name in ("Pulumi.dev.yaml", "Pulumi.prod.yaml"):
        (tmp_path / name).write_text(as_committed(name))
    run: list[tuple[list[str], bytes | None]] = []

    def capture(command: list[str], *, cwd: Path, stdin: bytes | None = None, **options: Any) -> bytes:
        run.append((command, stdin))
        path = cwd / f"Pulumi.{command[command.index('--stack') + 1]}.yaml"
        yaml = YAML()
        document = yaml.load(path)
        document["config"]["skyvern:llm"]["api_key"] = {"secure": "v1:new"}
        yaml.dump(document, path)
        return b""

    monkeypatch.setattr("ops.stack.stack.ROOT", tmp_path)
    monkeypatch.setattr(environment, "for_engine", lambda: {"PATH": "/engine"})
    monkeypatch.setattr(environment, "for_stacks", lambda: {"PATH": "/engine"})
    monkeypatch.setattr(backend, "ensure_state", lambda say: None)
    monkeypatch.setattr(update, "ensure_stack", lambda stack, say: run.append((["stack", "init", stack.name], None)))
    monkeypatch.setattr(process, "capture", capture)
    monkeypatch.setattr(init, "observe_facts", lambda stack, host: FACTS)
    yield run
    assert not any(KEY in argument for command, _ in run for argument in command)


@dataclass(frozen=True)
class Ended:
    """The end of a command. prompts: its questions, each with its answer unless hidden. lines: the rest of its output."""

    code: int
    prompts: list[str]
    lines: list[str]


@pytest.fixture
def ops_init(calls: list[Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """``ops init STACK OPTIONS`` by a person with these answers, or without a terminal if there are none to give."""

    def run(stack: str, options: dict[str, str], *answers: str) -> Ended:
        monkeypatch.setattr(init, "attended", lambda: bool(answers))
        arguments = ["init", stack, *(part for option in options.items() for part in option)]
        result = CliRunner().invoke(
            cli.app, arguments, input="".join(f"{answer}\n" for answer in answers), catch_exceptions=False
        )
        lines = result.output.splitlines()
        prompts = [line.strip() for line in lines if line.startswith("  ")]
        return Ended(result.exit_code, prompts, [line for line in lines if not line.startswith("  ")])

    return run


Init = Callable[..., Ended]


def config(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = YAML(typ="safe").load(path)["config"]
    return document


@pytest.mark.parametrize("name", ["third", "organization/skyvern/third"])
def test_options_alone_make_a_new_stack(ops_init: Init, calls: list[Any], tmp_path: Path, name: str) -> None:
    ended = ops_init(name, GIVEN)
    written = config(tmp_path / "Pulumi.third.yaml")
    assert written["skyvern:host"] == {"docker_host": "unix:///run/x.sock", "port": 18555, "timezone": "Asia/Seoul"}
    assert written["skyvern:server"] == {"memory_mib": 4096, "cpus": 2.0}
    assert written["skyvern:llm"] == {"provider": "none"}
    assert (tmp_path / "Pulumi.third.yaml").read_text().startswith("# third: made by ops init.")
    assert calls == [(["stack", "init", name], None)]
    assert ended == Ended(0, [], [f"Pulumi.third.yaml is written; next: script/up --stack {name}"])


HINT = "for a message when something fails: bin/ops alerts kakao -s third, or another channel (docs/monitoring.md)"
WRITTEN = "Pulumi.third.yaml is written; next: script/up --stack third"


@pytest.fixture
def silent_monitor(calls: list[Any], tmp_path: Path) -> None:
    """The stack has a monitor without a channel."""
    (tmp_path / "Pulumi.third.yaml").write_text("config:\n  skyvern:monitor:\n    enabled: true\n")


@pytest.mark.usefixtures("silent_monitor")
def test_a_monitor_that_tells_nobody_is_said_how(ops_init: Init) -> None:
    assert ops_init("third", GIVEN).lines == [WRITTEN, HINT]


@pytest.mark.usefixtures("silent_monitor")
@pytest.mark.parametrize(
    ("answer", "fails", "code", "end"),
    [
        ("n", None, 0, [HINT]),
        ("y", None, 0, ["logged in to third"]),
        # The stack file is written by then: a login that fails is a line.
        ("y", UserError("kakao: KOE320: the code was used before"), 0, ["init: kakao: KOE320: the code was used before", HINT]),
        ("y", typer.Abort(), 130, ["", HINT]),
    ],
)
def test_the_first_login_to_kakaotalk_is_part_of_it(
    ops_init: Init, monkeypatch: pytest.MonkeyPatch, answer: str, fails: BaseException | None, code: int, end: list[str]
) -> None:
    def talk(stack: Stack) -> None:
        if fails is not None:
            raise fails
        typer.echo(f"logged in to {stack}")

    monkeypatch.setattr(kakao, "talk", talk)
    ended = ops_init("third", GIVEN, answer)
    question = "Log in to KakaoTalk now, for a message when something fails? [y/N] "
    first, *rest = ended.lines[-len(end) :]
    assert ended.code == code
    assert [first.removeprefix(question), *rest] == end
    assert WRITTEN in ended.lines


def test_without_a_terminal_every_missing_option_is_named(ops_init: Init, calls: list[Any], tmp_path: Path) -> None:
    given = {option: text for option, text in GIVEN.items() if option not in {"--port", "--llm"}}
    with pytest.raises(UserError, match="there is no terminal to ask on; add --port, --llm"):
        ops_init("third", given)
    with pytest.raises(UserError, match="add --model, --api-key-file"):
        ops_init("third", GIVEN | {"--llm": "openai"})
    assert not (tmp_path / "Pulumi.third.yaml").exists()
    assert calls == []


def test_enter_keeps_what_is_in_brackets(ops_init: Init, tmp_path: Path) -> None:
    before = config(tmp_path / "Pulumi.dev.yaml")
    ended = ops_init("dev", {}, *[""] * 7)
    assert ended.prompts[:4] == [
        "Docker socket [unix:///var/run/docker.sock]:",
        "Images: official (pulled) or packages (built here) [official]:",
        "Port of the gateway on 127.0.0.1 [8080]:",
        "Time zone [Asia/Seoul]:",
    ]
    assert ended.code == 0
    assert (tmp_path / "Pulumi.dev.yaml").read_text().startswith(as_committed("Pulumi.dev.yaml").splitlines()[0])
    assert config(tmp_path / "Pulumi.dev.yaml") == before | {"skyvern:server": {"memory_mib": 4096, "cpus": 2.0}}


def test_the_templates_limits_are_cut_to_the_machine(ops_init: Init, tmp_path: Path) -> None:
    ended = ops_init("prod", {}, *[""] * 8, KEY)
    assert any("MiB [8000]" in prompt for prompt in ended.prompts)
    assert config(tmp_path / "Pulumi.prod.yaml")["skyvern:server"] == {"memory_mib": 8000, "cpus": 2.0}
    assert "# Three to five browsers at once" in (tmp_path / "Pulumi.prod.yaml").read_text()


def test_the_key_goes_to_pulumi_by_its_standard_input(ops_init: Init, calls: list[Any], tmp_path: Path) -> None:
    ended = ops_init("prod", {}, *[""] * 8, "has a space", "", KEY)
    assert calls == [
        (["stack", "init", "prod"], None),
        (
            ["pulumi", "config", "set", "--secret", "--path", "llm.api_key", "--stack", "prod", "--non-interactive"],
            KEY.encode(),
        ),
    ]
    assert ended.prompts[-1] == "API key, not shown:"
    assert ended.lines[1:3] == [
        "Error: the key has a space or another character that no key has; was something else pasted?",
        "Error: the key is empty",
    ]
    assert KEY not in str(ended) + (tmp_path / "Pulumi.prod.yaml").read_text()


def test_running_it_again_keeps_the_present_key(ops_init: Init, calls: list[Any], tmp_path: Path) -> None:
    (tmp_path / "Pulumi.prod.yaml").write_text(FILE)
    ended = ops_init("prod", {}, *[""] * 9)
    assert ended.code == 0
    assert ended.prompts[2] == "Port of the gateway on 127.0.0.1 [18090]:"
    assert ended.prompts[-1] == "API key, not shown [the present one]:"
    assert calls == [(["stack", "init", "prod"], None)]
    text = (tmp_path / "Pulumi.prod.yaml").read_text()
    for kept in ("secure: v1:abc", "# Not dev's port.", "# or packages", "encryptionsalt: v1:salt", "secondary_key"):
        assert kept in text


def test_another_provider_takes_the_old_key_away(ops_init: Init, tmp_path: Path) -> None:
    (tmp_path / "Pulumi.prod.yaml").write_text(FILE)
    assert ops_init("prod", {}, "", "", "", "", "", "", "none").code == 0
    assert config(tmp_path / "Pulumi.prod.yaml")["skyvern:llm"] == {"provider": "none"}


def test_a_key_from_a_file(ops_init: Init, calls: list[Any], tmp_path: Path) -> None:
    given = GIVEN | {"--llm": "openai-compatible", "--model": "m", "--base-url": "https://llm.example.com/v1/"}
    with pytest.raises(UserError, match="cannot be read"):
        ops_init("third", given | {"--api-key-file": str(tmp_path / "none")})
    (tmp_path / "key").write_text("\n")
    with pytest.raises(UserError, match="--api-key-file: the key is empty"):
        ops_init("third", given | {"--api-key-file": str(tmp_path / "key")})
    assert calls == []
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert ops_init("third", given | {"--api-key-file": str(tmp_path / "key")}).code == 0
    assert calls[-1][1] == KEY.encode()


@pytest.mark.parametrize(
    ("option", "text", "line"),
    [
        ("--port", "80", r"--port: 80 is wrong: .* greater than or equal to 1024"),
        ("--port", "many", r'--port: "many" is not a valid value; write a whole number'),
        ("--docker-host", "tcp://10.0.0.1:2375", r"--docker-host: .* is a TCP socket"),
        ("--images", "hub", r"--images: .* is not possible here; write 'official' or 'packages'"),
        ("--timezone", "Asia/Soul", r"--timezone: .* is not a time zone; write a tz database name, for example Asia/Seoul"),
        ("--memory-mib", "9000", r"--memory-mib: this Docker host has 8000 MiB"),
        ("--cpus", "3", r"--cpus: this Docker host has 2"),
        ("--llm", "chatgpt", r"--llm: .* is not a provider; write one of none, openai"),
    ],
)
def test_a_wrong_option_is_one_line_and_writes_nothing(
    ops_init: Init, calls: list[Any], tmp_path: Path, option: str, text: str, line: str
) -> None:
    with pytest.raises(UserError, match=line) as refused:
        ops_init("third", GIVEN | {option: text})
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "Pulumi.third.yaml").exists()
    assert calls == []


def test_an_unknown_model_is_refused_with_a_near_one(ops_init: Init) -> None:
    given = GIVEN | {"--llm": "openai", "--model": "OPENAI_GPT4O_MINY"}
    with pytest.raises(UserError, match=r"--model: .* for example OPENAI_GPT4O_MINI"):
        ops_init("third", given, KEY)


def test_a_person_is_asked_again_after_a_wrong_answer(ops_init: Init, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = ops_init("dev", {}, "", "", str(port), "8080", *[""] * 4)
    assert ended.code == 0
    assert ended.lines[1] == f"Error: another program listens on 127.0.0.1:{port}; write another port"
    assert config(tmp_path / "Pulumi.dev.yaml")["skyvern:host"]["port"] == 8080


def test_a_port_that_windows_has_is_another_programs(ops_init: Init, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F14: it is free in WSL."""
    monkeypatch.setattr(windows, "listeners", lambda port: ["nginx.exe (PID 4711)"] if port == 18999 else [])
    ended = ops_init("dev", {}, "", "", "18999", "8080", *[""] * 4)
    assert ended.code == 0
    assert ended.lines[1] == "Error: in Windows, nginx.exe (PID 4711) listens on 18999; write another port"


def test_an_example_is_offered_where_there_is_no_default(ops_init: Init, tmp_path: Path) -> None:
    given = {option: text for option, text in GIVEN.items() if option != "--llm"}
    ended = ops_init("third", given, "openai-compatible", "https://llm.example.com/v1", " ", KEY)
    assert ended.code == 0
    assert config(tmp_path / "Pulumi.third.yaml")["skyvern:llm"]["model"] == "qwen2.5-vl-7b"


def test_a_stack_keeps_its_own_port_and_the_source_of_its_data() -> None:
    images, port_question = init.QUESTIONS[:2]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert init.misfit(port_question, port, Facts())
        assert init.misfit(port_question, port, Facts(own_ports=frozenset({port}))) == ""
    assert init.misfit(images, "packages", Facts(data_source="official")).startswith("this stack's data was made with official")
    assert init.misfit(images, "packages", Facts()) == ""


def test_interrupted_means_that_nothing_is_written(ops_init: Init, calls: list[Any], tmp_path: Path) -> None:
    before = (tmp_path / "Pulumi.dev.yaml").read_text()
    ended = ops_init("dev", {}, "", "")
    assert ended.code == 130
    assert ended.lines[-1] == "init: interrupted; nothing was written"
    assert (tmp_path / "Pulumi.dev.yaml").read_text() == before
    assert calls == []


def test_a_silent_daemon_is_noted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(init, "observe_daemon", lambda host: Daemon.SILENT)
    assert init.observe_facts(Stack("dev"), "unix:///run/x.sock") == Facts()
    assert "does not answer now" in capsys.readouterr().out


def test_on_a_terminal_the_key_is_not_shown(tmp_path: Path) -> None:
    """A real pseudo-terminal: prompts, a wrong answer, a key that is typed and never echoed."""
    (tmp_path / "Pulumi.dev.yaml").write_text(as_committed("Pulumi.dev.yaml"))
    program = textwrap.dedent(
        f"""
        import fcntl, sys, termios
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        sys.path.insert(0, {str(ROOT)!r})
        from pathlib import Path
        from components.settings import Settings
        from ops.clients import process
        from ops.deploy import init, kakao, update
        from ops.machine import backend, environment
        from ops.machine.daemon import Daemon
        from ops.stack.stack import Stack
        environment.for_engine = lambda: {{}}
        backend.ensure_state = lambda say: None
        init.observe_daemon = lambda host: Daemon.SILENT
        update.ensure_stack = lambda stack, say: None
        process.capture = lambda command, stdin=None, **rest: Path({str(tmp_path / "stdin")!r}).write_bytes(stdin)
        # Its file has no key: the double above encrypts nothing into it.
        Stack.settings = lambda stack: Settings()
        stack = Stack("dev", root=Path({str(tmp_path)!r}), variables={{"PATH": ""}})
        sys.exit(init.main(stack, {{}}, api_key_file=None))
        """
    )
    master, slave = pty.openpty()
    asked = subprocess.Popen(
        [sys.executable, "-c", program], stdin=slave, stdout=slave, stderr=slave, start_new_session=True, close_fds=True
    )
    os.close(slave)
    screen = ""

    def wait_for(text: str) -> None:
        nonlocal screen
        until = time.monotonic() + 30
        while text not in screen:
            assert time.monotonic() < until, screen
            if select.select([master], [], [], 1)[0]:
                try:
                    screen += os.read(master, 4096).decode()
                except OSError:
                    break
        assert text in screen, screen

    for prompt, answer in (
        ("Docker socket [", ""),
        ("Images: ", ""),
        ("Port of the gateway", "18556"),
        ("Time zone", "UTC"),
        ("Memory", "one"),
        ("write a whole number", "2048"),
        ("CPU cores", ""),
        ("Language model", "openai"),
        ("LLM_KEY", ""),
        ("API key, not shown", KEY),
    ):
        wait_for(prompt)
        time.sleep(0.1)
        os.write(master, f"{answer}\n".encode())
    wait_for("Pulumi.dev.yaml is written")
    assert asked.wait(20) == 0
    os.close(master)
    assert KEY not in screen
    assert (tmp_path / "stdin").read_text() == KEY
    written = config(tmp_path / "Pulumi.dev.yaml")
    assert written["skyvern:host"]["port"] == 18556
    assert written["skyvern:server"]["memory_mib"] == 2048
    assert written["skyvern:llm"] == {"provider": "openai", "key": "OPENAI_GPT4O_MINI"}


def test_missing_settings_of_the_edge_are_named(ops_init: Init) -> None:
    ended = ops_init("prod", {}, *[""] * 8, KEY)
    assert ended.lines[-3:-1] == [
        "Pulumi.prod.yaml: edge.domain: is missing; write it below `edge`, for example example.com",
        "Pulumi.prod.yaml: edge.api_token: is missing; set it with `pulumi config set --secret --path edge.api_token -s prod`",
    ]
    assert ended.lines[-1].endswith("script/up --stack prod")

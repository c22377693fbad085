"""``ops init``: asks for what a stack needs, tests each answer on this machine and writes the stack file.

Running it again offers what is there. The language model's API key goes to ``pulumi config set --secret`` through its standard
input: it is in no argument, no file of ours and on no screen. Not here: the other keys of the stack file (docs/configuration.md),
and deploying (script/up).
"""

import getpass
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from components import settings as schema
from ops.clients.docker import Docker
from ops.clients.terminal import attended
from ops.deploy import update
from ops.errors import UserError
from ops.images import source
from ops.machine import backend, environment
from ops.machine.daemon import Daemon, observe_daemon
from ops.observe.doctor import observation
from ops.stack import file, inventory
from ops.stack.stack import Stack

TEMPLATE = "Pulumi.dev.yaml"
SECTIONS = {name: types for name, _, types in schema.sections()}
PROVIDERS = {str(one.model_fields["provider"].annotation.__args__[0]): one for one in SECTIONS["llm"]}  # type: ignore[union-attr]  # a Literal
_OPTION_OF = {"key": "--model", "model": "--model", "base_url": "--base-url"}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What answers are tested against; a daemon that does not answer tells nothing (None).

    own_ports: published by this stack now. data_source: where the images of existing data came from.
    """

    memory_mib: int | None = None
    cpus: int | None = None
    own_ports: frozenset[int] = frozenset()
    data_source: str | None = None


@dataclass(frozen=True, kw_only=True)
class Question:
    """One key of the stack file.

    path: section and key. option: on the command line. convert: from text, ValueError when it is of another kind.
    test: why the value does not do on this machine, or "".
    """

    path: tuple[str, str]
    option: str
    text: str
    convert: Callable[[str], Any]
    test: Callable[[Any, Facts], str] = lambda value, facts: ""


@dataclass
class Terminal:
    """How a person is asked; ``attended`` is False where nobody sits."""

    attended: bool
    ask: Callable[[str], str] = input
    ask_secret: Callable[[str], str] = getpass.getpass
    say: Callable[[str], None] = field(default=lambda line: print(line, flush=True))


# --- Tests of an answer --------------------------------------------------------------------------------------------------


def judge_source(value: str, facts: Facts) -> str:
    """Data that was made with one source does not open with the other."""
    if facts.data_source is not None and value != facts.data_source:
        return f"this stack's data was made with {facts.data_source}; write that, or destroy the stack with its data first"
    return ""


def judge_port(value: int, facts: Facts) -> str:
    """A port is free, or this stack's own."""
    if value in facts.own_ports or observation.port_free(value):
        return ""
    return f"another program listens on 127.0.0.1:{value}; write another port"


def judge_memory(value: int, facts: Facts) -> str:
    """A limit that the machine can give."""
    too_much = facts.memory_mib is not None and value > facts.memory_mib
    return f"this Docker host has {facts.memory_mib} MiB; write less" if too_much else ""


def judge_cpus(value: float, facts: Facts) -> str:
    """Docker refuses a container with more cores than there are."""
    return f"this Docker host has {facts.cpus}; write no more" if facts.cpus is not None and value > facts.cpus else ""


def judge_api_key(value: str) -> str:
    """What no provider's key looks like; the value is never repeated."""
    if not value:
        return "is empty"
    if not value.isascii() or not value.isprintable() or " " in value:
        return "has a space or another character that no key has; was something else pasted?"
    return ""


DOCKER_HOST = Question(path=("host", "docker_host"), option="--docker-host", text="Docker socket", convert=str)
QUESTIONS = (
    Question(
        path=("images", "source"),
        option="--images",
        text="Images: official (pulled) or packages (built here)",
        convert=str,
        test=judge_source,
    ),
    Question(path=("host", "port"), option="--port", text="Port of the gateway on 127.0.0.1", convert=int, test=judge_port),
    Question(path=("host", "timezone"), option="--timezone", text="Time zone", convert=str),
    Question(
        path=("server", "memory_mib"),
        option="--memory-mib",
        text="Memory of Skyvern and its browsers in MiB",
        convert=int,
        test=judge_memory,
    ),
    Question(path=("server", "cpus"), option="--cpus", text="CPU cores of Skyvern", convert=float, test=judge_cpus),
)
PROVIDER = Question(path=("llm", "provider"), option="--llm", text=f"Language model: {', '.join(PROVIDERS)}", convert=str)


def model_questions(provider: str) -> list[Question]:
    """What a provider needs besides its API key: the fields without a default, and the model."""
    return [
        Question(
            path=("llm", name),
            option=_OPTION_OF.get(name, f"--{name.replace('_', '-')}"),
            text=(one.description or name).rstrip("."),
            convert=str,
        )
        for name, one in PROVIDERS[provider].model_fields.items()
        if name not in {"provider", "api_key"} and (one.is_required() or name == "key")
    ]


def needs_api_key(provider: str) -> bool:
    """Whether the provider is behind an account."""
    return "api_key" in PROVIDERS[provider].model_fields


# --- Asking --------------------------------------------------------------------------------------------------------------


class Interview:
    """The answers so far, on top of what the stack file says.

    present: section -> key -> value, encrypted ones as the text "encrypted". given: option -> text, from the command line.
    """

    def __init__(
        self, file_name: str, present: Mapping[str, Mapping[str, Any]], given: Mapping[str, str], terminal: Terminal
    ) -> None:
        self.file_name = file_name
        self.present = {section: dict(keys) for section, keys in present.items()}
        self.given = dict(given)
        self.terminal = terminal
        self.answers: dict[str, dict[str, Any]] = {}

    def require(self, questions: list[Question], *, also: tuple[str, ...] = ()) -> None:
        """UserError with every option that is missing, where nobody can be asked."""
        missing = [*(one.option for one in questions if one.option not in self.given), *also]
        if missing and not self.terminal.attended:
            raise UserError(f"init: there is no terminal to ask on; add {', '.join(missing)}")

    def ask(self, question: Question, facts: Facts, default: Any = None) -> Any:
        """A good answer: from the command line, or from the person, who is asked again after a bad one."""
        shown = self.default(question) if default is None else default
        if question.option in self.given:
            value, wrong = self.judge(question, self.given[question.option], facts)
            if wrong:
                raise UserError(f"init: {question.option}: {wrong}")
        else:
            while True:
                text = self.terminal.ask(f"  {question.text}{'' if shown is None else f' [{shown}]'}: ").strip()
                value, wrong = self.judge(question, text or ("" if shown is None else str(shown)), facts)
                if not wrong:
                    break
                self.terminal.say(f"    {wrong}")
        section, key = question.path
        self.answers.setdefault(section, {})[key] = value
        return value

    def default(self, question: Question) -> Any:
        """What the stack file says, else the schema's default, else its example."""
        section, key = question.path
        if key in self.present.get(section, {}):
            return self.present[section][key]
        types = SECTIONS[section]
        chosen = PROVIDERS.get(self.answers.get("llm", {}).get("provider", ""), types[0]) if section == "llm" else types[0]
        described = chosen.model_fields[key]
        if not described.is_required():
            return described.default
        return described.examples[0] if described.examples else None

    def judge(self, question: Question, text: str, facts: Facts) -> tuple[Any, str]:
        """The value and what is wrong with it: by the schema of the stack file, then by this machine."""
        section, key = question.path
        try:
            value = question.convert(text)
        except ValueError:
            kind = {int: "a whole number", float: "a number"}.get(question.convert, "another value")  # type: ignore[call-overload]
            return text, f'"{text}" is not a valid value; write {kind}'
        try:
            tried = {**self.answers.get(section, {}), key: value}
            schema.parse({section: tried}, file=self.file_name, secret_keys=frozenset({section}))
        except schema.SettingsError as invalid:
            prefix = f"{self.file_name}: {section}.{key}: "
            for line in invalid.lines:
                if line.startswith(prefix) and ": is missing;" not in line:
                    return value, line.removeprefix(prefix)
        return value, question.test(value, facts)

    def api_key(self, given: SecretStr | None, *, kept: bool) -> SecretStr | None:
        """The key that was given or typed, unseen; None keeps the present one."""
        if given is not None:
            if wrong := judge_api_key(given.get_secret_value()):
                raise UserError(f"init: --api-key-file: the key {wrong}")
            return given
        if not self.terminal.attended:
            return None
        while True:
            text = self.terminal.ask_secret(f"  API key, not shown{' [the present one]' if kept else ''}: ").strip()
            if not text and kept:
                return None
            if not (wrong := judge_api_key(text)):
                return SecretStr(text)
            self.terminal.say(f"    the key {wrong}")


def interview(talk: Interview, observe: Callable[[str], Facts], api_key: SecretStr | None) -> SecretStr | None:
    """Asks everything into ``talk.answers``; the value is a new API key, None for the present one or none at all.

    Raises UserError for a given answer that is wrong, and where an answer is missing that nobody can be asked for.
    """
    talk.require([DOCKER_HOST, *QUESTIONS, PROVIDER])
    facts = observe(talk.ask(DOCKER_HOST, Facts()))
    for question in QUESTIONS:
        offered = talk.default(question)
        # A template's limit may be more than this machine has.
        most = {"memory_mib": facts.memory_mib, "cpus": facts.cpus}.get(question.path[1])
        talk.ask(question, facts, offered if most is None else min(offered, most))
    before = talk.present.get("llm", {})
    provider = talk.ask(PROVIDER, facts)
    if provider != before.get("provider"):
        talk.present["llm"] = {}
    kept = provider == before.get("provider") and "api_key" in before
    wanted = needs_api_key(provider)
    talk.require(model_questions(provider), also=("--api-key-file",) if wanted and not kept and api_key is None else ())
    for question in model_questions(provider):
        talk.ask(question, facts)
    return talk.api_key(api_key, kept=kept) if wanted else None


def observe_facts(stack: Stack, say: Callable[[str], None]) -> Callable[[str], Facts]:
    """Looks at the daemon that was named, and says so when it does not answer: script/up may start it later."""

    def observe(host: str) -> Facts:
        daemon = observe_daemon(host)
        if daemon is not Daemon.ANSWERS:
            why = "may not be used by this user" if daemon is Daemon.DENIED else "does not answer now"
            say(f"    note: Docker at {host} {why}, so memory and CPUs are not tested; script/up says what to do")
            return Facts()
        docker = Docker(host)
        there = observation.observe_daemon_facts(docker)
        return Facts(
            memory_mib=there.memory_mib,
            cpus=there.cpus,
            own_ports=frozenset(
                outside
                for one in inventory.containers(docker, stack.short)
                if one.status == "running"
                for _, outside, _ in one.published
            ),
            data_source=source.source_of(docker, stack.prefix("postgres")),
        )

    return observe


# --- Writing -------------------------------------------------------------------------------------------------------------


def read_present(path: Path) -> dict[str, dict[str, Any]]:
    """The sections of a stack file, valid or not; an encrypted value reads "encrypted". UserError when it is not valid YAML."""
    return {
        name: {key: "encrypted" if isinstance(item, dict) else item for key, item in section.items()}
        for name, section in file.sections(file.read(path)).items()
        if isinstance(section, dict)
    }


def write_answers(path: Path, answers: Mapping[str, Mapping[str, Any]], *, fresh_llm: bool) -> None:
    """Sets the answers in the stack file. fresh_llm: another provider, so the old one's keys go, its API key among them."""

    def change(document: dict[str, Any]) -> bool:
        config = document.setdefault("config", {})
        changed = False
        for section, keys in answers.items():
            target = config.setdefault(f"skyvern:{section}", {})
            if section == "llm" and fresh_llm:
                for old in [key for key in target if key not in keys]:
                    del target[old]
                    changed = True
            for key, value in keys.items():
                if key not in target or target[key] != value:
                    target[key] = value
                    changed = True
        return changed

    file.edit(path, change)


def create_file(stack: Stack) -> Path:
    """The stack's file, made from dev's if there is none; dev's first line and salt are dev's alone."""
    path = stack.root / stack.file_name
    if not path.exists():
        first, _, rest = (stack.root / TEMPLATE).read_text().partition("\n")
        made = f"# {stack.short}: made by ops init. Every key: docs/configuration.md."
        path.write_text(f"{made}\n{rest}" if first.startswith("#") else f"{made}\n{first}\n{rest}")
        file.edit(path, lambda document: document.pop("encryptionsalt", None) is not None)
    return path


def set_api_key(stack: Stack, key: SecretStr) -> None:
    """Encrypts the key into the stack file; Pulumi reads it from standard input."""
    stack.pulumi("config", "set", "--secret", "--path", "llm.api_key", stdin=key.get_secret_value().encode())


def read_key_file(name: str) -> SecretStr:
    """The first line of a file, or of standard input for ``-``."""
    try:
        text = sys.stdin.readline() if name == "-" else Path(name).read_text().partition("\n")[0]
    except (OSError, UnicodeDecodeError) as failed:
        raise UserError(f"init: --api-key-file: {name} cannot be read; name a file whose first line is the key") from failed
    return SecretStr(text.strip())


def main(stack: Stack, given: Mapping[str, str], *, api_key_file: str | None, terminal: Terminal | None = None) -> int:
    """Asks, then creates the stack if it is missing and writes its file. Nothing is written before the last answer."""
    terminal = terminal or Terminal(attended=attended() and api_key_file != "-")
    environment.for_engine()  # UserError before anybody is asked in vain
    path = stack.root / stack.file_name
    present = read_present(path if path.exists() else stack.root / TEMPLATE)
    key = read_key_file(api_key_file) if api_key_file is not None else None
    talk = Interview(path.name, present, given, terminal)
    if terminal.attended:
        terminal.say(f"{path.name}: Enter keeps the value in brackets.")
    try:
        new_key = interview(talk, observe_facts(stack, terminal.say), key)
    except (EOFError, KeyboardInterrupt):
        terminal.say("\ninit: interrupted; nothing was written")
        return 130
    create_file(stack)
    backend.ensure_state(lambda line: None)
    update.ensure_stack(stack, lambda line: None)
    fresh = talk.answers["llm"]["provider"] != read_present(path).get("llm", {}).get("provider")
    write_answers(path, talk.answers, fresh_llm=fresh)
    if new_key is not None:
        set_api_key(stack, new_key)
    missing = missing_edge(stack)
    for line in missing:
        terminal.say(line)
    next_step = "write these (docs/cloudflare.md), or edge.provider: none; then" if missing else "next:"
    terminal.say(f"{path.name} is written; {next_step} script/up --stack {stack}")
    return 0


def missing_edge(stack: Stack) -> list[str]:
    """The lines about the edge that the stack file lacks, which belongs to an account that is not asked for.

    UserError for anything else that is wrong.
    """
    try:
        stack.settings()
    except UserError as wrong:
        lines = str(wrong).splitlines()
        if all(line.startswith(f"{stack.file_name}: edge.") and ": is missing; " in line for line in lines):
            return lines
        raise
    return []

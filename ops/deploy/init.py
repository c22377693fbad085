"""``ops init``: asks for what a stack needs, tests each answer on this machine and writes the stack file.

Running it again offers what is there. The language model's API key goes to ``pulumi config set --secret`` through its standard
input: it is in no argument, no file of ours and on no screen. Not here: the other keys of the stack file (docs/configuration.md),
and deploying (script/up).
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer
from pydantic import SecretStr

from components import settings as schema
from ops import ownership
from ops.clients.docker import Docker
from ops.clients.terminal import attended, confirm
from ops.deploy import kakao, update
from ops.errors import UserError
from ops.images import source
from ops.machine import backend, environment, windows
from ops.machine.daemon import Daemon, observe_daemon
from ops.observe.doctor import observation
from ops.paths import write_whole
from ops.stack import file, inventory, passphrase
from ops.stack.stack import Stack

TEMPLATE = "Pulumi.dev.yaml"
SECTIONS = {name: types for name, _, types in schema.sections()}
PROVIDERS = {str(llm.model_fields["provider"].annotation.__args__[0]): llm for llm in SECTIONS["llm"]}  # type: ignore[union-attr]  # a Literal
_OPTION_OF = {"key": "--model", "model": "--model", "base_url": "--base-url"}


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The machine that answers are tested against; None for what is unknown because no daemon answers.

    own_ports: published by this stack now. data_source: where the images of existing data came from.
    """

    memory_mib: int | None = None
    cpus: int | None = None
    own_ports: frozenset[int] = frozenset()
    data_source: str | None = None


@dataclass(frozen=True)
class Question:
    """One key of the stack file. option: on the command line. convert: from text, ValueError for text of another type."""

    section: str
    key: str
    option: str
    text: str
    convert: Callable[[str], Any] = str


DOCKER_HOST = Question("host", "docker_host", "--docker-host", "Docker socket")
QUESTIONS = (
    Question("images", "source", "--images", "Images: official (pulled) or packages (built here)"),
    Question("host", "port", "--port", "Port of the gateway on 127.0.0.1", int),
    Question("host", "timezone", "--timezone", "Time zone"),
    Question("server", "memory_mib", "--memory-mib", "Memory of Skyvern and its browsers in MiB", int),
    Question("server", "cpus", "--cpus", "CPU cores of Skyvern", float),
)
PROVIDER = Question("llm", "provider", "--llm", f"Language model: {', '.join(PROVIDERS)}")


def model_questions(provider: str) -> list[Question]:
    """The settings that a provider needs besides its API key: those without a default, and the model."""
    return [
        Question("llm", name, _OPTION_OF.get(name, f"--{name.replace('_', '-')}"), (setting.description or name).rstrip("."))
        for name, setting in PROVIDERS[provider].model_fields.items()
        if name not in {"provider", "api_key"} and (setting.is_required() or name == "key")
    ]


# --- Tests of an answer --------------------------------------------------------------------------------------------------


def misfit(question: Question, value: Any, facts: Facts) -> str:
    """Why a valid value does not work on this machine, or ""."""
    match question.section, question.key:
        # Data that was made with one source does not open with the other.
        case "images", "source" if facts.data_source not in {None, value}:
            return f"this stack's data was made with {facts.data_source}; write that, or destroy the stack with its data first"
        case "host", "port" if value not in facts.own_ports and not observation.port_free(value):
            return f"another program listens on 127.0.0.1:{value}; write another port"
        # Under WSL, free here is not free there.
        case "host", "port" if value not in facts.own_ports and (programs := windows.listeners(value)):
            return f"in Windows, {programs[0]} listens on {value}; write another port"
        case "server", "memory_mib" if facts.memory_mib is not None and value > facts.memory_mib:
            return f"this Docker host has {facts.memory_mib} MiB; write less"
        # Docker refuses a container with more cores than there are.
        case "server", "cpus" if facts.cpus is not None and value > facts.cpus:
            return f"this Docker host has {facts.cpus}; write no more"
    return ""


def api_key_mistake(text: str) -> str:
    """Why no provider's key looks like this, as a clause, or ""; the text is never repeated."""
    if not text:
        return "is empty"
    if not text.isascii() or not text.isprintable() or " " in text:
        return "has a space or another character that no key has; was something else pasted?"
    return ""


# --- Asking --------------------------------------------------------------------------------------------------------------


@dataclass
class Interview:
    """The answers so far, on top of the stack file.

    present: section -> key -> value, encrypted ones as the text "encrypted". given: option -> text, from the command line.
    """

    file_name: str
    present: dict[str, dict[str, Any]]
    given: Mapping[str, str]
    attended: bool
    facts: Facts = Facts()
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)

    def require(self, *options: str) -> None:
        """UserError with every option that is missing, if there is no terminal to ask on."""
        missing = [option for option in options if option not in self.given]
        if missing and not self.attended:
            raise UserError(f"init: there is no terminal to ask on; add {', '.join(missing)}")

    def ask(self, question: Question) -> Any:
        """A good answer: from the command line, or from the person, who is asked again after a wrong one."""
        if question.option in self.given:
            try:
                value = self.check(question, self.given[question.option])
            except typer.BadParameter as wrong:
                raise UserError(f"init: {question.option}: {wrong.message}") from None
        else:
            default = self.default(question)
            value = typer.prompt(
                f"  {question.text}",
                default=default,
                show_default=default != "",
                value_proc=lambda text: self.check(question, text.strip() or default),
            )
        self.answers.setdefault(question.section, {})[question.key] = value
        return value

    def default(self, question: Question) -> str:
        """The value of the stack file, else the schema's default, else its example; "" without any."""
        section, key = question.section, question.key
        types = SECTIONS[section]
        chosen = PROVIDERS.get(self.answers.get("llm", {}).get("provider", ""), types[0]) if section == "llm" else types[0]
        described = chosen.model_fields[key]
        value = self.present.get(section, {}).get(key)
        if value is None:
            value = next(iter(described.examples or [""])) if described.is_required() else described.default
        # A template's limit may be more than this machine has.
        most = {"memory_mib": self.facts.memory_mib, "cpus": self.facts.cpus}.get(key)
        return "" if value is None else str(min(value, most) if most is not None and isinstance(value, int | float) else value)

    def check(self, question: Question, text: str) -> Any:
        """The value of an answer; BadParameter if the schema of the stack file or this machine refuses it."""
        section, key = question.section, question.key
        try:
            value = question.convert(text)
        except ValueError:
            kind = "a whole number" if question.convert is int else "a number"
            raise typer.BadParameter(f'"{text}" is not a valid value; write {kind}') from None
        try:
            tried = {**self.answers.get(section, {}), key: value}
            schema.parse({section: tried}, file=self.file_name, secret_keys=frozenset({section}))
        except schema.SettingsError as invalid:
            prefix = f"{self.file_name}: {section}.{key}: "
            for line in invalid.lines:
                if line.startswith(prefix) and ": is missing;" not in line:
                    raise typer.BadParameter(line.removeprefix(prefix)) from None
        if wrong := misfit(question, value, self.facts):
            raise typer.BadParameter(wrong)
        return value


def interview(talk: Interview, stack: Stack, api_key: SecretStr | None) -> SecretStr | None:
    """Asks everything into ``talk.answers``; the value is a new API key, None for the present one or none at all.

    Raises UserError for a given answer that is wrong, and for a missing one if there is no terminal to ask on.
    """
    talk.require(*(question.option for question in (DOCKER_HOST, *QUESTIONS, PROVIDER)))
    talk.facts = observe_facts(stack, talk.ask(DOCKER_HOST))
    for question in QUESTIONS:
        talk.ask(question)
    before = talk.present.get("llm", {})
    provider = talk.ask(PROVIDER)
    if provider != before.get("provider"):
        talk.present["llm"] = before = {}
    kept = "api_key" in before
    wanted = "api_key" in PROVIDERS[provider].model_fields
    questions = model_questions(provider)
    talk.require(
        *(question.option for question in questions), *(["--api-key-file"] if wanted and not kept and api_key is None else [])
    )
    for question in questions:
        talk.ask(question)
    if wanted and api_key is None and talk.attended:
        return ask_api_key(kept=kept)
    return api_key if wanted else None


def ask_api_key(*, kept: bool) -> SecretStr | None:
    """The key that the person types, unseen; None keeps the present one."""
    while True:
        prompt = f"  API key, not shown{' [the present one]' if kept else ''}"
        text = typer.prompt(prompt, default="", show_default=False, hide_input=True).strip()
        if kept and not text:
            return None
        if not (wrong := api_key_mistake(text)):
            return SecretStr(text)
        # Typer's own line on a hidden answer does not say what is wrong with it.
        typer.echo(f"Error: the key {wrong}")


def observe_facts(stack: Stack, host: str) -> Facts:
    """Looks at the daemon at ``host``, with a note if it does not answer: script/up may start it later."""
    daemon = observe_daemon(host)
    if daemon is not Daemon.ANSWERS:
        why = "may not be used by this user" if daemon is Daemon.DENIED else "does not answer now"
        typer.echo(f"    note: Docker at {host} {why}, so memory and CPUs are not tested; script/up says what to do")
        return Facts()
    docker = Docker(host)
    there = observation.observe_daemon_facts(docker)
    running = [container for container in inventory.containers(docker, stack.short) if container.status == "running"]
    return Facts(
        memory_mib=there.memory_mib,
        cpus=there.cpus,
        own_ports=frozenset(outside for container in running for _, outside, _ in container.published),
        data_source=source.source_of(docker, stack.prefix("postgres")),
    )


# --- Writing -------------------------------------------------------------------------------------------------------------


def read_present(path: Path) -> dict[str, dict[str, Any]]:
    """The sections of a stack file, valid or not; an encrypted value reads "encrypted". UserError when it is not valid YAML."""
    return {
        name: {key: "encrypted" if isinstance(item, dict) else item for key, item in section.items()}
        for name, section in file.sections(file.read(path)).items()
        if isinstance(section, dict)
    }


def create_file(stack: Stack) -> Path:
    """The stack's file, made from dev's if there is none; dev's first line and salt are dev's alone."""
    path = stack.root / stack.file_name
    if not path.exists():
        lines = (stack.root / TEMPLATE).read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith("encryptionsalt:")]
        made = f"# {stack.short}: made by ops init. Every key: docs/configuration.md.\n"
        write_whole(path, "".join([made, *(kept[1:] if kept and kept[0].startswith("#") else kept)]))
    return path


def read_key_file(name: str) -> SecretStr:
    """The first line of a file, or of standard input for ``-``; UserError if no key looks like it."""
    try:
        text = sys.stdin.readline() if name == "-" else Path(name).read_text().partition("\n")[0]
    except (OSError, UnicodeDecodeError) as failed:
        raise UserError(f"init: --api-key-file: {name} cannot be read; name a file whose first line is the key") from failed
    if wrong := api_key_mistake(text.strip()):
        raise UserError(f"init: --api-key-file: the key {wrong}")
    return SecretStr(text.strip())


def main(stack: Stack, given: Mapping[str, str], *, api_key_file: str | None) -> int:
    """Asks, then creates the stack if it is missing and writes its file. Nothing is written before the last answer."""
    environment.for_engine()  # UserError before anybody is asked in vain
    path = stack.root / stack.file_name
    present = read_present(path if path.exists() else Stack("dev", root=stack.root).file)
    key = read_key_file(api_key_file) if api_key_file is not None else None
    ownership.check(path)
    if path.is_file():
        passphrase.check(stack, backend.current_state(), os.environ)
    talk = Interview(path.name, present, given, attended=attended() and api_key_file != "-")
    if talk.attended:
        typer.echo(f"{path.name}: Enter keeps the value in brackets.")
    try:
        new_key = interview(talk, stack, key)
    except (typer.Abort, KeyboardInterrupt):
        typer.echo("\ninit: interrupted; nothing was written")
        return 130
    create_file(stack)
    backend.ensure_state(lambda line: None)
    update.ensure_stack(stack, lambda line: None)
    # Of another provider, the old one's settings go, its API key among them.
    file.write_settings(path, talk.answers, whole=frozenset() if talk.present["llm"] else frozenset({"llm"}))
    if new_key is not None:
        # Pulumi encrypts it into the stack file and reads it from standard input.
        stack.pulumi("config", "set", "--secret", "--path", "llm.api_key", stdin=new_key.get_secret_value().encode())
    missing = missing_edge(stack)
    for line in missing:
        typer.echo(line)
    next_step = "write these (docs/cloudflare.md), or edge.provider: none; then" if missing else "next:"
    typer.echo(f"{path.name} is written; {next_step} script/up --stack {stack}")
    if not missing and (monitor := stack.settings().monitor).enabled and monitor.channels is None:
        return offer_kakao(stack, talk)
    return 0


def offer_kakao(stack: Stack, talk: Interview) -> int:
    """The first token of messages to oneself, as ``ops alerts kakao`` asks for it; a line that names it where nobody is asked.

    The stack file is written by now, and stays so when the login does not come to its end.
    """
    later = f"for a message when something fails: bin/ops alerts kakao -s {stack}, or another channel (docs/monitoring.md)"
    try:
        if not talk.attended or not confirm("Log in to KakaoTalk now, for a message when something fails?"):
            typer.echo(later)
            return 0
        kakao.talk(stack)
    except UserError as failed:
        typer.echo(f"init: {failed}")
        typer.echo(later)
    except (typer.Abort, KeyboardInterrupt):
        typer.echo(f"\n{later}")
        return 130
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

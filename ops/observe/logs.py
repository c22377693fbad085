"""``ops logs``: the logs of a stack's containers, merged by time, each line behind the name of its service.

Skyvern and the gateway keep secrets out of their logs by themselves (LOG_RAW_API_REQUESTS off, headers and ``apikey`` left out).
The mask here is a second net and not a promise: it finds the values in the environments of containers, unchanged and in the
usual encodings of the whole value, and anything in the form of a key. A value that is cut, split over lines or spaces, hashed,
compressed or encoded twice passes. So does a secret that no container knows, such as a password of a site in a stack trace, and
on a Swarm one of a part that does not run.
Control characters are shown as text, so that a page cannot write to the terminal through a log.
Not here: logs of earlier containers, which Docker removes with them.
"""

import functools
import queue
import re
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ops import redaction
from ops.clients.docker import Docker
from ops.clients.terminal import mute
from ops.errors import UserError
from ops.stack import inventory
from ops.stack.inventory import Container, Replica
from ops.stack.stack import Stack

MASK = "***"
# Lines of several containers arrive a little out of order: a line waits for earlier ones.
REORDER_SECONDS = 0.3

_SHORTEST_SECRET = 8


@dataclass(frozen=True, order=True)
class Line:
    """A line of a log. time: RFC 3339 with nanoseconds in UTC, as Docker prints it, so that text sorts as time does."""

    time: str
    service: str
    text: str


def secrets_of(environment: Iterable[str]) -> list[str]:
    """Values of the environment that must not be shown, the longest first: a short one may be part of a longer one."""
    secrets = set()
    for element in environment:
        name, _, value = element.partition("=")
        if redaction.name_is_secret(name):
            secrets.add(value)
        secrets.update(redaction.url_passwords(value))
    return sorted((secret for secret in secrets if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)


def redact(text: str, secrets: Sequence[str]) -> str:
    """The text without these secrets and without keys and tokens, within the limits that the module's docstring names."""
    return _redactor(tuple(secrets)).text(text)


# Escape sequences of terminals: strings (OSC, DCS, APC, PM, SOS) up to their end, CSI with its final byte, and two-byte ones.
_ESCAPES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c|$)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]"
)


def printable(text: str) -> str:
    """The text without colours and other sequences, each control character left as ``\\x0d``; tabs stay.

    Format characters count as well: some reverse the direction of the text that follows.
    """
    plain = _ESCAPES.sub("", text)
    if plain.isprintable():
        return plain
    return "".join(_shown(letter) for letter in plain)


def _shown(letter: str) -> str:
    if letter == "\t" or unicodedata.category(letter) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return letter
    return f"\\x{ord(letter):02x}" if ord(letter) < 256 else f"\\u{ord(letter):04x}"


@functools.cache
def _redactor(secrets: tuple[str, ...]) -> redaction.Redactor:
    return redaction.Redactor.of(secrets, mask=MASK)


def parse_line(service: str, raw: str) -> Line:
    """A line of ``docker logs --timestamps``. Docker omits trailing zeros; they are added again, so that text sorts as time."""
    moment, _, text = raw.rstrip("\r\n").partition(" ")
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?Z", moment)
    if match is None:
        return Line("", service, raw.rstrip("\r\n"))
    return Line(f"{match[1]}.{(match[2] or '').ljust(9, '0')}Z", service, text)


def render(line: Line, width: int) -> str:
    """``17:35:33 gateway | text``, without the date: most texts have it."""
    return f"{line.time[11:19]} {line.service.ljust(width)} | {line.text}"


def choose(stack: Stack, containers: Sequence[Container], wanted: Sequence[str]) -> list[Container]:
    """The containers of the named services, all if none is named. UserError for a name that the stack does not have."""
    known = {container.part for container in containers}
    if not known:
        raise UserError(f"stack {stack}: has no container, so there are no logs; script/up --stack {stack} starts it")
    if unknown := sorted(set(wanted) - known):
        raise UserError(f"stack {stack}: has no service {unknown[0]}; write one of {', '.join(sorted(known))}")
    chosen = [container for container in containers if not wanted or container.part in wanted]
    without = [container for container in chosen if isinstance(container, Replica) and not container.id]
    if chosen == without:
        reasons = "; ".join(f"{task.name}: {task.reason or task.status}" for task in without)
        raise UserError(f"stack {stack}: there is no container whose log could be shown: {reasons}")
    # Plain Docker has one of each part, but while one hands over to the next.
    by_name = {name_of(container, chosen): container for container in chosen if container not in without}
    return [container for _, container in sorted(by_name.items())]


def name_of(container: Container, containers: Sequence[Container]) -> str:
    """What a container's lines are shown with: its part, with its number where a Swarm has several."""
    several = isinstance(container, Replica) and sum(other.part == container.part for other in containers) > 1
    return container.key.replace(container.name, container.part, 1) if several else container.part


def merged(lines: Iterable[Line]) -> list[Line]:
    """Lines by time; those of one service at one time, or without a time, stay in their order."""
    ordered = []
    last: dict[str, str] = {}
    for line in lines:
        moment = last[line.service] = line.time or last.get(line.service, "")
        ordered.append((moment, line))
    return [line for _, line in sorted(ordered, key=lambda pair: pair[0])]


def _command(docker: Docker, container: Container, options: Sequence[str]) -> list[str]:
    daemon, name = inventory.place(docker, container)
    return daemon.command("logs", "--timestamps", *options, name)


def read(docker: Docker, containers: Sequence[Container], options: Sequence[str]) -> list[Line]:
    """The lines so far. UserError with Docker's own message, for example about a wrong ``--since``."""
    lines = []
    for container in containers:
        done = subprocess.run(
            _command(docker, container, options),
            env=docker.environment(),
            stdin=subprocess.DEVNULL,
            # Both streams of a container are its log.
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        text = done.stdout.decode(errors="replace")
        if done.returncode:
            raise UserError(f"docker logs {container.name}: {(text.strip().splitlines() or ['no answer'])[-1]}")
        # Not splitlines: it also splits at characters that a service wrote inside a line.
        lines += [parse_line(name_of(container, containers), raw) for raw in text.removesuffix("\n").split("\n") if text]
    return merged(lines)


def follow(docker: Docker, containers: Sequence[Container], options: Sequence[str]) -> Iterator[list[Line]]:
    """New lines, in batches that are each in order; ends when every container has ended.

    The docker processes have their own sessions, so that Ctrl-C reaches only this program, which then ends them.
    """
    arrived: queue.Queue[Line | None] = queue.Queue()
    processes = []

    def pump(container: Container, process: "subprocess.Popen[bytes]") -> None:
        for raw in process.stdout or ():
            arrived.put(parse_line(name_of(container, containers), raw.decode(errors="replace")))
        arrived.put(None)

    try:
        for container in containers:
            process = subprocess.Popen(
                _command(docker, container, ["--follow", *options]),
                env=docker.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            processes.append(process)
            threading.Thread(target=pump, args=(container, process), daemon=True).start()
        running = len(processes)
        while running:
            batch = [arrived.get()]
            time.sleep(REORDER_SECONDS)
            while not arrived.empty():
                batch.append(arrived.get())
            running -= batch.count(None)
            yield merged(line for line in batch if line is not None)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def main(stack: Stack, services: Sequence[str], *, following: bool, since: str | None, tail: int | None) -> int:
    """Prints the logs. 0, also after Ctrl-C; UserError for an unknown service, a wrong option or a silent daemon."""
    docker = stack.docker()
    chosen = choose(stack, inventory.containers(docker, stack.short), services)
    secrets = secrets_of(inventory.environments(docker, stack.short))
    width = max(len(name_of(container, chosen)) for container in chosen)
    options = [*(["--since", since] if since else []), *(["--tail", str(tail)] if tail is not None else [])]
    batches = follow(docker, chosen, options) if following else iter([read(docker, chosen, options)])
    try:
        for batch in batches:
            for line in batch:
                # In this order: a secret with a colour inside is found once the colour is gone.
                print(redact(printable(render(line, width)), secrets))
            print(end="", flush=True)
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # The reader, such as head, has closed the pipe.
        mute(sys.stdout)
    return 0

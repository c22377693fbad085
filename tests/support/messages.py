"""The texts of the modules that a user may see: messages, reports, help; and those of them that name a command."""

import ast
import re
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path

from ops.paths import ROOT


def tracked(*paths: str) -> list[Path]:
    printed = subprocess.run(["git", "ls-files", "-z", "--", *paths], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for name in printed.split("\0") if name and (path := ROOT / name).is_file()]


def texts(tree: ast.Module, without: Collection[str] = ()) -> Iterator[tuple[int, str]]:
    """Strings of a module that a user may see: (line, text); the values in an f-string are an ellipsis.

    Names, docstrings and programs are left out; the help of commands is in. without: names of arguments whose texts are left out,
    and with any, the help of commands.
    """
    left_out = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in without:
            left_out.update(map(id, ast.walk(node.value)))
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
            seen = id(node) not in left_out
            left_out.update(map(id, node.values))
            text = "".join(map(str, parts))
            # Caddy's configuration is indented by tabs.
            if seen and "\t" not in text:
                yield node.lineno, text
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            # A script begins with a line break.
            if " " in node.value and not node.value.startswith("\n"):
                yield node.lineno, node.value
        elif isinstance(node, ast.FunctionDef) and not without and _is_command(node):
            yield node.lineno, ast.get_docstring(node) or ""


def _is_command(node: ast.FunctionDef) -> bool:
    return any(".command(" in ast.unparse(one) for one in node.decorator_list)


# Arguments whose texts describe and answer to nothing.
_DESCRIPTIONS = frozenset({"description", "examples", "help", "pattern"})
_OPS = (
    *(
        "alerts",
        "apply",
        "automations",
        "backup",
        "doctor",
        "drift",
        "drill",
        "end-sessions",
        "fleet",
        "images",
        "import",
        "init",
    ),
    *("logs", "preview", "restore", "resume", "review", "rollback", "rotate", "run", "smoke", "status", "version"),
)
_DOCKER = (
    *("buildx", "compose", "exec", "image", "info", "inspect", "load", "login", "logs", "network", "pull", "restart", "rm"),
    *("start", "stop", "system", "tag", "unpause", "version", "volume", "--host"),
)
_PULUMI = ("cancel", "config", "destroy", "import", "login", "logout", "preview", "refresh", "stack", "state", "up")
_GIT = ("add", "checkout", "clone", "commit", "config", "fetch", "pull", "push", "reset", "status")
_ANY = ("apt-get", "chmod", "chown", "cp", "export", "journalctl", "modprobe", "ps", "sed", "ssh", "sudo", "sysctl", "systemctl")
_COMMAND = re.compile(
    rf"(?<![\w/.-])(?:bin/ops\b|script/[a-z-]+\b|ops (?:{'|'.join(_OPS)})\b|docker (?:{'|'.join(_DOCKER)})\b"
    rf"|pulumi (?:{'|'.join(_PULUMI)})\b|git (?:{'|'.join(_GIT)})\b|wsl --\w|(?:{'|'.join(_ANY)}) \S)"
    # Behind the docker of a stack's daemon, which is a value.
    r"|… (?:restart|rm --force|start|unpause) …"
)
# A command that speaks: "ops restore: ...".
_SPEAKER = re.compile(r"^(?:ops|pulumi) [a-z-]+(?: [a-z-]+)?(?: --[\w-]+)*(?::|$)")
# In a script, what is printed on a line.
_PRINTED = re.compile(r"\b(?:fail|say|echo|printf) .*")


def names_a_command(text: str) -> bool:
    """Whether a message tells a person of a command, apart from the one that prints it."""
    return _COMMAND.search(_SPEAKER.sub("", text)) is not None


def with_commands(*paths: str) -> Iterator[tuple[str, str]]:
    """Module or script, and a text of it that names a command; help and descriptions are left out."""
    for path in tracked(*paths):
        name = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py":
            found = [text for _, text in texts(ast.parse(path.read_text()), _DESCRIPTIONS)]
        else:
            lines = (line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
            found = [printed[0] for line in lines if (printed := _PRINTED.search(line))]
        yield from ((name, text) for text in found if names_a_command(text))

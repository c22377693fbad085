"""The object that every command gets: one stack of a checkout, which knows its file, its daemon, its state and its names."""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops import shell
from ops.clients import git, process, swarm
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.machine import backend, environment
from ops.paths import ROOT
from ops.stack import file

if TYPE_CHECKING:
    from components.settings import Settings
    from ops.stack.outputs import Outputs

PROJECT = file.PROJECT
GUARDED_BY_DEFAULT = "prod"
PULUMI_SECONDS = 120
# As in Pulumi 3.256 (sdk/go/common/tokens/stack_name.go); dots alone would be another folder.
_NAME = re.compile(r"(?!\.+$)[A-Za-z0-9_.-]{1,100}")


@dataclass(frozen=True)
class Stack:
    """One stack of a checkout. Reads on demand and caches nothing that can change.

    name: as Pulumi knows it: ``prod``, ``organization/prod`` or ``organization/skyvern/prod``.
    root: folder of the program and of the stack files.
    variables: environment in which Pulumi runs; that of this checkout and user by default. May hold secrets.
    Raises UserError for a name that Pulumi would refuse.
    """

    name: str
    root: Path = field(default_factory=lambda: ROOT)
    variables: Mapping[str, str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Checks the name before it becomes part of a path."""
        *owners, short = self.name.split("/")
        if not _NAME.fullmatch(short):
            raise UserError(f"stack {self.name!r}: Pulumi accepts letters, digits, hyphens, underscores and periods, 100 at most")
        if len(owners) > 2 or not all(map(_NAME.fullmatch, owners)):
            raise UserError(f"stack {self.name!r}: is not a stack; write {short}, or organization/{PROJECT}/{short}")
        if len(owners) == 2 and owners[1] != PROJECT:
            raise UserError(f"stack {self.name!r}: this project is {PROJECT}; write {owners[0]}/{PROJECT}/{short}")

    def __str__(self) -> str:
        """The name, for messages and for commands that a person copies."""
        return self.name

    @property
    def short(self) -> str:
        """The name without organization and project, as in names of containers, volumes and files."""
        return self.name.rpartition("/")[2]

    @property
    def file_name(self) -> str:
        """``Pulumi.prod.yaml``, whether it exists or not."""
        return f"Pulumi.{self.short}.yaml"

    @property
    def file(self) -> Path:
        """The stack file; UserError if there is none."""
        path = self.root / self.file_name
        if not path.is_file():
            # pulumi stack rm removes it with the stack, unless it is called with --preserve-config.
            if git.file_at(self.root, "HEAD", path.name) is not None:
                raise UserError(f"{path.name}: does not exist; git checkout HEAD -- {path.name} brings back the committed one")
            raise UserError(f"{path.name}: does not exist; copy Pulumi.dev.yaml to it and give it its own host.port")
        return path

    @property
    def guarded(self) -> bool:
        """Whether only what is on main may be deployed, and not unasked: by the stack file here or by the one on main.

        Both are read, because an edit that has not been reviewed must not lift the guard that would refuse it.
        """
        here = self.root / self.file_name
        try:
            text = here.read_text(encoding="utf-8") if here.is_file() else None
        except (OSError, UnicodeDecodeError):
            return True
        if only_from_main(text, self.short):
            return True
        main = git.main_ref(self.root)
        return main is not None and only_from_main(git.file_at(self.root, main, here.name), self.short)

    def prefix(self, part: str) -> str:
        """The name of a part's container, ``skyvern-prod-postgres``; its volume and network have the same."""
        return f"skyvern-{self.short}-{part}"

    def place(self, part: str) -> str:
        """Where the data of a part is: a volume, or a folder that all machines of a Swarm have."""
        folder = self.shared_folder
        return self.prefix(part) if folder is None else f"{folder}/{part}"

    def mount(self, part: str, path: str) -> str:
        """Flag of ``docker run`` for the data of a part. With --volume, Docker makes a folder that is missing on its own disk."""
        kind = "volume" if self.shared_folder is None else "bind"
        return f"--mount=type={kind},source={self.place(part)},target={path}"

    @property
    def shared_folder(self) -> str | None:
        """The stack's folder in the one that all machines of a Swarm have; None where its data is in volumes of one daemon."""
        shared = self.settings().host.shared_folder
        return None if shared is None else f"{shared}/{self.prefix('').removesuffix('-')}"

    def config(self) -> dict[str, Any]:
        """The ``config`` of the stack file, secrets encrypted; UserError if it is not valid YAML."""
        return file.read(self.file)

    def settings(self) -> "Settings":
        """The settings of the stack file; UserError with the schema's lines if one is wrong."""
        return file.settings(self.file, self.short)

    def docker(self) -> Docker:
        """The daemon that the stack file names, or its Swarm; UserError if no manager of that answers."""
        host = self.settings().host
        if host.engine == "docker":
            return Docker(host.docker_host)
        try:
            return swarm.find([host.docker_host, *host.nodes])
        except UserError as failed:
            raise UserError(f"stack {self}: {failed}; bin/ops cluster status -s {self} says what to do") from failed

    def plugins(self) -> frozenset[str]:
        """The plugins of Pulumi that it needs beyond those of every stack."""
        settings = self.settings()
        needed = {"cloudflare": settings.edge.provider == "cloudflare", "vercel": settings.frontend.provider == "vercel"}
        return frozenset(name for name, used in needed.items() if used)

    def environment(self) -> dict[str, str]:
        """The variables for a ``pulumi`` of this stack; UserError before script/bootstrap."""
        return {**shell.variables(), **environment.for_stacks()} if self.variables is None else dict(self.variables)

    def command(self, *arguments: str) -> list[str]:
        """The command line of ``pulumi ARGUMENTS`` on this stack; the environment's PATH says which ``pulumi``."""
        return ["pulumi", *arguments, "--stack", self.name]

    def pulumi(self, *arguments: str, stdin: bytes | None = None, timeout_seconds: float = PULUMI_SECONDS) -> bytes:
        """Standard output of ``pulumi ARGUMENTS`` on this stack; UserError if it fails."""
        variables = self.environment()
        try:
            return process.capture(
                [*self.command(*arguments), "--non-interactive"],
                cwd=self.root,
                env=variables,
                stdin=stdin,
                timeout_seconds=timeout_seconds,
            )
        except UserError as failed:
            if "incorrect passphrase" in str(failed):
                # Here, because it reads a stack's files.
                from ops.stack import passphrase

                # Pulumi's own line does not say whose it should be, nor the way out.
                passphrase.check(self, backend.decide_state(variables, ""), variables)
            raise

    def outputs(self) -> "Outputs":
        """The outputs, secrets included; UserError if there is no such stack or it was never deployed."""
        # Here for start time: most commands that have a stack need no outputs.
        from ops.stack import outputs

        return outputs.parse(self.name, self.pulumi("stack", "output", "--json", "--show-secrets"))

    @process.reads("pulumi")
    def state(self, *, show_secrets: bool = False) -> dict[str, Any]:
        """The ``deployment`` of ``pulumi stack export``, empty before the first ``up``; every secret in it stays encrypted.

        UserError for one of another project.

        show_secrets: secrets in plain text, for comparing and blanking, never for display.
        """
        exported = json.loads(self.pulumi("stack", "export", *(["--show-secrets"] if show_secrets else [])))
        deployment: dict[str, Any] = exported.get("deployment") or {}
        self.refuse_foreign(deployment)
        return deployment

    def refuse_foreign(self, deployment: Mapping[str, Any], url: str = "") -> None:
        """UserError for a state of another project, whose resources an update would delete.

        A file backend that was made before Pulumi 3.61 has one stack of a name for all projects. url: of the backend, by default
        that of the environment.
        """
        for resource in deployment.get("resources") or []:
            # urn:pulumi:STACK::PROJECT::TYPE::NAME
            parts = str(resource.get("urn")).split("::")
            if len(parts) > 2 and parts[1] != PROJECT:
                url = url or self.environment()["PULUMI_BACKEND_URL"]
                raise UserError(
                    f"stack {self}: in the backend {url}, the stack of that name is another project's ({parts[1]}), and nothing "
                    f"was changed; name another backend, for example export PULUMI_BACKEND_URL={shlex.quote(backend.local_url())}"
                )


def only_from_main(text: str | None, short: str) -> bool:
    """``deployment.only_from_main`` of a stack file's text: true if it cannot be read; without the key, only for prod."""
    try:
        deployment = file.parse(text or "", "").get(f"{file.PREFIX}deployment") or {}
        value = deployment.get("only_from_main")
    except (UserError, AttributeError):
        return True
    return short == GUARDED_BY_DEFAULT if value is None else value is not False

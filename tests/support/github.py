"""GitHub as far as the workflows need it: its API with comments, issues and artifacts, and a runner for the steps of a job.

The runner does what GitHub documents: ``bash -e`` for a step, its environment, the files for outputs and the event, a work folder
that ``actions/checkout`` cleans. The three actions are played, because they are on GitHub. Not here: who may start a job and
with which token (tests/unit/test_workflows.py), and GitHub's own mind about any of this.
"""

import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from lab import loopback
from ops.clients import github
from ops.clients.git import run as git
from ops.paths import ROOT
from tests.support import terminal

REPOSITORY = "acme/skyvern"
TOKEN = "a-token-of-this-run"  # opens nothing
_OWN = {"id": 12, "repository_id": 1, "head_repository_id": 1}


@dataclass
class GitHub:
    """A private repository.

    comments: by the number of the issue or pull request. pulls: by the commit that merged them. logs: of all jobs. runs: the
    workflow and the event of a run, by its number.
    """

    comments: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    issues: list[dict[str, Any]] = field(default_factory=list)
    artifacts: list[tuple[dict[str, Any], bytes]] = field(default_factory=list)
    pulls: dict[str, int] = field(default_factory=dict)
    logs: list[str] = field(default_factory=list)
    runs: dict[int, tuple[str, str]] = field(default_factory=lambda: {12: ("preview", "pull_request")})
    url: str = ""

    @contextmanager
    def serving(self) -> Iterator["GitHub"]:
        """Answers at ``url``."""
        hub = self

        class Handler(loopback.Handler):
            def answer(self) -> None:
                sent = self.rfile.read(int(self.headers.get("content-length", 0)))
                asked = urlsplit(self.path)
                right = self.headers["authorization"] == f"Bearer {TOKEN}"
                found = hub.answer(self.command, asked.path, parse_qs(asked.query), sent) if right else None
                body = found if isinstance(found, bytes) else json.dumps(found).encode()
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_PATCH = answer

        with loopback.serving(Handler) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield self

    def answer(self, method: str, path: str, query: Mapping[str, list[str]], sent: bytes) -> Any:
        """What the API says, or None for what it does not have."""
        if path == f"/repos/{REPOSITORY}":
            return {"private": True}
        match (method, *path.removeprefix(f"/repos/{REPOSITORY}/").split("/")):
            case "GET", "issues", number, "comments":
                return self.comments.get(int(number), [])
            case "POST", "issues", number, "comments":
                identifier = sum(map(len, self.comments.values())) + 1
                made = {"id": identifier, "user": {"login": github.AUTHOR}, **json.loads(sent)}
                self.comments.setdefault(int(number), []).append(made)
                return made
            case "GET", "issues":
                return [one for one in self.issues if one["state"] in query["state"]]
            case "POST", "issues":
                made = {"number": 100 + len(self.issues), "state": "open", "user": {"login": github.AUTHOR}, **json.loads(sent)}
                self.issues.append(made)
                return made
            case "PATCH", "issues", number:
                (issue,) = (one for one in self.issues if one["number"] == int(number))
                issue.update(json.loads(sent))
                return issue
            case "PATCH", "issues", "comments", identifier:
                (found,) = (one for all_ in self.comments.values() for one in all_ if one["id"] == int(identifier))
                found.update(json.loads(sent))
                return found
            case "GET", "commits", commit, "pulls":
                merged = {"merged_at": "2026-01-31T09:00:00Z", "merge_commit_sha": commit}
                return [{"number": self.pulls[commit], **merged}] if commit in self.pulls else []
            case "GET", "actions", "artifacts":
                return {"artifacts": [about for about, _ in self.artifacts if about["name"] in query["name"]]}
            case "GET", "actions", "runs", number if int(number) in self.runs:
                workflow, event = self.runs[int(number)]
                own = {"repository": {"id": 1}, "head_repository": {"id": 1}}
                return {"id": int(number), "path": f".github/workflows/{workflow}.yml", "event": event, **own}
            case "GET", "actions", "artifacts", identifier, "zip":
                return next(content for about, content in self.artifacts if about["id"] == int(identifier))
        return None

    def upload(self, name: str, folder: Path, *, run: int = 12) -> None:
        """What ``actions/upload-artifact`` does in a run."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted(folder.iterdir()):
                archive.write(path, path.name)
        number = len(self.artifacts) + 1
        about = {"id": number, "name": name, "expired": False, "created_at": f"2026-01-31T09:00:{number:02}Z"}
        self.artifacts.append(({**about, "workflow_run": {**_OWN, "id": run}}, packed.getvalue()))

    def download(self, pattern: str, folder: Path) -> None:
        """What ``actions/download-artifact`` does."""
        for about, content in self.artifacts:
            if fnmatchcase(about["name"], pattern):
                zipfile.ZipFile(io.BytesIO(content)).extractall(folder)


@dataclass(frozen=True)
class Runner:
    """A machine that runs jobs.

    hub: whose. origin: the repository, as git clones it. folder: of the runner. env: of its user. stack: what the workflows call
    prod. venv: a Python environment that every checkout is given, because to make one takes a minute.
    """

    hub: GitHub
    origin: str
    folder: Path
    env: Mapping[str, str]
    stack: str
    venv: Path

    @property
    def checkout(self) -> Path:
        """The work folder, which is the same for every job."""
        return self.folder / "work"

    def run(self, workflow: str, job: str, *, commit: str, event: Mapping[str, Any]) -> tuple[bool, str]:
        """Runs a job; whether it was green, and what it printed. event: its payload, ``pull_request`` or nothing of use."""
        text = (ROOT / ".github" / "workflows" / f"{workflow}.yml").read_text().replace("prod", self.stack)
        steps = yaml.safe_load(text)["jobs"][job]["steps"]
        temp = self.folder / "temp"
        shutil.rmtree(temp, ignore_errors=True)
        temp.mkdir(parents=True)
        (temp / "event.json").write_text(json.dumps(event))
        pull_request = event.get("pull_request") or {}
        known = {
            "github.token": TOKEN,
            "github.event.pull_request.base.sha": (pull_request.get("base") or {}).get("sha", ""),
            "runner.temp": str(temp),
        }
        green, log = True, ""
        for step in steps:
            if not green and step.get("if") != "${{ !cancelled() }}":
                continue
            told = re.sub(r"\$\{\{ ([a-z_.]+) \}\}", lambda found: json.dumps(known[found[1]])[1:-1], json.dumps(step))
            code, printed = self._step(json.loads(told), commit, temp, known)
            log += printed
            green = green and (code == 0 or bool(step.get("continue-on-error")))
        self.hub.logs.append(log)
        return green, log

    def _step(self, step: dict[str, Any], commit: str, temp: Path, known: dict[str, str]) -> tuple[int, str]:
        given = step.get("with", {})
        match step.get("uses", "").partition("@")[0]:
            case "actions/checkout":
                self.check_out(given.get("ref", commit), whole=given.get("fetch-depth") == 0)
            case "actions/upload-artifact":
                self.hub.upload(given["name"], Path(given["path"]))
            case "actions/download-artifact":
                self.hub.download(given["pattern"], Path(given["path"]))
            case _:
                return self._shell(step, commit, temp, known)
        return 0, ""

    def _shell(self, step: dict[str, Any], commit: str, temp: Path, known: dict[str, str]) -> tuple[int, str]:
        (temp / "step.sh").write_text(step["run"])
        (temp / "output").write_text("")
        variables = {
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_API_URL": self.hub.url,
            "GITHUB_RUN_ID": "12",
            "GITHUB_SHA": commit,
            "GITHUB_EVENT_PATH": str(temp / "event.json"),
            "GITHUB_STEP_SUMMARY": str(temp / "summary.md"),
            "GITHUB_OUTPUT": str(temp / "output"),
            "RUNNER_TEMP": str(temp),
        }
        env = {**self.env, **variables, **step.get("env", {})}
        done = terminal.run(["bash", "-e", temp / "step.sh"], cwd=self.checkout, env=env, timeout_seconds=1800)
        for line in (temp / "output").read_text().splitlines():
            name, _, value = line.partition("=")
            known[f"steps.{step.get('id')}.outputs.{name}"] = value
        return done.returncode, f"$ {step['run']}\n{done.stdout}"

    def check_out(self, commit: str, *, whole: bool) -> None:
        """What ``actions/checkout`` does. whole: with every branch and its history."""
        root = self.checkout
        if not root.exists():
            root.mkdir(parents=True)
            git(root, "init", "--quiet")
            git(root, "remote", "add", "origin", self.origin)
        git(root, "clean", "-ffdx")
        what = ["+refs/heads/*:refs/remotes/origin/*", "--prune", "--unshallow"] if whole else ["--depth=1", commit]
        if whole and not (root / ".git" / "shallow").exists():
            what.remove("--unshallow")
        git(root, "fetch", "--quiet", "origin", *what)
        git(root, "checkout", "--quiet", "--force", "--detach", commit)
        (root / ".venv").symlink_to(self.venv)

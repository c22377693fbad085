"""``server.code_blocks: false``: the module that refuses Python from callers, and every executor that Skyvern has.

The module against doubles and against the wheel that the image installs; on the real server: tests/host/test_code.py.
"""

import ast
import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest

from ops.observe.smoke import code_checks, workflow_checks
from ops.observe.smoke.site import CheckNotApplicableError
from ops.paths import ROOT
from tests.support import server_image, skyvern_wheel
from tests.support.smoke import DockerDouble, Skyvern, fails, site

# --- Skyvern's own questions -----------------------------------------------------------------------------------------------


class Decision:
    def __init__(self, *, allowed: bool, selection_reason: str, fail_closed: bool = True) -> None:
        self.allowed, self.fail_closed = allowed, fail_closed


class AgentFunction:
    async def resolve_in_process_script_execution_policy(
        self,
        *,
        organization_id: str,
        workflow_run_id: str,
        workflow_permanent_id: str | None = None,
        workflow_id: str | None = None,
        script_id: str | None = None,
    ) -> Decision:
        return Decision(allowed=True, selection_reason="")

    async def should_keep_code_mode_for_workflow_run(self, *, workflow: Any, workflow_run: Any) -> bool:
        return True


class WorkflowService:
    async def generate_script_if_needed(
        self,
        workflow: Any,
        workflow_run: Any,
        block_labels: Any = None,
        blocks_to_update: Any = None,
        finalize: bool = False,
        has_conditionals: Any = None,
    ) -> None:
        raise AssertionError("a script is written")

    async def _generate_pending_script_for_block(self, workflow: Any, workflow_run: Any, block_result: Any) -> None:
        raise AssertionError("a script is written")


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module with doubles for what it imports of Skyvern."""
    functions = ModuleType("skyvern.forge.agent_functions")
    vars(functions)["ScriptExecutionPolicyDecision"] = Decision
    for name in ("skyvern", "skyvern.forge"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, functions.__name__, functions)
    return server_image.load("refuse_code.py", monkeypatch)


def application() -> SimpleNamespace:
    return SimpleNamespace(AGENT_FUNCTION=AgentFunction(), WORKFLOW_SERVICE=WorkflowService())


def test_a_run_with_code_is_done_by_the_agent_and_no_run_writes_a_script(module: ModuleType) -> None:
    app = application()
    module.answer_no(app)

    async def story() -> None:
        decision = await app.AGENT_FUNCTION.resolve_in_process_script_execution_policy(organization_id="o", workflow_run_id="wr")
        assert (decision.allowed, decision.fail_closed) == (False, False)
        assert await app.AGENT_FUNCTION.should_keep_code_mode_for_workflow_run(workflow=None, workflow_run=None) is False
        await app.WORKFLOW_SERVICE.generate_script_if_needed(workflow=None, workflow_run=None, finalize=True)
        await app.WORKFLOW_SERVICE._generate_pending_script_for_block(None, None, None)

    asyncio.run(story())


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("change", ["gone", "other parameters", "not a coroutine"])
def test_another_skyvern_does_not_start(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: int, change: str
) -> None:
    async def other_parameters(self: object, later: object) -> None: ...

    owner, name, parameters = module.PLACES[place]
    kind = {"AGENT_FUNCTION": AgentFunction, "WORKFLOW_SERVICE": WorkflowService}[owner]
    if change == "gone":
        monkeypatch.delattr(kind, name)
    elif change == "other parameters":
        monkeypatch.setattr(kind, name, other_parameters)
    else:
        monkeypatch.setattr(kind, name, eval(f"lambda self, {', '.join(parameters)}: None"))  # noqa: S307
    hooks: list[Any] = []
    ended: list[int] = []
    monkeypatch.setattr(sys, "addaudithook", hooks.append)
    monkeypatch.setattr(os, "_exit", ended.append)
    app = application()
    module.configure_app(app)
    assert (ended, hooks) == ([1], [])
    line = capsys.readouterr().err
    assert re.search(
        rf"skyvern-start: refuse code: FAILED after \d\.\d s: RuntimeError: this Skyvern's {owner}\.{name} is not", line
    )
    assert line.count("\n") == 1
    # Nothing is half replaced.
    assert not vars(app.AGENT_FUNCTION)
    assert not vars(app.WORKFLOW_SERVICE)


@pytest.mark.parametrize(("mode", "refused"), [(None, True), ("disabled", True), ("entitlement", True), ("enabled", False)])
def test_the_server_starts_with_it_unless_code_is_on(monkeypatch: pytest.MonkeyPatch, mode: str | None, refused: bool) -> None:
    start = server_image.load("skyvern-start", monkeypatch)
    monkeypatch.setattr(os, "environ", {} if mode is None else {"CODE_BLOCK_MODE": mode})
    monkeypatch.setattr(os, "execv", lambda *_: None)
    start.serve()
    modules = json.loads(os.environ["ADDITIONAL_MODULES"])
    assert ("refuse_code" in modules) is refused
    assert "model_parameters" in modules


# --- What Python itself refuses --------------------------------------------------------------------------------------------

HOOKED = """
import dataclasses, importlib.util, marshal, runpy, sys, zipfile
from pathlib import Path
folder = Path(sys.argv[1])
sys.path[:0] = [sys.argv[2], str(folder)]
import refuse_code, skyvern
sys.addaudithook(refuse_code.refusal())
refuse_code.refuse_compiled()

def outcome(call, *arguments):
    try:
        call(*arguments)
    except PermissionError as refusal:
        return str(refusal) == refuse_code.REASON
    return False

def load(path):
    spec = importlib.util.spec_from_file_location("user_script", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))

def compiled(name):
    code = compile(f"open({str(folder / 'ran')!r}, 'w')", name, "exec")
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)

def load_binary(suffix, content):
    (folder / f"binary{suffix}").write_bytes(content)
    load(folder / f"binary{suffix}")

def import_zipped():
    with zipfile.ZipFile(folder / "zipped.zip", "w") as archive:
        archive.writestr("zipped.pyc", compiled("<template>"))
    sys.path.append(str(folder / "zipped.zip"))
    import zipped

def library():
    import colorsys
    dataclasses.make_dataclass("Made", ["field"])("value")
    namespace = {}
    exec(compile("done = 1", "<template>", "exec"), namespace)
    assert namespace["done"] == 1

print(outcome(skyvern.run, exec), outcome(skyvern.run, eval), outcome(skyvern.run_compiled), outcome(load, folder / "main.py"),
      outcome(runpy.run_path, folder / "main.py"), outcome(load_binary, ".pyc", compiled("<template>")),
      outcome(load_binary, ".pyc", compiled(dataclasses.__file__)), outcome(load_binary, ".so", b""), outcome(import_zipped),
      outcome(library), (folder / "ran").exists())
"""


def test_what_skyvern_executes_and_what_is_not_installed_is_refused_and_libraries_work(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (tmp_path / "skyvern").mkdir()
    (tmp_path / "skyvern/__init__.py").write_text(
        "def run(how):\n    how('1')\ndef run_compiled():\n    exec(compile('x = 1', '<run_signature>', 'exec'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", HOOKED, tmp_path, server_image.FOLDER], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["True"] * 9 + ["False"] * 2, done.stderr


def test_python_in_a_container_takes_no_module_from_its_folder() -> None:
    """The home is the server's and its browser's; a module there would see the secrets of whoever runs a command."""
    lines = (server_image.FOLDER / "Dockerfile").read_text().splitlines()
    assert "    PYTHONSAFEPATH=1 \\" in lines
    assert [line for line in lines if line.startswith("WORKDIR")] == ["WORKDIR /"]
    modules = sorted(path for folder in ("lab", "ops") for path in (ROOT / folder).rglob("*.py"))
    calls = [path for path in modules if '"python3"' in path.read_text()]
    assert calls == [ROOT / "ops/clients/docker.py"]


# --- Every executor of the pinned Skyvern ----------------------------------------------------------------------------------

# Names by which Python becomes code at run time, or another program runs.
NAMES = frozenset(
    """
    exec eval compile __import__ exec_module load_module spec_from_file_location spec_from_loader FunctionType CodeType
    create_subprocess_exec create_subprocess_shell subprocess_exec subprocess_shell unsafe_load UnsafeLoader read_pickle
    """.split()
)
OF_OS = frozenset("system popen execv execve execvp execl execle execlp spawnv spawnl posix_spawn fork".split())
MODULES = frozenset(
    "cloudpickle code codeop ctypes dill joblib marshal multiprocessing pickle pty runpy shelve subprocess".split()
)

REFUSED = "runs a caller's Python; refused by images/server/refuse_code.py"
SYNTAX = "looks at the syntax of a script and runs nothing"
PROGRAM = "runs a program with arguments of Skyvern's own: ffmpeg, git, tesseract, bw, Chrome"
DECIDED = {
    "forge/sdk/workflow/models/block.py CodeBlock.generate_async_user_function": ("compile exec", REFUSED),
    "forge/sdk/workflow/service.py WorkflowService._execute_workflow_blocks": ("spec_from_file_location", REFUSED),
    "forge/sdk/workflow/service.py WorkflowService._try_execute_block_with_script": ("compile exec", REFUSED),
    "forge/sdk/workflow/service.py _load_user_script_module": ("exec_module", REFUSED),
    "services/script_service.py run_script": ("exec_module spec_from_file_location", REFUSED),
    "core/script_generations/script_block_extractor.py validate_run_signature": ("compile", SYNTAX),
    "services/script_reviewer.py ScriptReviewer._get_compile_error": ("compile", SYNTAX),
    "services/workflow_script_service.py _llm_fix_broken_main_py": ("compile", SYNTAX),
    "services/workflow_script_service.py _reconstruct_main_py_from_blocks": ("compile", SYNTAX),
    "services/workflow_script_service.py create_script_version_from_full_code": ("compile", SYNTAX),
    "services/workflow_script_service.py create_script_version_from_review": ("compile", SYNTAX),
    "services/workflow_script_service.py generate_workflow_script": ("compile", SYNTAX),
    "forge/forge_app_initializer.py start_forge_app": ("__import__", "ADDITIONAL_MODULES, which skyvern-start sets"),
    "forge/sdk/copilot/agent.py": ("subprocess", PROGRAM),
    "forge/sdk/copilot/streaming_adapter.py": ("subprocess", PROGRAM),
    "forge/sdk/services/bitwarden.py BitwardenService.run_command": ("create_subprocess_exec", PROGRAM),
    "forge/sdk/workflow/models/pdf_fill_block.py PdfFillBlock._extract_flat_anchors": ("create_subprocess_exec", PROGRAM),
    "utils/__init__.py": ("subprocess", PROGRAM),
    "webeye/browser_factory.py": ("subprocess", PROGRAM),
    "webeye/display_capture_bridge.py": ("ctypes subprocess", PROGRAM),
    "webeye/display_recorder.py acquire_display_recorder": ("create_subprocess_exec", PROGRAM),
    "webeye/video_utils.py _run_ffmpeg_to_temp": ("create_subprocess_exec", PROGRAM),
    "webeye/video_utils.py extract_video_frames_jpeg": ("create_subprocess_exec", PROGRAM),
    "webeye/video_utils.py probe_media_duration_seconds": ("create_subprocess_exec", PROGRAM),
    "webeye/video_utils.py probe_video_packet_duration_seconds": ("create_subprocess_exec", PROGRAM),
}
# Commands for a person's own machine start programs in many places; the server calls none of them.
PERSONS_MACHINE = ("browser_extension/", "cli/", "library/")


class Executors(ast.NodeVisitor):
    """Collects where a module uses one of the names: function (empty at the top) and name."""

    def __init__(self) -> None:
        self.found: set[tuple[str, str]] = set()
        self._inside: list[str] = []

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self._inside.append(node.name)
        self.generic_visit(node)
        self._inside.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _function

    def _record(self, *names: str) -> None:
        self.found.update((".".join(self._inside), name) for name in names)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in NAMES:
            self._record(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        # re.compile and a page's JavaScript have the name as an attribute, too.
        if node.attr in NAMES - {"compile", "eval", "exec"}:
            self._record(node.attr)
        if isinstance(node.value, ast.Name) and (node.value.id, node.attr) in {
            *(("os", name) for name in OF_OS),
            *(("builtins", name) for name in NAMES),
        }:
            self._record(node.attr)
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self._record(*({alias.name.partition(".")[0] for alias in node.names} & MODULES))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        names = {(node.module or "").partition(".")[0]} & MODULES if node.level == 0 else set()
        self._record(*names, *({alias.name for alias in node.names} & NAMES))


def executors() -> Iterator[tuple[str, str]]:
    """Place and name of everything in the wheel that makes code of text or starts a program."""
    # Parsing takes most of the time, and most modules have none of the words.
    words = re.compile(
        rf"\b(?:builtins|os\.(?:{'|'.join(OF_OS)})|(?:import|from) (?:{'|'.join(MODULES)})|(?<!re\.)(?:{'|'.join(NAMES)}))\b"
    )
    for path, text in skyvern_wheel.modules():
        if not words.search(text):
            continue
        visitor = Executors()
        visitor.visit(ast.parse(text))
        for inside, name in sorted(visitor.found):
            yield f"{path.removeprefix('skyvern/')} {inside}".strip(), name


def test_every_executor_of_the_pinned_skyvern_is_decided_on() -> None:
    found: dict[str, set[str]] = {}
    for place, name in executors():
        if place.startswith(PERSONS_MACHINE) and name in {"subprocess", "create_subprocess_exec"}:
            continue
        found.setdefault(place, set()).add(name)
    decided = {place: set(names.split()) for place, (names, _) in DECIDED.items()}
    assert found == decided, "a place that runs Python or a program is new, or gone: decide on it here"


def test_the_pinned_skyvern_has_what_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    module = server_image.load("refuse_code.py", monkeypatch)
    classes = {
        "AGENT_FUNCTION": skyvern_wheel.class_body("skyvern/forge/agent_functions.py", "AgentFunction"),
        "WORKFLOW_SERVICE": skyvern_wheel.class_body("skyvern/forge/sdk/workflow/service.py", "WorkflowService"),
    }
    for owner, name, parameters in module.PLACES:
        (method,) = [node for node in classes[owner] if isinstance(node, ast.AsyncFunctionDef) and node.name == name]
        there = [argument.arg for argument in (*method.args.args, *method.args.kwonlyargs)]
        assert there == ["self", *parameters], name
    fields = skyvern_wheel.class_body("skyvern/forge/agent_functions.py", "ScriptExecutionPolicyDecision")
    names = {ast.unparse(field.target) for field in fields if isinstance(field, ast.AnnAssign)}
    assert {"allowed", "selection_reason", "fail_closed"} <= names


# --- The smoke check -------------------------------------------------------------------------------------------------------


class Refusing(Skyvern):
    """Behind a gateway that serves no scripts (404): runs of a loop end as ``loop``, of a code block as ``block``."""

    def __init__(self, *, gateway: int = 404, loop: str = "completed", block: str = "failed") -> None:
        super().__init__()
        self.gateway, self.ends = gateway, {"for_loop": loop, "code": block}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/deploy_cached/"):
            return httpx.Response(self.gateway)
        if (request.method, request.url.path) == ("GET", "/v1/workflows/wpid_1"):
            return httpx.Response(200, json={"workflow_id": "w_1", "version": 1})
        if (request.method, request.url.path) == ("POST", "/v1/workflows"):
            self.calls.clear()
            block = json.loads(request.content)["json_definition"]["workflow_definition"]["blocks"][0]
            self.status, self.polls = self.ends[block["block_type"]], 0
        return super().__call__(request)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow_checks, "POLL_SECONDS", 0.0)


def container(*, mode: bytes = b"disabled\n", inside: bytes = b"200\n", ran: bytes = b"") -> DockerDouble:
    return DockerDouble(programs={"CODE_BLOCK_MODE": mode, "python3": inside, "sh": ran})


def test_the_smoke_check_is_green_where_both_walls_stand_and_leaves_no_script() -> None:
    docker = container()
    code_checks.check_code_refused(site(Refusing(), docker))
    inside = [call[-3:] for call in docker.calls if "python3" in call]
    assert [call[:2] for call in inside] == [
        ("POST", "/v1/scripts/wpid_1/deploy_cached/"),
        ("DELETE", "/v1/scripts/wpid_1/cache"),
    ]
    body = json.loads(inside[0][2])
    (file,) = body["files"]
    marker = docker.calls[-2][-1]
    assert f'open("{marker}", "w")' in file["content"]
    compile(file["content"], "main.py", "exec")


@pytest.mark.parametrize(
    ("skyvern", "docker", "message"),
    [
        (Refusing(gateway=200), container(), "deploying a script through the gateway gave 200"),
        (Refusing(), container(inside=b"404"), "deploying a script inside the server gave 404"),
        (Refusing(), container(ran=b"made\n"), "the server ran a script"),
        (Refusing(loop="failed"), container(), "a run that asks for its script is failed"),
        (Refusing(block="completed"), container(), "a run with a code block is completed"),
    ],
)
def test_the_smoke_check_names_the_wall_that_is_missing(skyvern: Refusing, docker: DockerDouble, message: str) -> None:
    assert message in fails(code_checks.check_code_refused, site(skyvern, docker))
    removals = [call for call in docker.calls if "DELETE" in call]
    assert len(removals) == 1


def test_the_smoke_check_says_where_code_is_on() -> None:
    with pytest.raises(CheckNotApplicableError, match="code_blocks is true"):
        code_checks.check_code_refused(site(Refusing(), container(mode=b"enabled\n")))

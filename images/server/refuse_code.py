"""A module of Skyvern's ADDITIONAL_MODULES: Python that a caller brings does not run in the server.

Only code blocks obey CODE_BLOCK_MODE. Cached scripts (``run_with: code``) have the same power: any caller of the API may deploy a
``main.py``, and Skyvern 1.0.56 loads it into the server's process. It asks AgentFunction's
resolve_in_process_script_execution_policy before, which always allows it.

Two walls. Skyvern's own questions are answered with no: a run that asks for its script is done by the agent instead, and no run
writes a script. And the interpreter refuses to run what is not an installed module, whoever asks, so the wall also holds against
an executor that a later Skyvern adds. Look at it again with the Skyvern after 1.0.56; tests/unit/test_code.py has every executor.
"""

import inspect
import sys
import sysconfig
from collections.abc import Awaitable, Callable
from importlib.machinery import SourcelessFileLoader
from pathlib import Path
from types import CodeType
from typing import Any
from zipimport import zipimporter

from at_start import ends_start

REASON = "server.code_blocks is false: Python from a caller does not run"
# Whose method, its name, its parameters in Skyvern 1.0.56.
PLACES = (
    (
        "AGENT_FUNCTION",
        "resolve_in_process_script_execution_policy",
        ("organization_id", "workflow_run_id", "workflow_permanent_id", "workflow_id", "script_id"),
    ),
    ("AGENT_FUNCTION", "should_keep_code_mode_for_workflow_run", ("workflow", "workflow_run")),
    (
        "WORKFLOW_SERVICE",
        "generate_script_if_needed",
        ("workflow", "workflow_run", "block_labels", "blocks_to_update", "finalize", "has_conditionals"),
    ),
    ("WORKFLOW_SERVICE", "_generate_pending_script_for_block", ("workflow", "workflow_run", "block_result")),
)


@ends_start("refuse code")
def configure_app(app: Any) -> None:
    """Called by Skyvern with the application before the server starts; ends the start where a place is not as expected."""
    answer_no(app)
    sys.addaudithook(refusal())
    refuse_compiled()


def answer_no(app: Any) -> None:
    """Replaces the methods of PLACES; RuntimeError where one is gone, has other parameters, or is not awaited any more."""
    from skyvern.forge.agent_functions import ScriptExecutionPolicyDecision

    # fail_closed would fail the run; without, the agent does it.
    denied = ScriptExecutionPolicyDecision(allowed=False, selection_reason=REASON, fail_closed=False)
    answers = dict(zip((name for _, name, _ in PLACES), (denied, False, None, None), strict=True))
    for owner, name, parameters in PLACES:
        method = getattr(getattr(app, owner, None), name, None)
        if not inspect.iscoroutinefunction(method) or tuple(inspect.signature(method).parameters) != parameters:
            raise RuntimeError(f"this Skyvern's {owner}.{name} is not that of 1.0.56, so code could not be refused")
    for owner, name, _ in PLACES:
        setattr(getattr(app, owner), name, always(answers[name]))


def always(answer: Any) -> Callable[..., Awaitable[Any]]:
    """A coroutine function with one answer."""

    async def method(*_: Any, **__: Any) -> Any:
        return answer

    return method


def refusal() -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook (PEP 578) that lets installed modules run and nothing else.

    Every exec, eval and import of Python raises the event "exec" with its code. Refused: a file outside the folders of installed
    modules, as scripts are, and whatever Skyvern itself hands to exec or eval. Code that libraries make at run time (dataclasses,
    Jinja's sandboxed templates) has no file, and Skyvern is not its caller. A shared library has no code, but its file is in the
    event "import".
    """
    import skyvern

    skyvern_folder = f"{Path(str(skyvern.__file__)).parent}/"
    installed = tuple(f"{folder}/" for folder in (sys.prefix, sysconfig.get_path("stdlib"), Path(__file__).parent))

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "import" and arguments[1] and not arguments[1].startswith(installed):
            raise PermissionError(REASON)
        if event != "exec":
            return
        code = arguments[0]
        name = code.co_filename if isinstance(code, CodeType) else ""
        caller = sys._getframe(1).f_code.co_filename
        if caller.startswith(skyvern_folder) or not name.startswith(("<", *installed)):
            raise PermissionError(REASON)

    return refuse


def refuse_compiled() -> None:
    """No module without its source: what the hook takes for a file's name is, in compiled code, whatever its maker wrote.

    Beside a source, Python corrects the name. No installed package is of these two kinds.
    """

    def get_code(self: object, name: str) -> CodeType:
        raise PermissionError(REASON)

    for loader in (SourcelessFileLoader, zipimporter):
        setattr(loader, "get_code", get_code)  # noqa: B010

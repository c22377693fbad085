"""``ops smoke``: whether a deployed stack does its work, and refuses what it must. One line per check.

Requests come from outside, as those of a user, a program or a hostile page would; only logs, ffprobe and the planting of test
files go through Docker. The checks leave nothing behind but finished runs, which Skyvern has no call to remove.
Not here: deploying (script/up).
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import httpx

from ops.errors import UserError
from ops.observe.smoke import (
    api_checks,
    artifact_checks,
    browser_checks,
    code_checks,
    internet_checks,
    isolation_checks,
    llm_checks,
    ui_checks,
    workflow_checks,
)
from ops.observe.smoke.site import (
    UI,
    Check,
    CheckNotApplicableError,
    CheckSkippedError,
    CheckWarningError,
    Resolver,
    Site,
    client_for,
)
from ops.stack.outputs import Outputs
from ops.stack.stack import Stack

# In this order: later checks need parts of the stack that earlier ones test, and the slow ones come last.
CHECKS: tuple[Check, ...] = (
    Check("heartbeat", "server", api_checks.check_heartbeat),
    Check("API key", "server", api_checks.check_api_key),
    Check("unknown host refused", "gateway", api_checks.check_unknown_host),
    Check("API documentation not served", "gateway", api_checks.check_documentation),
    Check("CORS", "server", api_checks.check_cors),
    Check("UI login", UI, ui_checks.check_login),
    Check("UI", UI, ui_checks.check_app),
    Check("UI assets", UI, ui_checks.check_assets),
    Check("UI session", UI, ui_checks.check_session),
    Check("UI session refusals", UI, ui_checks.check_session_refusals),
    Check("live stream", "server", ui_checks.check_stream),
    Check("workflow run", "server", workflow_checks.check_workflow_run),
    Check("links to files", "server", artifact_checks.check_links),
    Check("recording", "artifacts", artifact_checks.check_recording),
    Check("recording range", "artifacts", artifact_checks.check_range),
    Check("screenshot", "artifacts", artifact_checks.check_screenshot),
    Check("artifact login", UI, artifact_checks.check_artifact_login),
    Check("artifact paths", "artifacts", artifact_checks.check_artifact_paths),
    Check("artifact links", "artifacts", artifact_checks.check_symlinks),
    Check("artifact sandbox", "artifacts", artifact_checks.check_sandbox),
    Check("navigation guard", "server", workflow_checks.check_navigation_guard),
    Check("isolation", "firewall", isolation_checks.check_isolation),
    Check("code refused", "server", code_checks.check_code_refused),
    Check("browser sandbox", "server", browser_checks.check_sandbox),
    Check("hostile page", "egress", browser_checks.check_hostile_page),
    # Last, so that its warning is the line above the result.
    Check("internet", "egress", internet_checks.check_internet),
)
# Only with the UI on Vercel, which reaches the gateway from outside.
VERCEL_CHECKS: tuple[Check, ...] = (
    Check("gateway key", "gateway", ui_checks.check_gateway_key),
    Check("artifact host", "gateway", artifact_checks.check_artifact_host),
)
# Only if the stack has the part that is checked.
OPTIONAL_CHECKS: tuple[Check, ...] = (Check("language model", "ollama-pull", llm_checks.check_ollama_model),)
NAME_WIDTH = max(len(check.name) for check in (*CHECKS, *VERCEL_CHECKS, *OPTIONAL_CHECKS))


@dataclass(frozen=True)
class Result:
    """The result of a check.

    mark: ``n/a`` for a check of something that the stack does not have by its settings, which is not a failure. ``warn`` for
    something that the host lacks: no failure of the stack, but for its runs (docs/decisions/internet.md).
    detail: the failure, or why the check was not run; hint: a command that shows more. Both are empty if the check is green.
    """

    name: str
    mark: Literal["ok", "FAIL", "warn", "skip", "n/a"]
    seconds: float
    detail: str = ""
    hint: str = ""

    @property
    def fine(self) -> bool:
        """Whether nothing is wrong with the stack."""
        return self.mark in {"ok", "warn", "n/a"}

    def document(self) -> dict[str, str | float]:
        """The fields by the names of ``ops smoke --json``."""
        fields = asdict(self)
        fields["look_at"] = fields.pop("hint")
        return fields


def run_check(check: Check, site: Site) -> Result:
    """Runs one check. An answer of an unexpected shape is a failure of the stack as well, and reported without its content."""
    started = time.monotonic()
    mark: Literal["FAIL", "warn", "skip", "n/a"] = "FAIL"
    try:
        check.run(site)
        return Result(check.name, "ok", time.monotonic() - started)
    except CheckSkippedError as skipped:
        mark, detail = "skip", str(skipped)
    except CheckWarningError as lacking:
        mark, detail = "warn", str(lacking)
    except CheckNotApplicableError as absent:
        mark, detail = "n/a", str(absent)
    except UserError as failed:
        detail = str(failed)
    except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as unexpected:
        detail = f"an answer of an unexpected shape ({type(unexpected).__name__})"
    return Result(check.name, mark, time.monotonic() - started, detail, check.hint(site.outputs))


def checks_for(outputs: Outputs) -> tuple[Check, ...]:
    """The checks of every stack, and those of the optional parts of this one."""
    optional = (check for check in OPTIONAL_CHECKS if check.part in outputs.containers)
    return (*CHECKS, *(VERCEL_CHECKS if outputs.on_vercel else ()), *optional)


def run_checks(site: Site, checks: Sequence[Check] | None = None) -> Iterator[Result]:
    """Runs the checks (those for the stack, unless others are named) in order; a failure does not stop the next."""
    try:
        for check in checks_for(site.outputs) if checks is None else checks:
            yield run_check(check, site)
    finally:
        # Ends what a check would have ended that was not asked for, or not reached. All results are reported by now.
        with suppress(UserError):
            site.cleanup.close()


def render(result: Result) -> str:
    """The line of a result; for a failure, a second line with the command that shows more."""
    line = f"{result.mark:<4}  {result.name:<{NAME_WIDTH}}  {result.seconds:6.1f} s"
    if result.mark == "ok":
        return line
    return f"{line}  {result.detail}" + (f"\n      look at: {result.hint}" if result.mark == "FAIL" else "")


def parse_resolver(ca_file: Path | None, connect_to: str | None) -> Resolver:
    """The resolver of a command line's options; UserError for a wrong one."""
    if ca_file is not None and not ca_file.is_file():
        raise UserError(f"--ca-file: {ca_file} does not exist; write the path of a PEM file")
    if connect_to is None:
        return Resolver(ca_file=ca_file)
    host, colon, port = connect_to.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise UserError(f"--connect-to: {connect_to} is not an address with a port; write it as 127.0.0.1:8443")
    return Resolver(ca_file=ca_file, connect_to=(host.strip("[]"), int(port)))


def main(stack: Stack, *, as_json: bool = False, resolver: Resolver | None = None) -> int:
    """Checks a deployed stack and prints a line after each check, or one JSON list at the end.

    resolver: how clients reach its names, if they are not public. 0 if every check is green, else 1; UserError if the stack's
    outputs cannot be read.
    """
    outputs = stack.outputs()
    results = []
    with client_for(outputs, resolver) as client:
        for result in run_checks(Site(outputs, client, outputs.docker())):
            results.append(result)
            if not as_json:
                print(render(result), flush=True)
    if as_json:
        print(json.dumps([result.document() for result in results], indent=2))
    return 0 if all(result.fine for result in results) else 1

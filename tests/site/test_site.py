"""The site as Vercel's own command line builds it, served on loopback in front of a stand-in of the gateway.

No account and no request to Vercel: a project file of ours names the project. The tests themselves are site.test.mjs.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from components import endpoints
from components.host.gateway import caddyfile, content_security_policy
from components.settings import Settings
from ops.paths import ROOT, cache_dir
from tests.program import VERCEL

SITE = ROOT / "site"
TOOLS = Path(__file__).parent
URLS = endpoints.derive(
    Settings.model_validate(
        {
            "edge": {"provider": "cloudflare", "domain": "example.com", "api_token": "t" * 40},
            "frontend": VERCEL,
        }
    )
)
VARIABLES = {
    "VITE_API_BASE_URL": URLS.api_base_url,
    "VITE_ARTIFACT_API_BASE_URL": URLS.artifact_base_url,
    "VITE_BROWSER_STREAMING_MODE": "cdp",
    "VITE_WSS_BASE_URL": URLS.wss_base_url,
}


def run(*command: str | Path, cwd: Path, variables: Mapping[str, str] | None = None) -> str:
    """Standard output and error of a program, which must end with 0."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(variables or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


def cached(name: str, source: Path, make: Callable[[Path], object]) -> Path:
    """A folder of the cache that ``make`` fills, once for every content of ``source``; half-made ones are never seen."""
    parent = cache_dir() / "test-site"
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f"{name}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    with (parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            staging = parent / f"{name}.partial"
            for old in (staging, *parent.glob(f"{name}-*")):
                shutil.rmtree(old, ignore_errors=True)
            staging.mkdir()
            make(staging)
            staging.rename(folder)
    return folder


def install_tools(folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(TOOLS / name, folder)
    run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)


def download_wheel(folder: Path) -> None:
    options = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--dest", folder)
    run(sys.executable, "-m", "pip", "download", "--quiet", *options, "-r", SITE / "ui-requirements.txt", cwd=folder)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Vercel would deploy: the folder ``.vercel/output`` after a build of a copy of site/."""
    tools = cached("tools", TOOLS / "package-lock.json", install_tools)
    (wheel,) = cached("wheel", SITE / "ui-requirements.txt", download_wheel).glob("*.whl")
    work = tmp_path_factory.mktemp("vercel")
    site = work / "site"
    shutil.copytree(SITE, site, ignore=shutil.ignore_patterns("node_modules", "dist", ".vercel"))
    (site / ".vercel").mkdir()
    node_version = json.loads((SITE / "package.json").read_text())["engines"]["node"]
    project = {"projectId": "prj_test", "orgId": "team_test", "settings": {"framework": None, "nodeVersion": node_version}}
    (site / ".vercel/project.json").write_text(json.dumps(project))
    # It asks Vercel who is logged in and builds without an answer. Nobody's login, and an address where nobody listens.
    nobody = ("--token", "none", "--api", "http://127.0.0.1:9", "--global-config", work / "settings")
    command = ("build", "--prod", "--yes", *nobody)
    variables = {**VARIABLES, "SKYVERN_UI_WHEEL": str(wheel), "VERCEL_TELEMETRY_DISABLED": "1", "NO_UPDATE_NOTIFIER": "1"}
    run("node", tools / "node_modules/vercel/dist/vc.js", *command, cwd=site, variables=variables)
    return site / ".vercel/output"


def test_vercel_puts_the_middleware_before_everything_and_the_ui_behind_the_files(output: Path) -> None:
    routes: list[dict[str, Any]] = json.loads((output / "config.json").read_text())["routes"]
    first, files, deep_link, *errors = routes
    assert (first["src"], first["middlewarePath"], first["continue"]) == ("^/.*$", "middleware", True)
    assert files == {"handle": "filesystem"}
    assert deep_link["dest"] == "/index.html"
    assert errors == [{"handle": "error"}, {"status": 404, "src": "^(?!/api).*$", "dest": "/404.html"}]


def test_vercel_deploys_the_ui_and_one_small_function(output: Path) -> None:
    function = output / "functions/middleware.func"
    assert [path.name for path in (output / "functions").iterdir()] == [function.name]
    assert json.loads((function / ".vc-config.json").read_text())["runtime"] == "nodejs24.x"
    # Nothing but the helper that is imported: what it depends on is installed and left out.
    packages = {path.relative_to(function).parts[:3] for path in function.rglob("node_modules/*/*")}
    assert packages == {("node_modules", "@vercel", "functions")}
    static = {path.relative_to(output / "static").as_posix() for path in (output / "static").rglob("*") if path.is_file()}
    assert "index.html" in static
    assert not [name for name in static if name.endswith((".mjs", ".json", ".txt", ".md"))]


def test_the_ui_is_filled_corrected_and_whole(output: Path) -> None:
    scripts = "".join(path.read_text() for path in (output / "static/assets").glob("*.js"))
    assert "_PLACEHOLDER__" not in scripts
    for value in VARIABLES.values():
        assert value in scripts
    assert 'if(d.signed_url&&!d.signed_url.startsWith("file://"))return' in scripts


def gateway_headers() -> dict[str, str]:
    """What the gateway says with every page of the UI, and this site's content security policy."""
    rules = re.sub(r"\n\t+", "\n", caddyfile(endpoints.derive(Settings())))
    block = re.search(r"\nheader \{\n(Content-Security-Policy .*?)\n\}", rules, re.DOTALL)
    assert block is not None
    found = dict(line.split(" ", 1) for line in block[1].splitlines())
    found["Cross-Origin-Resource-Policy"] = "same-origin"
    assert "\nheader Cross-Origin-Resource-Policy same-origin\n" in rules
    return {name: value.strip('"') for name, value in found.items()} | {"Content-Security-Policy": content_security_policy(URLS)}


def test_the_site_behaves(output: Path) -> None:
    variables = {"SITE_OUTPUT": str(output), "SITE_HEADERS": json.dumps(gateway_headers())}
    print(run("node", "--test", "--test-reporter=spec", TOOLS / "site.test.mjs", cwd=TOOLS, variables=variables))

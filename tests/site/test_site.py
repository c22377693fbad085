"""The site as Vercel's own command line builds it, served on loopback in front of a stand-in of the gateway.

No account and no request to Vercel. The tests themselves are site.test.mjs.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from components import endpoints
from components.host.gateway import caddyfile
from components.settings import Settings
from components.ui import content_security_policy
from lab.standins.vercel import build
from tests.support.site import URLS, VARIABLES

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Vercel would deploy: the folder ``.vercel/output`` after a build of a copy of site/."""
    work = tmp_path_factory.mktemp("vercel")
    site = work / "site"
    shutil.copytree(build.SITE, site, ignore=shutil.ignore_patterns(*build.LEFT_OUT))
    return build.build(site, build.site_settings(), VARIABLES, work)


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
    command = ["node", "--test", "--test-reporter=spec", str(TESTS / "site.test.mjs")]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)

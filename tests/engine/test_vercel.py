"""The program with its UI on Vercel behind the real engine, with stand-ins for Vercel and Cloudflare.

The life of a stack and the faults at each call are tried on frontend and edge alone, where no container's call counts; what the
gateway has to do with it, on the whole program. Not here: a site that is built and answers (tests/site, rehearsal).
"""

import json
from pathlib import Path
from typing import Any

import pytest

from ops.engine import Engine
from ops.paths import ROOT
from rehearsal.standin import vercel
from tests.engine.stack import Stack, told_lines

pytestmark = pytest.mark.timeout(600)

# Frontend and edge, with secrets that change with their epochs, as the random provider's would.
SITE_AND_EDGE = """\
import sys

import pulumi

from components import endpoints
from components.edge.tunnel import CloudflareTunnel, CloudflareTunnelArgs
from components.secrets import derive_tunnel_secret
from components.settings import SettingsError, load

try:
    settings = load()
    urls, rotation = endpoints.derive(settings), settings.rotation
    site = None
    if urls.on_vercel:
        from components.frontend.vercel import VercelFrontend, VercelFrontendArgs

        site = VercelFrontend("site", VercelFrontendArgs(
            prefix="skyvern-test", settings=settings.frontend, endpoints=urls,
            gateway_key=pulumi.Output.secret(f"a-gateway-key-{rotation.gateway}"),
            ui_password=pulumi.Output.secret(f"a-password-{rotation.ui_login}"),
        ))
    CloudflareTunnel("edge", CloudflareTunnelArgs(
        prefix="skyvern-test", settings=settings.edge, endpoints=urls, ui=None if site is None else site.record,
        secret=pulumi.Output.secret(derive_tunnel_secret("a password")),
    ))
except SettingsError as wrong:
    for line in wrong.lines:
        pulumi.log.error(line)
    sys.exit(32)
"""

# Without zone settings and rulesets, which have nothing to do with the site.
EDGE: dict[str, Any] = {
    "provider": "cloudflare",
    "domain": "example.com",
    **dict.fromkeys(("always_https", "min_tls_1_2", "tls_1_3", "hsts", "firewall", "rate_limit"), False),
}
SITE: dict[str, Any] = {"provider": "vercel", "team": vercel.TEAM, "plan": "pro"}
APP = "app.example.com"
TO_VERCEL = vercel.RECOMMENDED_CNAME.rstrip(".")
# Not that of the edge, which costs seconds at each up.
SITE_ALONE = (
    SITE_AND_EDGE.replace("from components.edge.tunnel import CloudflareTunnel, CloudflareTunnelArgs\n", "").partition(
        "    CloudflareTunnel("
    )[0]
    + SITE_AND_EDGE[SITE_AND_EDGE.index("except SettingsError") :]
)
NOTHING = {name: {} for name in ("projects", "variables", "values", "domains", "deployments")}


class Frontend(Stack):
    """A stack whose UI is on Vercel."""

    def deploy(self, frontend: dict[str, Any] | None = None, **sections: Any) -> list[str]:
        """Writes the stack file and deploys; what was done."""
        self.write(edge=EDGE, frontend={**SITE, **(frontend or {})}, **sections)
        return self.up()

    def served(self, host: str = APP) -> dict[str, Any]:
        found = vercel.served(self.world.read(), host)
        assert found is not None
        assert not found.protected
        return dict(found.deployment)

    def record(self, type_: str = "CNAME") -> dict[str, Any] | None:
        """What the zone says of the UI."""
        records = self.world.read()["records"].values()
        return next((one for one in records if one["type"] == type_ and one["name"] in (APP, "_vercel.example.com")), None)


@pytest.fixture(scope="module")
def life(engine: Engine, tmp_path_factory: pytest.TempPathFactory, home: Path) -> Frontend:
    """A stack of site and edge that is up, which the tests change one after the other and leave up."""
    stack = Frontend(engine, tmp_path_factory.mktemp("life"), home, SITE_AND_EDGE)
    stack.deploy()
    return stack


REDEPLOYED = ["create site-deployment", "delete site-deployment"]


# --- A life --------------------------------------------------------------------------------------------------------------


def test_up_serves_the_uploaded_site_with_its_variables(life: Frontend) -> None:
    deployment = life.served()
    assert {"package.json", "vercel.json", "middleware.js", "build.mjs", "ui-requirements.txt"} <= set(deployment["uploaded"])
    assert not [path for path in deployment["uploaded"] if path.startswith(("site", "node_modules")) or path == "README.md"]
    assert set(deployment["variables"]) >= {"GATEWAY_KEY", "UI_LOGIN_SHA256", "API_URL", "VITE_API_BASE_URL"}
    assert (life.record() or {})["content"] == TO_VERCEL
    assert (life.record() or {})["proxied"] is False
    for secret in (vercel.TOKEN, "a-gateway-key-1", "a-password-1", deployment["variables"]["UI_LOGIN_SHA256"]):
        assert secret not in life.project.succeed("stack", "export")


def test_a_second_up_and_a_refresh_change_nothing(life: Frontend) -> None:
    life.project.succeed("preview", "--expect-no-changes")
    assert life.deploy() == []
    life.project.succeed("refresh", "--yes", "--expect-no-changes")
    assert life.deploy() == []


def test_a_changed_file_redeploys_once(life: Frontend) -> None:
    middleware = life.site / "middleware.js"
    text = middleware.read_text()
    middleware.write_text(text + "// changed\n")
    assert life.deploy() == REDEPLOYED
    assert life.deploy() == []
    middleware.write_text(text)
    # What is never uploaded is no change.
    (life.site / "node_modules").mkdir()
    (life.site / "node_modules" / "x.js").write_text("")
    assert life.deploy() == REDEPLOYED
    (life.site / "README.md").write_text("another")
    assert life.deploy() == []


def test_a_rotated_login_and_key_are_served_and_the_old_deployment_is_gone(life: Frontend) -> None:
    old = life.served()
    done = life.deploy(rotation={"ui_login": 2, "gateway": 2})
    # The variables in any order.
    assert [*sorted(done[:2]), *done[2:]] == [
        "update site-gateway-key",
        "update site-ui-login-sha256",
        *REDEPLOYED,
    ]
    new = life.served()
    assert new["variables"]["GATEWAY_KEY"] == "a-gateway-key-2"
    assert new["variables"]["UI_LOGIN_SHA256"] not in ("", old["variables"]["UI_LOGIN_SHA256"])
    assert set(life.world.read()["vercel"]["deployments"]) == {new["id"]}
    assert life.deploy(rotation={"ui_login": 2, "gateway": 2}) == []
    life.deploy()


def test_a_changed_setting_redeploys_once(life: Frontend) -> None:
    done = life.deploy({"artifacts": False})
    assert "delete site-artifact-url" in done
    assert [one for one in done if "deployment" in one] == REDEPLOYED
    assert "ARTIFACT_URL" not in life.served()["variables"]
    # A region is the project's, and takes effect with the next deployment only.
    assert life.deploy({"artifacts": False, "region": "hnd1"}) == ["update site-project", *REDEPLOYED]
    life.deploy()


def test_a_variable_that_was_changed_by_hand_is_seen_unless_it_is_sensitive(life: Frontend) -> None:
    with life.world.edit() as data:
        for identifier, variable in data["vercel"]["variables"].items():
            if variable["key"] in ("API_URL", "GATEWAY_KEY"):
                data["vercel"]["values"][identifier] = "https://elsewhere.example"
    life.project.succeed("refresh", "--yes")
    assert life.deploy() == ["update site-api-url"]
    with life.world.edit() as data:
        (key,) = [one["id"] for one in data["vercel"]["variables"].values() if one["key"] == "GATEWAY_KEY"]
        data["vercel"]["values"][key] = "a-gateway-key-1"


def test_without_the_domain_and_with_it_again(life: Frontend) -> None:
    life.deploy({"vercel_app": "acme-ui"})
    assert life.record() is None
    assert life.served("acme-ui.vercel.app")["variables"]["VITE_ARTIFACT_API_BASE_URL"] == "https://acme-ui.vercel.app"
    assert vercel.served(life.world.read(), APP) is None
    life.project.succeed("preview", "--expect-no-changes")
    life.deploy()
    assert (life.record() or {})["content"] == TO_VERCEL
    assert life.served()["variables"]["VITE_ARTIFACT_API_BASE_URL"] == f"https://{APP}"
    life.project.succeed("preview", "--expect-no-changes")


def test_to_the_gateway_and_back(life: Frontend) -> None:
    life.write(edge=EDGE)
    done = life.up()
    # One record, changed: Cloudflare would refuse a second one of that name.
    assert [one for one in done if "edge-app" in one] == ["update edge-app"]
    assert str((life.record() or {})["content"]).endswith(".cfargotunnel.com")
    assert {name: life.world.read()["vercel"][name] for name in NOTHING} == NOTHING
    done = life.deploy()
    assert [one for one in done if "edge-app" in one] == ["update edge-app"]
    assert done.index("create site-deployment") < done.index("update edge-app")
    assert (life.record() or {})["content"] == TO_VERCEL


def test_a_git_repository_instead_of_the_upload(life: Frontend) -> None:
    git = {"source": "git", "repository": "acme/skyvern-stack"}
    life.write(edge=EDGE, frontend={**SITE, **git})
    told = life.project.fail("up", "--yes", "--skip-preview")
    assert "install the GitHub integration first" in told
    with life.world.edit() as data:
        data["vercel"]["repositories"] = ["acme/skyvern-stack"]
    assert life.deploy(git) == ["update site-project", *REDEPLOYED]
    assert life.served()["ref"] == "main"
    assert life.deploy() == ["update site-project", *REDEPLOYED]


def test_a_domain_of_another_account_is_asked_for_and_verified(life: Frontend) -> None:
    with life.world.edit() as data:
        data["vercel"]["foreign_domains"] = ["example.com"]
    life.project.succeed("refresh", "--yes")
    told = life.project.succeed("preview")
    (line,) = {line.partition("warning: ")[2] for line in told.splitlines() if "warning: " in line}
    start = "Pulumi.test.yaml: frontend.verification: another account on Vercel holds the domain; write vc-domain-verify="
    assert line.startswith(start)
    value = line.split("; write ")[1].split()[0]
    assert life.deploy({"verification": value}) == ["create edge-ui-verification"]
    assert (life.record("TXT") or {})["content"] == f'"{value}"'
    assert life.served()
    with life.world.edit() as data:
        data["vercel"]["foreign_domains"] = []
    life.deploy()


def test_destroy_leaves_nothing(life: Frontend) -> None:
    life.world.forget_journal()
    life.project.succeed("destroy", "--yes")
    data = life.world.read()
    assert {name: data["vercel"][name] for name in NOTHING} == NOTHING
    assert data["records"] == data["tunnels"] == {}
    gone = [entry["name"] for entry in life.world.journal("delete")]
    assert gone.index("site-deployment") < gone.index("site-project")


# --- Faults --------------------------------------------------------------------------------------------------------------

# Mutating calls: project, nine variables, domain, deployment.
FIRST_UP = 12


@pytest.fixture
def stack(engine: Engine, tmp_path: Path, home: Path) -> Frontend:
    return Frontend(engine, tmp_path, home, SITE_ALONE)


def test_a_fault_at_any_call_of_the_first_up_is_mended_by_the_next(stack: Frontend) -> None:
    stack.write(edge=EDGE, frontend=SITE)
    for call in range(1, FIRST_UP + 1):
        # One at a time, so that each up gets one call further than the one before.
        stack.world.forget_journal()
        stack.world.fail(call=min(call, 2), message="a fault of a test")
        assert "a fault of a test" in stack.project.fail("up", "--yes", "--skip-preview", "--parallel", "1")
        made = [entry for entry in stack.world.journal("create", "update", "delete") if "error" not in entry]
        assert len(made) == min(call, 2) - 1
    stack.up()
    assert len(stack.served()["variables"]) == FIRST_UP - 3
    stack.project.succeed("preview", "--expect-no-changes")


def test_a_failed_deployment_leaves_the_old_one_serving(stack: Frontend) -> None:
    stack.deploy()
    old = stack.served()
    stack.write(edge=EDGE, frontend=SITE, rotation={"gateway": 2})
    # The variable, then the deployment.
    stack.world.fail(call=2, message="the build failed")
    assert "the build failed" in stack.project.fail("up", "--yes", "--skip-preview")
    assert stack.served() == old
    assert stack.up() == REDEPLOYED
    assert stack.served()["variables"]["GATEWAY_KEY"] == "a-gateway-key-2"


# --- One line ------------------------------------------------------------------------------------------------------------


def test_what_is_wrong_with_the_account_is_one_line(stack: Frontend) -> None:
    def told(frontend: dict[str, Any]) -> str:
        stack.write(edge=EDGE, frontend={**SITE, **frontend})
        shown = stack.project.fail("preview")
        assert "Traceback" not in shown
        (line,) = told_lines(shown)
        return line.removeprefix("Pulumi.test.yaml: frontend.")

    assert told({"team": "other"}).startswith('team: the token sees no team "other"; write NAME of vercel.com/NAME, or make a')
    wrong = told({"api_token": "AnotherTokenOfATest012345"})
    assert wrong.startswith('api_token: Vercel refuses it for the team "acme"; make one as docs/vercel.md says. It answered: ')
    assert "AnotherTokenOfATest012345" not in wrong
    assert stack.world.journal("create", "update", "delete") == []


def test_a_taken_name_says_what_is_taken(stack: Frontend) -> None:
    with stack.world.edit() as data:
        data["vercel"]["projects"]["prj_other"] = {"id": "prj_other", "name": "skyvern-test", "production": None}
    stack.write(edge=EDGE, frontend=SITE)
    shown = stack.project.fail("up", "--yes", "--skip-preview")
    assert [line for line in shown.splitlines() if 'Project "skyvern-test" already exists, please use a new name' in line]
    stack.deploy({"project": "skyvern-other"})


# --- The whole program ---------------------------------------------------------------------------------------------------


def test_the_gateway_follows_the_site(engine: Engine, tmp_path: Path, home: Path) -> None:
    stack = Frontend(engine, tmp_path, home, (ROOT / "__main__.py").read_text())
    done = stack.deploy()
    caddy = "skyvern-host-gateway-caddy"
    assert done.index("create skyvern-frontend-deployment") < done.index(f"create {caddy}")
    stack.project.succeed("preview", "--expect-no-changes")
    done = stack.deploy(rotation={"gateway": 2})
    assert done.index("create skyvern-frontend-deployment") < done.index(f"delete {caddy}")
    (gateway,) = [one for one in stack.world.read()["containers"].values() if one["name"] == "skyvern-test-gateway"]
    assert f"GATEWAY_KEY={stack.served()['variables']['GATEWAY_KEY']}" in gateway["envs"]
    outputs = json.loads(stack.project.succeed("stack", "output", "--json"))
    assert outputs["vercel_deployment"] == stack.served()["url"]
    assert outputs["app_url"] == f"https://{APP}"

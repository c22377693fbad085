"""The UI on Vercel behind the real engine, with stand-ins for Vercel and Cloudflare.

Few runs, because each takes seconds: one stack of the site alone lives through everything, another gets past a fault at each
call. Not here: the gateway, which takes a new key after the site has it (test_edge.py, day two); a site that is built and
answers (tests/site).
"""

from pathlib import Path
from typing import Any

import pytest

from lab.standins.providers import vercel
from ops.machine.engine_from_modules import Engine
from tests.engine.stack import CLOUDFLARE, SITE_ALONE, SITE_AND_EDGE, VERCEL, Stack, error_lines

pytestmark = pytest.mark.timeout(600)

# Without zone settings and rulesets, which have nothing to do with the site.
EDGE: dict[str, Any] = {
    **CLOUDFLARE,
    **dict.fromkeys(("always_https", "min_tls_1_2", "tls_1_3", "hsts", "firewall", "rate_limit"), False),
}
APP = "app.example.com"


class Frontend(Stack):
    """A stack whose UI is on Vercel."""

    def deploy(self, frontend: dict[str, Any] | None = None, **sections: Any) -> list[str]:
        """Writes the stack file and deploys; what was done."""
        self.describe(frontend, **sections)
        return self.up()

    def describe(self, frontend: dict[str, Any] | None = None, **sections: Any) -> None:
        self.write(edge=EDGE, frontend={**VERCEL, **(frontend or {})}, **sections)

    def served(self, host: str = APP) -> dict[str, Any]:
        found = vercel.served(self.world.read(), host)
        assert found is not None
        assert not found.protected
        return dict(found.deployment)

    def left(self) -> dict[str, Any]:
        """What exists at Vercel, by collection."""
        data = self.world.read()["vercel"]
        return {name: data[name] for name in ("projects", "variables", "values", "domains", "deployments") if data[name]}


REDEPLOYED = ["create site-deployment", "delete site-deployment"]


@pytest.fixture(scope="module")
def life(engine: Engine, tmp_path_factory: pytest.TempPathFactory, home: Path) -> Frontend:
    """A stack of the site alone, which the tests change one after the other."""
    return Frontend(engine, tmp_path_factory.mktemp("life"), home, SITE_ALONE)


# --- A life, in this order -----------------------------------------------------------------------------------------------


def test_what_is_wrong_with_the_account_is_one_line(life: Frontend) -> None:
    def told(**frontend: str) -> str:
        life.describe(frontend)
        shown = life.project.fail("preview")
        assert "Traceback" not in shown
        (line,) = error_lines(shown)
        return line.removeprefix("Pulumi.test.yaml: frontend.")

    assert told(team="other").startswith('team: the token sees no team "other"; write NAME of vercel.com/NAME, or make a token')
    wrong = told(api_token="AnotherTokenOfATest012345")
    assert wrong.startswith('api_token: Vercel refuses it for the team "acme"; make one as docs/vercel.md says. It answered: ')
    assert "AnotherTokenOfATest012345" not in wrong
    assert life.left() == {}


def test_up_serves_the_uploaded_site_with_its_variables(life: Frontend) -> None:
    life.deploy()
    deployment = life.served()
    assert {"package.json", "vercel.json", "middleware.js", "build.mjs", "ui-requirements.txt"} <= set(deployment["uploaded"])
    assert not [path for path in deployment["uploaded"] if path.startswith(("site", "node_modules")) or path == "README.md"]
    assert len(deployment["variables"]) == 11
    state = life.project.succeed("stack", "export")
    for secret in (vercel.TOKEN, "a-gateway-key-1", "a-password-1", deployment["variables"]["UI_LOGIN_SHA256"]):
        assert secret not in state


def test_a_second_up_and_a_refresh_change_nothing(life: Frontend) -> None:
    # What is never uploaded is no change either.
    (life.site / "README.md").write_text("another")
    (life.site / "node_modules").mkdir()
    (life.site / "node_modules" / "x.js").write_text("")
    assert life.up() == []
    life.project.succeed("refresh", "--yes", "--skip-preview", "--expect-no-changes")


def test_a_changed_file_redeploys_once(life: Frontend) -> None:
    with (life.site / "middleware.js").open("a") as middleware:
        middleware.write("// changed\n")
    assert life.up() == REDEPLOYED
    assert life.up() == []


def test_a_failed_deployment_leaves_the_old_one_serving(life: Frontend) -> None:
    old = life.served()
    life.describe(rotation={"ui_login": 2, "gateway": 2})
    # Two variables, then the deployment.
    life.world.fail(call=3, message="the build failed")
    assert "the build failed" in life.project.fail("up", "--yes", "--skip-preview")
    assert life.served() == old


def test_a_rotated_login_and_key_are_served_and_the_old_deployment_is_gone(life: Frontend) -> None:
    old = life.served()["variables"]
    assert life.up() == REDEPLOYED
    new = life.served()
    assert new["variables"]["GATEWAY_KEY"] == "a-gateway-key-2"
    assert new["variables"]["UI_LOGIN_SHA256"] != old["UI_LOGIN_SHA256"]
    assert list(life.left()["deployments"]) == [new["id"]]


def test_changed_settings_redeploy_once(life: Frontend) -> None:
    # A region is the project's, and takes effect with the next deployment only.
    done = life.deploy({"artifacts": False, "region": "hnd1"})
    assert [*sorted(done[:4]), *done[4:]] == [
        "update site-artifact-url",
        "update site-gateway-key",
        "update site-project",
        "update site-ui-login-sha256",
        *REDEPLOYED,
    ]
    assert life.served()["variables"]["ARTIFACT_URL"] == "none"


def test_a_variable_that_was_changed_by_hand_is_put_right_unless_it_is_sensitive(life: Frontend) -> None:
    with life.world.edit() as data:
        for identifier, variable in data["vercel"]["variables"].items():
            if variable["key"] in ("API_URL", "GATEWAY_KEY"):
                data["vercel"]["values"][identifier] = "by hand"
    life.world.forget_journal()
    life.project.succeed("up", "--yes", "--skip-preview", "--refresh")
    assert [entry["name"] for entry in life.world.journal("create", "update", "delete")] == ["site-api-url"]


def test_without_the_domain(life: Frontend) -> None:
    life.deploy({"vercel_app": "acme-ui"})
    assert life.served("acme-ui.vercel.app")["variables"]["VITE_ARTIFACT_API_BASE_URL"] == "https://acme-ui.vercel.app"
    assert vercel.served(life.world.read(), APP) is None


def test_from_a_repository_and_at_a_domain_that_another_account_holds(life: Frontend) -> None:
    git = {"source": "git", "repository": "acme/skyvern-stack"}
    life.describe(git)
    told = life.project.fail("up", "--yes", "--skip-preview")
    assert "you need to install the GitHub integration first" in told
    with life.world.edit() as data:
        data["vercel"] |= {"repositories": ["acme/skyvern-stack"], "foreign_domains": ["example.com"]}
    told = life.project.succeed("up", "--yes", "--skip-preview")
    warned = [line.partition("warning: ")[2] for line in told.splitlines() if "warning: Pulumi.test.yaml: frontend.verif" in line]
    assert "another account on Vercel holds the domain; write vc-domain-verify=app.example.com," in warned[0]
    with life.world.edit() as data:
        data["vercel"]["foreign_domains"] = []
    assert life.served()["ref"] == "main"
    assert len(life.left()["deployments"]) == 1


def test_destroy_leaves_nothing(life: Frontend) -> None:
    life.world.forget_journal()
    life.project.succeed("destroy", "--yes", "--skip-preview")
    assert life.left() == {}
    gone = [entry["name"] for entry in life.world.journal("delete")]
    assert gone.index("site-deployment") < gone.index("site-domain") < gone.index("site-project")


# --- Faults --------------------------------------------------------------------------------------------------------------


def test_a_fault_at_any_call_of_the_first_up_is_mended_by_the_next(engine: Engine, tmp_path: Path, home: Path) -> None:
    stack = Frontend(engine, tmp_path, home, SITE_ALONE)
    stack.describe()
    with stack.world.edit() as data:
        data["vercel"]["projects"]["prj_other"] = {"id": "prj_other", "name": "skyvern-test", "production": None}
    told = stack.project.fail("up", "--yes", "--skip-preview")
    # The engine says it once while it runs and once more at its end.
    assert {line.partition(" - ")[2] for line in told.splitlines() if "already exists" in line} == {
        'Project "skyvern-test" already exists, please use a new name.'
    }
    with stack.world.edit() as data:
        data["vercel"]["projects"] = {}

    # Project, variables and domain, deployment. One call at a time, so that each up gets past those of the one before; the eleven
    # variables are of one kind, so that the first, one in the middle and the last of them do.
    for failing in (1, 2, 5, 8, 1, 2):
        stack.world.fail(call=failing, message="a fault of a test")
        stack.world.forget_journal()
        assert "a fault of a test" in stack.project.fail("up", "--yes", "--skip-preview", "--parallel", "1")
        made = [entry["name"] for entry in stack.world.journal("create") if "error" not in entry]
        assert len(made) == failing - 1
    assert stack.up() == ["create site-deployment"]
    assert len(stack.served()["variables"]) == 11


# --- With the edge -------------------------------------------------------------------------------------------------------


def test_from_the_gateway_to_vercel_and_back(engine: Engine, tmp_path: Path, home: Path) -> None:
    stack = Frontend(engine, tmp_path, home, SITE_AND_EDGE)

    def leads_to() -> tuple[str, bool]:
        (record,) = [one for one in stack.world.read()["records"].values() if one["name"] == APP]
        return record["content"].partition(".")[2], record["proxied"]

    stack.write(edge=EDGE)
    stack.up()
    assert leads_to() == ("cfargotunnel.com", True)
    done = stack.deploy()
    # One record, changed: Cloudflare would refuse a second one of that name. And changed when the site is there.
    assert [one for one in done if "edge-app" in one] == ["update edge-app"]
    assert done.index("create site-deployment") < done.index("update edge-app")
    assert leads_to() == ("vercel-dns-017.com", False)
    stack.project.succeed("preview", "--expect-no-changes")
    stack.write(edge=EDGE)
    assert "update edge-app" in stack.up()
    assert leads_to() == ("cfargotunnel.com", True)
    assert stack.left() == {}

"""What a stack with its UI on Vercel registers: read off the wire, and the pure functions behind it."""

import hashlib
import json
import subprocess
import sys
from typing import Any

import pytest

from components import endpoints
from components.frontend import vercel
from components.settings import Settings, SettingsError
from components.ui import content_security_policy, login_hash
from ops.paths import ROOT
from tests.support import program
from tests.support.program import VERCEL, Program, Secret, plain

CLOUDFLARE: dict[str, Any] = {"provider": "cloudflare", "domain": "example.com", "api_token": "t" * 40}

DEPLOYMENT = "vercel:index/deployment:Deployment"
DOMAIN = "vercel:index/projectDomain:ProjectDomain"
PROJECT = "vercel:index/project:Project"
RECORD = "cloudflare:index/dnsRecord:DnsRecord"
VARIABLE = "vercel:index/projectEnvironmentVariable:ProjectEnvironmentVariable"
GIT = {"source": "git", "repository": "acme/skyvern-stack"}


def settings(frontend: dict[str, Any] | None = None, **sections: Any) -> Settings:
    return Settings.model_validate({"edge": CLOUDFLARE, "frontend": {**VERCEL, **(frontend or {})}, **sections})


def run(
    frontend: dict[str, Any] | None = None, *, stack: str = "prod", site: dict[str, Any] | None = None, **more: Any
) -> Program:
    return program.run(settings(frontend, **more), stack=stack, site=site)


@pytest.fixture(scope="module")
def prod() -> Program:
    return run()


def only(deployed: Program, type_: str) -> dict[str, Any]:
    (sent,) = deployed.of_type(type_)
    return sent.inputs


def variables(deployed: Program) -> dict[str, Any]:
    return {one.inputs["key"]: one.inputs for one in deployed.of_type(VARIABLE)}


def meta(deployed: Program) -> Any:
    return plain(only(deployed, DEPLOYMENT)["meta"])


# --- What is sent --------------------------------------------------------------------------------------------------------


def test_the_project_is_one_of_this_stack(prod: Program) -> None:
    assert only(prod, PROJECT) == {
        "name": "skyvern-prod",
        "nodeVersion": "24.x",
        "resourceConfig": {"functionDefaultRegions": ["icn1"]},
        "vercelAuthentication": {"deploymentType": "standard_protection_new"},
        "gitForkProtection": True,
        "previewDeploymentsDisabled": True,
        "autoAssignCustomDomains": True,
        "automaticallyExposeSystemEnvironmentVariables": False,
    }


def test_the_node_version_is_the_sites() -> None:
    assert json.loads((ROOT / "site" / "package.json").read_text())["engines"]["node"] == vercel.NODE_VERSION


def test_each_variable_is_a_resource_and_what_is_secret_is_sensitive(prod: Program) -> None:
    sent = variables(prod)
    urls = endpoints.derive(settings())
    assert {key: plain(one["value"]) for key, one in sent.items() if not one["sensitive"]} == {
        "API_URL": "https://api.example.com",
        "ARTIFACT_URL": "https://artifact.example.com",
        "CONTENT_SECURITY_POLICY": content_security_policy(urls),
        "DASHBOARD_URL": "none",
        "UI_LANGUAGE": "en",
        "VITE_API_BASE_URL": "https://api.example.com/api/v1",
        "VITE_ARTIFACT_API_BASE_URL": "https://app.example.com",
        "VITE_BROWSER_STREAMING_MODE": "cdp",
        "VITE_WSS_BASE_URL": "wss://wss.example.com/api/v1",
    }
    assert {key for key, one in sent.items() if one["sensitive"]} == {"GATEWAY_KEY", "UI_LOGIN_SHA256"}
    assert sent["GATEWAY_KEY"]["value"] == prod.environment("gateway")["GATEWAY_KEY"]
    login = f"{plain(prod.outputs['ui_username'])}:{plain(prod.outputs['ui_password'])}"
    assert sent["UI_LOGIN_SHA256"]["value"] == Secret(hashlib.sha256(login.encode()).hexdigest())
    # Never in development: the API refuses sensitive ones there.
    assert [one["targets"] for one in sent.values()] == [["production"]] * 11
    # The name is taken while the old one is there.
    assert all(one.delete_before_replace for one in prod.of_type(VARIABLE))


def test_the_contract_of_the_site_names_every_variable(prod: Program) -> None:
    told = (ROOT / "site" / "README.md").read_text()
    assert [key for key in variables(prod) if f"| `{key}` |" not in told] == []


def test_no_key_of_the_organisation_and_no_password_reaches_vercel(prod: Program) -> None:
    sent = json.dumps([plain(one.inputs) for one in prod.registrations if one.type.startswith("vercel:")])
    for secret in ("api_key", "ui_password"):
        assert plain(prod.outputs[secret]) not in sent


def test_the_api_token_is_sent_to_the_provider_alone_and_as_a_secret(prod: Program) -> None:
    holders = [one for one in prod.registrations if VERCEL["api_token"] in json.dumps(plain(one.inputs))]
    assert [one.type for one in holders] == ["pulumi:providers:vercel"]
    assert holders[0].inputs == {"apiToken": Secret(VERCEL["api_token"]), "team": "acme"}


def test_the_deployment_uploads_the_site_and_goes_with_its_stack(prod: Program) -> None:
    sent = only(prod, DEPLOYMENT)
    assert sent["files"] == program.SITE["files"]
    # Vercel has to find vercel.json at its root.
    assert sent["pathPrefix"] == "site/"
    assert sent["production"] is True
    assert sent["deleteOnDestroy"] is True
    (deployment,) = prod.of_type(DEPLOYMENT)
    assert deployment.replace_on_changes == ("meta",)
    assert not deployment.delete_before_replace
    waits_for = {urn.rpartition("::")[2] for urn in deployment.dependencies}
    assert {one.name for one in prod.of_type(VARIABLE)} | {"skyvern-frontend-domain"} <= waits_for


def test_the_gateway_takes_a_new_key_when_the_site_has_it(prod: Program) -> None:
    (gateway,) = prod.of_type("skyvern:host:Gateway")
    assert "skyvern-frontend-deployment" in {urn.rpartition("::")[2] for urn in gateway.dependencies}


@pytest.mark.parametrize(
    ("frontend", "sections"),
    [
        ({}, {"rotation": {"ui_login": 2}}),
        ({}, {"rotation": {"gateway": 2}}),
        ({"artifacts": False}, {}),
        ({"region": "hnd1"}, {}),
        ({"vercel_app": "acme-ui"}, {}),
    ],
)
def test_what_a_deployment_takes_from_its_project_makes_a_new_one(
    prod: Program, frontend: dict[str, Any], sections: dict[str, Any]
) -> None:
    assert meta(run(frontend, **sections)) != meta(prod)


@pytest.mark.parametrize("sections", [{"rotation": {"api_key": 2, "tunnel": 2, "database": 2}}, {"server": {"max_steps": 3}}])
def test_nothing_else_makes_a_new_deployment(prod: Program, sections: dict[str, Any]) -> None:
    changed = run(**sections)
    assert only(changed, DEPLOYMENT) == only(prod, DEPLOYMENT)
    assert run({"plan": "hobby", "non_commercial": True}).of_type(DEPLOYMENT)[0].inputs == only(prod, DEPLOYMENT)


# --- Domain --------------------------------------------------------------------------------------------------------------


def test_the_domain_and_its_record(prod: Program) -> None:
    assert only(prod, DOMAIN) == {
        "projectId": "id-of-skyvern-frontend-project",
        "domain": "app.example.com",
        "waitForReady": False,
    }
    (record,) = [one for one in prod.of_type(RECORD) if one.inputs["name"] == "app.example.com"]
    assert record.inputs["type"] == "CNAME"
    assert record.inputs["content"] == "a.vercel-dns-017.com"
    assert record.inputs["proxied"] is False
    assert record.delete_before_replace
    assert "skyvern-frontend-deployment" in {urn.rpartition("::")[2] for urn in record.dependencies}


def test_behind_the_tunnel_the_same_resource_is_the_uis_record(prod: Program) -> None:
    gateway = program.run(Settings.model_validate({"edge": CLOUDFLARE}), stack="prod")
    urns = {
        one.urn for deployed in (prod, gateway) for one in deployed.of_type(RECORD) if one.inputs["name"] == "app.example.com"
    }
    # Two of them could not be there at once, and the engine makes what is new before it deletes what is gone.
    assert len(urns) == 1


@pytest.mark.parametrize(
    ("recommended", "content"), [("x.vercel-dns-016.com.", "x.vercel-dns-016.com"), ("", "cname.vercel-dns-0.com")]
)
def test_the_record_has_the_form_that_cloudflare_gives_back(recommended: str, content: str) -> None:
    deployed = run(site={"cname": recommended})
    assert {one.inputs["content"] for one in deployed.of_type(RECORD) if not one.inputs["proxied"]} == {content}


def test_an_asked_verification_is_a_record() -> None:
    (record,) = [
        one.inputs for one in run({"verification": "vc-domain-verify=a,1"}).of_type(RECORD) if one.inputs["type"] == "TXT"
    ]
    assert (record["name"], record["content"], record["proxied"]) == ("_vercel.example.com", '"vc-domain-verify=a,1"', False)


def test_an_address_of_vercels_needs_no_record_and_is_open() -> None:
    deployed = run({"vercel_app": "acme-ui"})
    assert only(deployed, DOMAIN)["domain"] == "acme-ui.vercel.app"
    assert {one.inputs["name"] for one in deployed.of_type(RECORD)} == {
        "api.example.com",
        "artifact.example.com",
        "wss.example.com",
    }
    # The newer protection would ask for an account of the team there.
    assert only(deployed, PROJECT)["vercelAuthentication"] == {"deploymentType": "standard_protection"}
    assert plain(deployed.outputs["app_url"]) == "https://acme-ui.vercel.app"
    assert json.loads(deployed.environment("server")["ALLOWED_ORIGINS"]) == ["https://acme-ui.vercel.app"]
    assert plain(variables(deployed)["VITE_ARTIFACT_API_BASE_URL"]["value"]) == "https://acme-ui.vercel.app"


# --- Git -----------------------------------------------------------------------------------------------------------------


def test_git_builds_the_same_folder_from_a_branch() -> None:
    deployed = run({**GIT, "branch": "release"})
    project = only(deployed, PROJECT)
    assert project["rootDirectory"] == "site"
    assert project["gitRepository"] == {"type": "github", "repo": "acme/skyvern-stack", "productionBranch": "release"}
    sent = only(deployed, DEPLOYMENT)
    assert sent["ref"] == "release"
    assert not {"files", "pathPrefix"} & set(sent)
    assert meta(deployed) != meta(run({**GIT, "branch": "release", "repository": "acme/other"}))


# --- One line ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (
            "Vercel Team not found: You provided a `team` field on the Vercel provider, but the team could not be found.",
            'frontend.team: the token sees no team "acme"; write NAME of vercel.com/NAME, or make a token whose scope is that '
            "team (docs/vercel.md)",
        ),
        (
            "Could not read Vercel Team acme,\n unexpected error: forbidden - Not authorized",
            'frontend.api_token: Vercel refuses it for the team "acme"; make one as docs/vercel.md says. It answered: ',
        ),
        ("dial tcp: no route to host", "frontend.provider: Vercel cannot be reached; try again. The provider reported: "),
    ],
)
def test_an_account_that_cannot_serve_is_one_line(failure: str, line: str) -> None:
    with pytest.raises(SettingsError) as wrong:
        run(site={"failure": failure})
    (told,) = wrong.value.lines
    assert told.startswith(f"Pulumi.prod.yaml: {line}")
    assert "\n" not in told
    assert VERCEL["api_token"] not in told


def test_a_stack_whose_name_is_no_projects_name_is_told_so() -> None:
    with pytest.raises(SettingsError) as wrong:
        run(stack="Prod_2")
    assert wrong.value.lines == [
        'Pulumi.Prod_2.yaml: frontend.project: is missing, and "skyvern-Prod_2" is not a project name; write one, for example '
        "skyvern-prod"
    ]
    assert only(run({"project": "mine"}, stack="Prod_2"), PROJECT)["name"] == "mine"


# --- Pure ----------------------------------------------------------------------------------------------------------------


def test_the_login_is_hashed_as_the_middleware_does_it() -> None:
    # printf 'skyvern:secret' | sha256sum
    assert login_hash("secret") == "be3d2261a8142762602d088064b636a94279525d7c1ad0f707bc4f0fd3817dfa"


def test_the_hash_of_the_variables_depends_on_values_alone() -> None:
    one = vercel.variables_hash({"A": "1", "B": "2"}, {"node": "24.x"})
    assert one == vercel.variables_hash({"B": "2", "A": "1"}, {"node": "24.x"})
    assert one != vercel.variables_hash({"A": "2", "B": "1"}, {"node": "24.x"})
    assert one != vercel.variables_hash({"A": "1", "B": "2"}, {"node": "26.x"})


def test_without_recordings_the_names_are_the_same() -> None:
    urls = endpoints.derive(settings({"artifacts": False}))
    assert vercel.public_variables(urls, "en")["ARTIFACT_URL"] == "none"
    assert set(vercel.public_variables(urls, "en")) == set(vercel.public_variables(endpoints.derive(settings()), "ko"))


@pytest.mark.parametrize("project", [None, "skyvern-prod"])
def test_the_projects_own_address_is_not_the_uis(project: str | None) -> None:
    with pytest.raises(SettingsError) as wrong:
        run({"vercel_app": "skyvern-prod", "project": project})
    assert wrong.value.lines == [
        'Pulumi.prod.yaml: frontend.vercel_app: "skyvern-prod" is the project\'s name, whose address Vercel assigns itself; '
        "write another"
    ]


@pytest.mark.parametrize("edge", ["{}", repr({"edge": CLOUDFLARE})])
def test_a_stack_without_vercel_does_not_load_its_sdk(edge: str) -> None:
    script = f"""
import sys
from components.settings import Settings
from tests.support import program
program.run(Settings.model_validate({edge}))
sys.exit("pulumiverse_vercel" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""What the stand-in for Vercel refuses, with the API's code, and what it lets pass and keeps."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from pulumi.runtime.proto import provider_pb2

from lab.standins.providers import World, cloudflare, vercel
from lab.standins.providers.install import schema_of
from lab.standins.providers.provider import Provider
from lab.standins.providers.vendor import Call, Refused
from lab.standins.providers.vercel import VENDOR, served, unpack, uploaded_path
from lab.standins.providers.wire import Secret
from tests.support import standins
from tests.support.standins import Aborted, Context, decoded, struct

VARIABLE = "ProjectEnvironmentVariable"
DOMAIN = "ProjectDomain"
CNAME = vercel.RECOMMENDED_CNAME.rstrip(".")


class Api(standins.Api):
    """Vercel's API for one token and team."""

    def __init__(self, world: World, token: str = vercel.TOKEN, team: str = vercel.TEAM) -> None:
        super().__init__("vercel", world, apiToken=token, team=team)

    # The least that the API takes of each.

    def project(self, name: str = "skyvern", **more: Any) -> str:
        return self.create("Project", name=name, **more)[0]

    def variable(self, project: str, **more: Any) -> tuple[str, dict[str, Any]]:
        given = {"projectId": project, "key": "A", "value": "1", "sensitive": False, "targets": ["production"], **more}
        return self.create(VARIABLE, **given)

    def deployment(self, project: str, files: dict[str, str], **more: Any) -> str:
        given = {"projectId": project, "production": True, "deleteOnDestroy": True, "files": files, "pathPrefix": "site/"}
        return self.create("Deployment", **given, **more)[0]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = cloudflare.new_world(tmp_path / "world.json")
    vercel.add_account(world)
    return world


@pytest.fixture
def api(world: World) -> Api:
    return Api(world)


@pytest.fixture
def site(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The files of a small site in the working directory, as the provider describes them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site" / "assets").mkdir(parents=True)
    (tmp_path / "site" / "package.json").write_text("{}")
    (tmp_path / "site" / "assets" / "a.js").write_text("1")
    return described(api)


def described(api: Api) -> dict[str, str]:
    files: dict[str, str] = api.look_up("get_project_directory", path="site")["files"]
    return files


# --- Tokens and teams ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"apiToken": "short", "team": "acme"}, "api_token"),
        ({"apiToken": "A" * 24, "team": "acme"}, "forbidden"),
        ({"apiToken": vercel.TOKEN, "team": "other"}, "not_found"),
    ],
)
def test_a_provider_that_cannot_be_configured_fails_every_call(world: World, config: dict[str, str], code: str) -> None:
    provider = Provider(VENDOR, schema_of("vercel"), world, lambda urn, message: None)
    with pytest.raises(Aborted):
        provider.Configure(provider_pb2.ConfigureRequest(args=struct(config)), Context())
    assert [(entry["operation"], entry["error"]) for entry in world.journal()] == [("configure", code)]


def test_a_team_is_found_by_its_name_and_by_its_id(world: World) -> None:
    (team,) = world.read()["vercel"]["teams"]
    for wanted in (team, "acme"):
        vercel.configure(Call(world.read(), schema_of("vercel"), {"apiToken": vercel.TOKEN, "team": wanted}))


def test_a_token_of_another_team_is_refused_at_each_call(world: World) -> None:
    with world.edit() as data:
        data["vercel"]["tokens"]["B" * 24] = ["team_other"]
    with pytest.raises(Refused, match="forbidden - Not authorized"):
        Api(world, token="B" * 24).project()


# --- Projects ------------------------------------------------------------------------------------------------------------


def test_a_projects_name_is_taken_once(api: Api) -> None:
    identifier = api.project()
    with pytest.raises(Refused, match='conflict - Project "skyvern" already exists, please use a new name'):
        api.project()
    assert api.update("Project", identifier, name="skyvern", nodeVersion="24.x")["nodeVersion"] == "24.x"


def test_a_project_is_told_with_what_the_api_adds(api: Api) -> None:
    identifier, outputs = api.create("Project", name="skyvern", resourceConfig={"functionDefaultRegions": ["icn1"]})
    assert outputs["resourceConfig"]["functionDefaultRegions"] == ["icn1"]
    assert outputs["resourceConfig"]["fluid"] is True
    assert outputs["vercelAuthentication"] == {"deploymentType": "standard_protection_new"}
    assert "production" not in outputs
    assert api.read("Project", identifier) == outputs
    assert api.read("Project", "prj_gone") is None


def test_a_repository_that_vercels_app_may_not_read_is_refused(api: Api, world: World) -> None:
    link = {"type": "github", "repo": "acme/skyvern-stack"}
    with pytest.raises(Refused, match="you need to install the GitHub integration first"):
        api.project(gitRepository=link)
    with world.edit() as data:
        data["vercel"]["repositories"] = ["acme/skyvern-stack"]
    api.project(gitRepository=link)


@pytest.mark.parametrize(
    ("inputs", "path"),
    [
        ({"name": "Skyvern"}, "name"),
        ({"name": "a", "vercelAuthentication": {"deploymentType": "all"}}, "vercelAuthentication.deploymentType"),
        ({"name": "a", "nodeVersion": "25.x"}, "nodeVersion"),
    ],
)
def test_a_project_is_checked_before_any_call(api: Api, inputs: dict[str, Any], path: str) -> None:
    assert [failure.path for failure in api.kinds["Project"].check(inputs)] == [path]


# --- Variables -----------------------------------------------------------------------------------------------------------


def test_a_name_conflicts_in_the_same_environment_only(api: Api) -> None:
    project = api.project()
    identifier, _ = api.variable(project, targets=["production"])
    with pytest.raises(Refused, match="ENV_CONFLICT") as refused:
        api.variable(project, targets=["preview", "production"])
    assert refused.value.code == "ENV_CONFLICT"
    api.variable(project, targets=["preview"])
    api.variable(api.project("other"))
    api.delete(VARIABLE, identifier)
    api.variable(project)


def test_a_sensitive_value_is_never_told_again(api: Api, world: World) -> None:
    project = api.project()
    secret, told = api.variable(project, sensitive=True, value="old")
    plain, _ = api.variable(project, key="B", value="x")
    assert told["value"] == "old"
    with world.edit() as data:
        data["vercel"]["values"] |= {secret: "by hand", plain: "by hand"}
    # Drift of the one is not to be seen: the state has what was written.
    assert (api.read(VARIABLE, secret, value="old") or {})["value"] == "old"
    assert (api.read(VARIABLE, plain, value="x") or {})["value"] == "by hand"
    assert "by hand" not in json.dumps(world.read()["vercel"]["variables"])


@pytest.mark.parametrize(
    ("inputs", "path"),
    [
        ({"targets": ["staging"], "sensitive": False, "value": "1"}, "targets"),
        ({"targets": [], "sensitive": False, "value": "1"}, "targets"),
        ({"targets": ["production"], "sensitive": False}, "value"),
        ({"targets": ["production"], "sensitive": False, "value": "1", "gitBranch": "main"}, "gitBranch"),
    ],
)
def test_a_variable_is_checked_before_any_call(api: Api, inputs: dict[str, Any], path: str) -> None:
    assert [failure.path for failure in api.kinds[VARIABLE].check(inputs)] == [path]


def test_nothing_is_made_in_a_project_that_is_gone(api: Api) -> None:
    for kind, inputs in ((VARIABLE, {"key": "A"}), (DOMAIN, {"domain": "a.example"}), ("Deployment", {"files": {}})):
        with pytest.raises(Refused, match="Could not find project"):
            api.create(kind, projectId="prj_gone", **inputs)


# --- Domains -------------------------------------------------------------------------------------------------------------


def test_a_domain_is_in_one_project(api: Api) -> None:
    one, other = api.project(), api.project("other")
    api.create(DOMAIN, projectId=one, domain="app.example.com")
    for taken in ("app.example.com", "skyvern.vercel.app"):
        with pytest.raises(Refused, match="domain_already_in_use"):
            api.create(DOMAIN, projectId=other, domain=taken)
    api.delete(DOMAIN, "app.example.com")
    api.create(DOMAIN, projectId=other, domain="app.example.com")


def test_an_address_of_somebody_else_at_vercel_is_refused(api: Api, world: World) -> None:
    with world.edit() as data:
        data["vercel"]["foreign_domains"] = ["acme-ui.vercel.app"]
    with pytest.raises(Refused, match="already in use by a different account"):
        api.create(DOMAIN, projectId=api.project(), domain="acme-ui.vercel.app")


def test_a_domain_that_another_account_holds_is_verified_by_its_record(api: Api, world: World) -> None:
    with world.edit() as data:
        data["vercel"]["foreign_domains"] = ["example.com"]
    _, told = api.create(DOMAIN, projectId=api.project(), domain="app.example.com")
    (asked,) = told["verifications"]
    assert (told["verified"], asked["domain"], asked["type"]) == (False, "_vercel.example.com", "TXT")
    with world.edit() as data:
        data["records"]["1"] = {"type": "TXT", "name": "_vercel.example.com", "content": f'"{asked["value"]}"'}
    assert (api.read(DOMAIN, "app.example.com") or {})["verified"] is True


def test_a_domain_is_configured_when_its_record_leads_to_vercel(api: Api, world: World) -> None:
    _, told = api.create(DOMAIN, projectId=api.project(), domain="app.example.com")
    assert told["misconfigured"] is True
    with world.edit() as data:
        data["records"]["1"] = {"type": "CNAME", "name": "app.example.com", "content": CNAME}
    assert (api.read(DOMAIN, "app.example.com") or {})["misconfigured"] is False


# --- Deployments ---------------------------------------------------------------------------------------------------------


def test_a_deployment_keeps_files_and_variables_of_its_moment(
    api: Api, world: World, site: dict[str, str], tmp_path: Path
) -> None:
    project = api.project()
    variable, _ = api.variable(project, key="GATEWAY_KEY", sensitive=True, value="old")
    api.variable(project, key="OTHER", targets=["preview"])
    api.create(DOMAIN, projectId=project, domain="app.example.com")
    first = api.deployment(project, site)
    (tmp_path / "site" / "package.json").write_text('{"a": 1}')
    api.update(VARIABLE, variable, projectId=project, key="GATEWAY_KEY", value="new", sensitive=True, targets=["production"])

    found = served(world.read(), "app.example.com")
    assert found is not None
    assert not found.protected
    assert (found.deployment["id"], found.deployment["variables"]) == (first, {"GATEWAY_KEY": "old"})
    unpack(world, found.deployment, tmp_path / "served")
    assert (tmp_path / "served" / "package.json").read_text() == "{}"
    assert (tmp_path / "served" / "assets" / "a.js").read_text() == "1"

    second = api.deployment(project, described(api))
    api.delete("Deployment", first, deleteOnDestroy=True)
    found = served(world.read(), "app.example.com")
    assert found is not None
    assert (found.deployment["id"], found.deployment["variables"]) == (second, {"GATEWAY_KEY": "new"})
    assert set(world.read()["vercel"]["deployments"]) == {second}


def test_where_somebody_builds_a_deployment_is_waited_for(api: Api, world: World, site: dict[str, str], tmp_path: Path) -> None:
    kind, project = api.kinds["Deployment"], api.project()
    before = api.deployment(project, site)
    kind.settle(world, before)  # nobody builds, so it is there at once
    status = tmp_path / "status.json"
    with world.edit() as data:
        data["vercel"]["builds"] = str(status)
    status.write_text(json.dumps({"another": "ready"}))
    deployment = api.deployment(project, site)
    # Its project's domains lead to the one before until it is built.
    assert world.read()["vercel"]["projects"][project]["production"] == before
    builder = threading.Timer(0.5, lambda: status.write_text(json.dumps({deployment: "ready"})))
    builder.start()
    kind.settle(world, deployment)
    assert json.loads(status.read_text()) == {deployment: "ready"}
    builder.join()
    status.write_text(json.dumps({deployment: "npm: exit 1: no such package"}))
    with pytest.raises(Refused, match=r"^Error creating deployment: Could not create deployment: npm: exit 1: no such package$"):
        kind.settle(world, deployment)


def test_an_old_deployment_can_be_deleted_without_taking_the_new_one(api: Api, world: World, site: dict[str, str]) -> None:
    project = api.project()
    only = api.deployment(project, site)
    api.delete("Deployment", only)
    assert only in world.read()["vercel"]["deployments"]
    api.delete("Deployment", only, deleteOnDestroy=True)
    assert world.read()["vercel"]["projects"][project]["production"] is None
    assert served(world.read(), "skyvern.vercel.app") is None
    with pytest.raises(Refused, match="not_found"):
        api.delete("Deployment", only, deleteOnDestroy=True)


@pytest.mark.parametrize(
    ("protection", "by_host"),
    [
        ("standard_protection_new", {"app.example.com": False, "skyvern.vercel.app": True, "deployment": True}),
        ("standard_protection", {"app.example.com": False, "skyvern.vercel.app": False, "deployment": True}),
    ],
)
def test_where_vercel_asks_for_an_account_first(
    api: Api, world: World, site: dict[str, str], protection: str, by_host: dict[str, bool]
) -> None:
    project = api.project(vercelAuthentication={"deploymentType": protection})
    api.create(DOMAIN, projectId=project, domain="app.example.com")
    deployment = api.deployment(project, site)
    url = world.read()["vercel"]["deployments"][deployment]["url"]
    for host, protected in by_host.items():
        found = served(world.read(), url if host == "deployment" else host)
        assert found is not None
        assert found.protected is protected
    assert served(world.read(), "www.example.com") is None


def test_a_file_that_is_gone_or_changed_since_the_plan_is_not_uploaded(api: Api, site: dict[str, str], tmp_path: Path) -> None:
    project = api.project()
    (tmp_path / "site" / "package.json").write_text("changed")
    with pytest.raises(Refused, match="digest mismatch"):
        api.deployment(project, site)
    (tmp_path / "site" / "package.json").unlink()
    with pytest.raises(Refused, match=r"Could not read file site/package\.json"):
        api.deployment(project, site)


def test_a_ref_needs_a_repository(api: Api, world: World) -> None:
    with pytest.raises(Refused, match="project has no linked git repository"):
        api.create("Deployment", projectId=api.project(), ref="main", production=True)
    with world.edit() as data:
        data["vercel"]["repositories"] = ["acme/x"]
    linked = api.project("linked", gitRepository={"type": "github", "repo": "acme/x"})
    _, told = api.create("Deployment", projectId=linked, ref="main", production=True)
    assert told["domains"] == ["linked.vercel.app"]


@pytest.mark.parametrize("inputs", [{}, {"files": {"a": "1~x"}, "ref": "main"}, {"files": {}}])
def test_a_deployment_is_of_files_or_of_a_ref(api: Api, inputs: dict[str, Any]) -> None:
    assert [failure.path for failure in api.kinds["Deployment"].check(inputs)] == ["files"]


def test_with_its_project_everything_goes(api: Api, world: World, site: dict[str, str]) -> None:
    project = api.project()
    api.variable(project)
    api.create(DOMAIN, projectId=project, domain="app.example.com")
    api.deployment(project, site)
    api.delete("Project", project)
    left = ("projects", "variables", "values", "domains", "deployments")
    assert {name: world.read()["vercel"][name] for name in left} == {name: {} for name in left}


# --- Look-ups ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("site")
def test_a_folders_files_without_what_is_never_uploaded(api: Api, tmp_path: Path) -> None:
    (tmp_path / "site" / "node_modules" / "x").mkdir(parents=True)
    (tmp_path / "site" / "node_modules" / "x" / "index.js").write_text("")
    (tmp_path / "site" / ".vercelignore").write_text("dist\nREADME.md\n")
    (tmp_path / "site" / "dist").mkdir()
    (tmp_path / "site" / "dist" / "index.html").write_text("")
    (tmp_path / "site" / "README.md").write_text("")
    assert described(api) == {
        "site/.vercelignore": "15~c030f11972b28c140f2b227b653c788b468d5ae8",
        "site/assets/a.js": "1~356a192b7913b04c54574d18c28d46e6395428ab",
        "site/package.json": "2~bf21a9e8fbc5a3846fb05b4fa0859e0917b2202f",
    }


@pytest.mark.parametrize(
    ("name", "prefix", "path"),
    [
        ("site/a.js", "site/", "a.js"),
        ("site/a.js", None, "site/a.js"),
        ("../site/a.js", None, "site/a.js"),
        # One only: upstream's loop returns in its first round.
        ("../../site/a.js", None, "../site/a.js"),
    ],
)
def test_where_a_file_lies_at_vercel(name: str, prefix: str | None, path: str) -> None:
    assert uploaded_path(name, prefix) == path


def test_the_recommended_record_has_a_dot_at_its_end(api: Api) -> None:
    answer = api.look_up("get_domain_config", domain="app.example.com", projectIdOrName="prj")
    assert answer["recommendedCname"] == f"{CNAME}."


# --- The wire ------------------------------------------------------------------------------------------------------------


def test_answers_are_what_the_sdk_declares_and_values_are_secret(world: World) -> None:
    provider = Provider(VENDOR, schema_of("vercel"), world, lambda urn, message: None)
    config = struct({"apiToken": vercel.TOKEN, "team": "acme"})
    provider.Configure(provider_pb2.ConfigureRequest(args=config), Context())

    def create(type_: str, **inputs: Any) -> Any:
        request = provider_pb2.CreateRequest(type=type_, name="one", properties=struct(inputs))
        return provider.Create(request, Context())

    project = create("vercel:index/project:Project", name="skyvern").id
    answer = create(
        "vercel:index/projectEnvironmentVariable:ProjectEnvironmentVariable",
        projectId=project,
        key="A",
        value="1",
        sensitive=True,
        targets=["production"],
    )
    assert decoded(answer.properties)["value"] == Secret("1")
    create("vercel:index/projectDomain:ProjectDomain", projectId=project, domain="app.example.com")

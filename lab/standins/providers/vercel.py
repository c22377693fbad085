"""Refusals and answers of Vercel's API and its provider (5.21.1, upstream 5.10), as far as our site uses them.

Messages are the provider's and the API's where their source or an issue quotes them; the others are from memory and may differ.
Nothing is built here: the files of a deployment are kept for the builder that the world names; without a builder it is ready at
once.

All keys of the world are below ``vercel``: ``tokens`` (token -> ids of its teams), ``teams``, ``projects``, ``variables``,
``domains`` and ``deployments`` (by id, domains by name, with the outputs that the SDK names), ``values`` (of all variables by id,
including the sensitive ones), ``repositories`` (those that Vercel's app may read), ``foreign_domains`` (held by another account)
and ``files`` (a folder of uploaded contents by their SHA-1). The record of a deployment has its contents: ``uploaded`` (path ->
SHA-1) or ``ref``, and ``variables`` (name -> value, of its environment when it was made). A project's ``production`` is the
deployment that its domains lead to. In the file ``builds`` a builder reports each deployment: ready, or why not.
"""

import fnmatch
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from lab.standins.providers.schema import Failure
from lab.standins.providers.vendor import Call, Kind, Properties, Refused, Vendor, now
from lab.standins.providers.wire import UNKNOWN
from lab.standins.providers.world import Data, World

# A token that passes the provider's own check: 24 letters and digits in a row.
TOKEN = "ATokenOfATest0123456789ab"
TEAM = "acme"
# Three times as long as the site takes on two busy cores.
BUILD_SECONDS = 300

ENVIRONMENTS = ("development", "preview", "production")
# Vercel's own examples end like this; the dot at the end is the API's.
RECOMMENDED_CNAME = "d1d4fc829fe7bc7c.vercel-dns-017.com."
# The kinds of protection that our site uses, Vercel's default first; the older kind opens the domains of vercel.app as well.
PROTECTIONS = ("standard_protection_new", "standard_protection")

# Names that the provider never uploads, whatever .vercelignore says (upstream, file/ignores.go).
IGNORED = (
    *(".hg", ".git", ".gitmodules", ".svn", ".cache", ".next", ".now", ".vercel", ".npmignore", ".dockerignore", ".gitignore"),
    *(".*.swp", ".DS_Store", ".wafpicke-*", ".lock-wscript", ".env.local", ".env.*.local", ".venv", "npm-debug.log"),
    *("config.gypi", "node_modules", "__pycache__", "venv", "CVS", ".vercel_build_output", ".terraform*", "*.tfstate"),
    "*.tfstate.backup",
)


# --- The world -----------------------------------------------------------------------------------------------------------


def add_account(world: World, *, team: str = TEAM, token: str = TOKEN) -> None:
    """Puts Vercel with one team and one token into a world."""
    identifier = f"team_{secrets.token_urlsafe(18).replace('-', 'x').replace('_', 'y')}"
    files = world.path.with_suffix(".files")
    files.mkdir(exist_ok=True)
    collections = ("projects", "variables", "values", "domains", "deployments")
    with world.edit() as data:
        data["vercel"] = {
            "tokens": {token: [identifier]},
            "teams": {identifier: {"id": identifier, "slug": team}},
            "repositories": [],
            "foreign_domains": [],
            "files": str(files),
            **{name: {} for name in collections},
        }


@dataclass(frozen=True)
class Served:
    """The deployment that answers on a host.

    deployment: its record. protected: Vercel asks for an account of the team first, before any code of the deployment runs.
    """

    deployment: Mapping[str, Any]
    protected: bool


def served(data: Data, host: str) -> Served | None:
    """The deployment on a host: the production deployment of the project that has the domain, or a deployment by its own address.

    None where Vercel does not know the host or has nothing to serve there.
    """
    vercel = data["vercel"]
    for deployment in vercel["deployments"].values():
        project = vercel["projects"][deployment["projectId"]]
        if host == deployment["url"]:
            return Served(deployment, protected=True)
        if deployment["id"] == project["production"] and host in _aliases(data, project):
            protection = project.get("vercelAuthentication", {}).get("deploymentType", PROTECTIONS[0])
            return Served(deployment, protected=protection == PROTECTIONS[0] and host.endswith(".vercel.app"))
    return None


def unpack(world: World, deployment: Mapping[str, Any], folder: Path) -> None:
    """Writes the uploaded files of a deployment into a folder, which is made: the start of Vercel's builder."""
    contents = Path(world.read()["vercel"]["files"])
    for path, sha in deployment["uploaded"].items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((contents / sha).read_bytes())


def _aliases(data: Data, project: Mapping[str, Any]) -> list[str]:
    """Hosts that lead to a project's production deployment."""
    own = [
        name
        for name, domain in data["vercel"]["domains"].items()
        if domain["projectId"] == project["id"] and _verified(data, name)
    ]
    return sorted([f"{project['name']}.vercel.app", *own])


# --- Refusals ------------------------------------------------------------------------------------------------------------


def refuse(title: str, code: str, message: str) -> NoReturn:
    """Raises an error of the API as the provider words it."""
    raise Refused(f"{title}, unexpected error: {code} - {message}", code)


def authorize(call: Call, title: str) -> str:
    """The id of the team of a call; refuses a token that the world does not know or that is not the team's."""
    teams: list[str] | None = call.data["vercel"]["tokens"].get(call.config.get("apiToken"))
    team = _team(call)
    if teams is None or (team is not None and team not in teams):
        refuse(title, "forbidden", "Not authorized")
    return team or teams[0]


def _team(call: Call) -> str | None:
    """The id of the provider's team; None if it names no team. Raises Refused if that team does not exist."""
    wanted = call.config.get("team")
    if not wanted:
        return None
    for identifier, team in call.data["vercel"]["teams"].items():
        if wanted in (identifier, team["slug"]):
            return str(identifier)
    raise Refused(
        "Vercel Team not found: You provided a `team` field on the Vercel provider, but the team could not be found. Please "
        "check the team slug or ID is correct and that your api_token has access to the team.",
        "not_found",
    )


def configure(call: Call) -> None:
    """The provider's own check before its first call: the form of the token, and whether it can read the team."""
    token = call.config.get("apiToken", "")
    if not re.search(r"[0-9a-zA-Z]{24}", token):
        raise Refused(
            "Invalid api_token: api_token (VERCEL_API_TOKEN) must be 24 characters and only contain characters 0-9 and a-f (all "
            "lowercased)",
            "api_token",
        )
    if team := call.config.get("team"):
        authorize(call, f"Unexpected error reading Vercel Team: Could not read Vercel Team {team}")


def _one_of(path: str, value: Any, allowed: tuple[str, ...]) -> list[Failure]:
    if value in (None, UNKNOWN) or value in allowed:
        return []
    return [Failure(path, f"value must be one of: {', '.join(allowed)}, got: {value!r}")]


def _identifier(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"


class _Stored(Kind):
    """A kind in a collection of the world, by its id. noun: for messages. prefix: of ids."""

    collection: ClassVar[str]
    noun: ClassVar[str]
    prefix: ClassVar[str]

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        title = f"Error creating {self.noun}: Could not create {self.noun}"
        team, identifier = authorize(call, title), _identifier(self.prefix)
        return identifier, self._save(call, title, identifier, inputs, {"teamId": team})

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        stored = self.stored(call, "update", identifier)
        return self._save(call, f"Error updating {self.noun}: Could not update {self.noun}", identifier, inputs, stored)

    def _save(self, call: Call, title: str, identifier: str, inputs: Properties, before: Properties) -> Properties:
        record = {**self.written(call, title, identifier, inputs, before), "id": identifier, "teamId": before["teamId"]}
        call.data["vercel"][self.collection][identifier] = record
        return self.outputs(call, record, inputs)

    def written(self, call: Call, title: str, identifier: str, inputs: Properties, before: Properties) -> Properties:
        """The record that a write leaves. title: of a refusal. before: the record that it replaces; of a new one, its team."""
        raise NotImplementedError

    def stored(self, call: Call, verb: str, identifier: str) -> Properties:
        """The record of an id; refuses an id that is gone."""
        title = f"Error {verb} {self.noun}: Could not {verb} {self.noun} {identifier}"
        authorize(call, title)
        record: Properties | None = call.data["vercel"][self.collection].get(identifier)
        if record is None:
            refuse(title, "not_found", f"The {self.noun} could not be found")
        return record

    def read(self, call: Call, identifier: str, known: Mapping[str, Any]) -> Properties | None:
        authorize(call, f"Error reading {self.noun}: Could not read {identifier}")
        stored = call.data["vercel"][self.collection].get(identifier)
        return None if stored is None else self.outputs(call, stored, known)

    def outputs(self, call: Call, stored: Properties, known: Mapping[str, Any]) -> Properties:
        """Outputs of a record; ``known``: inputs or outputs with the values that the API never shows again."""
        return dict(stored)

    def delete(self, call: Call, identifier: str, known: Mapping[str, Any]) -> None:
        authorize(call, f"Error deleting {self.noun}: Could not delete {identifier}")
        # The provider ignores a 404 here.
        call.data["vercel"][self.collection].pop(identifier, None)

    def _project(self, call: Call, inputs: Mapping[str, Any]) -> Properties:
        project: Properties | None = call.data["vercel"]["projects"].get(inputs["projectId"])
        if project is None:
            raise Refused(
                f"Error creating {self.noun}: Could not find project, please make sure both the project_id and team_id match the "
                "project and team you wish to deploy to.",
                "not_found",
            )
        return project


# --- Projects ------------------------------------------------------------------------------------------------------------


class Project(_Stored):
    """Names are unique in a team. Deleting a project deletes its variables, domains and deployments."""

    resource = "Project"
    collection = "projects"
    noun = "project"
    prefix = "prj"
    replaces = frozenset({"teamId"})
    # No property of a project has a default of the provider: what is not given is the API's.
    computed = frozenset(
        """
        autoAssignCustomDomains automaticallyExposeSystemEnvironmentVariables directoryListing enablePreviewFeedback
        gitForkProtection nodeVersion previewDeploymentsDisabled resourceConfig teamId vercelAuthentication
        """.split()
    )

    def check(self, inputs: Mapping[str, Any]) -> list[Failure]:
        name = inputs.get("name", UNKNOWN)
        problems = []
        if name != UNKNOWN and not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,99}", name):
            problems.append(Failure("name", "may contain lower case letters, digits and hyphens only, up to 100"))
        protection = (inputs.get("vercelAuthentication") or {}).get("deploymentType")
        problems += _one_of("vercelAuthentication.deploymentType", protection, PROTECTIONS)
        problems += _one_of("nodeVersion", inputs.get("nodeVersion"), ("18.x", "20.x", "22.x", "24.x"))
        return problems

    def written(self, call: Call, title: str, identifier: str, inputs: Properties, before: Properties) -> Properties:
        projects, link = call.data["vercel"]["projects"], inputs.get("gitRepository")
        if any(other["name"] == inputs["name"] and key != identifier for key, other in projects.items()):
            refuse(title, "conflict", f'Project "{inputs["name"]}" already exists, please use a new name.')
        if link is not None and link["repo"] not in call.data["vercel"]["repositories"]:
            refuse(title, "bad_request", "To link a GitHub repository, you need to install the GitHub integration first. (400)")
        return {**self._filled(inputs), "production": before.get("production")}

    def outputs(self, call: Call, stored: Properties, known: Mapping[str, Any]) -> Properties:
        return {name: value for name, value in stored.items() if name != "production"}

    def delete(self, call: Call, identifier: str, known: Mapping[str, Any]) -> None:
        super().delete(call, identifier, known)
        vercel = call.data["vercel"]
        for collection in ("variables", "domains", "deployments"):
            vercel[collection] = {key: record for key, record in vercel[collection].items() if record["projectId"] != identifier}
        vercel["values"] = {key: value for key, value in vercel["values"].items() if key in vercel["variables"]}

    @staticmethod
    def _filled(inputs: Properties) -> Properties:
        given = inputs.get("resourceConfig") or {}
        return {
            "autoAssignCustomDomains": True,
            "automaticallyExposeSystemEnvironmentVariables": True,
            "directoryListing": False,
            "gitForkProtection": True,
            "nodeVersion": "24.x",
            "previewDeploymentsDisabled": False,
            "vercelAuthentication": {"deploymentType": "standard_protection_new"},
            **inputs,
            "resourceConfig": {
                "fluid": True,
                "functionDefaultCpuType": "standard",
                "functionDefaultRegions": ["iad1"],
                "functionDefaultTimeout": 300,
                **given,
            },
        }


# --- Variables -----------------------------------------------------------------------------------------------------------


class Variable(_Stored):
    """One variable of a project; the value of a sensitive one is never shown again.

    Not here: environments beyond Vercel's three, values for one branch, and values that the state does not have (``valueWo``).
    """

    resource = "ProjectEnvironmentVariable"
    collection = "variables"
    noun = "project environment variable"
    prefix = "env"
    replaces = frozenset({"key", "projectId", "sensitive", "customEnvironmentIds", "teamId"})
    computed = frozenset({"customEnvironmentIds", "comment", "teamId"})

    def check(self, inputs: Mapping[str, Any]) -> list[Failure]:
        targets = inputs.get("targets") or []
        problems = [Failure(name, "must be set") for name in ("targets", "value") if not inputs.get(name)]
        if targets != UNKNOWN:
            problems += [failure for target in targets for failure in _one_of("targets", target, ENVIRONMENTS)]
        unknown = sorted({"customEnvironmentIds", "gitBranch", "valueWo"} & set(inputs))
        return [*problems, *(Failure(name, "is not known to the stand-in") for name in unknown)]

    def written(self, call: Call, title: str, identifier: str, inputs: Properties, before: Properties) -> Properties:
        self._project(call, inputs)
        self._refuse(call, title, inputs, identifier)
        call.data["vercel"]["values"][identifier] = inputs["value"]
        shown = {name: value for name, value in inputs.items() if name != "value"}
        return {"comment": "", "customEnvironmentIds": [], **shown}

    def outputs(self, call: Call, stored: Properties, known: Mapping[str, Any]) -> Properties:
        value = known.get("value") if stored["sensitive"] else call.data["vercel"]["values"][stored["id"]]
        return {**stored, "value": value}

    def delete(self, call: Call, identifier: str, known: Mapping[str, Any]) -> None:
        super().delete(call, identifier, known)
        call.data["vercel"]["values"].pop(identifier, None)

    @staticmethod
    def _refuse(call: Call, title: str, inputs: Properties, own: str) -> None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", inputs["key"]):
            refuse(title, "INVALID_CHARACTERS", f"The name contains invalid characters: {inputs['key']}")
        for key, other in call.data["vercel"]["variables"].items():
            same = (other["projectId"], other["key"]) == (inputs["projectId"], inputs["key"])
            shared = ", ".join(sorted(set(inputs["targets"]) & set(other["targets"])))
            if key != own and same and shared:
                message = f"A variable with the name `{inputs['key']}` already exists for the target {shared} on branch undefined"
                refuse(title, "ENV_CONFLICT", message)


# --- Domains -------------------------------------------------------------------------------------------------------------


class Domain(_Stored):
    """A host of a project. If another account holds its domain, it is verified by a TXT record first."""

    resource = "ProjectDomain"
    collection = "domains"
    noun = "project domain"
    replaces = frozenset({"projectId", "domain", "teamId"})
    defaults: ClassVar = {"waitForReady": False}
    computed = frozenset({"teamId"})

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        name = inputs["domain"]
        title = f"Error adding domain to project: Could not add domain {name} to project {inputs['projectId']}"
        team = authorize(call, title)
        self._project(call, inputs)
        vercel = call.data["vercel"]
        taken = [*vercel["domains"], *(f"{project['name']}.vercel.app" for project in vercel["projects"].values())]
        if name in taken:
            refuse(title, "domain_already_in_use", f"Cannot add {name} since it's already in use by one of your projects.")
        if name.endswith(".vercel.app") and name in vercel["foreign_domains"]:
            refuse(title, "domain_already_in_use", f"Cannot add {name} since it's already in use by a different account.")
        if inputs.get("waitForReady"):
            raise Refused(f"{title}: timed out: its DNS records are not there yet", "timeout")
        vercel["domains"][name] = {**inputs, "id": name, "teamId": team, "challenge": secrets.token_hex(10)}
        return name, self.outputs(call, vercel["domains"][name], inputs)

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        stored = self.stored(call, "update", identifier)
        stored.update(inputs)
        return self.outputs(call, stored, inputs)

    def outputs(self, call: Call, stored: Properties, known: Mapping[str, Any]) -> Properties:
        name = stored["domain"]
        verified = _verified(call.data, name)
        asked = {
            "type": "TXT",
            "domain": f"_vercel.{_apex(name)}",
            "value": _challenge(stored),
            "reason": "pending_domain_verification",
        }
        return {
            **{key: value for key, value in stored.items() if key != "challenge"},
            "verified": verified,
            "verifications": [] if verified else [asked],
            "misconfigured": _misconfigured(call.data, name),
        }


def _apex(name: str) -> str:
    return ".".join(name.split(".")[-2:])


def _challenge(domain: Mapping[str, Any]) -> str:
    return f"vc-domain-verify={domain['domain']},{domain['challenge']}"


def _records(data: Data, type_: str, name: str) -> list[str]:
    """Contents of the DNS records that the world has at Cloudflare."""
    return [
        str(record["content"]) for record in data.get("records", {}).values() if (record["type"], record["name"]) == (type_, name)
    ]


def _verified(data: Data, name: str) -> bool:
    if _apex(name) not in data["vercel"]["foreign_domains"]:
        return True
    wanted = _challenge(data["vercel"]["domains"][name])
    return wanted in [content.strip('"') for content in _records(data, "TXT", f"_vercel.{_apex(name)}")]


def _misconfigured(data: Data, name: str) -> bool:
    return not name.endswith(".vercel.app") and RECOMMENDED_CNAME.rstrip(".") not in _records(data, "CNAME", name)


# --- Deployments ---------------------------------------------------------------------------------------------------------


class Deployment(_Stored):
    """Ready at once, unless the world has a builder. It runs with the variables as they were when it was made."""

    resource = "Deployment"
    collection = "deployments"
    noun = "deployment"
    replaces = frozenset(
        {"projectId", "files", "ref", "pathPrefix", "production", "projectSettings", "environment", "meta", "teamId"}
    )
    computed = frozenset({"production", "teamId"})

    def check(self, inputs: Mapping[str, Any]) -> list[Failure]:
        if ("files" in inputs) == ("ref" in inputs):
            return [Failure("files", "a Deployment must have either `ref` or `files` specified, and not both")]
        files = inputs.get("files", UNKNOWN)
        return [Failure("files", "must have at least one file")] if files == {} else []

    def create(self, call: Call, inputs: Properties) -> tuple[str, Properties]:
        title = "Error creating deployment: Could not create deployment"
        team = authorize(call, title)
        project = self._project(call, inputs)
        uploaded = {} if "ref" in inputs else self._upload(call, inputs)
        if "ref" in inputs and not project.get("gitRepository"):
            raise Refused(f"{title}: unable to deploy project by ref: project has no linked git repository", "ref")
        identifier = _identifier("dpl")
        slug = call.data["vercel"]["teams"][team]["slug"]
        production = bool(inputs.get("production"))
        environment = "production" if production else "preview"
        call.data["vercel"]["deployments"][identifier] = {
            **inputs,
            "id": identifier,
            "teamId": team,
            "production": production,
            "url": f"{project['name']}-{secrets.token_hex(5)[:9]}-{slug}.vercel.app",
            "domains": _aliases(call.data, project) if production else [],
            "uploaded": uploaded,
            "variables": {**_values(call.data, project, environment), **(inputs.get("environment") or {})},
            "createdAt": now(),
        }
        if production and "builds" not in call.data["vercel"]:
            project["production"] = identifier
        return identifier, self.outputs(call, call.data["vercel"]["deployments"][identifier], inputs)

    def settle(self, world: World, identifier: str) -> None:
        builds = world.read()["vercel"].get("builds")
        until = time.monotonic() + BUILD_SECONDS
        while builds is not None:
            report = json.loads(Path(builds).read_text()).get(identifier)
            if report == "ready":
                return
            if report is not None or time.monotonic() > until:
                raise Refused(f"Error creating deployment: Could not create deployment: {report or 'it is not built'}", "build")
            time.sleep(0.2)

    def update(self, call: Call, identifier: str, inputs: Properties, known: Mapping[str, Any]) -> Properties:
        # Without a call: the provider only notes whether to delete it at the end.
        stored: Properties = call.data["vercel"]["deployments"][identifier]
        stored["deleteOnDestroy"] = inputs.get("deleteOnDestroy")
        return self.outputs(call, stored, inputs)

    def outputs(self, call: Call, stored: Properties, known: Mapping[str, Any]) -> Properties:
        outputs = {name: value for name, value in stored.items() if name not in ("uploaded", "variables", "createdAt")}
        project = call.data["vercel"]["projects"][stored["projectId"]]
        # Domains that were added later lead to it as well.
        return {**outputs, "domains": _aliases(call.data, project)} if project["production"] == stored["id"] else outputs

    def delete(self, call: Call, identifier: str, known: Mapping[str, Any]) -> None:
        if not known.get("deleteOnDestroy"):
            authorize(call, "Error deleting deployment")
            return
        stored = self.stored(call, "delete", identifier)
        project = call.data["vercel"]["projects"][stored["projectId"]]
        if project["production"] == identifier:
            project["production"] = None
        del call.data["vercel"]["deployments"][identifier]

    def _upload(self, call: Call, inputs: Properties) -> dict[str, str]:
        """Path at Vercel -> SHA-1 of its content; contents that Vercel does not have yet are read and kept."""
        folder = Path(call.data["vercel"]["files"])
        uploaded = {}
        for name, described in inputs["files"].items():
            size, separator, sha = described.partition("~")
            if not separator or not size.isdigit():
                raise Refused("Error creating deployment: Could not parse files: expected `filename: size~sha`", "files")
            uploaded[uploaded_path(name, inputs.get("pathPrefix"))] = sha
            if (folder / sha).exists():
                continue
            try:
                content = Path(name).read_bytes()
            except OSError as error:
                raise Refused(f"Error reading file: Could not read file {name}, unexpected error: {error}", "file") from None
            if (hashlib.sha1(content, usedforsecurity=False).hexdigest(), len(content)) != (sha, int(size)):
                refuse(
                    f"Error uploading deployment file: Could not upload deployment file {name}", "bad_digest", "digest mismatch"
                )
            (folder / sha).write_bytes(content)
        return uploaded


def _values(data: Data, project: Mapping[str, Any], environment: str) -> dict[str, str]:
    """The variables with which a deployment of a project would run now."""
    return {
        variable["key"]: data["vercel"]["values"][identifier]
        for identifier, variable in sorted(data["vercel"]["variables"].items())
        if variable["projectId"] == project["id"] and environment in variable["targets"]
    }


def uploaded_path(name: str, prefix: str | None) -> str:
    """A file's path at Vercel: without the prefix, or else without ONE leading "../" (upstream, normaliseFilename)."""
    return name.removeprefix("../") if prefix is None else name.removeprefix(prefix)


# --- Look-ups ------------------------------------------------------------------------------------------------------------


def get_project_directory(call: Call, arguments: Properties) -> Properties:
    """``SIZE~SHA1`` of each file of a folder, by its path from the program's folder, where the engine runs its plugins."""
    base = Path(arguments["path"])
    ignored = [*IGNORED]
    if (base / ".vercelignore").exists():
        ignored += (base / ".vercelignore").read_text().split()
    if not base.is_dir():
        raise Refused(f"Error reading directory: Could not read files for directory {base}: no such file or directory", "path")
    files = {}
    for folder, folders, names in os.walk(base):
        folders[:] = [name for name in folders if not _matches(name, ignored)]
        for name in names:
            if not _matches(name, ignored):
                content = (Path(folder) / name).read_bytes()
                sha = hashlib.sha1(content, usedforsecurity=False).hexdigest()
                files[str(Path(folder) / name)] = f"{len(content)}~{sha}"
    return {"id": arguments["path"], "path": arguments["path"], "files": files}


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern.strip("/")) for pattern in patterns)


def get_domain_config(call: Call, arguments: Properties) -> Properties:
    """The records that a domain should have."""
    team = authorize(call, f"Error reading domain config: Could not get the config of {arguments['domain']}")
    return {
        **arguments,
        "id": arguments["domain"],
        "teamId": team,
        "misconfigured": _misconfigured(call.data, arguments["domain"]),
        "recommendedCname": RECOMMENDED_CNAME,
        "recommendedIpv4s": ["216.198.79.1"],
    }


VENDOR = Vendor(
    sdk="pulumiverse_vercel",
    kinds=(Project(), Variable(), Domain(), Deployment()),
    functions={"get_project_directory": get_project_directory, "get_domain_config": get_domain_config},
    check_config=lambda config: [],
    configure=configure,
    environment={"apiToken": "VERCEL_API_TOKEN"},
)

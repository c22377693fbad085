"""Vercel: the project, its variables, its domain, and the deployment of ``site/``.

Pure functions make the contents of variables; the component only registers. Imported by stacks with this frontend alone: the
provider's SDK takes a second to load. Not here: DNS records, which are the edge's (edge/tunnel.py), and what the site does
(site/README.md).
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
import pulumiverse_vercel as vercel

from components import ui
from components.endpoints import Endpoints
from components.settings import SettingsError, mistake
from components.settings import VercelFrontend as VercelSettings
from components.ui import UiRecord

# The folder that Vercel builds, from the program's own; the engine runs its plugins there.
SITE = "site"
NODE_VERSION = "24.x"
# Vercel recommended it for every project before each had its own name; it still leads to Vercel.
FALLBACK_CNAME = "cname.vercel-dns-0.com"


# --- What is registered ----------------------------------------------------------------------------------------------------


def public_variables(urls: Endpoints, language: str) -> Mapping[str, str]:
    """Variables that hold no secret, by name; site/README.md is the contract.

    Always the same names: a variable that is removed is deleted after the new deployment was made, which would still have it.
    """
    return {
        "API_URL": urls.api_url,
        "ARTIFACT_URL": urls.artifact_url or "none",
        # Without a monitor the UI has the address, as it has every other one.
        "DASHBOARD_URL": f"{urls.api_url}/dashboard" if urls.dashboard else "none",
        "CONTENT_SECURITY_POLICY": ui.content_security_policy(urls),
        **ui.variables(urls, language),
    }


def variables_hash(variables: Mapping[str, str], project: Mapping[str, str]) -> str:
    """A digest of all that a deployment takes from its project, which happens only when it is made.

    Vercel stores it where members of the team can read it; the generated secrets in it are far too long to be tried out.
    """
    return hashlib.sha256(json.dumps([dict(variables), dict(project)], sort_keys=True).encode()).hexdigest()


def project_name(settings: VercelSettings, prefix: str) -> str:
    """The project's name at Vercel: as the stack file says, or ``skyvern-STACK``.

    Raises SettingsError where the stack's name makes none, or the name's own address is taken for the UI.
    """
    name = settings.project or prefix
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,51}", name):
        raise _wrong("project", f'is missing, and "{prefix}" is not a project name; write one, for example skyvern-prod')
    if settings.vercel_app == name:
        raise _wrong("vercel_app", f'"{name}" is the project\'s name, whose address Vercel assigns itself; write another')
    return name


# --- The account -----------------------------------------------------------------------------------------------------------


def look_up_files(settings: VercelSettings, provider: vercel.Provider) -> Mapping[str, str]:
    """Path of each file of the site, with its size and hash: what the provider uploads.

    Its first use makes the provider look for its team, so a wrong token or team is found here, before anything is planned:
    SettingsError with one line.
    """
    try:
        return vercel.get_project_directory(path=SITE, opts=pulumi.InvokeOptions(provider=provider)).files
    # The SDK raises no narrower exception for a failed invoke.
    except Exception as refused:
        raise _wrong(*explain_account_failure(settings.team, str(refused))) from refused


def explain_account_failure(team: str, failure: str) -> tuple[str, str]:
    """(key below ``frontend``, what is wrong and what to do) for the provider's message; the message is kept, in one line."""
    answer = " ".join(failure.split())[:400]
    if re.search(r"team could not be found|Vercel Team not found", answer):
        return "team", (
            f'the token sees no team "{team}"; write NAME of vercel.com/NAME, or make a token whose scope is that team '
            "(docs/vercel.md)"
        )
    if re.search(r"forbidden|[Nn]ot authorized|invalidToken|Invalid api_token|\b40[13]\b", answer):
        return "api_token", f'Vercel refuses it for the team "{team}"; make one as docs/vercel.md says. It answered: {answer}'
    return "provider", f"Vercel cannot be reached; try again. The provider reported: {answer}"


def _wrong(key: str, problem: str) -> SettingsError:
    return mistake(f"frontend.{key}", problem)


# --- The component ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class VercelFrontendArgs:
    """Inputs of the site.

    prefix: ``skyvern-prod``. gateway_key: by which the middleware and the gateway know each other; secret.
    ui_password: of the UI's login; secret.
    """

    prefix: str
    settings: VercelSettings
    endpoints: Endpoints
    gateway_key: pulumi.Input[str]
    ui_password: pulumi.Input[str]


class VercelFrontend(pulumi.ComponentResource):
    """The project and its production deployment, re-created only when its files or variables change.

    The old deployment serves until the new one is ready, and is deleted then, with the old login and key in it.

    ``record``: for the domain's zone; None at ``*.vercel.app``. ``deployment``: the one that serves with the present gateway key.
    ``url``: of that deployment, behind Vercel's own login.
    Not here: previews (nothing builds them), deployments by a push to a git repository, which are the repository's own.
    """

    def __init__(self, name: str, args: VercelFrontendArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:frontend:VercelFrontend", name, None, opts)
        settings, urls = args.settings, args.endpoints
        provider = vercel.Provider(
            f"{name}-account",
            api_token=pulumi.Output.secret(settings.api_token.get_secret_value()),
            team=settings.team,
            opts=pulumi.ResourceOptions(parent=self),
        )
        files = look_up_files(settings, provider)
        child = pulumi.ResourceOptions(parent=self, provider=provider)
        project = self._project(name, args, child)
        variables = self._variables(name, args, project, child)
        host = urls.app_url.removeprefix("https://")
        domain = vercel.ProjectDomain(
            f"{name}-domain",
            project_id=project.id,
            domain=host,
            # Waiting would never end: the record comes after the domain.
            wait_for_ready=False,
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(delete_before_replace=True)),
        )
        uploaded = settings.source == "upload"
        deployment = vercel.Deployment(
            f"{name}-deployment",
            project_id=project.id,
            production=True,
            # Old deployments would keep an old login and key, and stay in the project's list for ever.
            delete_on_destroy=True,
            meta={"skyvern": self._hash(args)},
            files=dict(sorted(files.items())) if uploaded else None,
            # Vercel has to find vercel.json at the root.
            path_prefix=f"{SITE}/" if uploaded else None,
            ref=None if uploaded else settings.branch,
            opts=pulumi.ResourceOptions.merge(
                child,
                # A build takes the variables as they are when it starts, and the domains that exist when it ends.
                pulumi.ResourceOptions(depends_on=[*variables, domain], replace_on_changes=["meta"]),
            ),
        )
        self.deployment: pulumi.Resource = deployment
        self.url = deployment.url
        self.record = None if settings.vercel_app is not None else self._record(args, project, domain, deployment, provider)
        self.register_outputs({"url": self.url})

    @staticmethod
    def _project(name: str, args: VercelFrontendArgs, opts: pulumi.ResourceOptions) -> vercel.Project:
        settings = args.settings
        return vercel.Project(
            f"{name}-project",
            # Without a name, the SDK makes one up with a random end.
            name=project_name(settings, args.prefix),
            # Framework, install and build command and output directory are in site/vercel.json, for both sources.
            root_directory=SITE if settings.source == "git" else None,
            git_repository=None
            if settings.source == "upload"
            else vercel.ProjectGitRepositoryArgs(
                type=settings.git_provider, repo=settings.repository or "", production_branch=settings.branch
            ),
            node_version=NODE_VERSION,
            resource_config=vercel.ProjectResourceConfigArgs(function_default_regions=[settings.region]),
            vercel_authentication=vercel.ProjectVercelAuthenticationArgs(
                # The newer kind opens only custom domains, and not those of vercel.app.
                deployment_type="standard_protection_new" if settings.vercel_app is None else "standard_protection"
            ),
            git_fork_protection=True,
            # A preview has no variables, so its build would fail at each push to another branch.
            preview_deployments_disabled=True,
            auto_assign_custom_domains=True,
            # The site reads none of them.
            automatically_expose_system_environment_variables=False,
            opts=opts,
        )

    @staticmethod
    def _variables(
        name: str, args: VercelFrontendArgs, project: vercel.Project, opts: pulumi.ResourceOptions
    ) -> Sequence[pulumi.Resource]:
        """Each as a separate resource: variables and project in one would undo each other's changes."""
        secret: Mapping[str, pulumi.Input[str]] = secret_variables(args)
        return [
            vercel.ProjectEnvironmentVariable(
                f"{name}-{key.lower().replace('_', '-')}",
                project_id=project.id,
                key=key,
                value=value,
                sensitive=key in secret,
                targets=["production"],
                comment=f"{args.prefix}: set by Pulumi",
                # A name exists once, so a replaced variable has to be deleted first.
                opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(delete_before_replace=True)),
            )
            for key, value in sorted({**public_variables(args.endpoints, args.settings.language), **secret}.items())
        ]

    @staticmethod
    def _hash(args: VercelFrontendArgs) -> pulumi.Output[str]:
        settings = args.settings
        project = {"node": NODE_VERSION, "region": settings.region, "repository": settings.repository or ""}
        return pulumi.Output.all(**public_variables(args.endpoints, args.settings.language), **secret_variables(args)).apply(
            lambda variables: variables_hash(variables, project)
        )

    @staticmethod
    def _record(
        args: VercelFrontendArgs,
        project: vercel.Project,
        domain: vercel.ProjectDomain,
        deployment: vercel.Deployment,
        provider: vercel.Provider,
    ) -> UiRecord:
        config = vercel.get_domain_config_output(
            domain=domain.domain,
            project_id_or_name=project.id,
            # Vercel's recommendation is known when the project has the domain.
            opts=pulumi.InvokeOutputOptions(provider=provider, depends_on=[domain]),
        )
        if args.settings.verification is None:
            domain.verifications.apply(lambda records: _ask_for_verification(domain, records))
        return UiRecord(
            target=config.recommended_cname.apply(lambda target: (target or FALLBACK_CNAME).rstrip(".")),
            verification=args.settings.verification,
            after=deployment,
        )


def secret_variables(args: VercelFrontendArgs) -> Mapping[str, pulumi.Input[str]]:
    """Variables that Vercel never shows again, by name."""
    return {
        "GATEWAY_KEY": args.gateway_key,
        "UI_LOGIN_SHA256": ui.login_sha256(args.ui_password),
    }


def _ask_for_verification(
    domain: vercel.ProjectDomain, records: Sequence[vercel.outputs.ProjectDomainVerification] | None
) -> None:
    for record in records or ():
        problem = f"another account on Vercel holds the domain; write {record.value} and run pulumi up again"
        pulumi.log.warn(str(_wrong("verification", problem)), resource=domain)

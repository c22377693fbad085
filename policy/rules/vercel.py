"""Rules for single resources of the Vercel provider: projects, and the environment variables of builds and middleware."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Unpack

from .framework.property import SECRETS_URL, Expect, encrypted_rule, not_off, one_of, property_rule, unset
from .framework.rule import About, Finding, Findings, Parameters, Resource, Rule, rule
from .framework.values import Inputs
from .variables import Variable, is_for_browsers, is_secret_name

PROVIDER = "pulumi:providers:vercel"
PROJECT = "vercel:index/project:Project"
DOMAIN = "vercel:index/projectDomain:ProjectDomain"
DEPLOYMENT = "vercel:index/deployment:Deployment"
FIREWALL = "vercel:index/firewallConfig:FirewallConfig"
VARIABLE = "vercel:index/projectEnvironmentVariable:ProjectEnvironmentVariable"
VARIABLES = "vercel:index/projectEnvironmentVariables:ProjectEnvironmentVariables"
SHARED_VARIABLE = "vercel:index/sharedEnvironmentVariable:SharedEnvironmentVariable"
# Besides VARIABLE, the types that set variables.
OTHER_VARIABLES = (VARIABLES, SHARED_VARIABLE, PROJECT)

_DOCS = "https://vercel.com/docs/"
VARIABLES_URL = _DOCS + "environment-variables"
_SENSITIVE = VARIABLES_URL + "/sensitive-environment-variables"
_PROTECTION = _DOCS + "deployment-protection"
_PRODUCTION = {"production"}
_EVERYWHERE = {"development", "preview", "production"}

# --- The provider and the project ----------------------------------------------------------------------------------------

provider_token_encrypted = encrypted_rule(
    PROVIDER,
    "vercel-provider-token-encrypted",
    "apiToken",
    description="The provider's token is a secret of Pulumi",
    remediation="Set it with pulumi config set --secret, or wrap it in pulumi.Output.secret.",
)

project_forks_asked = property_rule(
    PROJECT,
    "vercel-project-forks-asked",
    "gitForkProtection",
    Expect(not_off, why="a stranger's build reads the project's variables", write="True"),
    description="A pull request of a fork is built only after a member of the team has approved it",
    severity="critical",
    remediation="Leave gitForkProtection out, or set it to True.",
    url=_DOCS + "git/vercel-for-github#deployment-authorizations-for-forks",
    prowler=("project_git_fork_protection_enabled",),
)


@rule(
    PROJECT,
    "vercel-project-deployments-authenticated",
    "vercelAuthentication",
    description="A deployment outside the production domain asks for a login at Vercel",
    severity="high",
    remediation='Set vercelAuthentication.deploymentType to "standard_protection_new"; every plan has it.',
    url=_PROTECTION,
    prowler=("deployment_preview_not_publicly_accessible", "project_deployment_protection_enabled"),
    parameters={"allowed": ["standard_protection_new", "standard_protection", "all_deployments"]},
)
def project_deployments_authenticated(project: Resource, parameters: Parameters) -> Findings:
    if project.inputs.section("vercelAuthentication").get("deploymentType", "") not in parameters["allowed"]:
        why = "old and unfinished versions answer to everyone who knows their address"
        yield Finding(path="vercelAuthentication.deploymentType", why=why, write=f'"{parameters["allowed"][0]}"')


@rule(
    PROJECT,
    "vercel-project-password-long",
    "passwordProtection",
    description="A deployment's password has enough characters",
    severity="high",
    remediation="Generate it: pulumi_random.RandomPassword with length=32.",
    url=_PROTECTION,
    parameters={"minimum": 16},
)
def project_password_long(project: Resource, parameters: Parameters) -> Findings:
    password = project.inputs.section("passwordProtection").get("password")
    if password is not None and len(str(password)) < parameters["minimum"]:
        write = f"{parameters['minimum']} or more characters"
        yield Finding(path="passwordProtection.password", why="it can be guessed", write=write)


project_password_encrypted = encrypted_rule(
    PROJECT,
    "vercel-project-password-encrypted",
    "passwordProtection",
    description="A deployment's password is a secret of Pulumi",
    remediation="Generate it with RandomPassword, or wrap it in pulumi.Output.secret.",
    reads="passwordProtection.password",
)

project_directories_unlisted = property_rule(
    PROJECT,
    "vercel-project-directories-unlisted",
    "directoryListing",
    Expect(unset, why="files that no page links to can be found", write="False"),
    description="A folder without an index page shows nothing",
    severity="medium",
    remediation="Leave directoryListing out.",
    url=_DOCS + "directory-listing",
    prowler=("project_directory_listing_disabled",),
)

project_system_variables_hidden = property_rule(
    PROJECT,
    "vercel-project-system-variables-hidden",
    "automaticallyExposeSystemEnvironmentVariables",
    Expect(one_of(False), why="branches and addresses get into a build that may print them", write="False"),
    description="Builds get no system variables of Vercel",
    severity="low",
    remediation="Set automaticallyExposeSystemEnvironmentVariables=False; Vercel's own default is on.",
    url=VARIABLES_URL + "/system-environment-variables",
    prowler=("project_auto_expose_system_env_disabled",),
)

project_source_private = property_rule(
    PROJECT,
    "vercel-project-source-private",
    "publicSource",
    Expect(unset, why="whoever appends /_src reads the source", write="no publicSource"),
    description="A deployment's source is not public",
    severity="high",
    remediation="Leave publicSource out; since 5.21 the provider ignores it.",
    url=_DOCS + "project-configuration/security-settings",
)

project_support_asked = property_rule(
    PROJECT,
    "vercel-project-support-asked",
    "customerSuccessCodeVisibility",
    Expect(unset, why="people you do not know read the source", write="False"),
    description="Vercel's staff ask before they read the source",
    severity="low",
    remediation="Leave customerSuccessCodeVisibility out.",
    url=_DOCS + "project-configuration/security-settings",
)

project_variables_apart = property_rule(
    PROJECT,
    "vercel-project-variables-apart",
    "environments",
    Expect(
        unset,
        why="each update takes away what another resource has set, and one secret hides all in a preview",
        write="ProjectEnvironmentVariable for each",
    ),
    description="A project's variables are separate resources",
    severity="medium",
    remediation="Use ProjectEnvironmentVariable for each; the two ways overwrite each other.",
    url="https://www.pulumi.com/registry/packages/vercel/api-docs/projectenvironmentvariable/",
)

firewall_on = property_rule(
    FIREWALL,
    "vercel-firewall-on",
    "enabled",
    Expect(not_off, why="it reads as if it stopped something", write="True"),
    description="A firewall that is declared is on",
    severity="medium",
    remediation="Leave enabled out, or set it to True.",
    url=_DOCS + "vercel-firewall",
    prowler=("security_waf_enabled",),
)


# --- Environment variables -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """A variable as one of the provider's resources sets it. path: "", or its path in a list and a dot."""

    path: str
    inputs: Inputs

    @property
    def key(self) -> str:
        """Its name."""
        return str(self.inputs.get("key", ""))

    @property
    def as_variable(self) -> Variable:
        """Its name and value alone."""
        return Variable("", self.key, str(self.inputs.get("value", "")))

    @property
    def looks_secret(self) -> bool:
        """By its name, or because its value is a URL with a password; the value is read only if the name does not decide."""
        return is_secret_name(self.key) or self.as_variable.looks_secret

    @property
    def is_secret(self) -> bool:
        """Whether it is marked as sensitive, or looks secret."""
        return bool(self.inputs.get("sensitive", False)) or self.looks_secret

    @property
    def targets(self) -> set[str]:
        """Environments that have it."""
        return {str(target) for target in self.inputs.whole("targets")}


def settings(resource: Resource) -> Iterator[Setting]:
    """Variables that a resource sets: itself, or the elements of a list."""
    lists = {VARIABLES: "variables", PROJECT: "environments"}
    if resource.type not in lists:
        yield Setting("", resource.inputs)
        return
    for path, variable in resource.inputs.each(lists[resource.type]):
        yield Setting(f"{path}.", variable)


def _variable_rule(name: str, property_: str, expect: Expect, **about: Unpack[About]) -> Rule:
    """A rule about each variable by itself, whichever resource sets it."""

    def each(resource: Resource) -> Iterator[tuple[str, Setting]]:
        for setting in settings(resource):
            yield f"{setting.path}{property_}", setting

    about["also"] = OTHER_VARIABLES
    return property_rule(VARIABLE, name, property_, expect, reads=each, **about)


variable_client_public = _variable_rule(
    "vercel-variable-client-public",
    "key",
    Expect(
        lambda setting: not (is_for_browsers(setting.key) and is_secret_name(setting.key)),
        why="the build writes its value into public files",
        write="a name without prefix",
    ),
    description="No secret is behind a prefix that puts it into the files that browsers load",
    severity="critical",
    remediation="Drop the prefix and read it on the server only: VITE_SKYVERN_API_KEY hands the organisation to every visitor.",
    url="https://vite.dev/guide/env-and-mode",
)


def _is_hidden(setting: Setting) -> bool:
    # Behind a prefix nothing is hidden by it.
    return not setting.looks_secret or is_for_browsers(setting.key) or setting.inputs.get("sensitive", False) is True


variable_secret_sensitive = _variable_rule(
    "vercel-variable-secret-sensitive",
    "sensitive",
    Expect(_is_hidden, why="every member of the team can read it", write="sensitive=True"),
    description="A secret cannot be read back at Vercel",
    severity="high",
    remediation="Set sensitive=True.",
    url=_SENSITIVE,
    prowler=("project_environment_no_secrets_in_plain_type", "project_environment_sensitive_vars_encrypted"),
)


@rule(
    VARIABLE,
    "vercel-variable-secret-encrypted",
    "value",
    description="A secret that goes to Vercel is a secret of Pulumi",
    severity="critical",
    remediation="Wrap the value in pulumi.Output.secret, or use valueWo.",
    url=SECRETS_URL,
    also=OTHER_VARIABLES,
)
def variable_secret_encrypted(resource: Resource, parameters: Parameters) -> Findings:
    for setting in settings(resource):
        path = f"{setting.path}value"
        if resource.inputs.is_secret(path) or setting.inputs.get("value") is None:
            continue
        if setting.is_secret:
            yield Finding(path=path, why="it is in plain text in the state", write="pulumi.Output.secret(...)")


variable_secret_production_only = _variable_rule(
    "vercel-variable-secret-production-only",
    "targets",
    Expect(
        lambda setting: not setting.is_secret or setting.targets <= _PRODUCTION,
        why="an unreviewed branch runs with it",
        write='["production"]',
    ),
    description="A secret is in production only",
    severity="high",
    remediation='Set targets=["production"]; give previews separate secrets, or none.',
    url=VARIABLES_URL,
    prowler=("project_environment_production_vars_not_in_preview",),
)

variable_targets_chosen = _variable_rule(
    "vercel-variable-targets-chosen",
    "targets",
    Expect(
        lambda setting: not setting.targets >= _EVERYWHERE,
        why="laptops and previews work on production",
        write='["production"]',
    ),
    description="A variable is in the environments that need it, not in all",
    severity="medium",
    remediation='Set targets=["production"], or with "preview".',
    url=VARIABLES_URL,
    prowler=("project_environment_no_overly_broad_target",),
)

variable_secret_not_default = _variable_rule(
    "vercel-variable-secret-not-default",
    "value",
    Expect(lambda setting: not setting.as_variable.has_default, why="it is the first that is tried", write="a generated value"),
    description="No password or key is a default or a placeholder",
    severity="critical",
    remediation="Generate it: pulumi_random.RandomPassword.",
    url="https://owasp.org/Top10/A07_2021-Identification_and_Authentication_Failures/",
)


@rule(
    DEPLOYMENT,
    "vercel-deployment-secrets-absent",
    "environment",
    description="A deployment brings no secret along",
    severity="high",
    remediation="Make it a sensitive ProjectEnvironmentVariable, which cannot be read back.",
    url=_SENSITIVE,
)
def deployment_secrets_absent(deployment: Resource, parameters: Parameters) -> Findings:
    for name in deployment.inputs.section("environment").values:
        if is_secret_name(name):
            why = "it is kept with the deployment, readable, for as long as that exists"
            yield Finding(path=f"environment.{name}", why=why, write="a sensitive ProjectEnvironmentVariable")

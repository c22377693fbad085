"""Rules for single resources of the Vercel provider: projects, and the environment variables of builds and middleware."""

from collections.abc import Iterator
from dataclasses import dataclass

from .framework.rule import Finding, Findings, Parameters, Resource, rule
from .framework.values import Inputs
from .variables import Variable, is_default, is_for_browsers, is_secret_name

PROVIDER = "pulumi:providers:vercel"
PROJECT = "vercel:index/project:Project"
DOMAIN = "vercel:index/projectDomain:ProjectDomain"
DEPLOYMENT = "vercel:index/deployment:Deployment"
FIREWALL = "vercel:index/firewallConfig:FirewallConfig"
VARIABLE = "vercel:index/projectEnvironmentVariable:ProjectEnvironmentVariable"
VARIABLES = "vercel:index/projectEnvironmentVariables:ProjectEnvironmentVariables"
SHARED_VARIABLE = "vercel:index/sharedEnvironmentVariable:SharedEnvironmentVariable"
# Besides VARIABLE, whatever sets variables.
OTHER_VARIABLES = (VARIABLES, SHARED_VARIABLE, PROJECT)

_DOCS = "https://vercel.com/docs/"
VARIABLES_URL = _DOCS + "environment-variables"
_SENSITIVE = VARIABLES_URL + "/sensitive-environment-variables"
_PROTECTION = _DOCS + "deployment-protection"
_SECRETS = "https://www.pulumi.com/docs/iac/concepts/secrets/"
_PRODUCTION = {"production"}
_EVERYWHERE = {"development", "preview", "production"}

# --- The provider and the project ----------------------------------------------------------------------------------------


@rule(
    "vercel-provider-token-encrypted",
    PROVIDER,
    "apiToken",
    description="The provider's token is a secret of Pulumi",
    severity="critical",
    remediation="Set it with pulumi config set --secret, or wrap it in pulumi.Output.secret.",
    url=_SECRETS,
)
def provider_token_encrypted(provider: Resource, parameters: Parameters) -> Findings:
    if provider.inputs.get("apiToken") and not provider.inputs.is_secret("apiToken"):
        yield Finding(path="apiToken", why="it is in plain text in the state", write="pulumi.Output.secret(...)")


@rule(
    "vercel-project-forks-asked",
    PROJECT,
    "gitForkProtection",
    description="A pull request of a fork is built only after a member of the team has approved it",
    severity="critical",
    remediation="Leave gitForkProtection out, or set it to True.",
    url=_DOCS + "git/vercel-for-github#deployment-authorizations-for-forks",
    prowler=("project_git_fork_protection_enabled",),
)
def project_forks_asked(project: Resource, parameters: Parameters) -> Findings:
    if project.inputs.get("gitForkProtection", True) is False:
        why = "a stranger's build reads the project's variables"
        yield Finding(path="gitForkProtection", why=why, write="True")


@rule(
    "vercel-project-deployments-authenticated",
    PROJECT,
    "vercelAuthentication",
    description="Whoever opens a deployment beside the production domain has logged in to Vercel",
    severity="high",
    remediation='Set vercelAuthentication.deploymentType to "standard_protection_new"; every plan has it.',
    url=_PROTECTION,
    prowler=("deployment_preview_not_publicly_accessible", "project_deployment_protection_enabled"),
    parameters={"allowed": ["standard_protection_new", "standard_protection", "all_deployments"]},
)
def project_deployments_authenticated(project: Resource, parameters: Parameters) -> Findings:
    if project.inputs.section("vercelAuthentication").get("deploymentType", "") not in parameters["allowed"]:
        why = "old and unfinished versions answer to whoever knows their address"
        yield Finding(path="vercelAuthentication.deploymentType", why=why, write=f'"{parameters["allowed"][0]}"')


@rule(
    "vercel-project-password-long",
    PROJECT,
    "passwordProtection",
    description="A password before a deployment has enough characters",
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


@rule(
    "vercel-project-password-encrypted",
    PROJECT,
    "passwordProtection",
    description="A password before a deployment is a secret of Pulumi",
    severity="critical",
    remediation="Generate it with RandomPassword, or wrap it in pulumi.Output.secret.",
    url=_SECRETS,
)
def project_password_encrypted(project: Resource, parameters: Parameters) -> Findings:
    path = "passwordProtection.password"
    if project.inputs.section("passwordProtection").get("password") and not project.inputs.is_secret(path):
        yield Finding(path=path, why="it is in plain text in the state", write="pulumi.Output.secret(...)")


@rule(
    "vercel-project-directories-unlisted",
    PROJECT,
    "directoryListing",
    description="A folder without an index page shows nothing",
    severity="medium",
    remediation="Leave directoryListing out.",
    url=_DOCS + "directory-listing",
    prowler=("project_directory_listing_disabled",),
)
def project_directories_unlisted(project: Resource, parameters: Parameters) -> Findings:
    if project.inputs.get("directoryListing", False):
        yield Finding(path="directoryListing", why="files that no page links to can be found", write="False")


@rule(
    "vercel-project-system-variables-hidden",
    PROJECT,
    "automaticallyExposeSystemEnvironmentVariables",
    description="Builds get no variables of Vercel unasked",
    severity="low",
    remediation="Set automaticallyExposeSystemEnvironmentVariables=False; Vercel's own default is on.",
    url=VARIABLES_URL + "/system-environment-variables",
    prowler=("project_auto_expose_system_env_disabled",),
)
def project_system_variables_hidden(project: Resource, parameters: Parameters) -> Findings:
    key = "automaticallyExposeSystemEnvironmentVariables"
    if project.inputs.get(key, True) is not False:
        yield Finding(path=key, why="branches and addresses get into a build that may print them", write="False")


@rule(
    "vercel-project-source-private",
    PROJECT,
    "publicSource",
    description="A deployment's source is not public",
    severity="high",
    remediation="Leave publicSource out; since 5.21 the provider ignores it.",
    url=_DOCS + "project-configuration/security-settings",
)
def project_source_private(project: Resource, parameters: Parameters) -> Findings:
    if project.inputs.get("publicSource", False):
        yield Finding(path="publicSource", why="whoever appends /_src reads the source", write="no publicSource")


@rule(
    "vercel-project-support-asked",
    PROJECT,
    "customerSuccessCodeVisibility",
    description="Vercel's staff asks before it reads the source",
    severity="low",
    remediation="Leave customerSuccessCodeVisibility out.",
    url=_DOCS + "project-configuration/security-settings",
)
def project_support_asked(project: Resource, parameters: Parameters) -> Findings:
    if project.inputs.get("customerSuccessCodeVisibility", False):
        yield Finding(path="customerSuccessCodeVisibility", why="people you do not know read the source", write="False")


@rule(
    "vercel-project-variables-apart",
    PROJECT,
    "environments",
    description="A project's variables are separate resources",
    severity="medium",
    remediation="Use ProjectEnvironmentVariable for each; the two ways overwrite each other.",
    url="https://www.pulumi.com/registry/packages/vercel/api-docs/projectenvironmentvariable/",
)
def project_variables_apart(project: Resource, parameters: Parameters) -> Findings:
    if project.inputs.get("environments"):
        why = "each update takes away what another resource has set, and one secret hides all in a preview"
        yield Finding(path="environments", why=why, write="ProjectEnvironmentVariable for each")


@rule(
    "vercel-firewall-on",
    FIREWALL,
    "enabled",
    description="A firewall that is written is at work",
    severity="medium",
    remediation="Leave enabled out, or set it to True.",
    url=_DOCS + "vercel-firewall",
    prowler=("security_waf_enabled",),
)
def firewall_on(firewall: Resource, parameters: Parameters) -> Findings:
    if firewall.inputs.get("enabled", True) is False:
        yield Finding(path="enabled", why="it reads as if it stopped something", write="True")


# --- Environment variables -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """A variable as one of the provider's resources sets it. path: "" or where it is in a list, with a dot."""

    path: str
    inputs: Inputs

    @property
    def key(self) -> str:
        """Its name."""
        return str(self.inputs.get("key", ""))

    @property
    def looks_secret(self) -> bool:
        """By its name, or because its value is a URL with a password; the value is read only where the name says nothing."""
        return is_secret_name(self.key) or Variable("", self.key, str(self.inputs.get("value", ""))).looks_secret

    @property
    def targets(self) -> set[str]:
        """Environments that have it."""
        return {str(one) for one in self.inputs.whole("targets")}


def settings(resource: Resource) -> Iterator[Setting]:
    """Variables that a resource sets: itself, or the elements of a list."""
    lists = {VARIABLES: "variables", PROJECT: "environments"}
    if resource.type not in lists:
        yield Setting("", resource.inputs)
        return
    for path, one in resource.inputs.each(lists[resource.type]):
        yield Setting(f"{path}.", one)


@rule(
    "vercel-variable-client-public",
    VARIABLE,
    "key",
    description="No secret is behind a prefix that puts it into the files that browsers load",
    severity="critical",
    remediation="Drop the prefix and read it on the server only: VITE_SKYVERN_API_KEY hands the organisation to every visitor.",
    url="https://vite.dev/guide/env-and-mode",
    also=OTHER_VARIABLES,
)
def variable_client_public(resource: Resource, parameters: Parameters) -> Findings:
    for one in settings(resource):
        if is_for_browsers(one.key) and is_secret_name(one.key):
            yield Finding(
                path=f"{one.path}key", why="the build writes its value into public files", write="a name without prefix"
            )


@rule(
    "vercel-variable-secret-sensitive",
    VARIABLE,
    "sensitive",
    description="A secret cannot be read back at Vercel",
    severity="high",
    remediation="Set sensitive=True.",
    url=_SENSITIVE,
    also=OTHER_VARIABLES,
    prowler=("project_environment_no_secrets_in_plain_type", "project_environment_sensitive_vars_encrypted"),
)
def variable_secret_sensitive(resource: Resource, parameters: Parameters) -> Findings:
    for one in settings(resource):
        # Behind a prefix nothing is hidden by it.
        if one.looks_secret and not is_for_browsers(one.key) and one.inputs.get("sensitive", False) is not True:
            yield Finding(path=f"{one.path}sensitive", why="every member of the team can read it", write="sensitive=True")


@rule(
    "vercel-variable-secret-encrypted",
    VARIABLE,
    "value",
    description="A secret that goes to Vercel is a secret of Pulumi",
    severity="critical",
    remediation="Wrap the value in pulumi.Output.secret, or use valueWo.",
    url=_SECRETS,
    also=OTHER_VARIABLES,
)
def variable_secret_encrypted(resource: Resource, parameters: Parameters) -> Findings:
    for one in settings(resource):
        if resource.inputs.is_secret(f"{one.path}value") or one.inputs.get("value") is None:
            continue
        if one.inputs.get("sensitive", False) or one.looks_secret:
            yield Finding(path=f"{one.path}value", why="it is in plain text in the state", write="pulumi.Output.secret(...)")


@rule(
    "vercel-variable-secret-production-only",
    VARIABLE,
    "targets",
    description="A secret is in production only",
    severity="high",
    remediation='Set targets=["production"]; give previews separate secrets, or none.',
    url=VARIABLES_URL,
    also=OTHER_VARIABLES,
    prowler=("project_environment_production_vars_not_in_preview",),
)
def variable_secret_production_only(resource: Resource, parameters: Parameters) -> Findings:
    for one in settings(resource):
        if (one.inputs.get("sensitive", False) or one.looks_secret) and not one.targets <= _PRODUCTION:
            why = "an unreviewed branch runs with it"
            yield Finding(path=f"{one.path}targets", why=why, write='["production"]')


@rule(
    "vercel-variable-targets-chosen",
    VARIABLE,
    "targets",
    description="A variable is in the environments that need it, not in all",
    severity="medium",
    remediation='Set targets=["production"], or with "preview".',
    url=VARIABLES_URL,
    also=OTHER_VARIABLES,
    prowler=("project_environment_no_overly_broad_target",),
)
def variable_targets_chosen(resource: Resource, parameters: Parameters) -> Findings:
    for one in settings(resource):
        if one.targets >= _EVERYWHERE:
            yield Finding(path=f"{one.path}targets", why="laptops and previews work on production", write='["production"]')


@rule(
    "vercel-variable-secret-not-default",
    VARIABLE,
    "value",
    description="No password or key is a default or a placeholder",
    severity="critical",
    remediation="Generate it: pulumi_random.RandomPassword.",
    url="https://owasp.org/Top10/A07_2021-Identification_and_Authentication_Failures/",
    also=OTHER_VARIABLES,
)
def variable_secret_not_default(resource: Resource, parameters: Parameters) -> Findings:
    for one in settings(resource):
        variable = Variable("", one.key, str(one.inputs.get("value", "")))
        password = variable.url_password
        if variable.looks_secret and is_default(one.key, variable.value if password is None else password):
            yield Finding(path=f"{one.path}value", why="it is the first that is tried", write="a generated value")


@rule(
    "vercel-deployment-secrets-absent",
    DEPLOYMENT,
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

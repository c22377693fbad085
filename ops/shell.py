"""The variables of the shell that a program of ours gets to see: what decides where and what is deployed is taken out.

The stack file decides, so the same commit gives the same result in every shell. By prefix and not by name, because the tools get
new variables with each version; what stays is named, with its reason: logins, proxies, certificates, mirrors and caches, without
which a company's machine reaches nothing. The lists were made from the sources of Docker CLI 28.5, buildx 0.23, Pulumi 3.256, the
Docker provider 5.2, pip 25, git 2.47, npm 10 and Go 1.26.

Not here: what is refused because it switches a check off (ops/switched_off.py); files of configuration, which their user wrote;
what the scripts take out before there is a Python (script/environment).
"""

import io
import os
import sys
from collections.abc import Mapping

# Prefix of what a tool reads -> what of it stays, a name or the beginning of one ending in "_". In capitals: npm reads both.
_READ_BY: Mapping[str, frozenset[str]] = {
    # The folder with the logins of registries, or the logins themselves. Which daemon is asked stands in no file of it for us:
    # every call of docker names its daemon.
    "DOCKER_": frozenset({"DOCKER_CONFIG", "DOCKER_AUTH_CONFIG"}),
    "DOCKERD_": frozenset(),
    "BUILDX_": frozenset(),
    "BUILDKIT_": frozenset(),
    "EXPERIMENTAL_BUILDKIT_": frozenset(),
    "COMPOSE_": frozenset(),
    # Where the state is and what opens it, which no stack file can say, and how the engine prints.
    "PULUMI_": frozenset(
        {
            *("PULUMI_ACCESS_TOKEN", "PULUMI_API", "PULUMI_BACKEND_URL", "PULUMI_CREDENTIALS_PATH", "PULUMI_HOME"),
            *("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_OPTION_", "PULUMI_SKIP_UPDATE_CHECK"),
        }
    ),
    # Of the providers: accounts, addresses and flags that stand in the stack file, and of the libraries that they are made of.
    "CLOUDFLARE_": frozenset(),
    "VERCEL_": frozenset(),
    "NGROK_": frozenset(),
    "TF_": frozenset(),
    "OTEL_": frozenset(),
    # Where packages come from; every one is compared with its hash.
    "PIP_": frozenset(
        {
            *(
                "PIP_INDEX_URL",
                "PIP_EXTRA_INDEX_URL",
                "PIP_FIND_LINKS",
                "PIP_NO_INDEX",
                "PIP_CONFIG_FILE",
                "PIP_KEYRING_PROVIDER",
            ),
            *("PIP_CERT", "PIP_CLIENT_CERT", "PIP_PROXY", "PIP_USE_FEATURE", "PIP_USE_DEPRECATED"),
            *("PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES", "PIP_CACHE_DIR", "PIP_NO_CACHE_DIR"),
        }
    ),
    "UV_": frozenset(),
    # Ours, set by script/environment.
    "PYTHON": frozenset({"PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE"}),
    # Who commits, how a remote is reached, and the user's files of configuration; any other would show another repository.
    "GIT_": frozenset(
        {
            *("GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_SSH", "GIT_SSH_", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSL_CERT"),
            *("GIT_SSL_KEY", "GIT_ASKPASS", "GIT_TERMINAL_PROMPT", "GIT_PROXY_COMMAND", "GIT_HTTP_PROXY_AUTHMETHOD"),
            *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_PROXY_SSL_CAINFO"),
        }
    ),
    # npm_config_//registry.example.com/:_authToken is the login of a registry.
    "NPM_CONFIG_": frozenset(
        {
            *("NPM_CONFIG_REGISTRY", "NPM_CONFIG_PROXY", "NPM_CONFIG_HTTPS_PROXY", "NPM_CONFIG_NOPROXY", "NPM_CONFIG_CAFILE"),
            *("NPM_CONFIG_CA", "NPM_CONFIG_CERT", "NPM_CONFIG_KEY", "NPM_CONFIG_USERCONFIG", "NPM_CONFIG_GLOBALCONFIG"),
            *("NPM_CONFIG_CACHE", "NPM_CONFIG_//", "NPM_CONFIG__AUTH"),
        }
    ),
    "NODE_": frozenset({"NODE_EXTRA_CA_CERTS", "NODE_USE_SYSTEM_CA", "NODE_USE_ENV_PROXY"}),
    "CGO_": frozenset(),
    "DPKG_": frozenset(),
    "DEBOOTSTRAP_": frozenset(),
}
# Of tools whose variables have no prefix of their own: what Go builds for and by, a date of BuildKit's layers, another folder for
# a script's cd, options of tar and of apt, a file for the keys of every TLS connection.
_ALONE = frozenset(
    {
        *(
            "GOOS",
            "GOARCH",
            "GOARM",
            "GOAMD64",
            "GOARM64",
            "GOROOT",
            "GOENV",
            "GOEXPERIMENT",
            "GODEBUG",
            "GOFIPS140",
            "GOTOOLCHAIN",
        ),
        *("GOWORK", "GOFLAGS", "GOBIN", "GO111MODULE", "GOCOVERDIR", "SOURCE_DATE_EPOCH", "CDPATH", "TAR_OPTIONS", "APT_CONFIG"),
        *("SSLKEYLOGFILE", "VIRTUAL_ENV", "KUBECONFIG"),
    }
)
# Worth a line before anything is made, and taken out of a shell by script/env: who sets one of these expects it to count.
_DECISIVE = ("DOCKER_", "BUILDX_", "BUILDKIT_", "COMPOSE_", "PULUMI_", "CLOUDFLARE_", "VERCEL_", "NGROK_", "TF_", "PYTHON")
# The names that clean() took out of this process.
taken_out: set[str] = set()


def variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for a child process: the shell's, without what the stack file decides. environ: this process's."""
    return {name: value for name, value in (os.environ if environ is None else environ).items() if stays(name)}


def stays(name: str) -> bool:
    """Whether programs of ours get to see a variable of that name."""
    upper = name.upper()
    if upper in _ALONE:
        return False
    for prefix, kept in _READ_BY.items():
        if upper.startswith(prefix):
            return upper in kept or any(upper.startswith(beginning) for beginning in kept if beginning.endswith(("_", "//")))
    return True


def clean() -> None:
    """Takes out of this process what no child may see, for libraries that start one or read a variable by themselves.

    Output that the terminal's encoding cannot show is replaced by ``?``, so that it ends no command.
    """
    taken_out.clear()
    for name in [name for name in os.environ if not stays(name)]:
        taken_out.add(name)
        del os.environ[name]
    # Standard error does so by itself.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def decisive() -> list[str]:
    """The names that were taken out and by which Docker, Pulumi or its program would do something else, sorted."""
    return sorted(name for name in taken_out if name.startswith(_DECISIVE))


def remark() -> str:
    """One line about variables that decide nothing here although their names sound so, and about Docker's logins; "" without any.

    No value but a folder's is shown: one may be a login.
    """
    parts = [f"not used from this shell: {', '.join(names)} (the stack file decides)"] if (names := decisive()) else []
    if folder := os.environ.get("DOCKER_CONFIG"):
        parts.append(f"DOCKER_CONFIG: logins of registries are those in {folder!r}")
    if "DOCKER_AUTH_CONFIG" in os.environ:
        parts.append("DOCKER_AUTH_CONFIG: logins of registries are those in it")
    return "; ".join(parts)


if __name__ == "__main__":
    # For script/environment, before there is an environment of ours. Bash has no variable whose name is not one of these.
    print("".join(f"unset {name}\n" for name in os.environ if name.isidentifier() and not stays(name)), end="")

"""The environment of every child process that runs Pulumi, made in one place.

Not here: what is refused in a shell (ops/switched_off.py).
"""

import os
import shlex
from collections.abc import Iterable, Mapping

from ops.errors import UserError
from ops.machine import backend, engine
from ops.paths import ROOT, cache_dir

# By itself, so that plain pulumi checks the rules, too.
POLICY_PACK = "PULUMI_OPTION_POLICY_PACK"
# Calls at a time. Pulumi makes four a core by itself, and sshd of a Docker host takes ten sessions on a connection (MaxSessions).
# As an option (PULUMI_OPTION_PARALLEL) it ends 3.256 in a panic.
PARALLEL = "8"


def for_engine() -> dict[str, str]:
    """The variables that make plain ``pulumi`` the decided one, whatever the backend. UserError before script/bootstrap."""
    record = engine.read_record()
    if record is None:
        raise UserError("Pulumi: this checkout is not prepared; run script/bootstrap")
    ahead = [record.bin_dir, str(ROOT / ".venv" / "bin"), str(ROOT / "bin")]
    behind = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder not in ahead]
    variables = {
        "PATH": os.pathsep.join(ahead + behind),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        # The published language host names the plugin of every installed package, and the engine would fetch the edge's before
        # a preview of a stack that has none. Those that a stack asks for are fetched nevertheless.
        "PULUMI_OPTION_SKIP_PLUGIN_PRE_INSTALL": "true",
        "PULUMI_PARALLEL": PARALLEL,
        # The program's Python takes no compiled module from the checkout, where one that is not of its source could be.
        "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX") or str(cache_dir() / "pycache"),
    }
    if record.pulumi_home is not None:
        variables["PULUMI_HOME"] = record.pulumi_home
    if (ROOT / "policy" / "PulumiPolicy.yaml").is_file():
        variables[POLICY_PACK] = str(ROOT / "policy")
    return variables


def for_stacks() -> dict[str, str]:
    """The variables for ``pulumi`` on the user's stacks: the engine's, the backend and the passphrase's file.

    Added to the process environment by whoever runs Pulumi. Raises UserError when script/bootstrap has not run.
    """
    variables = for_engine()
    record = engine.read_record()
    credentials = backend.credentials_dir(os.environ, record)
    state = backend.current_state()
    variables["PULUMI_BACKEND_URL"] = state.url
    if "PULUMI_HOME" in variables and not state.local and (credentials / "credentials.json").is_file():
        # The built engine has its own home, and a login would be looked for there.
        variables["PULUMI_CREDENTIALS_PATH"] = str(credentials)
    if state.passphrase and not backend.own_passphrase(os.environ):
        if not backend.passphrase_file().is_file():
            raise UserError(f"{backend.passphrase_file()}: does not exist; run script/bootstrap")
        variables["PULUMI_CONFIG_PASSPHRASE_FILE"] = str(backend.passphrase_file())
    return variables


def exports(variables: Mapping[str, str], without: Iterable[str] = ()) -> str:
    """Lines for a POSIX shell: ``export`` with values quoted, and ``unset`` of the names that plain ``pulumi`` must not see."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items())]
    return "".join([*(f"unset {name}\n" for name in sorted(without) if name.isidentifier()), *lines])

"""What pip takes from its configuration: where packages come from, and nothing that says where they go or which.

``user = true`` or ``target`` of a pip.conf would put them where no program of ours finds them. What stays is what stays of the
shell's variables (ops/shell.py). For script/bootstrap, which evaluates what this prints before any package is installed: nothing
but the standard library is imported. Not here: ops/machine/go.py, whose every option is on its command line.
"""

import ast
import os
import shlex
import sys

from ops import shell
from ops.clients import process
from ops.errors import UserError


def variables() -> dict[str, str]:
    """The environment for pip: settings of its files as variables, and no file any more. UserError where one cannot be read."""
    inherited = shell.variables()
    listed = process.capture([sys.executable, "-I", "-m", "pip", "--disable-pip-version-check", "config", "list"], env=inherited)
    settings: dict[str, str] = {}
    # global.index-url='https://…', and the sections of commands after global, which they override.
    for line in sorted(listed.decode(errors="replace").splitlines(), key=lambda line: not line.startswith("global.")):
        key, _, value = line.partition("=")
        section, _, setting = key.partition(".")
        name = f"PIP_{setting.upper().replace('-', '_')}"
        if section in {"global", "install"} and shell.stays(name) and name != "PIP_CONFIG_FILE":
            settings[name] = " ".join(str(ast.literal_eval(value)).split())
    return {**settings, **inherited, "PIP_CONFIG_FILE": os.devnull}


def main() -> int:
    """Prints the lines for a shell; 1 with one line where a file of pip's is not valid."""
    try:
        lines = [f"export {name}={shlex.quote(value)}" for name, value in variables().items() if name.startswith("PIP_")]
    except UserError as failed:
        print(f"bootstrap: {failed}; correct that file of pip's", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())

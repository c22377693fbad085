"""The stack's database, asked by psql in the roles container, which logs in as the superuser over PostgreSQL's socket.

Not here: databases of copies (ops/backups/copies.py) and of other stacks (ops/backups/upstream.py).
"""

from collections.abc import Mapping
from types import MappingProxyType

from components.host.postgres import DATABASE
from ops.clients.docker import Docker
from ops.stack.stack import Stack


def ask(
    stack: Stack,
    docker: Docker,
    script: str,
    *,
    name: str = DATABASE,
    role: str = "",
    variables: Mapping[str, str] = MappingProxyType({}),
    timeout_seconds: float = 120,
) -> str:
    """Output of a psql script, columns separated by ``|``; UserError at the first statement that fails.

    name: of the database. role: whose rights the script has, the superuser's without one. variables: psql's, for ``:'name'``.
    """
    assignments = [part for variable, value in variables.items() for part in ("-v", f"{variable}={value}")]
    command = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", *assignments, "-d", name)
    begin = f"SET ROLE {role};\n" if role else ""
    return docker.run(
        *("exec", "--interactive", stack.prefix("roles"), *command),
        stdin=f"{begin}{script}".encode(),
        timeout_seconds=timeout_seconds,
    ).strip()

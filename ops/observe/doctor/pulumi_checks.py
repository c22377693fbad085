"""The checkout and Pulumi: can the next ``pulumi up`` go ahead. Pure functions of an observation."""

from collections.abc import Iterator

from ops.observe.doctor.findings import Finding, error, warning
from ops.observe.doctor.observation import Observation


def check_stack_file(seen: Observation) -> Iterator[Finding]:
    """The stack file is valid; each line of the settings is a finding of its own."""
    for line in seen.mistakes:
        where, _, rest = line.rpartition("; ")
        yield error("stack file", seen.stack.file_name, where or line, rest if where else "see docs/configuration.md")


def check_engine(seen: Observation) -> Iterator[Finding]:
    """A Pulumi CLI was decided on and is still there."""
    if not seen.pulumi.cli:
        yield error("Pulumi", "CLI", "none was prepared, or it is gone", "script/bootstrap")


def check_passphrase(seen: Observation) -> Iterator[Finding]:
    """The passphrase of the state is there, and nobody else's to read."""
    path, problem = seen.pulumi.passphrase_file, seen.pulumi.passphrase_problem
    if path is None or not problem:
        return
    if problem in {"missing", "empty"}:
        said = "does not exist" if problem == "missing" else "is empty"
        fix = "put it back from your copy" if seen.salt else "script/bootstrap"
        yield error("passphrase", str(path), f"{said}; no secret can be read without it", fix)
    else:
        yield error("passphrase", str(path), f"has mode {problem}: others can read it", f"chmod 0600 {path}")


def check_state(seen: Observation) -> Iterator[Finding]:
    """The backend answers, the stack is there and was deployed to its end."""
    facts = seen.pulumi
    for one in facts.broken:
        yield error("state", str(one.path), f"is cut off or not a state file ({one.size_bytes} bytes)", one.remedy)
    if not facts.cli or facts.broken:
        return
    if "no stack named" in facts.export_error:
        yield error("state", str(seen.stack), f"there is no such stack in {facts.backend}", f"script/up --stack {seen.stack}")
    elif facts.export_error:
        yield error(
            "state",
            facts.backend,
            f"cannot be read: {facts.export_error}",
            "make the backend answer (pulumi whoami -v names it), or name another in PULUMI_BACKEND_URL",
        )
    elif facts.deployed is not None:
        if not facts.deployed.containers:
            yield error("state", str(seen.stack), "was never deployed, or was destroyed", f"script/up --stack {seen.stack}")
        if facts.deployed.pending:
            yield error(
                "state",
                str(seen.stack),
                f"an interrupted up left pending operations: {', '.join(facts.deployed.pending)}",
                f"pulumi refresh -s {seen.stack}, then pulumi up -s {seen.stack}",
            )


def check_salt(seen: Observation) -> Iterator[Finding]:
    """The stack file has the salt of the state: with another one, a new one is made and old secrets stay closed."""
    deployed = seen.pulumi.deployed
    if seen.settings is None or deployed is None or not deployed.salt or seen.salt == deployed.salt:
        return
    problem = "differs from the state's" if seen.salt else "is missing"
    yield warning(
        "stack file",
        "encryptionsalt",
        f"{problem}, so encrypted values of the file cannot be read",
        f"write this line into {seen.stack.file_name}: encryptionsalt: {deployed.salt}",
    )


CHECKS = (check_stack_file, check_engine, check_passphrase, check_state, check_salt)

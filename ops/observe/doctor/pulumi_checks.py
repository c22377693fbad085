"""The checkout and Pulumi: whether the next ``pulumi up`` can start. Pure functions of an observation."""

from collections.abc import Iterator

from components.settings import CloudflareEdge
from ops.observe.doctor.findings import Finding, error, warning
from ops.observe.doctor.observation import Observation

# The rules about a zone's settings and rulesets (policy/rules/edge.py).
_OF_THE_ZONE = "stack-zone-"


def check_stack_file(observation: Observation) -> Iterator[Finding]:
    """The stack file is valid; each line of its error is a separate finding."""
    for line in observation.mistakes:
        where, _, rest = line.rpartition("; ")
        yield error("stack file", observation.stack.file_name, where or line, rest if where else "see docs/configuration.md")


def check_engine(observation: Observation) -> Iterator[Finding]:
    """A Pulumi CLI was chosen and still exists."""
    if not observation.pulumi.cli:
        yield error("Pulumi", "CLI", "none was prepared, or it is gone", "script/bootstrap")


def check_passphrase(observation: Observation) -> Iterator[Finding]:
    """The passphrase of the state exists, and only its owner can read it."""
    path, problem = observation.pulumi.passphrase_file, observation.pulumi.passphrase_problem
    if path is None or not problem:
        return
    if problem in {"missing", "empty"}:
        fault = "does not exist" if problem == "missing" else "is empty"
        fix = "put it back from your copy" if observation.salt else "script/bootstrap"
        yield error("passphrase", str(path), f"{fault}; no secret can be read without it", fix)
    else:
        yield error("passphrase", str(path), f"has mode {problem}: others can read it", f"chmod 0600 {path}")


def check_state(observation: Observation) -> Iterator[Finding]:
    """The backend answers, it has the stack, and the last deployment was completed."""
    facts, deploy = observation.pulumi, f"script/up --stack {observation.stack}"
    for file in facts.broken:
        yield error("state", str(file.path), f"is cut off or not a state file ({file.size_bytes} bytes)", file.remedy)
    if not facts.cli or facts.broken:
        return
    if "no stack named" in facts.export_error:
        yield error("state", str(observation.stack), f"there is no such stack in {facts.backend}", deploy)
    elif facts.export_error:
        yield error(
            "state",
            facts.backend,
            f"cannot be read: {facts.export_error}",
            "make the backend answer (pulumi whoami -v names it), or name another in PULUMI_BACKEND_URL",
        )
    elif facts.deployed is not None:
        if not facts.deployed.containers:
            yield error("state", str(observation.stack), "was never deployed, or was destroyed", deploy)
        if facts.deployed.pending:
            yield error(
                "state",
                str(observation.stack),
                f"an interrupted up left pending operations: {', '.join(facts.deployed.pending)}",
                f"pulumi refresh -s {observation.stack}, then pulumi up -s {observation.stack}",
            )


def check_salt(observation: Observation) -> Iterator[Finding]:
    """The stack file has the salt of the state: otherwise a new salt is made, and old secrets cannot be decrypted."""
    deployed = observation.pulumi.deployed
    if observation.settings is None or deployed is None or not deployed.salt or observation.salt == deployed.salt:
        return
    problem = "differs from the state's" if observation.salt else "is missing"
    yield warning(
        "stack file",
        "encryptionsalt",
        f"{problem}, so encrypted values of the file cannot be read",
        f"write this line into {observation.stack.file_name}: encryptionsalt: {deployed.salt}",
    )


def check_policies(observation: Observation) -> Iterator[Finding]:
    """What is deployed breaks no rule of this checkout's policy pack; a finding each."""
    found = observation.pulumi.policies
    edge = observation.settings.edge if observation.settings else None
    member = isinstance(edge, CloudflareEdge) and not edge.zone_owner
    if found is None:
        return
    if found.error:
        yield warning(
            "policy", "what is deployed", f"could not be judged: {found.error}", f"bin/ops preview {observation.stack} judges it"
        )
    for violation in found.violations:
        # The pack sees one stack, and what these ask for is the owner's: a member may not have it.
        if member and violation.rule.startswith(_OF_THE_ZONE):
            continue
        problem, _, cure = violation.message.rpartition("; ")
        level = error if violation.mandatory else warning
        update = f"script/up --stack {observation.stack}"
        yield level("policy", violation.rule, problem or cure, f"{cure}, then {update}" if problem else update)

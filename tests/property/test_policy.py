"""The policy pack as the oracle: whatever the settings, it is silent; whatever is broken then, it names it."""

from dataclasses import replace
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from components.settings import parse
from policy.rules.cloudflare import ACCESS_POLICY, INGRESS, RECORD, TUNNEL
from policy.rules.containers import CONTAINER, NETWORK, VOLUME
from policy.rules.random import PASSWORD
from policy.rules.vercel import PROJECT, VARIABLE
from tests.policy.pack import broken, judge, registered
from tests.property.examples import one_in
from tests.property.stack_files import SECRETS, STACK_FILES
from tests.support import program

REMOVED = object()
# Type, property, what it becomes, and who objects, alone.
BREAKS: list[tuple[str, str, Any, set[str]]] = [
    (CONTAINER, "capabilities", {"adds": ["NET_ADMIN"], "drops": ["ALL"]}, {"docker-container-capabilities-not-added"}),
    (CONTAINER, "capabilities", REMOVED, {"docker-container-capabilities-dropped"}),
    (CONTAINER, "cpus", "0", {"docker-container-cpu-limited"}),
    (CONTAINER, "healthcheck", {"tests": ["NONE"]}, {"docker-container-health-checked"}),
    (CONTAINER, "image", "docker.io/library/debian:trixie", {"docker-container-image-pinned"}),
    (CONTAINER, "ipcMode", "host", {"docker-container-ipc-namespace-own"}),
    (CONTAINER, "logOpts", {}, {"docker-container-logs-rotated"}),
    (CONTAINER, "memorySwap", -1, {"docker-container-swap-limited"}),
    (CONTAINER, "name", "postgres", {"stack-name-own"}),
    # What any other container of a stack has (a network, a volume) is one thing too many there.
    (CONTAINER, "networkMode", "host", {"docker-container-host-network-bare", "docker-container-network-namespace-own"}),
    (CONTAINER, "pidMode", "host", {"docker-container-pid-namespace-own"}),
    (CONTAINER, "privileged", True, {"docker-container-unprivileged"}),
    (CONTAINER, "readOnly", False, {"docker-container-root-read-only"}),
    (CONTAINER, "restart", "no", {"docker-container-restarted"}),
    (CONTAINER, "securityOpts", [], {"docker-container-no-new-privileges"}),
    (CONTAINER, "securityOpts", ["no-new-privileges", "seccomp=unconfined"], {"docker-container-seccomp-on"}),
    (CONTAINER, "user", "0:0", {"docker-container-user-not-root"}),
    (CONTAINER, "wait", REMOVED, {"docker-container-health-awaited"}),
    (ACCESS_POLICY, "decision", "bypass", {"cloudflare-access-decides"}),
    (INGRESS, "source", "local", {"cloudflare-ingress-managed-remotely"}),
    (NETWORK, "name", "data", {"stack-name-own"}),
    (PASSWORD, "length", 8, {"random-password-long"}),
    (PASSWORD, "special", True, {"random-password-url-safe"}),
    (PROJECT, "gitForkProtection", False, {"vercel-project-forks-asked"}),
    (PROJECT, "vercelAuthentication", {"deploymentType": "none"}, {"vercel-project-deployments-authenticated"}),
    (RECORD, "name", "*.example.com", {"cloudflare-record-name-exact", "stack-ingress-host-recorded", "stack-record-routed"}),
    (TUNNEL, "configSrc", "local", {"cloudflare-tunnel-managed-remotely"}),
    (TUNNEL, "name", "skyvern", {"stack-name-own"}),
    (VARIABLE, "targets", ["production", "preview", "development"], {"vercel-variable-targets-chosen"}),
    (VOLUME, "name", "data", {"stack-name-own"}),
]


@one_in(8)
@given(raw=STACK_FILES, stack=st.sampled_from(["dev", "prod", "eu-west"]))
def test_every_valid_stack_file_gives_a_program_without_a_violation(raw: dict[str, Any], stack: str) -> None:
    # Its owner names it in levels.yaml.
    assume("connector_image" not in raw.get("edge", {}))
    sent = registered(program.run(parse(raw, file="x", secret_keys=SECRETS), stack=stack))
    debug = raw.get("server", {}).get("log_level") == "DEBUG" and stack != "dev"
    assert broken(judge(sent, stack=stack)) == (["docker-container-log-level-quiet"] if debug else [])


@one_in(4)
@given(raw=STACK_FILES, data=st.data(), case=st.sampled_from(BREAKS))
def test_one_broken_property_is_named(raw: dict[str, Any], data: st.DataObject, case: tuple[str, str, Any, set[str]]) -> None:
    type_, property_, value, rules = case
    assume("connector_image" not in raw.get("edge", {}))
    sent = registered(program.run(parse(raw, file="x", secret_keys=SECRETS)))
    places = [n for n, one in enumerate(sent) if one.type == type_]
    assume(places)
    index = data.draw(st.sampled_from(places))
    # Of variables at Vercel, those with a secret break one rule more; of records, those that lead into the tunnel.
    assume(type_ != VARIABLE or not sent[index].inputs.get("sensitive"))
    assume(type_ != RECORD or "cfargotunnel" in str(sent[index].inputs.get("content")))
    # The one container that may have the host's network, root and NET_ADMIN, by name (policy/levels.yaml).
    granted = {"capabilities", "networkMode", "user"}
    assume(not (type_ == CONTAINER and property_ in granted and sent[index].name.endswith("-firewall-nft")))
    # The backup has a share in place of a limit.
    assume(not (property_ == "cpus" and "cpuShares" in sent[index].inputs))
    # The organisation's id is a RandomPassword and no secret.
    assume(not (property_ == "length" and sent[index].name.endswith("-organization")))
    inputs = {key: item for key, item in sent[index].inputs.items() if key != property_}
    sent[index] = replace(sent[index], inputs=inputs if value is REMOVED else {**inputs, property_: value})
    reports = [one for one in judge(sent, stack="dev") if one.level == "mandatory"]
    assert set(broken(reports)) == rules
    # A record that is gone is told at its ingress rule, too.
    assert all(sent[index].name in one.message or one.rule.name == "stack-ingress-host-recorded" for one in reports)

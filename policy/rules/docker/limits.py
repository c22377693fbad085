"""Limits, health, restarts and logs of a container."""

import json

from ..containers import SERVICE, container_property_rule, container_rule, either, program_property_rule, program_rule, spec
from ..framework.property import Expect, on
from ..framework.rule import Finding, Findings, Parameters, Resource
from . import LIMITS_URL

memory_limited = program_property_rule(
    "docker-container-memory-limited",
    "memory",
    Expect(lambda memory: (memory or 0) > 0, why="one container can starve the host", write="a limit"),
    reads=either("memory", "taskSpec.resources.limits.memoryBytes"),
    description="A container has a memory limit",
    severity="medium",
    remediation="Set memory, in MiB; of a service resources.limits.memoryBytes, in bytes.",
    url=LIMITS_URL + "#memory",
    cis=("5.11",),
    kics=("bb9ac4f7",),
)


@container_rule(
    "docker-container-swap-limited",
    "memorySwap",
    description="Swap does not extend the memory limit",
    severity="low",
    remediation="Set memorySwap to the value of memory.",
    url=LIMITS_URL + "#--memory-swap-details",
    cis=("5.11",),
)
def swap_limited(container: Resource, parameters: Parameters) -> Findings:
    memory = container.inputs.get("memory", 0)
    if memory > 0 and container.inputs.get("memorySwap", 0) != memory:
        yield Finding(path="memorySwap", why="as much again goes to swap, and the host crawls", write="the value of memory")


@program_rule(
    "docker-container-cpu-limited",
    "cpus",
    description="A container has a limit or a share of the processors",
    severity="low",
    remediation='Set cpus, "1.0".',
    url=LIMITS_URL + "#cpu",
    cis=("5.12",),
    kics=("6b610c50",),
)
def cpu_limited(container: Resource, parameters: Parameters) -> Findings:
    inputs = container.inputs
    if container.type == SERVICE:
        if not inputs.section("taskSpec").section("resources").section("limits").get("nanoCpus"):
            why = "one container can take every processor"
            yield Finding(path="taskSpec.resources.limits.nanoCpus", why=why, write="billionths of a processor: 1000000000")
        return
    if not any(float(inputs.get(key, 0) or 0) > 0 for key in ("cpus", "cpuQuota", "cpuShares")):
        yield Finding(path="cpus", why="one container can take every processor", write='a number, for example "1.0"')


@program_rule(
    "docker-container-health-checked",
    "healthcheck.tests",
    description="A container has a health check",
    severity="medium",
    remediation='Set healthcheck.tests, ["CMD", program, arguments].',
    url="https://docs.docker.com/reference/dockerfile/#healthcheck",
    cis=("5.27", "4.6"),
    kics=("698ed579",),
)
def health_checked(container: Resource, parameters: Parameters) -> Findings:
    tests = spec(container).section("healthcheck").whole("tests")
    if len(tests) < 2 or tests[0] == "NONE":
        path = "taskSpec.containerSpec.healthcheck.tests" if container.type == SERVICE else "healthcheck.tests"
        yield Finding(path=path, why="it can hang unnoticed", write='["CMD", program, arguments]')


health_awaited = container_property_rule(
    "docker-container-health-awaited",
    "wait",
    Expect(on, why="an update succeeds with a broken container", write="wait=True"),
    description="An update waits until a container is healthy",
    severity="medium",
    remediation="Set wait=True and waitTimeout.",
    url="https://www.pulumi.com/registry/packages/docker/api-docs/container/#wait_python",
)


@container_rule(
    "docker-container-restarted",
    "restart",
    description="A container is restarted after a crash and a reboot, by an allowed policy",
    severity="low",
    remediation='Set restart="unless-stopped".',
    url="https://docs.docker.com/engine/containers/start-containers-automatically/",
    cis=("5.15",),
    kics=("2fc99041",),
    parameters={"allowed": ["unless-stopped", "on-failure"]},
)
def restarted(container: Resource, parameters: Parameters) -> Findings:
    if container.inputs.get("restart", "no") not in parameters["allowed"]:
        yield Finding(path="restart", why="the policy is not allowed", write=" or ".join(map(json.dumps, parameters["allowed"])))


@program_rule(
    "docker-container-logs-rotated",
    "logOpts",
    description="A container's log is rotated",
    severity="low",
    remediation='Set logDriver="json-file" and logOpts={"max-size": "10m", "max-file": "3"}, or logDriver="local".',
    url="https://docs.docker.com/engine/logging/drivers/json-file/",
)
def logs_rotated(container: Resource, parameters: Parameters) -> Findings:
    if container.type == SERVICE:
        log = container.inputs.section("taskSpec").section("logDriver")
        path, driver, options = "taskSpec.logDriver.options", log.get("name", "json-file"), log.section("options")
    else:
        path, options = "logOpts", container.inputs.section("logOpts")
        driver = container.inputs.get("logDriver", "json-file")
    # The local driver rotates by itself; what goes elsewhere does not fill this disk.
    if driver == "json-file" and not options.get("max-size"):
        yield Finding(path=path, why="the log grows until the disk is full", write='{"max-size": "10m", "max-file": "3"}')

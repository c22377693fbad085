"""A container is replaced without a gap: the new one is healthy before the old one goes.

A name belongs to one container at a time, so the old one gives its name away before the new one is made. Pulumi knows it by its
id and removes it at the end of the update. Both have the alias on their networks until then: whoever dials it takes the next
address where the first one refuses (Go's net.Dial, Chromium and Python's asyncio do).

Not for a container that publishes a port, or needs a volume for itself: two cannot.
"""

import json
import os
import subprocess

import pulumi

# Of a container that did not become healthy: its end says why.
LOG_LINES = 20
# Of the generated ones, the shortest has 17 characters (components/secrets.py).
SHORTEST_SECRET = 8


class Handover:
    """From the old container of a name to the new one. host: address of the daemon, as its provider has it."""

    def __init__(self, container: str, host: pulumi.Output[str | None]) -> None:
        self.container = container
        self.host = host
        # The name that the old one has meanwhile; empty where there is none.
        self.aside = ""

    def hooks(self, resource: str) -> pulumi.ResourceHookBinding:
        """For the options of the new container. resource: its logical name."""
        return pulumi.ResourceHookBinding(
            before_create=[pulumi.ResourceHook(f"{resource}-rename", self.rename)],
            on_error=[pulumi.ErrorHook(f"{resource}-take-back", self.take_back)],
        )

    async def rename(self, _: pulumi.ResourceHookArgs) -> None:
        """Frees the name; RuntimeError where Docker refuses."""
        host = await self._address()
        try:
            identifier = self._identifier(host)
        except (OSError, RuntimeError) as failed:
            # Whether the name is taken is what the provider finds out, and what it says then.
            pulumi.log.debug(f"{self.container}: {failed}")
            return
        if identifier:
            aside = f"{self.container}-{identifier}"
            _docker(host, "rename", self.container, aside)
            self.aside = aside

    async def take_back(self, failed: pulumi.ErrorHookArgs) -> bool:
        """Removes a new one that did not become healthy and gives the old one its name back; False, so nothing is tried again."""
        if not self.aside or failed.failed_operation != "create":
            return False
        host = await self._address()
        # Docker may have refused to make it.
        if self._identifier(host):
            said = _docker(host, "logs", "--tail", str(LOG_LINES), self.container)
            said = _without_values(said, host, self.container)
            pulumi.log.error(f"the new {self.container} did not become healthy, and the old one goes on; what it said:\n{said}")
            _docker(host, "rm", "--force", self.container)
        _docker(host, "rename", self.aside, self.container)
        return False

    def _identifier(self, host: str) -> str:
        """Of the container that has the name; "" where none has it."""
        return _docker(host, "ps", "--all", "--quiet", "--filter", f"name=^{self.container}$").strip()

    async def _address(self) -> str:
        host = await self.host.future()
        if not host:
            raise ValueError("the provider has no address of a daemon")
        return host


def _without_values(text: str, host: str, container: str) -> str:
    """Text without what the container's environment holds: a message about a configuration may quote a secret of it."""
    for variable in json.loads(_docker(host, "inspect", "--format", "{{json .Config.Env}}", container)) or []:
        key, _, value = variable.partition("=")
        if len(value) >= SHORTEST_SECRET:
            text = text.replace(value, f"(value of {key})")
    return text.rstrip()


def _docker(host: str, *arguments: str) -> str:
    """What a command on a daemon prints, both streams; RuntimeError where it fails."""
    # Without what would choose another daemon, or TLS for this one.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("DOCKER_")}
    done = subprocess.run(
        ["docker", "--host", host, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"docker {arguments[0]} on {host}: {done.stdout.strip()}")
    return done.stdout

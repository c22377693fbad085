"""Ollama: a language model on this host, and the container that fetches it."""

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from components.endpoints import OLLAMA_PORT
from components.host import outgoing
from components.host.network import Addressing, bridge
from components.host.service import HardenedService, Health, Mount, ServiceArgs
from components.host.volumes import local_volume
from components.settings import HostSettings, OllamaLlm

# User and group in the image; the models folder belongs to both.
USER = "10004:10004"
MODELS_FOLDER = "/models"
# How long a ``pulumi up`` waits for a download before it lets it continue alone: 5 GB at 35 Mbit/s.
FIRST_TRY_SECONDS = 1200


@dataclass(frozen=True, kw_only=True)
class OllamaArgs:
    """Inputs of Ollama.

    image: ours, by the hash of its context. after: another network of the server, see ``bridge``.
    host: for the way of the download (host/outgoing.py).
    """

    addressing: Addressing
    after: pulumi.Resource
    image: str
    settings: OllamaLlm
    host: HostSettings


class Ollama(pulumi.ComponentResource):
    """Ollama on an internal network, without a published port, and the pull container that fills its models volume.

    Ollama has no login, and pulls whatever a caller names. So the server that Skyvern reaches has no egress and mounts the models
    read-only, and the container with egress answers no one.

    Nothing waits for the model. The pull container is healthy once its first try has ended, well or not, and tries again by
    itself: a model that cannot be fetched stops AI steps, not the stack. Its log and ``ops smoke`` report that it is missing.

    ``network``: internal; Skyvern joins it and finds the server as ``ollama``. ``inner``, ``outward``: Docker's ids of the two
    networks, by part. ``containers``: part to name, once ``start`` has made them behind the firewall that guards the networks.
    Not here: removing a model that the stack file no longer names (docs/llm.md).
    """

    def __init__(self, name: str, args: OllamaArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:Ollama", name, None, opts)
        self._name, self._args = name, args
        # Models can be fetched again, so the volume is not protected.
        self._models = local_volume(f"{name}-models", args.addressing.prefix, "models", self)
        llm = bridge(f"{name}-llm", args.addressing, "llm", self, after=args.after)
        models = bridge(f"{name}-models", args.addressing, "models", self, internal=False)
        self.network, self._models_network = llm.name, models.name
        self.inner, self.outward = {"llm": llm.id}, {"models": models.id}
        self.containers: dict[str, pulumi.Output[str]] = {}
        self.register_outputs({})

    def start(self, after: Sequence[pulumi.Resource]) -> None:
        """Makes the two containers. after: resources that have to exist first."""
        name, args, settings, models = self._name, self._args, self._args.settings, self._models
        server = HardenedService(
            f"{name}-server",
            ServiceArgs(
                part="ollama",
                prefix=args.addressing.prefix,
                image=args.image,
                user=USER,
                command=["ollama", "serve"],
                environment={
                    # Skyvern sends no context length, and Ollama's own default cuts a page off silently.
                    "OLLAMA_CONTEXT_LENGTH": str(settings.context_length),
                    "OLLAMA_KEEP_ALIVE": settings.keep_alive,
                    # Each concurrent request takes its own context, and 0.7 would reserve two.
                    "OLLAMA_NUM_PARALLEL": "1",
                },
                networks=[self.network],
                mounts=[Mount(volume=models, path=MODELS_FOLDER, read_only=True)],
                memory_mib=settings.memory_mib,
                cpus=settings.cpus,
                gpu=settings.gpu,
                health=Health(command=["ollama", "list"], start_seconds=60),
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=after),
        )
        pull = HardenedService(
            f"{name}-pull",
            ServiceArgs(
                part="ollama-pull",
                prefix=args.addressing.prefix,
                image=args.image,
                user=USER,
                command=outgoing.with_certificates(args.host, ["ollama-pull"]) or ["ollama-pull"],
                environment={
                    **outgoing.pull_environment(args.host),
                    "FIRST_TRY_SECONDS": str(FIRST_TRY_SECONDS),
                    # It shares a network with the internet only, and serves nothing but itself.
                    "OLLAMA_HOST": f"127.0.0.1:{OLLAMA_PORT}",
                    "OLLAMA_MODEL": settings.model,
                },
                networks=[self._models_network],
                mounts=[Mount(volume=models, path=MODELS_FOLDER)],
                memory_mib=1024,
                cpus=1,
                health=Health(command=["test", "-e", "/tmp/first-try-over"], start_seconds=FIRST_TRY_SECONDS),  # noqa: S108
                # A download continues where it was stopped.
                stop_seconds=2,
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=after),
        )
        self.containers = {"ollama": server.container_name, "ollama-pull": pull.container_name}

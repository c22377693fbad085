"""ngrok: one host for UI and API, by an agent that dials out. Not here: the account, which nothing manages."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi

from components.endpoints import GATEWAY_URL
from components.host.service import DockerEngine, Engine, HardenedService, Health, ServiceArgs
from components.host.volumes import STARTED_FOLDER, started_mount
from components.settings import NgrokEdge

API = "127.0.0.1:4040"
# Where ngrok writes the client's address (its documentation, "HTTP endpoints: upstream headers").
CLIENT_HEADER = "X-Forwarded-For"

# The public image's own entry point writes the token into a file, which a read-only root refuses; the agent takes it from the
# environment by itself.
_START = 'printf "%s\\n" "$1" > /tmp/ngrok.yml && exec ngrok start --all --config /tmp/ngrok.yml --log stdout --log-format json'
_MARKED_START = f"touch {STARTED_FOLDER}/at; {_START}"
# Alpine's variant of the image has wget, Debian's has bash. Since 3.1.1 the agent refuses a request whose Host is not loopback's;
# endpoints are listed since 3.30, and tunnels, of which earlier ones make them, no longer in all of its versions.
_HEALTH = f"""
ask() {{
  wget -q -O - "http://{API}/api/$1" || bash -c '
    exec 3<> /dev/tcp/{API.replace(":", "/")} &&
      printf "GET /api/%s HTTP/1.0\\r\\nHost: {API}\\r\\n\\r\\n" "$0" >&3 && cat <&3' "$1"
}}
for kind in endpoints tunnels; do
  ask "$kind" 2> /dev/null | grep -q -F "$0" && exit 0
done
exit 1
"""


def agent_config(domain: str, proxy: str | None = None) -> str:
    """The agent's configuration, version 3: one endpoint to the gateway; the token is not in it. proxy: a company's."""
    way = "" if proxy is None else f"  proxy_url: {proxy}\n"
    return f"""\
version: 3
agent:
  update_check: false
  web_addr: {API}
{way}\
endpoints:
  - name: skyvern
    url: https://{domain}
    upstream:
      url: {GATEWAY_URL}
"""


@dataclass(frozen=True, kw_only=True)
class NgrokAgentArgs:
    """image: with the agent, by digest. networks: tunnel (the internet), edge (the gateway). proxy: a company's, or None.

    monitored: the monitor counts its starts. engine: what runs it.
    """

    prefix: str
    image: str
    settings: NgrokEdge
    networks: Sequence[pulumi.Input[str]]
    proxy: str | None = None
    monitored: bool = False
    engine: Engine = field(default_factory=DockerEngine)


class NgrokAgent(pulumi.ComponentResource):
    """ngrok's agent, healthy once its endpoint is online. The gateway answers to the endpoint's host alone."""

    def __init__(self, name: str, args: NgrokAgentArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        # Of edge, where it was declared at first: with another type token its container would be replaced.
        super().__init__("skyvern:edge:NgrokAgent", name, None, opts)
        self.started = started_mount(name, args.prefix, "ngrok", self) if args.monitored else None
        url = f"https://{args.settings.domain}"
        service = HardenedService(
            f"{name}-agent",
            ServiceArgs(
                # Not the name of Cloudflare's connector, which still exists while a stack changes from one to the other.
                part="ngrok",
                prefix=args.prefix,
                image=args.image,
                user="10005:10005",
                entrypoint=["sh", "-c"],
                command=[
                    _START if self.started is None else _MARKED_START,
                    "ngrok-start",
                    agent_config(args.settings.domain, args.proxy),
                ],
                environment={
                    "HOME": "/tmp",  # noqa: S108  # the container's own tmpfs
                    "NGROK_AUTHTOKEN": pulumi.Output.secret(args.settings.authtoken.get_secret_value()),
                },
                networks=args.networks,
                mounts=[] if self.started is None else [self.started],
                memory_mib=args.settings.memory_mib,
                cpus=1,
                health=Health(command=["sh", "-c", _HEALTH, url], start_seconds=60),
                engine=args.engine,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.part = "ngrok"
        self.container_name = service.container_name
        self.register_outputs({})

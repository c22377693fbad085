"""A stack behind the stand-in of Cloudflare, and what people and programs outside see of it.

Real are Pulumi's engine, Docker, the gateway, Skyvern and all commands. Stand-ins are the APIs of Cloudflare and Vercel
(lab/standins/providers), the edge and the connector (lab/standins/edge, connector), which dials out as cloudflared does.
"""

import base64
import http.client
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
from ruamel.yaml import YAML

from lab.standins.edge import Edge
from lab.standins.providers import World, cloudflare, install, vercel
from lab.workspace import free_port
from ops.observe.smoke.site import Site
from ops.stack.outputs import Outputs, parse
from tests.host.conftest import Checkout
from tests.support import security_table as table

DOMAIN = "example.com"
# Connections of a connector.
TUNNEL_PARTS = 4


@dataclass(frozen=True)
class Internet:
    """What stands for it. checkout: its commands find the stand-ins and the public names."""

    checkout: Checkout
    world: World
    edge: Edge


@contextmanager
def internet_of(checkout: Checkout, folder: Path) -> Iterator[Internet]:
    """Cloudflare and Vercel, for the stacks of a checkout whose engine is there."""
    world = cloudflare.new_world(folder / "world.json", domain=DOMAIN)
    vercel.add_account(world)
    asked = checkout.run(".venv/bin/python", "-c", "from ops.machine import engine; print(engine.record_file())")
    record = Path(asked.stdout.strip())
    before = record.read_text()
    found = json.loads(before)
    official = Path(found["pulumi_home"] or f"{checkout.environment['HOME']}/.pulumi")
    home = install(folder / "home", official, "cloudflare", "vercel")
    # As a CLI of the user's own with all plugins, so that script/up decides for it, too.
    programs = folder / "bin"
    programs.mkdir()
    for program in Path(found["bin_dir"]).iterdir():
        (programs / program.name).symlink_to(program)
    record.write_text(json.dumps({**found, "kind": "path", "bin_dir": str(programs), "pulumi_home": None, "forced": False}))
    own = {"PATH": f"{programs}:{checkout.environment['PATH']}", "PULUMI_HOME": str(home)}
    try:
        with Edge(world, folder / "edge") as edge:
            variables = {**checkout.environment, **own, **world.variables(), **edge.variables()}
            yield Internet(replace(checkout, environment=variables), world, edge)
    finally:
        record.write_text(before)


@dataclass
class Public:
    """A stack with public names.

    checkout: has the daemon of the stack. edge_address: where its connector finds the edge, an entry of ``edge.allow``. image: of
    the connector. cell: its name in the stack file. recording: path of one that was made there.
    """

    internet: Internet
    checkout: Checkout
    stack: str
    edge_address: str
    image: str
    cell: str | None = None
    recording: str = ""

    @property
    def prefix(self) -> str:
        """Of its names."""
        return f"skyvern-{self.stack}"

    def host(self, name: str) -> str:
        """The public name of this stack for one of the security table's."""
        return f"{self.cell}-{name}" if self.cell and name.endswith(f".{DOMAIN}") else name

    def origin(self, value: str) -> str:
        """A header's value, with the origins of this stack in the place of the table's."""
        scheme, found, host = value.partition("https://")
        return f"{scheme}{found}{self.host(host)}" if found and not scheme else value

    def write(self, edge: Mapping[str, object] | None = None, **sections: Mapping[str, object] | None) -> None:
        """The stack file, with the vendors' tokens encrypted and the epochs that it has. edge: more of its section."""
        file = self.checkout.root / f"Pulumi.{self.stack}.yaml"
        before = YAML().load(file).get("config", {}) if file.exists() else {}
        named: dict[str, object] = {
            "provider": "cloudflare",
            "domain": DOMAIN,
            "connector_image": self.image,
            "allow": [self.edge_address],
            **({"cell": self.cell} if self.cell else {}),
            **(edge or {}),
        }
        rotation = before.get("skyvern:rotation")
        self.checkout.write_stack(self.stack, port=free_port(), edge=named, rotation=rotation, **sections)
        tokens = {"edge": cloudflare.TOKEN} | ({"frontend": vercel.TOKEN} if sections.get("frontend") else {})
        for section, token in tokens.items():
            self.checkout.pulumi(f"config set --secret --path skyvern:{section}.api_token {token} -s {self.stack}")

    def up(self) -> None:
        """Deploys it; AssertionError if a second plan is not empty."""
        self.checkout.pulumi(f"up --yes --skip-preview -s {self.stack}")
        self.expect_no_changes()

    def expect_no_changes(self) -> None:
        """AssertionError if a plan is not empty."""
        self.checkout.pulumi(f"preview --expect-no-changes -s {self.stack}")

    def destroy(self) -> None:
        """Removes the stack, with its data and its file."""
        self.checkout.pulumi(f"state unprotect --all --yes -s {self.stack}")
        # With a connector on it, the tunnel would not go (1022).
        self.checkout.pulumi(f"destroy --yes --skip-preview -s {self.stack}")
        self.checkout.pulumi(f"stack rm --yes {self.stack}")
        (self.checkout.root / f"Pulumi.{self.stack}.yaml").unlink(missing_ok=True)

    def outputs(self) -> Outputs:
        """Of the stack, opened."""
        return parse(self.stack, self.checkout.pulumi(f"stack output --json --show-secrets -s {self.stack}").stdout)

    def site(self) -> Site:
        """The stack as ``ops smoke`` sees it, from outside."""
        trusted = ssl.create_default_context(cafile=self.internet.edge.ca_file)
        client = httpx.Client(proxy=self.internet.edge.proxy_url, verify=trusted, timeout=20)
        return Site(self.outputs(), client, self.checkout.docker)

    def connections(self) -> int:
        """Of its connector."""
        return self.internet.edge.connections(self.prefix)

    def line(self, host: str) -> ssl.SSLSocket:
        """A TLS connection to a public name."""
        raw = socket.create_connection(("127.0.0.1", self.internet.edge.https_port), timeout=30)
        # Whoever has no certificate here is asked for by the zone's own.
        name = host if host.endswith(f".{DOMAIN}") else DOMAIN
        return ssl.create_default_context(cafile=self.internet.edge.ca_file).wrap_socket(raw, server_hostname=name)

    def ask(self, host: str, path: str, headers: Mapping[str, str]) -> tuple[int, str]:
        """Status, and what the edge says it did itself."""
        client = http.client.HTTPConnection(host)
        with self.line(host) as line:
            client.sock = line
            client.putrequest("GET", path, skip_host=True, skip_accept_encoding=True)
            for name, value in {"Host": host, **headers}.items():
                client.putheader(name, value)
            client.endheaders()
            answer = client.getresponse()
            return answer.status, answer.headers.get("x-rehearsal", "")

    def answers(self, layout: str) -> list[str]:
        """Rows of the security table that are not answered as it says, with this stack's secrets in the place of the table's."""
        outputs = self.outputs()
        login = f"{outputs.ui_username}:{outputs.ui_password.get_secret_value()}"
        known = {
            table.KEY["X-Api-Key"]: outputs.api_key.get_secret_value(),
            table.GATEWAY_KEY: "" if outputs.gateway_key is None else outputs.gateway_key.get_secret_value(),
            table.LOGIN["Authorization"]: f"Basic {base64.b64encode(login.encode()).decode()}",
        }
        wrong = []
        for row, host, path, headers, wanted in table.WHO_GETS_WHAT:
            if row != layout or (host == table.APP and layout == "vercel"):
                continue
            name = self.host(host)
            real = path.replace("apikey=k", f"apikey={known[table.KEY['X-Api-Key']]}")
            real = real.replace(table.RECORDING, f"/artifact/recording?path={self.recording}")
            sent = {header: known.get(value, self.origin(value)) for header, value in headers.items()}
            status, mark = self.ask(name, real, sent)
            # Cloudflare may refuse first, and a host that the gateway does not know has no record.
            refused = wanted >= 400 and (mark.startswith("blocked by ") or (wanted == 421 and mark == "DNS"))
            if status != wanted and not refused:
                wrong.append(f"{name} {path} {sorted(headers)}: {status} {mark}, not {wanted}")
        return wrong

    def token(self) -> str:
        """What the connector's container has."""
        environment: list[str] = self.checkout.docker.inspect(f"{self.prefix}-connector")["Config"]["Env"]
        return next(entry.partition("=")[2] for entry in environment if entry.startswith("TUNNEL_TOKEN="))

    def refusal(self, token: str) -> str:
        """What the edge answers a connector with a token: its word, and why."""
        given = json.loads(base64.b64decode(token))
        with socket.create_connection(("127.0.0.1", self.internet.edge.connector_port), timeout=20) as line:
            hello = {"kind": "register", "connector": "x", "account": given["a"], "tunnel": given["t"], "secret": given["s"]}
            line.sendall(json.dumps(hello).encode() + b"\n")
            answer: dict[str, Any] = json.loads(line.makefile().readline())
        return f"{answer['kind']} {answer.get('text', '')}".strip()

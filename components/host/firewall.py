"""The stack's firewall: one nft table on the Docker host that keeps what Docker's own rules promise, and more.

Docker's rules keep networks apart too, but a flush of the rules, a reload of firewalld or another Docker daemon beside this one
removes them unseen, and they let every container reach the host and every neighbour of the host reach every container (before
Docker 28). docs/decisions/firewall.md says why this is a container.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from components.addresses import PRIVATE_IPV4, PRIVATE_IPV6, PUBLIC_IPV6, is_private, network, of_url
from components.host.service import HardenedService, Health, ServiceArgs
from components.settings import (
    THIS_HOST,
    CdpBrowser,
    NgrokEdge,
    NoBackup,
    OllamaLlm,
    OpenAiCompatibleLlm,
    S3Backup,
    S3Storage,
    Settings,
    SftpBackup,
    Tunnel,
    split_destination,
)

# Before Docker's, firewalld's and ufw's (0 and later). Accepting here decides nothing for them; refusing is final.
PRIORITY = -10


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Something that is not public and that one network of the stack may reach by TCP.

    network: its part, ``outgoing``. host: an address, a CIDR or a name; None for the Docker host itself.
    """

    network: str
    host: str | None
    port: int

    def __str__(self) -> str:
        return f"{self.network} to {self.host or 'this host'}, port {self.port}"


def destinations(settings: Settings) -> list[Destination]:
    """The destinations in the stack file: the lists ``allow``, and what others imply (a model, mail, backups, a database)."""
    lists = {
        "outgoing": [*settings.server.allow, *settings.browser.allow],
        "tunnel": settings.edge.allow if isinstance(settings.edge, Tunnel) else [],
        "alerts": settings.monitor.allow,
    }
    reachable = {
        Destination(network=part, host=None if host == THIS_HOST else host, port=port)
        for part, entries in lists.items()
        for host, port in map(split_destination, entries)
    }
    urls = [("outgoing", settings.llm.base_url)] if isinstance(settings.llm, OpenAiCompatibleLlm) else []
    if isinstance(settings.storage, S3Storage) and settings.storage.endpoint is not None:
        urls.append(("outgoing", settings.storage.endpoint))
    if isinstance(settings.backup, S3Backup) and settings.backup.endpoint is not None:
        urls.append(("backup", settings.backup.endpoint))
    if isinstance(settings.browser, CdpBrowser):
        # Skyvern asks Chrome at the first, and continues at the second.
        hosts = [settings.browser.url, *([f"http://{settings.browser.host_header}"] if settings.browser.host_header else [])]
        urls += [("outgoing", url) for url in hosts]
    if settings.host.proxy is not None:
        # A company's, from every network whose containers use it.
        ollama, ngrok = isinstance(settings.llm, OllamaLlm), isinstance(settings.edge, NgrokEdge)
        users = (
            "outgoing",
            *(["models"] if ollama else []),
            *(["tunnel"] if ngrok else []),
            *(["alerts"] if settings.monitor.sends else []),
        )
        urls += [(part, settings.host.proxy) for part in users]
    implied = [(part, *of_url(url)) for part, url in urls]
    if settings.smtp.host is not None:
        implied.append(("outgoing", settings.smtp.host, settings.smtp.port))
    if settings.database.address is not None:
        users = (
            *("database", "outgoing"),
            *(["alerts"] if settings.monitor.enabled else []),
            *([] if isinstance(settings.backup, NoBackup) else ["backup"]),
        )
        implied += [(part, settings.database.address.host, settings.database.address.port) for part in users]
    if isinstance(settings.backup, SftpBackup):
        implied.append(("backup", settings.backup.host, settings.backup.port))
    for part, host, port in implied:
        address = network(host)
        # A name may lead to a private address, so the firewall looks it up.
        if address is None or is_private(address):
            reachable.add(Destination(network=part, host=host, port=port))
    return sorted(reachable, key=str)


def bridge_name(network_id: str) -> str:
    """The interface on the host of a Docker network."""
    return f"br-{network_id[:12]}"


def named(bridges: Mapping[str, str], reachable: Sequence[Destination]) -> list[str]:
    """``BRIDGE HOST PORT`` for each destination that has a name; firewall-start looks them up."""
    return [
        f"{bridges[to.network]} {to.host} {to.port}"
        for to in reachable
        if to.network in bridges and to.host is not None and network(to.host) is None
    ]


def ruleset(table: str, inner: Mapping[str, str], outward: Mapping[str, str], reachable: Sequence[Destination]) -> str:
    """The rules as text for ``nft -f``, which replaces the table at once.

    inner, outward: network's part -> its interface; a container on an inner network reaches nothing beyond it.
    """
    bridges = {**inner, **outward}
    accepted = [(to, bridges[to.network]) for to in reachable if to.network in bridges]
    addresses = [
        f"""\
		iifname "{bridge}" {"ip" if address.version == 4 else "ip6"} daddr {address} tcp dport {to.port} accept \
comment "{to}\""""
        for to, bridge in accepted
        if to.host is not None and (address := network(to.host)) is not None
    ]
    services = [f'\t\tiifname "{bridge}" tcp dport {to.port} accept comment "{to}"' for to, bridge in accepted if to.host is None]
    within = [f'\t\tiifname "{bridge}" oifname "{bridge}" accept comment "{part}"' for part, bridge in sorted(bridges.items())]
    lines = [
        # So that the table exists when it is deleted.
        f"table inet {table}",
        f"delete table inet {table}",
        f"table inet {table} {{",
        "\tset bridges {",
        "\t\ttype ifname",
        f"\t\telements = {{ {_quoted(bridges)} }}",
        "\t}",
        "\tset outward {",
        "\t\ttype ifname",
        f"\t\telements = {{ {_quoted(outward)} }}",
        "\t}",
        "\tset private {",
        "\t\ttype ipv4_addr; flags interval",
        f"\t\telements = {{ {', '.join(PRIVATE_IPV4)} }}",
        "\t}",
        "\tset private6 {",
        "\t\ttype ipv6_addr; flags interval",
        f"\t\telements = {{ {', '.join(PRIVATE_IPV6)} }}",
        "\t}",
        # An answer at once: a refused program fails instead of hanging.
        "\tchain refuse {",
        "\t\treject with icmpx type admin-prohibited",
        "\t}",
        # firewall-start adds the addresses of names.
        "\tchain named {",
        "\t}",
        "\tchain allowed {",
        *addresses,
        "\t\tjump named",
        # Docker's resolver asks the host's name servers out of the container's own network. They are often private, another
        # program's business (systemd-resolved, WSL, a cloud's metadata address) and change with the network, so: any.
        '\t\tiifname @outward meta l4proto { tcp, udp } th dport 53 accept comment "name servers"',
        "\t}",
        "\tchain forward {",
        f"\t\ttype filter hook forward priority {PRIORITY}; policy accept;",
        "\t\tiifname != @bridges oifname != @bridges accept",
        *within,
        "\t\tiifname @bridges oifname @bridges jump refuse",
        # Not "established" alone: a container's connection is judged at each packet, also a connection from before.
        "\t\tct direction reply ct state established,related accept",
        '\t\tiifname != @bridges drop comment "from outside to a container"',
        "\t\tiifname != @outward jump refuse",
        "\t\tjump allowed",
        "\t\tip daddr @private jump refuse",
        f"\t\tip6 daddr != {PUBLIC_IPV6} jump refuse",
        "\t\tip6 daddr @private6 jump refuse",
        "\t}",
        "\tchain input {",
        f"\t\ttype filter hook input priority {PRIORITY}; policy accept;",
        "\t\tiifname != @bridges accept",
        "\t\tct direction reply ct state established,related accept",
        *services,
        "\t\tjump allowed",
        "\t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
        "\t\tjump refuse",
        "\t}",
        "}",
    ]
    return "\n".join(lines)


def _quoted(bridges: Mapping[str, str]) -> str:
    return ", ".join(f'"{bridge}"' for bridge in sorted(bridges.values()))


@dataclass(frozen=True, kw_only=True)
class FirewallArgs:
    """Inputs of the firewall.

    image: the egress proxy's, which has nft. inner, outward: network's part -> Docker's id of the network.
    reachable: exceptions, from the stack file.
    """

    prefix: str
    image: str
    inner: Mapping[str, pulumi.Input[str]]
    outward: Mapping[str, pulumi.Input[str]]
    reachable: Sequence[Destination]


class Firewall(pulumi.ComponentResource):
    """A container that keeps the stack's nft table in force, and is healthy while it is.

    The only container that is root, has a capability (NET_ADMIN) and is on the host's network; it listens on nothing and has
    nothing mounted. What it guards depends on it, so it starts first and is removed last: then it removes the table as well. A
    stop by hand or an update leaves the rules in place.
    Not here: Docker's own rules, which stay as they are.
    """

    def __init__(self, name: str, args: FirewallArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:Firewall", name, None, opts)
        table = args.prefix

        def arguments(ids: Mapping[str, Mapping[str, str]]) -> list[str]:
            inner, outward = ({part: bridge_name(ids[kind][part]) for part in ids[kind]} for kind in ("inner", "outward"))
            return [ruleset(table, inner, outward, args.reachable), *named(outward, args.reachable)]

        ids = pulumi.Output.all(inner=pulumi.Output.all(**args.inner), outward=pulumi.Output.all(**args.outward))
        count = len(named(dict.fromkeys(args.outward, ""), args.reachable))
        rendered = ids.apply(arguments)
        service = HardenedService(
            f"{name}-nft",
            ServiceArgs(
                part="firewall",
                prefix=args.prefix,
                image=args.image,
                # Root, because no-new-privileges keeps a program of another user from getting the capability.
                user="0:0",
                filters_packets=True,
                command=["firewall-start", table, *(rendered[index] for index in range(1 + count))],
                networks=[],
                memory_mib=64,
                cpus=0.25,
                health=Health(command=["firewall-healthy", table], start_seconds=15),
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.container_name = service.container_name
        self.register_outputs({})

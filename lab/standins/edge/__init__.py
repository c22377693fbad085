"""A stand-in of Cloudflare's edge on this machine: what a world's records, rules and tunnels make of a request from outside.

    with Edge(world, folder) as edge:
        image = connector.ensure_image(docker, edge.connector_port)   # for edge.connector_image in the stack file
        ...                                                           # up
        httpx.get("https://app.example.com/", ...)                    # in a process with edge.variables() in its environment

Names lead where the world's records say: a proxied CNAME to a tunnel goes through the zone's settings, firewall, rate limits and
Access, then by the tunnel's ingress rules through one of its connectors (lab/standins/connector) to the origin. As at Cloudflare,
it answers 530 with 1033 where no connector is connected, and 502 where the origin does not answer. A CNAME to another target goes
to the address in ``origins``; at its own name Cloudflare's API answers the questions of ``ops`` (api.py); any other name does not
resolve. A connector is let in by its token as the world knows it. As long as it is there, the world refuses to delete its tunnel
(1022).
"""

from lab.standins.edge.server import Edge, client_variables

__all__ = ["Edge", "client_variables"]

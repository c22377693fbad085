"""The gateway: the only door of the stack, and what it answers to whom.

``caddyfile`` is a pure function of the endpoints; secrets reach Caddy as environment variables, which it fills in when it reads
the file. The same rules hold behind every edge, so they are tested on loopback.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pulumi

from components import endpoints
from components.endpoints import Endpoints
from components.host.service import HardenedService, Health, ServiceArgs

UI_USER = "skyvern"
HEALTH_PORT = 8081

# What one origin's pages may load. No inline script, no other host: the UI's compiled-in analytics end here too.
_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:",
    "media-src 'self' blob:",
    "font-src 'self' data:",
    "worker-src 'self' blob:",
    "frame-src 'self' blob:",
    "manifest-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
)


def content_security_policy(urls: Endpoints) -> str:
    """The UI's policy: it connects to the API, its streams and its artifacts, and to nothing else."""
    hosts = {urls.ui_api_url, urls.wss_origin, urls.artifact_base_url} - {urls.app_url}
    return "; ".join((*_POLICY, " ".join(("connect-src 'self'", *sorted(hosts)))))


def caddyfile(urls: Endpoints, *, client_header: str | None = None) -> str:
    """The gateway's configuration for Caddy 2.10: a site for each host of ``urls``; any other Host gets 421.

    client_header: where the connector writes the client's address. It is believed from the connector's network alone
    (``CONNECTOR_SUBNET``); None where there is no connector.

    Every site hides documentation, schema and internal routes of the API (404).
    """
    sites = "".join(f"\nhttp://{host}:{endpoints.GATEWAY_PORT} {{\n\timport {role}\n}}\n" for host, role in urls.sites.items())
    snippets = "".join(_SNIPPETS[role](urls) for role in sorted({"api", *urls.sites.values()}))
    return f"{_options(client_header)}{_SHARED}{snippets}{sites}"


def _options(client_header: str | None) -> str:
    trusted = (
        ""
        if client_header is None
        else f"""\
		trusted_proxies static {{$CONNECTOR_SUBNET}}
		trusted_proxies_strict
		client_ip_headers {client_header}
"""
    )
    return f"""\
{{
	admin off
	persist_config off
	auto_https off
	# A live view would hold a stopping gateway for ever.
	grace_period 3s
	servers {{
		protocols h1
{trusted}\
	}}
	log {{
		output stdout
		format filter {{
			wrap json
			fields {{
				request>headers delete
				resp_headers delete
				request>uri regexp `\\?.*` ?REDACTED
			}}
		}}
	}}
}}
"""


_SERVER = endpoints.SERVER_URL.removeprefix("http://")
_SHARED = f"""
http://127.0.0.1:{HEALTH_PORT} {{
	bind 127.0.0.1
	respond /healthz 200
}}

(observed) {{
	log
	header -Server
	handle_errors {{
		header -Server
		respond "{{err.status_code}}"
	}}
}}

:{endpoints.GATEWAY_PORT} {{
	import observed
	respond "unknown host" 421
}}

(bare) {{
	# The browser sends the UI's login to its whole origin; it is none of Skyvern's business. Nor is what the edge adds.
	header_up -Authorization
	header_up -Cookie
	header_up -Cf-*
	header_up -X-Gateway-Key
}}

(server) {{
	reverse_proxy {_SERVER} {{
		import bare
		flush_interval -1
	}}
}}

(session) {{
	reverse_proxy {_SERVER} {{
		method POST
		rewrite /api/v1/ui-session
		import bare
		header_up X-Api-Key {{$SKYVERN_API_KEY}}
	}}
}}

(recordings) {{
	@write not method GET HEAD
	respond @write 405

	route /artifact/* {{
		@file {{
			path /artifact/image /artifact/recording /artifact/json /artifact/text
			# As it came: decoded, a name with ? or %25 in it would be taken apart once more.
			vars_regexp file {{http.request.uri.query}} (?:^|&)path=([^&]+)
		}}
		handle @file {{
			rewrite * {{re.file.1}}
			reverse_proxy {endpoints.ARTIFACTS_URL.removeprefix("http://")} {{
				import bare
			}}
		}}
		respond 404
	}}
}}

(stream) {{
	@stream {{
		header Upgrade websocket
		query apikey=*
	}}
	handle @stream {{
		# CORS does not cover WebSockets, so a page of another origin is refused here.
		@strange_page {{
			header Origin *
			not header Origin {{args[0]}}
		}}
		respond @strange_page 403
		import server
	}}
}}
"""


def _api(urls: Endpoints) -> str:
    """By key: an x-api-key header, or ``?apikey=`` on a stream; Skyvern then checks the key. Without one 403, but for the
    heartbeat and CORS preflights, which carry none by design.

    Where the UI is on Vercel, ``/ui-session`` is asked by its middleware, which has logged the person in.
    """
    session = """
		route /ui-session {
			header Cache-Control no-store
			@other_method not method GET
			respond @other_method 405
			@stranger not header X-Gateway-Key {$GATEWAY_KEY}
			respond @stranger 403
			import session
		}
"""
    return f"""
(keyed) {{
	@hidden path /docs /docs/* /redoc /redoc/* /openapi.json /internal/* /api/v1/internal/* /v1/internal/*
	respond @hidden 404

	@api path /api/* /v1/*
	route @api {{
		@heartbeat {{
			method GET HEAD
			path /api/v1/heartbeat
		}}
		handle @heartbeat {{
			import server
		}}
		@preflight {{
			method OPTIONS
			header Origin *
			header Access-Control-Request-Method *
			not header Upgrade *
		}}
		handle @preflight {{
			import server
		}}
		import stream {urls.app_url}
		@keyed header X-Api-Key *
		handle @keyed {{
			import server
		}}
		handle {{
			header Content-Type application/json
			respond `{{"detail":"x-api-key is missing"}}` 403
		}}
	}}
}}

(api) {{
	import observed
	route {{
		import keyed
{session if urls.on_vercel else ""}\
		respond 404
	}}
}}
"""


def _app(urls: Endpoints) -> str:
    """The API as above. Everything else: HTTP basic login. ``/ui-session`` (same origin only) trades it for a session token of an
    hour, so the organisation's key stays here. ``/artifact/*`` reads recordings. The rest is the UI.
    """
    return f"""
(app) {{
	import observed
	route {{
		import keyed

		basic_auth {{
			{UI_USER} {{$UI_PASSWORD_HASH}}
		}}
		# The browser adds the login to requests of foreign pages too; they must not be able to show what they get.
		header Cross-Origin-Resource-Policy same-origin

		route /ui-session {{
			header Cache-Control no-store
			@other_method not method GET
			respond @other_method 405
			# Browsers always send it and no page can forge it; without it, this is no page of ours.
			@unmarked not header Sec-Fetch-Site same-origin
			respond @unmarked 403
			import session
		}}

		import recordings

		header {{
			Content-Security-Policy "{content_security_policy(urls)}"
			Referrer-Policy same-origin
			Permissions-Policy "camera=(), geolocation=(), microphone=()"
			X-Content-Type-Options nosniff
			X-Frame-Options DENY
			Cache-Control "private, no-cache"
		}}

		root * /srv/ui
		# A deep link is the UI's own business; a missing file is a 404 and not a page.
		@deep_link {{
			not path /assets/*
			not path_regexp \\.[A-Za-z0-9]+$
			not file
		}}
		rewrite @deep_link /index.html
		file_server
	}}
}}
"""


def _streams(urls: Endpoints) -> str:
    """Live views, as a WebSocket with a key and nothing else."""
    return f"""
(streams) {{
	import observed
	route {{
		@elsewhere not path /api/v1/stream/* /v1/stream/*
		respond @elsewhere 404
		import stream {urls.app_url}
		respond 403
	}}
}}
"""


def _artifacts(urls: Endpoints) -> str:
    """Recordings for Vercel's middleware, which has logged the person in, and for nobody else."""
    return """
(artifacts) {
	import observed
	route {
		@stranger not header X-Gateway-Key {$GATEWAY_KEY}
		respond @stranger 403
		header Cross-Origin-Resource-Policy same-origin
		import recordings
		respond 404
	}
}
"""


_SNIPPETS: Mapping[str, Callable[[Endpoints], str]] = {"api": _api, "app": _app, "artifacts": _artifacts, "streams": _streams}


@dataclass(frozen=True, kw_only=True)
class GatewayArgs:
    """What the gateway needs.

    image: ours, Caddy and the UI of the server's version. port: on 127.0.0.1 of the host; None behind a connector.
    api_key: the organisation's key, for ``/ui-session``. ui_password_hash: bcrypt. gateway_key: where the UI is on Vercel.
    networks: edge first (the port is published there), app, files.
    connector_subnet: of the edge network, in CIDR form, and client_header: where the connector writes the client's address.
    """

    prefix: str
    image: str
    endpoints: Endpoints
    port: int | None
    api_key: pulumi.Input[str]
    ui_password_hash: pulumi.Input[str]
    networks: list[pulumi.Output[str]]
    gateway_key: pulumi.Input[str] | None = None
    connector_subnet: pulumi.Input[str] | None = None
    client_header: str | None = None


class Gateway(pulumi.ComponentResource):
    """Caddy with the UI, in front of everything. It is not on the network of PostgreSQL."""

    def __init__(self, name: str, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:Gateway", name, None, opts)
        service = HardenedService(
            f"{name}-caddy",
            ServiceArgs(
                part="gateway",
                prefix=args.prefix,
                image=args.image,
                user="10002:10002",
                environment={
                    **({} if args.connector_subnet is None else {"CONNECTOR_SUBNET": args.connector_subnet}),
                    **({} if args.gateway_key is None else {"GATEWAY_KEY": args.gateway_key}),
                    "SKYVERN_API_KEY": args.api_key,
                    "UI_PASSWORD_HASH": args.ui_password_hash,
                    "VITE_API_BASE_URL": args.endpoints.api_base_url,
                    "VITE_ARTIFACT_API_BASE_URL": args.endpoints.artifact_base_url,
                    "VITE_BROWSER_STREAMING_MODE": "cdp",
                    "VITE_WSS_BASE_URL": args.endpoints.wss_base_url,
                },
                networks=args.networks,
                # An argument, because the provider hides an environment with a secret in it: so a preview shows a changed rule.
                command=["gateway-start", caddyfile(args.endpoints, client_header=args.client_header)],
                published_port=None if args.port is None else (args.port, endpoints.GATEWAY_PORT),
                tmpfs={"/srv/ui": 64},
                memory_mib=256,
                cpus=1,
                health=Health(command=["gateway-healthy"], start_seconds=30),
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.container_name = service.container_name
        self.register_outputs({})

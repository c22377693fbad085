"""The gateway: the only door of the stack, and what it answers to whom.

``caddyfile`` is a pure function of the endpoints; secrets reach Caddy as environment variables, which it fills in when it reads
the file. The same rules hold behind every edge, so they are tested on loopback.
"""

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
    hosts = {urls.api_url, f"ws{urls.api_url.removeprefix('http')}", urls.artifact_base_url} - {urls.app_url}
    return "; ".join((*_POLICY, " ".join(("connect-src 'self'", *sorted(hosts)))))


def caddyfile(urls: Endpoints) -> str:
    """The gateway's configuration for Caddy 2.10.

    - Any other Host: 421. Documentation, schema and internal routes of the API: 404.
    - API paths: an x-api-key header, or ``?apikey=`` on a stream; Skyvern then checks the key. Without one 403, but for the
      heartbeat and CORS preflights, which carry none by design.
    - Streams from a page of another origin: 403, because CORS does not cover WebSockets.
    - Everything else: HTTP basic login. ``/ui-session`` (same origin only) trades it for a session token of an hour, so the
      organisation's key stays here. ``/artifact/*`` reads recordings. The rest is the UI.
    """
    return f"""\
{{
	admin off
	persist_config off
	auto_https off
	# A live view would hold a stopping gateway for ever.
	grace_period 3s
	servers {{
		protocols h1
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

http://127.0.0.1:{HEALTH_PORT} {{
	bind 127.0.0.1
	respond /healthz 200
}}

(api) {{
	reverse_proxy {endpoints.SERVER_URL.removeprefix("http://")} {{
		# The browser sends the UI's login to its whole origin; it is none of Skyvern's business.
		header_up -Authorization
		header_up -Cookie
		flush_interval -1
	}}
}}

(login) {{
	basic_auth {{
		{UI_USER} {{$UI_PASSWORD_HASH}}
	}}
}}

:{endpoints.GATEWAY_PORT} {{
	log
	header -Server
	route {{
		@foreign not host {urls.host}
		respond @foreign "unknown host" 421

		@hidden path /docs /docs/* /redoc /redoc/* /openapi.json /internal/* /api/v1/internal/* /v1/internal/*
		respond @hidden 404

		@api path /api/* /v1/*
		route @api {{
			@heartbeat {{
				method GET HEAD
				path /api/v1/heartbeat
			}}
			handle @heartbeat {{
				import api
			}}
			@preflight {{
				method OPTIONS
				header Origin *
				header Access-Control-Request-Method *
				not header Upgrade *
			}}
			handle @preflight {{
				import api
			}}
			@stream {{
				header Upgrade websocket
				query apikey=*
			}}
			handle @stream {{
				@strange_page {{
					header Origin *
					not header Origin {urls.app_url}
				}}
				respond @strange_page 403
				import api
			}}
			@keyed header X-Api-Key *
			handle @keyed {{
				import api
			}}
			handle {{
				header Content-Type application/json
				respond `{{"detail":"x-api-key is missing"}}` 403
			}}
		}}

		import login
		# The browser adds the login to requests of foreign pages too; they must not be able to show what they get.
		header Cross-Origin-Resource-Policy same-origin

		route /ui-session {{
			header Cache-Control no-store
			@other_method not method GET
			respond @other_method 405
			# Browsers always send it and no page can forge it; without it, this is no page of ours.
			@unmarked not header Sec-Fetch-Site same-origin
			respond @unmarked 403
			reverse_proxy {endpoints.SERVER_URL.removeprefix("http://")} {{
				method POST
				rewrite /api/v1/ui-session
				header_up -Authorization
				header_up -Cookie
				header_up X-Api-Key {{$SKYVERN_API_KEY}}
			}}
		}}

		@write not method GET HEAD
		respond @write 405

		route /artifact/* {{
			@file {{
				path /artifact/image /artifact/recording /artifact/json /artifact/text
				query path=*
			}}
			handle @file {{
				rewrite * {{http.request.uri.query.path}}
				reverse_proxy {endpoints.ARTIFACTS_URL.removeprefix("http://")} {{
					header_up -Authorization
					header_up -Cookie
				}}
			}}
			respond 404
		}}

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
	handle_errors {{
		header -Server
		respond "{{err.status_code}}"
	}}
}}
"""


@dataclass(frozen=True, kw_only=True)
class GatewayArgs:
    """What the gateway needs.

    image: ours, Caddy and the UI of the server's version. port: on 127.0.0.1 of the host.
    api_key: the organisation's key, for ``/ui-session``. ui_password_hash: bcrypt.
    networks: edge first (the port is published there), app, files.
    """

    prefix: str
    image: str
    endpoints: Endpoints
    port: int
    api_key: pulumi.Input[str]
    ui_password_hash: pulumi.Input[str]
    networks: list[pulumi.Output[str]]


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
                    "SKYVERN_API_KEY": args.api_key,
                    "UI_PASSWORD_HASH": args.ui_password_hash,
                    "VITE_API_BASE_URL": args.endpoints.api_base_url,
                    "VITE_ARTIFACT_API_BASE_URL": args.endpoints.artifact_base_url,
                    "VITE_BROWSER_STREAMING_MODE": "cdp",
                    "VITE_WSS_BASE_URL": args.endpoints.wss_base_url,
                },
                networks=args.networks,
                # An argument, because the provider hides an environment with a secret in it: so a preview shows a changed rule.
                command=["gateway-start", caddyfile(args.endpoints)],
                published_port=(args.port, endpoints.GATEWAY_PORT),
                tmpfs={"/srv/ui": 64},
                memory_mib=256,
                cpus=1,
                health=Health(command=["gateway-healthy"], start_seconds=30),
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.container_name = service.container_name
        self.register_outputs({})

"""The gateway: the only entrance to the stack, and what it answers to whom.

``caddyfile`` is a pure function of the endpoints; secrets reach Caddy as environment variables, which it fills in when it reads
the file. The same rules apply behind every edge, so they are tested on loopback.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pulumi

from components import endpoints, ui
from components.endpoints import Endpoints
from components.host.service import DockerEngine, Engine, HardenedService, Health, ServiceArgs

HEALTH_PORT = 8081

# Open connections of all clients and of one address, and concurrent requests of one client, counted separately before and after
# the credential. A connection costs the gateway some 40 KiB at most while its request is judged. Behind an edge all connections
# are the connector's.
MAX_CONNECTIONS = 1024
MAX_CONNECTIONS_OF_ADDRESS = 256
MAX_REQUESTS_OF_CLIENT = 100
# A restart of the server takes 20 to 60 (migrations, loading); a request that waits longer gets 502.
SERVER_BACK_SECONDS = 90
# Bodies. A workflow's definition is far below 4 MiB. On top of a file: the other parts of its form.
MAX_BODY = "4MiB"
FORM_MIB = 2
# The routes of Skyvern 1.0.56 that take files, and the recording of a browser session. /agents is another name of /workflows.
_UPLOADS = (
    "(?:upload_file|(?:workflows|agents)/(?:import-pdf|sop-to-blocks)|workflow/copilot/chat-audio"
    "|browser_sessions/[^/]+/process_recording)"
)
# Cheap for Skyvern, and answered to a known key alone.
_KEY_CHECK = f"{SERVER_BACK_SECONDS}s {endpoints.SERVER_URL}/api/v1/models"


def caddyfile(
    urls: Endpoints,
    *,
    client_header: str | None = None,
    code: bool = False,
    upload_mib: int = 30,
    monitor_subnet: str | None = None,
) -> str:
    """The gateway's configuration for the Caddy of images/caddy: a site for each host of ``urls``; any other Host gets 421.

    client_header: where the connector writes the client's address, believed from the connector's network alone
    (``CONNECTOR_SUBNET``); None without a connector.
    code: whether callers may upload code that Skyvern runs; else the routes for it are hidden too.
    upload_mib: largest file that Skyvern takes. monitor_subnet: from where ``/started`` is answered; None without a monitor.

    Every site hides documentation, schema, internal routes and the streams of VNC, which the server does not have (404).
    """
    sites = "".join(f"\nhttp://{host}:{endpoints.GATEWAY_PORT} {{\n\timport {role}\n}}\n" for host, role in urls.sites.items())
    snippets = "".join(_SNIPPETS[role](urls) for role in sorted({"api", *urls.sites.values()}))
    return f"{_options(client_header)}{_shared(urls, code=code, upload_mib=upload_mib, monitor=monitor_subnet)}{snippets}{sites}"


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
		max_header_size 16KiB
		timeouts {{
			read_header 10s
			# Bytes a second at least: a body that trickles would never be idle.
			read_body_idle 30s 1000
			write_idle 1m
			idle 2m
		}}
		listener_wrappers {{
			connections {MAX_CONNECTIONS} {MAX_CONNECTIONS_OF_ADDRESS if client_header is None else 0}
		}}
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


def _elsewhere(urls: Endpoints) -> str:
    """The answer to a Host that has no site. On loopback it is a person's, who forwarded another port or opened 127.0.0.1."""
    if not urls.on_loopback:
        return "error 421"
    port = urls.app_url.rpartition(":")[2]
    return f"""\
header {{
		# There may be a body that was not read.
		Connection close
		Content-Type "text/plain; charset=utf-8"
		Cache-Control no-store
		X-Content-Type-Options nosniff
		X-Frame-Options DENY
	}}
	respond "Skyvern's UI works at {urls.app_url} and no other address. From another machine forward just this port: \
ssh -L {port}:localhost:{port} HOST" 421"""


def _started(monitor: str) -> str:
    """When Caddy began, for the monitor: by the address that is connected, which behind an edge is the connector's."""
    return f"""
	@monitor {{
		remote_ip {monitor}
		method GET
		path /started
	}}
	handle @monitor {{
		respond {{$STARTED}}
	}}"""


def _shared(urls: Endpoints, *, code: bool, upload_mib: int, monitor: str | None) -> str:
    # Browsers heed it over HTTPS only, which ends at the edge.
    hsts = '\n\theader Strict-Transport-Security "max-age=31536000"' if urls.app_url.startswith("https://") else ""
    scripts = (
        ""
        if code
        else """

	@scripts {
		not method GET HEAD OPTIONS
		path_regexp (?i)^/(?:api/)?v[0-9]+/scripts(?:/?$|/[^/]+/deploy)
	}
	error @scripts 404"""
    )
    return f"""
http://127.0.0.1:{HEALTH_PORT} {{
	bind 127.0.0.1
	respond /healthz 200
}}

(file) {{
	request_body {{
		max_size {upload_mib + FORM_MIB}MiB
	}}
}}

(body) {{
	@body not {{
		not header Transfer-Encoding *
		not {{
			header Content-Length *
			not header Content-Length 0
		}}
	}}
}}

(observed) {{
	log
	header -Server{hsts}
	handle_errors {{
		# Before the answer net/http would wait for a body that was not read.
		import body
		header @body Connection close
		header {{
			-Server
			Cache-Control no-store
			X-Content-Type-Options nosniff
			X-Frame-Options DENY
		}}
		respond "{{err.status_code}}"
	}}
}}

(elsewhere) {{
	{_elsewhere(urls)}
}}

:{endpoints.GATEWAY_PORT} {{
	import observed{"" if monitor is None else _started(monitor)}
	import elsewhere
}}

(limited) {{
	limits {MAX_REQUESTS_OF_CLIENT}
}}

(bare) {{
	# The browser sends the UI's login to its whole origin; it is none of Skyvern's business. Nor is what the edge adds.
	header_up -Authorization
	header_up -Cookie
	header_up -Cf-*
	header_up -X-Gateway-Key
}}

(held) {{
	# While the server restarts, whoever asks waits for it instead of getting a 502. Nothing was sent, so nothing happens twice.
	lb_try_duration {SERVER_BACK_SECONDS}s
	lb_try_interval 500ms
	# On a kept connection to a machine that has died, nobody ever answers. As in images/caddy/credentials.go.
	transport http {{
		keepalive 30s
	}}
}}

(server) {{
	reverse_proxy {_SERVER} {{
		import bare
		import held
		flush_interval -1
		# Skyvern sees a small body when all of it is here.
		request_buffers 64KiB
	}}
}}

(unkeyed) {{
	# Nobody waits for what a stranger does not send.
	import body
	error @body 400
	import limited
	import server
}}

(session) {{
	request_body {{
		max_size 1KiB
	}}
	new_token
	reverse_proxy {_SERVER} {{
		method POST
		rewrite /api/v1/ui-session?
		import bare
		import held
		header_up -Accept-Encoding
		header_up X-Api-Key {{$SKYVERN_API_KEY}}
	}}
}}

(recordings) {{
	@write not method GET HEAD
	error @write 405

	route /artifact/* {{
		# The browser adds the login to a link or an image of a foreign page, too. Programs send no such header.
		@foreign_page {{
			header Sec-Fetch-Site *
			not {{
				header Sec-Fetch-Site same-origin
				header Sec-Fetch-Site none
			}}
		}}
		error @foreign_page 403
		@file path /artifact/image /artifact/recording /artifact/json /artifact/text
		route @file {{
			recorded_file
			reverse_proxy {endpoints.ARTIFACTS_URL.removeprefix("http://")} {{
				import bare
			}}
		}}
		error 404
	}}
}}

(hidden) {{
	@hidden path /docs /docs/* /redoc /redoc/* /openapi.json /internal /internal/* /api/internal /api/internal/*
	error @hidden 404
	@unserved path_regexp (?i)^/(?:api/)?v[0-9]+/(?:internal|stream/vnc)(?:/|$)
	error @unserved 404
	# Skyvern hands their extra_parameters to litellm as keyword arguments, which read files and dial any address. The stack's
	# model is in the stack file.
	@language_models {{
		not method GET HEAD OPTIONS DELETE
		path_regexp (?i)^/(?:api/)?v[0-9]+/custom-llms(?:/|$)
	}}
	error @language_models 404{scripts}
}}

(stream) {{
	@stream {{
		method GET
		header Upgrade websocket
		query apikey=*
	}}
	route @stream {{
		# CORS does not cover WebSockets, so a page of another origin is refused here.
		@strange_page {{
			header Origin *
			not header Origin {{args[0]}}
		}}
		error @strange_page 403
		known_key query {_KEY_CHECK} {{$SKYVERN_API_KEY}} {{$SMOKE_API_KEY}}
		import limited
		import server
	}}
}}
"""


def _dashboard() -> str:
    """The monitor's pages, for whoever has logged in."""
    return f"""
		@dashboard path /dashboard /dashboard/*
		route @dashboard {{
			import body
			error @body 400
			reverse_proxy {endpoints.MONITOR_URL.removeprefix("http://")} {{
				import bare
			}}
		}}
"""


def _api(urls: Endpoints) -> str:
    """By key: an x-api-key header, or ``?apikey=`` on a stream. Only a key that Skyvern knows passes, and Skyvern checks it
    again. Without a key the answer is 403, except to the heartbeat and CORS preflights, which carry none by design, and to links
    to files, which carry a signature.

    ``/metrics`` has a separate key, in the header that Prometheus sends.

    Where the UI is on Vercel, ``/ui-session`` and the dashboard are asked by its middleware, which has logged the person in.
    """
    dashboard = (
        f"""
		@of_the_site path /dashboard /dashboard/*
		route @of_the_site {{
			@other_method not method GET HEAD
			error @other_method 405
			@stranger not header X-Gateway-Key {{$GATEWAY_KEY}}
			error @stranger 403
			import limited
{_dashboard()}
		}}
"""
        if urls.dashboard
        else ""
    )
    session = """
		route /ui-session {
			header Cache-Control no-store
			@other_method not method GET
			error @other_method 405
			@stranger not header X-Gateway-Key {$GATEWAY_KEY}
			error @stranger 403
			import limited
			import session
		}
"""
    metrics = (
        f"""
	route /metrics {{
		header Cache-Control no-store
		@other_method not method GET
		error @other_method 405
		@stranger not header Authorization "Bearer {{$METRICS_KEY}}"
		header @stranger WWW-Authenticate "Bearer realm=metrics"
		error @stranger 401
		import body
		error @body 400
		import limited
		reverse_proxy {endpoints.MONITOR_URL.removeprefix("http://")} {{
			import bare
		}}
	}}"""
        if urls.metrics
        else ""
    )
    return f"""
(keyed) {{
	import hidden{metrics}
	@api path /api/* /v1/*
	route @api {{
		header {{
			?Cache-Control no-store
			?X-Content-Type-Options nosniff
			?X-Frame-Options DENY
		}}
		# Skyvern's own answers say so already. Without it a page at Vercel would not see why the gateway refuses.
		@ui header Origin {urls.app_url}
		header @ui {{
			?Access-Control-Allow-Credentials true
			?Access-Control-Allow-Origin {urls.app_url}
			?Vary Origin
		}}
		@heartbeat {{
			method GET HEAD
			path /api/v1/heartbeat
		}}
		route @heartbeat {{
			# As judged, and by the one method that Skyvern has for it.
			method GET
			rewrite * /api/v1/heartbeat?
			import unkeyed
		}}
		@preflight {{
			method OPTIONS
			header Origin *
			header Access-Control-Request-Method *
			not header Upgrade *
		}}
		route @preflight {{
			import unkeyed
		}}
		import stream {urls.app_url}
		# The signature is the credential: whoever has the link may read this file, for a while.
		@signed {{
			method GET
			path_regexp ^/v1/artifacts/[A-Za-z0-9_-]+/content$
			query sig=*
		}}
		route @signed {{
			import body
			error @body 400
			signed_link {{$ARTIFACT_LINK_KEY}}
			import limited
			import server
		}}
		known_key header {_KEY_CHECK} {{$SKYVERN_API_KEY}} {{$SMOKE_API_KEY}}
		import limited
		# Skyvern's server waits for ever for what such a request never sends.
		@no_upgrade {{
			header Upgrade *
			not method GET
		}}
		error @no_upgrade 400
		@upload {{
			method POST
			path_regexp ^/(?:api/)?v1/{_UPLOADS}/?$
		}}
		handle @upload {{
			import file
			import server
		}}
		handle {{
			request_body {{
				max_size {MAX_BODY}
			}}
			import server
		}}
	}}
}}

(api) {{
	import observed
	route {{
		plain_path
		import keyed
{session + dashboard if urls.on_vercel else ""}\
		error 404
	}}
}}
"""


def _app(urls: Endpoints) -> str:
    """The API as above. Everything else: HTTP basic login. ``/ui-session`` (same origin only) trades it for a session token of an
    hour, so the organisation's key stays here. ``/artifact/*`` reads recordings. The rest is the UI.

    On loopback the port may be another one's, forwarded by ssh or an editor. Programs can work by it, the UI cannot: its pages
    ask for the address that they were made for, which they may not reach there.

    The dashboard sends its own policy, because its pages have no script.
    """
    foreign_port = (
        f"""
		@foreign_port {{
			header Host *:*
			not header Host {urls.app_url.removeprefix("http://")}
		}}
		route @foreign_port {{
			import elsewhere
		}}"""
        if urls.on_loopback
        else ""
    )
    dashboard = _dashboard() if urls.dashboard else ""
    return f"""
(app) {{
	import observed
	route {{
		plain_path
		import keyed
{foreign_port}
		login {{$UI_LOGIN_SHA256}}
		import limited
		# The browser adds the login to requests of foreign pages too; they must not be able to show what they get.
		header Cross-Origin-Resource-Policy same-origin

		route /ui-session {{
			header Cache-Control no-store
			@other_method not method GET
			error @other_method 405
			# Browsers always send it and no page can forge it; without it, this is no page of ours.
			@unmarked not header Sec-Fetch-Site same-origin
			error @unmarked 403
			import session
		}}

		import recordings
{dashboard}
		header {{
			Content-Security-Policy "{ui.content_security_policy(urls)}"
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
		plain_path
		import hidden
		@elsewhere not path /api/v1/stream/* /v1/stream/*
		error @elsewhere 404
		import stream {urls.app_url}
		error 403
	}}
}}
"""


def _artifacts(urls: Endpoints) -> str:
    """Recordings for Vercel's middleware alone, which has logged the person in."""
    return """
(artifacts) {
	import observed
	route {
		plain_path
		@stranger not header X-Gateway-Key {$GATEWAY_KEY}
		error @stranger 403
		import limited
		header Cross-Origin-Resource-Policy same-origin
		import recordings
		error 404
	}
}
"""


_SNIPPETS: Mapping[str, Callable[[Endpoints], str]] = {"api": _api, "app": _app, "artifacts": _artifacts, "streams": _streams}


@dataclass(frozen=True, kw_only=True)
class GatewayArgs:
    """Inputs of the gateway.

    image: ours, Caddy and the UI of the server's version. port: on 127.0.0.1 of the host; None behind a connector.
    api_key: the organisation's key, for ``/ui-session``. smoke_api_key: that of the smoke runs. link_key: signs links to files.
    ui_password: of the UI's login. All secrets. language: of the UI, as the stack file says.
    gateway_key: if the UI is on Vercel. metrics_key: if there are metrics.
    code: whether callers may upload code that Skyvern runs. upload_mib: largest file that they may upload.
    engine: what runs it.
    networks: edge first (the port is published there), app, files, and with a dashboard its own.
    connector_subnet: of the edge network, in CIDR form, and client_header: where the connector writes the client's address.
    monitor_subnet: of the dashboard's network, if there is one.
    """

    prefix: str
    image: str
    endpoints: Endpoints
    port: int | None
    api_key: pulumi.Input[str]
    smoke_api_key: pulumi.Input[str]
    link_key: pulumi.Input[str]
    ui_password: pulumi.Input[str]
    language: str
    networks: list[pulumi.Output[str]]
    gateway_key: pulumi.Input[str] | None = None
    metrics_key: pulumi.Input[str] | None = None
    connector_subnet: pulumi.Input[str] | None = None
    client_header: str | None = None
    monitor_subnet: str | None = None
    code: bool = False
    upload_mib: int = 30
    engine: Engine = field(default_factory=DockerEngine)


class Gateway(pulumi.ComponentResource):
    """Caddy with the UI, in front of everything. It is not on the network of PostgreSQL."""

    def __init__(self, name: str, args: GatewayArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("skyvern:host:Gateway", name, None, opts)
        rules = caddyfile(
            args.endpoints,
            client_header=args.client_header,
            code=args.code,
            upload_mib=args.upload_mib,
            monitor_subnet=args.monitor_subnet,
        )
        service = HardenedService(
            f"{name}-caddy",
            ServiceArgs(
                part="gateway",
                prefix=args.prefix,
                image=args.image,
                user="10002:10002",
                environment={
                    "ARTIFACT_LINK_KEY": args.link_key,
                    **({} if args.connector_subnet is None else {"CONNECTOR_SUBNET": args.connector_subnet}),
                    **({} if args.gateway_key is None else {"GATEWAY_KEY": args.gateway_key}),
                    **({} if args.metrics_key is None else {"METRICS_KEY": args.metrics_key}),
                    "SKYVERN_API_KEY": args.api_key,
                    "SMOKE_API_KEY": args.smoke_api_key,
                    "UI_LOGIN_SHA256": ui.login_sha256(args.ui_password),
                    **ui.variables(args.endpoints, args.language),
                },
                networks=args.networks,
                # An argument, because the provider hides an environment with a secret in it: so a preview shows a changed rule.
                command=["gateway-start", rules],
                published_port=None if args.port is None else (args.port, endpoints.GATEWAY_PORT),
                tmpfs={"/srv/ui": 64},
                memory_mib=256,
                cpus=1,
                health=Health(command=["gateway-healthy"], start_seconds=30),
                hand_over=True,
                engine=args.engine,
                replicas=2,
            ),
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.container_name = service.container_name
        self.register_outputs({})

"""The security table of the gateway: which host and path answers what to whom, in every layout.

Asked of the gateway alone in front of doubles (tests/engine/test_gateway_sites.py), and through a tunnel of the real stack
(tests/host/test_edge.py), which puts its own secrets in the place of the ones here.
"""

import base64
from collections.abc import Sequence

from components.ui import UI_USER

API, APP, WSS, ARTIFACT = (f"{label}.example.com" for label in ("api", "app", "wss", "artifact"))

PASSWORD = "generatedPassword"
GATEWAY_KEY = "generatedGatewayKey"
LINK_KEY = "generatedLinkKey" * 3
# Of the form of the stack's keys: a JWT with a signature of 32 bytes.
_KEY_HEADER = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
API_KEY = f"{_KEY_HEADER}.eyJzdWIiOiJvXzEifQ.{'o' * 43}"
SMOKE_API_KEY = f"{_KEY_HEADER}.eyJzdWIiOiJvXzIifQ.{'o' * 43}"
KEY = {"X-Api-Key": f"{_KEY_HEADER}.eyJzdWIiOiJvXzEifQ.{'s' * 43}"}
UNKNOWN_KEY = {"X-Api-Key": f"{_KEY_HEADER}.eyJzdWIiOiJvXzEifQ.{'x' * 43}"}
GATE = {"X-Gateway-Key": GATEWAY_KEY}
LOGIN = {"Authorization": "Basic " + base64.b64encode(f"{UI_USER}:{PASSWORD}".encode()).decode()}
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
PREFLIGHT = {"Origin": f"https://{APP}", "Access-Control-Request-Method": "GET"}
STREAM = "/api/v1/stream/workflow_runs/wr_1"
RECORDING = "/artifact/recording?path=/data/videos/x.webm"

# Layout, host, path, headers, status. "apikey=k" stands for the key. What is refused does not reach Skyvern.
WHO_GETS_WHAT: Sequence[tuple[str, str, str, dict[str, str], int]] = (
    # Any other host, also one that another layout has.
    ("loopback", "evil.example", "/", LOGIN, 421),
    ("loopback", "app.example.com", "/", LOGIN, 421),
    ("cloudflare", "example.com", "/", LOGIN, 421),
    ("cloudflare", "localhost", "/", LOGIN, 421),
    ("cloudflare", WSS, STREAM, UPGRADE, 421),
    ("cloudflare", ARTIFACT, RECORDING, GATE, 421),
    ("vercel", APP, "/", LOGIN, 421),
    ("vercel-without-artifacts", ARTIFACT, RECORDING, GATE, 421),
    ("ngrok", "other.ngrok.app", "/", LOGIN, 421),
    # The API: by key, and nothing else lives there.
    ("cloudflare", API, "/api/v1/workflows", {}, 403),
    ("cloudflare", API, "/api/v1/workflows", LOGIN, 403),
    ("cloudflare", API, "/api/v1/workflows", KEY, 200),
    ("cloudflare", API, "/v1/workflows", KEY, 200),
    ("cloudflare", API, "/v1/workflows", UNKNOWN_KEY, 403),
    ("cloudflare", API, "/v1/workflows", {"X-Api-Key": ""}, 403),
    ("cloudflare", API, "/v1/workflows", {"X-Api-Key": "x"}, 403),
    ("cloudflare", API, "/api/v1/workflows/templates", UNKNOWN_KEY, 403),
    ("cloudflare", API, "/api/v1/version", UNKNOWN_KEY, 403),
    ("cloudflare", API, "/api/v1/heartbeat", {}, 200),
    ("cloudflare", API, "/docs", KEY, 404),
    ("cloudflare", API, "/openapi.json", KEY, 404),
    ("cloudflare", API, "/api/v1/internal/auth/status", KEY, 404),
    ("cloudflare", API, "/api/v2/internal/auth/status", KEY, 404),
    ("cloudflare", API, "/API/V2/INTERNAL/auth/status", KEY, 404),
    ("cloudflare", API, "/", LOGIN, 404),
    ("cloudflare", API, "/ui-session", {**LOGIN, **OWN_PAGE}, 404),
    ("cloudflare", API, "/ui-session", GATE, 404),
    ("cloudflare", API, RECORDING, {**LOGIN, **KEY}, 404),
    ("cloudflare", API, f"{STREAM}?apikey=k", UPGRADE, 101),
    ("cloudflare", API, STREAM, UPGRADE, 403),
    ("cloudflare", API, f"{STREAM}?apikey={UNKNOWN_KEY['X-Api-Key']}", UPGRADE, 403),
    ("cloudflare", API, f"{STREAM}?apikey=", UPGRADE, 403),
    ("cloudflare", API, "/api/v1/stream/vnc/browser_session/pbs_1?apikey=k", UPGRADE, 404),
    ("cloudflare", API, "/v1/stream/vnc/task/tsk_1?apikey=k", UPGRADE, 404),
    # The UI behind its login, and its API on the same origin.
    ("cloudflare", APP, "/", {}, 401),
    ("cloudflare", APP, "/", LOGIN, 200),
    ("cloudflare", APP, "/workflows", LOGIN, 200),
    ("cloudflare", APP, "/assets/none.js", LOGIN, 404),
    ("cloudflare", APP, "/api/v1/workflows", LOGIN, 403),
    ("cloudflare", APP, "/api/v1/workflows", KEY, 200),
    ("cloudflare", APP, "/ui-session", OWN_PAGE, 401),
    ("cloudflare", APP, "/ui-session", LOGIN, 403),
    ("cloudflare", APP, "/ui-session", {**LOGIN, **OWN_PAGE}, 200),
    ("cloudflare", APP, "/ui-session", GATE, 401),
    ("cloudflare", APP, RECORDING, {}, 401),
    ("cloudflare", APP, RECORDING, LOGIN, 200),
    ("cloudflare", APP, RECORDING, {**LOGIN, "Sec-Fetch-Site": "same-origin"}, 200),
    ("cloudflare", APP, RECORDING, {**LOGIN, "Sec-Fetch-Site": "none"}, 200),
    ("cloudflare", APP, RECORDING, {**LOGIN, "Sec-Fetch-Site": "same-site"}, 403),
    ("cloudflare", APP, RECORDING, {**LOGIN, "Sec-Fetch-Site": "cross-site"}, 403),
    ("cloudflare", APP, RECORDING, {**LOGIN, "Sec-Fetch-Site": ""}, 403),
    ("cloudflare", APP, "/artifact/image?path=/healthz", LOGIN, 404),
    ("cloudflare", APP, "/artifact/image?path=http://x/data/a.png", LOGIN, 404),
    ("cloudflare", APP, "/artifact/image?path=/data/../healthz", LOGIN, 404),
    ("cloudflare", APP, "/artifact/image?path=/data/%2e%2e/healthz", LOGIN, 404),
    ("cloudflare", APP, "/artifact/image?path=/data/a.png&path=/data/b.png", LOGIN, 404),
    ("cloudflare", APP, "/artifact/image?path=/data/{env.HOME}.png", LOGIN, 400),
    ("cloudflare", APP, f"{STREAM}?apikey=k", {**UPGRADE, "Origin": f"https://{APP}"}, 101),
    ("cloudflare", APP, f"{STREAM}?apikey=k", {**UPGRADE, "Origin": "https://evil.example"}, 403),
    # The UI on Vercel: sessions and recordings for whoever has the gateway key.
    ("vercel", API, "/ui-session", {}, 403),
    ("vercel", API, "/ui-session", {**LOGIN, **OWN_PAGE}, 403),
    ("vercel", API, "/ui-session", {"X-Gateway-Key": GATEWAY_KEY[:-1]}, 403),
    ("vercel", API, "/ui-session", {"X-Gateway-Key": "*"}, 403),
    ("vercel", API, "/ui-session", {"X-Gateway-Key": ""}, 403),
    ("vercel", API, "/ui-session", GATE, 200),
    ("vercel", API, "/api/v1/workflows", GATE, 403),
    ("vercel", API, "/api/v1/workflows", KEY, 200),
    ("vercel", API, "/api/v1/workflows", {}, 403),
    ("vercel", API, RECORDING, GATE, 404),
    ("vercel", ARTIFACT, RECORDING, {}, 403),
    ("vercel", ARTIFACT, RECORDING, LOGIN, 403),
    ("vercel", ARTIFACT, RECORDING, KEY, 403),
    ("vercel", ARTIFACT, RECORDING, {"X-Gateway-Key": "x"}, 403),
    ("vercel", ARTIFACT, RECORDING, GATE, 200),
    ("vercel", ARTIFACT, "/artifact/other?path=/etc/passwd", GATE, 404),
    ("vercel", ARTIFACT, "/", GATE, 404),
    ("vercel", ARTIFACT, "/api/v1/workflows", {**GATE, **KEY}, 404),
    # Streams and nothing else.
    ("vercel", WSS, f"{STREAM}?apikey=k", {**UPGRADE, "Origin": f"https://{APP}"}, 101),
    ("vercel", WSS, "/v1/stream/browser_sessions/pbs_1?apikey=k", UPGRADE, 101),
    ("vercel", WSS, f"{STREAM}?apikey=k", {**UPGRADE, "Origin": f"https://{WSS}"}, 403),
    ("vercel", WSS, STREAM, UPGRADE, 403),
    ("vercel", WSS, f"{STREAM}?apikey=k", KEY, 403),
    ("vercel", WSS, "/api/v1/workflows?apikey=k", {**UPGRADE, **KEY}, 404),
    ("vercel", WSS, "/api/v1/heartbeat", {}, 404),
    ("vercel", WSS, "/", LOGIN, 404),
    ("vercel", WSS, f"{STREAM}?apikey={UNKNOWN_KEY['X-Api-Key']}", UPGRADE, 403),
    ("vercel", WSS, "/v1/stream/vnc/task/tsk_1?apikey=k", UPGRADE, 404),
    # One host.
    ("loopback", "localhost:8080", "/", LOGIN, 200),
    ("loopback", "localhost", "/api/v1/workflows", KEY, 200),
    ("loopback", "localhost", "/ui-session", GATE, 401),
    ("ngrok", "your-name.ngrok.app", "/", {}, 401),
    ("ngrok", "your-name.ngrok.app", "/", LOGIN, 200),
    ("ngrok", "your-name.ngrok.app", "/v1/workflows", KEY, 200),
    ("ngrok", "your-name.ngrok.app", "/v1/workflows", {}, 403),
)

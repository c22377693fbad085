"""Every route of the running Skyvern, asked through the gateway by those who must not get in and by ways around it.

The list of routes is the server's own, so a route that a new version adds is tried with the rest. The tables run in two sizes: a
sample with the other host tests, the whole of them in ``script/test nightly``.

Whether something behind the gateway answered is read from ``Via``, which Caddy adds to such an answer and to no other.
"""

import base64
import json
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import jwt
import pytest

from ops.observe.smoke.site import Site
from ops.observe.smoke.ui_checks import is_app, session_token

pytestmark = pytest.mark.timeout(4800)
sizes = pytest.mark.parametrize("step", [pytest.param(29, id="sample"), pytest.param(1, id="all", marks=pytest.mark.nightly)])

# Skyvern 1.0.56 has 603. Far fewer would not be the server's routes.
ROUTES_AT_LEAST = 500
LIST_ROUTES = """
import json
from skyvern.forge.api_app import create_api_app

def names(dependant):
    for one in dependant.dependencies:
        yield getattr(one.call, "__name__", "")
        yield from names(one)

for route in create_api_app().routes:
    methods = sorted(getattr(route, "methods", None) or [])
    depends = sorted(set(names(route.dependant))) if hasattr(route, "dependant") else []
    print("route", json.dumps([route.path, methods, depends]))
"""
# Of requests on standard input: what Skyvern itself answers, asked without the gateway.
ASK_DIRECTLY = """
import http.client, json, sys
for method, path, headers in json.load(sys.stdin):
    line = http.client.HTTPConnection("127.0.0.1", 8000, timeout=20)
    line.request(method, path, headers=headers)
    print(line.getresponse().status)
    line.close()
"""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
HEARTBEAT = "/api/v1/heartbeat"
ALIVE = "Server is running."
# Documentation, schema, internal routes and VNC are there for nobody; whoever has a key does not upload code.
HIDDEN = re.compile(
    r"/(?:docs|redoc)(?:/|$)|/openapi\.json$|(?:/api)?(?:/v\d+)?/internal(?:/|$)|(?:/api)?/v\d+/stream/vnc(?:/|$)"
)
UPLOADS_OF_CODE = re.compile(r"/(?:api/)?v\d+/scripts(?:/?$|/[^/]+/deploy)")
LANGUAGE_MODELS = re.compile(r"/(?:api/)?v\d+/custom-llms(?:/|$)")
READING = {"GET", "HEAD", "OPTIONS"}

# Routes of Skyvern 1.0.56 that do not ask for a key by themselves, and what they answer to a wrong one: nothing of the stack.
# The gateway asks before them. The streams look at ?apikey=, /ui-session and /artifacts/{id}/content inside.
UNKEYED: Mapping[tuple[str, str], int] = {
    ("GET", HEARTBEAT): 200,
    ("GET", "/v1/version"): 200,
    ("GET", "/api/v1/version"): 200,
    ("GET", "/v1/config/runtime"): 200,
    ("GET", "/api/v1/config/runtime"): 200,
    ("GET", "/api/v1/workflows/templates"): 200,
    ("POST", "/api/v1/webhook"): 400,
    ("POST", "/v1/sms/inbound/{sms_config_id}"): 404,
    ("POST", "/api/v1/sms/inbound/{sms_config_id}"): 404,
    ("GET", "/v1/artifacts/{artifact_id}/content"): 403,
    ("POST", "/v1/ui-session"): 403,
    ("POST", "/api/v1/ui-session"): 403,
}
# How Skyvern's routes ask for a key, by the name of the dependency. The last one takes no session token.
ASKS_FOR_KEY = {"get_current_org", "get_current_org_for_credential_routes", "get_current_caller_context"}
ASKS_FOR_LASTING_KEY = "get_current_org_with_api_token"

MALFORMED = {"empty": "", "letter": "x", "null": "null", "dots": "..", "list": "x, y", "long": "a" * 2000, "three parts": "a.b.c"}


@dataclass(frozen=True)
class Route:
    """A route as the server has it.

    path: with ``{parameters}``. methods: none for a WebSocket. depends: names of the functions that FastAPI calls before it.
    """

    path: str
    methods: tuple[str, ...]
    depends: frozenset[str]

    @property
    def url_path(self) -> str:
        return re.sub(r"\{[^}]*\}", "x1", self.path)


# --- The stack, its routes and those who ask -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def routes(site: Site) -> list[Route]:
    lines = site.execute("server", "python3", "-c", LIST_ROUTES, timeout_seconds=300).decode().splitlines()
    listed = [json.loads(line.removeprefix("route ")) for line in lines if line.startswith("route ")]
    assert len(listed) >= ROUTES_AT_LEAST
    return [Route(path, tuple(methods), frozenset(depends)) for path, methods, depends in listed]


@pytest.fixture(scope="module")
def key(site: Site) -> str:
    return site.outputs.api_key.get_secret_value()


@pytest.fixture(scope="module")
def login(site: Site) -> dict[str, str]:
    words = f"{site.outputs.ui_username}:{site.outputs.ui_password.get_secret_value()}"
    return {"Authorization": f"Basic {base64.b64encode(words.encode()).decode()}"}


@pytest.fixture(scope="module")
def forged(site: Site, key: str) -> dict[str, str]:
    """Keys of the right form, or nearly, that the stack did not give out or no longer honours."""
    claims = jwt.decode(key, options={"verify_signature": False})
    session = jwt.decode(session_token(site), options={"verify_signature": False})
    secret = site.execute("server", "printenv", "SECRET_KEY").decode().strip()
    expired = jwt.encode({**session, "exp": int(time.time()) - 60}, secret, algorithm="HS256")
    assert "expired" in site.ask("GET", f"{site.outputs.api_url}/v1/workflows", key=expired).text
    head, body, signature = key.split(".")
    return {
        "another secret": jwt.encode(claims, "x" * 32, algorithm="HS256"),
        "another organisation": jwt.encode({**claims, "sub": "o_1"}, "x" * 32, algorithm="HS256"),
        "another signature": f"{head}.{body}.{signature[::-1]}",
        "no signature": f"{head}.{body}.",
        "alg none": jwt.encode(claims, None, algorithm="none"),  # type: ignore[arg-type]  # it has no key
        "alg HS512": jwt.encode(claims, "x" * 64, algorithm="HS512"),
        "expired session": expired,
        # Skyvern looks a token up as well: the secret alone makes none.
        "right secret": jwt.encode({**session, "exp": int(time.time()) + 1800}, secret, algorithm="HS256"),
    }


def requests(routes: list[Route], step: int, methods: tuple[str, ...] = ("GET",)) -> list[tuple[str, str]]:
    """(method, path) of every route with its own and further methods, WebSockets as plain requests too; each ``step``-th."""
    asked = dict.fromkeys((method, route.url_path) for route in routes for method in (*route.methods, *methods))
    return list(asked)[::step]


def without_key(method: str, path: str) -> int:
    """What the gateway answers without a key that is known, and without a login."""
    # As Caddy compares paths: decoded, in any case.
    judged = unquote(path.partition("?")[0]).lower()
    if (
        HIDDEN.match(judged)
        or (method not in READING and UPLOADS_OF_CODE.match(judged))
        or (method not in {*READING, "DELETE"} and LANGUAGE_MODELS.match(judged))
    ):
        return 404
    if judged == HEARTBEAT and method in {"GET", "HEAD"}:
        return 200
    return 403 if judged.startswith(("/api/", "/v1/")) else 401


def unexpected(
    site: Site,
    asked: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
    expected: Callable[[str, str], int] = without_key,
    query: str = "",
) -> list[str]:
    """What came back otherwise than expected, and what came from behind the gateway though it may not."""
    found = []
    for method, path in asked:
        answer = site.ask(method, site.outputs.api_url, headers=headers, target=path + query)
        wanted = expected(method, path)
        alive = wanted == 200 and (method == "HEAD" or answer.text == ALIVE)
        if answer.status_code != wanted or ("via" in answer.headers and not alive):
            found.append(f"{method} {path}{query}: {answer.status_code}, not {wanted}; via {answer.headers.get('via')}")
    return found


def test_an_answer_from_behind_the_gateway_is_known_by_its_via(site: Site, key: str) -> None:
    assert "via" in site.ask("GET", f"{site.outputs.api_url}/v1/version", key=key).headers


# --- Without a key, with a wrong one, with a session token ---------------------------------------------------------------


@sizes
@pytest.mark.parametrize("who", ["nobody", "the login", "bearer", "cookie", "query"])
def test_no_route_answers_without_a_key(
    site: Site, routes: list[Route], key: str, login: dict[str, str], who: str, step: int
) -> None:
    """The key itself, in other places than the one where it belongs, is none."""
    headers = {"the login": login, "bearer": {"Authorization": f"Bearer {key}"}, "cookie": {"Cookie": f"x-api-key={key}"}}
    query = f"?x-api-key={key}&api_key={key}&apikey={key}" if who == "query" else ""
    assert unexpected(site, requests(routes, step, METHODS), headers.get(who, {}), query=query) == []


@sizes
@pytest.mark.parametrize("name", MALFORMED)
def test_no_route_answers_to_what_is_no_key(site: Site, routes: list[Route], name: str, step: int) -> None:
    assert unexpected(site, requests(routes, step), {"x-api-key": MALFORMED[name]}) == []


@sizes
@pytest.mark.parametrize("hop", [False, True], ids=["", "hop-by-hop"])
def test_no_route_answers_to_a_wrong_key(
    site: Site, routes: list[Route], key: str, forged: dict[str, str], hop: bool, step: int
) -> None:
    """hop: with a header that asks the gateway to drop the key on the way."""
    asked = requests(routes, step)
    drop = {"Connection": "X-Api-Key"} if hop else {}
    for name, wrong in forged.items():
        assert unexpected(site, asked, {"x-api-key": wrong, **drop}) == [], name


def test_which_routes_of_skyvern_ask_for_no_key_is_known(routes: list[Route]) -> None:
    """The others have one of the dependencies that do; a new route without one is to be looked at before it is let in."""
    asking = {*ASKS_FOR_KEY, ASKS_FOR_LASTING_KEY}
    unkeyed = {
        (method, route.path.rstrip("/"))
        for route in routes
        for method in route.methods
        if not asking & route.depends and without_key(method, route.url_path) != 404
    }
    assert unkeyed == set(UNKEYED)


@sizes
def test_skyvern_itself_refuses_a_wrong_key(site: Site, routes: list[Route], forged: dict[str, str], step: int) -> None:
    """The wall behind the gateway, asked from inside the server's container."""
    wrong = forged["another secret"]
    asked = [
        (method, route) for route in routes for method in route.methods if without_key(method, route.url_path) not in {401, 404}
    ][::step]
    lines = [[method, route.url_path, {"X-Api-Key": wrong}] for method, route in asked]
    printed = site.execute("server", "python3", "-c", ASK_DIRECTLY, stdin=json.dumps(lines).encode(), timeout_seconds=300)
    got = {(method, route.path): int(status) for (method, route), status in zip(asked, printed.split(), strict=True)}
    assert got == {(method, path): UNKEYED.get((method, path.rstrip("/")), 403) for method, path in got}


def test_a_session_token_opens_neither_keys_nor_further_tokens(site: Site, routes: list[Route], key: str) -> None:
    lasting = [(method, one.url_path) for one in routes for method in one.methods if ASKS_FOR_LASTING_KEY in one.depends]
    assert "/api/v1/organizations/x1/apikeys" in [path for _, path in lasting]
    asked = [*lasting, ("POST", "/v1/ui-session"), ("POST", "/api/v1/ui-session")]
    token = session_token(site)
    organisation = jwt.decode(key, options={"verify_signature": False})["sub"]
    for method, path in asked:
        url = site.outputs.api_url + path.replace("x1", organisation)
        assert site.ask(method, url, key=token).status_code == 403, path
        # The organisation's own key opens each of them.
        assert site.ask(method, url, key=key).status_code == 200, path


# --- WebSockets ----------------------------------------------------------------------------------------------------------


def upgrade(site: Site, target: str) -> tuple[int, bytes]:
    """Status of the answer to an upgrade that the UI's own page asks for, and what follows its head within two seconds."""
    url = urlsplit(site.outputs.stream_url)
    head = (
        f"GET {target} HTTP/1.1\r\nHost: {url.netloc}\r\nOrigin: {site.outputs.app_url}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    answer = b""
    with socket.create_connection((url.hostname or "", url.port or 80), timeout=2) as line:
        line.sendall(head.encode())
        try:
            while more := line.recv(65536):
                answer += more
                # All that a refused request gets has come; the line stays open for the next one.
                if not answer.startswith(b"HTTP/1.1 101") and b"\r\n\r\n" in answer:
                    break
        except TimeoutError:
            pass
    first, _, body = answer.partition(b"\r\n\r\n")
    return int(first.split()[1]), body


def test_no_stream_opens_without_a_known_key(site: Site, routes: list[Route], key: str, forged: dict[str, str]) -> None:
    streams = [route.url_path for route in routes if not route.methods]
    assert len(streams) >= 10
    queries = ["", *(f"?apikey={wrong}" for wrong in (*MALFORMED.values(), *forged.values())), f"?apikey=x&apikey={key}"]
    wanted = {path: 404 if HIDDEN.match(path) else 403 for path in streams}
    for query in queries:
        assert {path: upgrade(site, path + query.replace(" ", "%20"))[0] for path in streams} == wanted, query[:40]


def test_a_stream_opens_with_a_key_unless_it_is_vncs(site: Site, routes: list[Route], key: str) -> None:
    streams = [route.url_path for route in routes if not route.methods]
    got = {path: upgrade(site, f"{path}?apikey={key}")[0] for path in streams}
    assert got == {path: 404 if HIDDEN.match(path) else 101 for path in streams}


# --- Ways around the paths -----------------------------------------------------------------------------------------------


def ambiguous(path: str) -> list[str]:
    """A path written so that two programs may read it differently: the gateway answers 400 before it judges anything."""
    first, _, last = path.rpartition("/")
    levels = path.count("/")
    up = "/".join([".."] * (levels + 2))
    return [
        f"/{path}",
        f"{first}//{last}",
        f"{path}//",
        f"/.{path}",
        f"/x/..{path}",
        f"/assets/..{path}",
        f"/ui-session/..{path}",
        f"/artifact/image/../..{path}",
        f"/%2e%2e{path}",
        f"/x/%2e%2E{path}",
        f"/x/..%2f{path[1:]}",
        f"{HEARTBEAT}/../../..{path}",
        f"{HEARTBEAT}/..%2f..%2f..{path}",
        f"{HEARTBEAT}%2f..%2f..%2f..{path}",
        f"{HEARTBEAT}/%2e%2e/%2e%2e/%2e%2e{path}",
        f"{path}/{up}{HEARTBEAT}",
        f"{path}%2f..%2fheartbeat",
        f"/api/v1{path}/{up}{HEARTBEAT}",
        f"{path}/..",
        f"{path}/.",
        f"{path}/%2e",
        f"{path}/../x1",
        f"/{path[1:].replace('/', '%2f')}/%2F",
        f"{first}%2f{last}",
        f"/{path[1:]}\\",
        f"/x\\..{path}",
        f"/x%5c..%5c{path[1:]}",
        f"{path};x",
        f"/;{path}",
        f"/..;{path}",
        f"{path};/../../x",
        f"{path}%00",
        f"{path}%00.png",
        f"{path}%0a",
        f"{path}%0d%0aX-Api-Key:%20x",
        f"/%09{path}",
        f"{path}%7f",
        *([] if path.startswith(("/api/", "/v1/")) else braces(path)),
        f"{path}%",
        f"{path}%zz",
    ]


def judged(path: str) -> list[str]:
    """A path written in another way that has one meaning, by which it is judged."""
    letter = f"/%{ord(path[1]):02x}{path[2:]}"
    return [
        path.upper(),
        path.title(),
        letter,
        letter.upper(),
        "/" + "".join(f"%{ord(one):02X}" if one.isalpha() else one for one in path[1:]),
        f"{path}.",
        f"{path}...",
        f"{path}%20",
        f"{path}/",
        f"{path}?",
        f"{path}?x=/../docs",
        f"{path}?path=/data/artifacts/x.png",
        f"/%252e%252e{path}",
        f"/v1/%252e%252e{path}",
        f"/api/v1/heartbeat%252f..%252f..{path}",
        f"/{path[1:].replace('/', '%252f')}",
        f"/{path[1:].replace('/', '%ef%bc%8f')}",
        f"/{path[1:].replace('/', '%c0%af')}",
        f"{path}%23",
        f"{path}%3fx",
        f"{path}~",
        f"{path}.png",
        f"{path}.json",
        *(braces(path) if path.startswith(("/api/", "/v1/")) else []),
    ]


def braces(path: str) -> list[str]:
    """What Caddy might take for a placeholder, where it fills any in; on its way to Skyvern it does not."""
    return [f"{path}/{{env.SKYVERN_API_KEY}}", f"{path}%7Bx%7D"]


def by_group(routes: list[Route], hidden: bool) -> list[str]:
    """Paths to be written otherwise: all hidden ones, or of the others one for each first two parts."""
    paths = dict.fromkeys(route.url_path.rstrip("/") for route in routes)
    if hidden:
        return [path for path in paths if HIDDEN.match(path)]
    return list({tuple(path.split("/")[:4]): path for path in paths if not HIDDEN.match(path)}.values())


@sizes
@pytest.mark.parametrize("logged_in", [False, True], ids=["nobody", "the login"])
def test_no_spelling_of_a_path_is_a_way_around_the_key(
    site: Site, routes: list[Route], login: dict[str, str], logged_in: bool, step: int
) -> None:
    paths = [*by_group(routes, hidden=False), *by_group(routes, hidden=True)]
    assert len(paths) > 60
    headers = login if logged_in else {}
    asked = [("GET", spelling) for path in paths for spelling in ambiguous(path)][::step]
    assert unexpected(site, asked, headers, lambda method, path: 400) == []
    plain = [("GET", spelling) for path in paths for spelling in judged(path)][::step]
    if not logged_in:
        assert unexpected(site, plain, headers) == []
        return
    keyless = [one for one in plain if without_key(*one) != 401]
    assert unexpected(site, keyless, headers) == []
    # What is not of the API is the UI's: its page, or nothing.
    for _, path in set(plain) - set(keyless):
        answer = site.ask("GET", site.outputs.app_url, headers=headers, target=path)
        assert "via" not in answer.headers, path
        assert answer.status_code == 404 or (answer.status_code == 200 and is_app(answer.text)), (path, answer.status_code)


@sizes
def test_no_spelling_of_a_hidden_path_opens_it_to_a_key(site: Site, routes: list[Route], key: str, step: int) -> None:
    hidden = by_group(routes, hidden=True)
    assert {"/docs", "/openapi.json", "/api/v1/internal/test-webhook"} <= set(hidden)
    headers = {"x-api-key": key}
    for method in ("GET", "POST"):
        asked = [(method, spelling) for path in hidden for spelling in ambiguous(path)][::step]
        assert unexpected(site, asked, headers, lambda method, path: 400) == []
        for path in [spelling for one in hidden for spelling in judged(one)][::step]:
            answer = site.ask(method, site.outputs.api_url, headers=headers, target=path)
            refusal = without_key(method, path)
            if refusal == 403:
                # With the key Skyvern is asked for a path of the API that it does not have either; never for a hidden one.
                assert ("via" in answer.headers, answer.status_code, answer.json()) == (True, 404, {"detail": "Not Found"}), path
            else:
                assert ("via" in answer.headers, answer.status_code) == (False, refusal), path


@sizes
def test_another_form_of_the_request_line_is_no_way_around_the_key(site: Site, routes: list[Route], step: int) -> None:
    own = site.outputs.app_url
    paths = by_group(routes, hidden=False)[:: max(1, step // 10)]
    assert unexpected(site, [("GET", path) for path in paths], {}) == []
    for path in paths:
        wanted = without_key("GET", path)
        for target, status in (
            (f"{own}{path}", wanted),
            (f"{own.upper()}{path}", wanted),
            (f"http://server:8000{path}", 421),
            (f"http://127.0.0.1:8000{path}", 421),
            (f"http://x@server:8000{path}", 421),
            (f"server:8000{path}", 400),
        ):
            answer = site.ask("GET", own, target=target)
            assert answer.status_code == status, (target, answer.status_code)
            assert "via" not in answer.headers or answer.text == ALIVE, target

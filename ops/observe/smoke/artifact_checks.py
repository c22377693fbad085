"""Checks of the files of runs, as the gateway serves them: playable, private, harmless, nothing else."""

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, quote, urlsplit

import httpx

from ops.observe.smoke.site import (
    REFUSED,
    CheckNotApplicableError,
    CheckSkippedError,
    CompletedRun,
    Site,
    ends_with,
    expect,
    expect_status,
)
from ops.paths import ROOT

PAGE = ROOT / "images/artifacts/smoke/script.html"
KINDS = ("recording", "image", "json", "text")
PNG = b"\x89PNG\r\n\x1a\n"
# Each as it goes out after ``path=``: raw, encoded once, encoded twice, with tricks of other platforms.
ESCAPES = (
    "",
    "/etc/passwd",
    "//etc/passwd",
    "file:///etc/passwd",
    "/proc/self/environ",
    "/data/",
    "/data/artifacts",
    "/data/artifacts/",
    "/data/har/",
    "/data/log/",
    "/data/credential_vault/",
    "/data/credential_vault/.fernet_key",
    "/data/browser_sessions/",
    "/data/artifacts/../../etc/passwd",
    "/data/artifacts/../har/",
    "/data/artifacts/%2e%2e/%2e%2e/etc/passwd",
    "/data/artifacts/..%2f..%2fetc%2fpasswd",
    "%2fdata%2fartifacts%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/data/artifacts/%252e%252e/%252e%252e/etc/passwd",
    "/data/artifacts/%252e%252e%252f%252e%252e%252fetc%252fpasswd",
    "/data/artifacts/....//....//etc/passwd",
    "/data/artifacts/..\\..\\etc\\passwd",
    "/data/artifacts/../../etc/passwd%00.png",
    "/data/artifacts/../../etc/passwd%23.png",
    "/data/artifacts/../../etc/passwd%3f.png",
    "data/artifacts/../../etc/passwd",
    "../../etc/passwd",
)
# Paths of the URL itself. Some of these become a deep link of the UI, so what counts is what comes back.
PATHS = (
    "/artifact/../../../etc/passwd",
    "/artifact/recording/../../../../etc/passwd",
    "/artifact/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/artifact/..%2f..%2f..%2fetc%2fpasswd",
    "/assets/../../../etc/passwd",
    "/assets/%2e%2e/%2e%2e/etc/passwd",
    "/assets/..%2f..%2f..%2fetc%2fpasswd",
)
PROBE = (
    'f=$(mktemp) && cat >"$f" && ffprobe -v error -count_frames -select_streams v'
    ' -show_entries format=format_name,duration:stream=codec_name,nb_read_frames -of json "$f"; s=$?; rm -f "$f"; exit $s'
)


def artifact_url(site: Site, kind: str, path: str) -> str:
    """URL of an artifact with the path percent-encoded, as most of the UI's panels ask."""
    return f"{site.outputs.app_url}/artifact/{kind}?path={quote(path, safe='')}"


def completed_run(site: Site) -> CompletedRun:
    """The run whose files are checked; CheckSkippedError without one."""
    if site.run is None:
        raise CheckSkippedError("needs a completed workflow run")
    return site.run


def recording_path(site: Site) -> str:
    """Path of the completed run's recording; CheckNotApplicableError if runs leave none."""
    if not site.records:
        raise CheckNotApplicableError("browser.type is cdp-connect: nothing records a Chrome elsewhere")
    run = completed_run(site)
    if run.recording_link is None:
        raise CheckSkippedError("needs a completed workflow run with a recording")
    return local_path(run.recording_path)


def screenshot_path(site: Site) -> str:
    """Path of the completed run's screenshot."""
    return local_path(completed_run(site).screenshot_path)


def local_path(path: str | None) -> str:
    """CheckNotApplicableError without a path."""
    if path is None:
        raise CheckNotApplicableError("storage.type is s3: there are no local files, links lead to objects of a bucket")
    return path


def signed(link_key: str, link: str, expiry: int) -> str:
    """The link with another time, as the server would sign it (skyvern/forge/sdk/artifact/signing.py, 1.0.56)."""
    parts = urlsplit(link)
    kid = parse_qs(parts.query)["kid"][0]
    digest = hmac.digest(link_key.encode(), f"GET\n{parts.path}\n{expiry}\n{kid}".encode(), hashlib.sha256)
    signature = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return parts._replace(query=f"expiry={expiry}&kid={kid}&sig={signature}").geturl()


def check_links(site: Site) -> None:
    """Links in answers open without a key, also a part of the file, and not once they are changed or have expired."""
    run = completed_run(site)
    key = site.execute("gateway", "printenv", "ARTIFACT_LINK_KEY").decode().strip()
    for link, what in ((run.recording_link, "recording"), (run.screenshot_link, "screenshot")):
        if link is None:
            continue
        expect(link.startswith(f"{site.outputs.api_url}/v1/artifacts/"), f"the link to the {what} is not one of the API's host")
        whole = site.ask("GET", link)
        expect_status(whole, 200, what=f"the link to the {what}")
        expect(bool(whole.content) and not unsafe_headers(whole.headers), f"the {what}: {unsafe_headers(whole.headers)}")
        part = site.ask("GET", link, headers={"Range": "bytes=1-8"})
        expect_status(part, 206, what=f"a part of the {what} by its link")
        expect(part.content == whole.content[1:9], f"bytes 1-8 of the {what} by its link are others")
        now = int(time.time())
        expect_status(site.ask("GET", signed(key, link, now + 60)), 200, what=f"another link to the {what}")
        expect_status(site.ask("GET", signed(key, link, now - 60)), 403, what=f"an expired link to the {what}")
        expect_status(site.ask("GET", signed("another key", link, now + 60)), 403, what=f"a forged link to the {what}")
        longer = link.replace("expiry=", "expiry=9")
        expect_status(site.ask("GET", longer), 403, what=f"a link to the {what} with another time")
        elsewhere = link.replace("/content?", "0/content?")
        expect_status(site.ask("GET", elsewhere), 403, what=f"a link to another file with the signature of the {what}")
        expect_status(site.ask("GET", link.partition("?")[0]), 403, what=f"the {what} without a signature")


def is_playable(probe: str | bytes) -> bool:
    """Whether ffprobe's JSON (with counted frames) has a video stream of which at least one frame was decoded."""
    streams = json.loads(probe).get("streams", [])
    return any(int(stream.get("nb_read_frames") or 0) > 0 for stream in streams)


def check_recording(site: Site) -> None:
    """The recording comes back through the gateway and ffprobe in the server's image decodes it."""
    response = site.ask("GET", artifact_url(site, "recording", recording_path(site)), login=True)
    expect_status(response, 200, what="the recording")
    kind = response.headers.get("content-type", "")
    expect(kind.startswith("video/"), f"the recording's content type is {kind}")
    site.recording = response.content
    probe = site.execute("server", "sh", "-c", PROBE, stdin=response.content, timeout_seconds=120)
    expect(is_playable(probe), f"the recording ({len(response.content)} bytes) has no video frame that decodes")


def check_range(site: Site) -> None:
    """A part of the recording can be requested: players seek by it. The path goes out unencoded, as the player sends it."""
    path = recording_path(site)
    if not site.recording:
        raise CheckSkippedError("needs the recording")
    response = site.ask(
        "GET",
        site.outputs.app_url,
        target=f"/artifact/recording?path={path}",
        login=True,
        headers={"Range": "bytes=0-99"},
    )
    expect_status(response, 206, what="bytes 0-99 of the recording")
    expect(response.content == site.recording[:100], f"bytes 0-99 of the recording: {len(response.content)} other bytes")
    content_range, expected = response.headers.get("content-range"), f"bytes 0-99/{len(site.recording)}"
    expect(content_range == expected, f"bytes 0-99 of the recording: Content-Range is {content_range}, expected {expected}")


def check_screenshot(site: Site) -> None:
    """The screenshot is a PNG."""
    response = site.ask("GET", artifact_url(site, "image", screenshot_path(site)), login=True)
    expect_status(response, 200, what="the screenshot")
    kind = response.headers.get("content-type", "")
    expect(kind == "image/png" and response.content.startswith(PNG), f"the screenshot is not a PNG but {kind}")


def check_artifact_login(site: Site) -> None:
    """Artifacts need the login; the API's key does not open them, and they are read-only."""
    url = artifact_url(site, "image", screenshot_path(site))
    expect_status(site.ask("GET", url), 401, what="the screenshot without login")
    key = site.outputs.api_key.get_secret_value()
    expect_status(site.ask("GET", url, key=key), 401, what="the screenshot with the API's key instead of the login")
    for method in ("POST", "PUT", "DELETE"):
        expect_status(site.ask(method, url, login=True), *REFUSED, what=f"{method} of the screenshot")


def check_artifact_host(site: Site) -> None:
    """The host of recordings answers to the gateway key alone, which only Vercel's middleware has."""
    origin = site.outputs.artifact_url
    if origin is None:
        raise CheckNotApplicableError("frontend.artifacts is false")
    url = artifact_url(site, "image", screenshot_path(site)).replace(site.outputs.app_url, origin)
    key = site.outputs.api_key.get_secret_value()
    for headers in ({}, {"x-gateway-key": "smoke-run-wrong-key"}):
        response = site.ask("GET", url, key=key, login=True, headers=headers)
        expect_status(response, 403, what=f"the screenshot at {origin} with {'a wrong' if headers else 'no'} gateway key")
    right = {"x-gateway-key": site.gateway_key()}
    expect_status(site.ask("GET", url, headers=right), 200, what=f"the screenshot at {origin} with the gateway key")
    expect_status(site.ask("GET", f"{origin}/", headers=right), 404, what=f"GET {origin}/ with the gateway key")


def check_artifact_paths(site: Site) -> None:
    """No path leads out of the served folders, however it is written; a HAR inside them is refused by its type."""
    for kind in KINDS:
        for path in ESCAPES:
            refuse(site, kind, path)
    har = site.execute("server", "sh", "-c", "find /data/artifacts /data/har -name '*.har' | head -n 1")
    if har.strip():
        for kind in KINDS:
            refuse(site, kind, har.decode().strip())
    for path in PATHS:
        response = site.ask("GET", site.outputs.app_url, target=path, login=True)
        expect("root:" not in response.text, f"GET {path} gave a file of the system")


def refuse(site: Site, kind: str, path: str) -> None:
    """CheckFailedError unless the path, sent unchanged, is refused."""
    response = site.ask("GET", site.outputs.app_url, target=f"/artifact/{kind}?path={path}", login=True)
    expect_status(response, *REFUSED, what=f"/artifact/{kind}?path={path}")


@contextmanager
def artifact_folder(site: Site) -> Iterator[str]:
    """A new folder among the artifacts that holds page.html (a page with a script), removed afterwards."""
    folder = f"/data/artifacts/smoke-{secrets.token_hex(8)}"
    site.execute("server", "mkdir", folder)
    with ends_with(lambda: site.execute("server", "rm", "-rf", folder)):
        site.execute("server", "sh", "-c", 'cat >"$0"', f"{folder}/page.html", stdin=PAGE.read_bytes())
        yield folder


def check_symlinks(site: Site) -> None:
    """A link among the artifacts does not lead out of them; the page beside it shows that the folder itself is served."""
    with artifact_folder(site) as folder:
        names = ("link.html", "link.png", "link.txt", "link.json", "link.mp4", "link.webm")
        site.execute("server", "sh", "-c", f"cd {folder} && ln -s /etc out && for n; do ln -s /etc/passwd $n; done", *names)
        beside = site.ask("GET", artifact_url(site, "text", f"{folder}/page.html"), login=True)
        expect_status(beside, 200, what="a page among the artifacts")
        for name in (*names, "out/passwd", "out/os-release", "out/hostname"):
            for kind in KINDS:
                refuse(site, kind, f"{folder}/{name}")


def check_sandbox(site: Site) -> None:
    """An artifact that is a page with a script comes back so that a browser neither runs nor keeps it."""
    with artifact_folder(site) as folder:
        response = site.ask("GET", artifact_url(site, "text", f"{folder}/page.html"), login=True)
    expect_status(response, 200, what="an artifact that is a page")
    problems = unsafe_headers(response.headers)
    expect(not problems, f"an artifact that is a page: {'; '.join(problems)}")


def unsafe_headers(headers: httpx.Headers) -> list[str]:
    """Faults of an artifact's headers, in words; empty if they hold a hostile page.

    A film needs no sandbox: it holds no script, and in one no browser plays it.
    """
    problems = []
    film = headers.get("content-type", "").startswith("video/")
    policy = {
        words[0]: words[1:]
        for words in (directive.split() for directive in headers.get("content-security-policy", "").lower().split(";"))
        if words
    }
    if "sandbox" not in policy:
        if not (film and policy.get("default-src") == ["'none'"] and "script-src" not in policy):
            problems.append("Content-Security-Policy without sandbox")
    elif allowed := {"allow-scripts", "allow-same-origin", "allow-popups", "allow-forms"} & set(policy["sandbox"]):
        problems.append(f"sandbox with {', '.join(sorted(allowed))}")
    if headers.get("x-content-type-options", "").lower() != "nosniff":
        problems.append("no X-Content-Type-Options: nosniff")
    cache = {part.strip() for part in headers.get("cache-control", "").lower().split(",")}
    if not {"private", "no-store"} <= cache:
        problems.append("Cache-Control without private, no-store")
    return problems

"""A module of Skyvern's ADDITIONAL_MODULES: every link to a file in an answer opens, for whoever has it and for a bounded time.

Faults of Skyvern 1.0.56 that it closes:

- With local files, answers and webhooks link to ``file:///data/…``. Skyvern can sign links to its own route
  ``/v1/artifacts/{id}/content``, but the setting for it also packs the files of a step into ZIP files, which only its storage
  for S3 unpacks. So local files get these links here, without that setting.
- With S3, the link to an upload leads to the store's own host.
- The route reads the whole file into memory for each piece that a player asks for.
- A link to Skyvern itself is no input: what the server fetches must not lead to its own host. Such links are read on loopback.

What no row of the table ``artifacts`` names (uploads, a download of a run in progress) is named by its URI in the link. The
gateway checks the same signature before (images/caddy/links.go). Look at it again with the Skyvern after 1.0.56;
tests/host/test_links.py follows every link.
"""

import base64
import binascii
import errno
import functools
import inspect
import json
import os
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from at_start import at_start, ends_start

KEY_ID = "1"
# No id of Skyvern's begins like this: they have a prefix, an underscore and a number.
URI_PREFIX = "uri-"
CHUNK_BYTES = 64 * 1024
# As in images/artifacts/artifacts.conf: a page from the internet can become an artifact. A picture or a film that fills a window
# is asked for again by the window. It holds no script, and Chromium 156 plays no film in a sandbox.
POLICIES = {
    "image": "sandbox; default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "video": "default-src 'none'; media-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}
POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
# Whose methods are replaced, and their parameters in Skyvern 1.0.56.
LOCAL_METHODS = {
    "get_share_link": ("artifact",),
    "get_share_links": ("artifacts",),
    "get_downloaded_files": ("organization_id", "run_id", "attempt_started_at"),
    "get_downloaded_file_signature_aliases": ("file_info",),
    "get_shared_recordings_in_browser_session": ("organization_id", "browser_session_id"),
}
# Of local files and of S3.
UPLOAD_METHODS = {"save_legacy_file": ("organization_id", "filename", "fileObj")}
ROUTE_PARAMETERS = (
    "artifact_id",
    "request",
    "sig",
    "expiry",
    "kid",
    "artifact_name",
    "artifact_type",
    "x_api_key",
    "authorization",
)


@ends_start("artifact links")
def configure_app(app: Any) -> None:
    """Called by Skyvern with the application before the server starts; ends the start where a place is not as expected."""
    from skyvern.config import settings

    links = Links(settings.SKYVERN_BASE_URL, os.environ["ARTIFACT_LINK_KEY"])
    if settings.SKYVERN_STORAGE_TYPE == "local":
        link_local_files(app, links)
    else:
        # Skyvern's own links for all that has a row, with its ZIP files.
        settings.ARTIFACT_CONTENT_HMAC_KEYRING = links.keyring_text
    link_uploads(app.STORAGE, links)
    serve_content(app, links)
    read_own_links(app, links)


def changed(place: str) -> RuntimeError:
    """The error of a start with another Skyvern."""
    return RuntimeError(f"this Skyvern's {place} is not that of 1.0.56, so links to files could not be made")


class Links:
    """Makes and reads links. base_url: of the API, as programs reach it. key: at least 32 characters, the gateway has it too."""

    def __init__(self, base_url: str, key: str) -> None:
        from skyvern.forge.sdk.artifact import signing

        if len(key) < 32:
            raise ValueError("ARTIFACT_LINK_KEY is too short")
        self.keyring_text = json.dumps({"current_kid": KEY_ID, "keys": {KEY_ID: {"secret": key}}})
        self._base_url, self._signing = base_url, signing
        self._keyring = signing.parse_keyring(self.keyring_text)

    def of_id(self, artifact_id: str, seconds: int) -> str:
        """A link that works for so long."""
        return str(self._signing.sign_artifact_url(self._base_url, artifact_id, self._keyring, expiry_seconds=seconds))

    def of_uri(self, uri: str, seconds: int) -> str:
        """A link to what no row names. The same URI always gives the same path."""
        encoded = base64.urlsafe_b64encode(uri.encode(errors="surrogateescape")).rstrip(b"=").decode()
        return self.of_id(f"{URI_PREFIX}{encoded}", seconds)

    def read(self, url: str) -> Any:
        """The parts of a link of this API (``artifact_id``, ``expiry``, ``kid``, ``sig``), signed or not; None for other URLs."""
        return self._signing.parse_artifact_content_url(url, self._base_url)

    def is_valid(self, artifact_id: str, expiry: str, kid: str, sig: str) -> bool:
        """Whether a signature is ours and has not expired."""
        # Python reads blanks, signs and underscores as part of a number, which the gateway does not.
        if not (expiry.isascii() and expiry.isdecimal() and len(expiry) <= 12):
            return False
        return bool(self._signing.verify_artifact_signature(artifact_id, expiry, kid, sig, self._keyring))

    def is_ours(self, parts: Any) -> bool:
        """Whether a link was made here, also one that has expired since."""
        secret = self._keyring.get_secret_bytes(parts.kid or "")
        if secret is None or not (parts.expiry or "").isdecimal() or not parts.sig:
            return False
        path = f"/v1/artifacts/{parts.artifact_id}/content"
        text = self._signing._canonical_string("GET", path, int(parts.expiry), parts.kid)
        return bool(self._signing.hmac.compare_digest(self._signing._hmac_b64(secret, text), parts.sig))


def uri_of(artifact_id: str) -> str | None:
    """The URI that an id of a link names; None if it is the id of a row, or not an id at all."""
    encoded = artifact_id.removeprefix(URI_PREFIX)
    if encoded == artifact_id:
        return None
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode(errors="surrogateescape")
    except (binascii.Error, ValueError):
        return None


def methods_of(storage: Any, expected: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """The storage's methods by name; RuntimeError where one is gone or has other parameters."""
    methods = {}
    for name, parameters in expected.items():
        method = getattr(storage, name, None)
        if not inspect.ismethod(method) or tuple(inspect.signature(method).parameters) != parameters:
            raise changed(f"{type(storage).__name__}.{name}")
        methods[name] = method
    return methods


def link_local_files(app: Any, links: Links) -> None:
    """Local files get links where Skyvern has their ``file://`` URI."""
    from skyvern.forge.sdk.artifact import signing

    storage = app.STORAGE
    methods = methods_of(storage, LOCAL_METHODS)

    async def seconds_for(organization_id: str | None) -> int:
        return int(await app.ARTIFACT_MANAGER.resolve_artifact_url_expiry_seconds(organization_id))

    async def get_share_links(artifacts: list[Any]) -> list[str] | None:
        if not artifacts:
            return None
        seconds = await seconds_for(artifacts[0].organization_id)
        capped = signing.artifact_url_expiry_seconds_for_type
        return [links.of_id(one.artifact_id, capped(one.artifact_type, seconds) or seconds) for one in artifacts]

    async def get_share_link(artifact: Any) -> str | None:
        shared = await get_share_links([artifact])
        return shared[0] if shared else None

    async def get_downloaded_files(organization_id: str, run_id: str | None, attempt_started_at: Any = None) -> list[Any]:
        files = await methods["get_downloaded_files"](organization_id, run_id, attempt_started_at)
        seconds = await seconds_for(organization_id) if files else 0
        # By URI, not by the row's id: Skyvern compares these links, and the same file comes with and without a row.
        return [file.model_copy(update={"url": links.of_uri(file.url, seconds)}) for file in files]

    def get_downloaded_file_signature_aliases(file_info: Any) -> list[tuple[str | None, str | None, str | None]]:
        """Other names under which an earlier listing had the same file, as the path of its link (loop_download_filter.py)."""
        parts = links.read(file_info.url)
        uri = uri_of(parts.artifact_id) if parts else file_info.url
        if uri is None:
            return []
        aliases = methods["get_downloaded_file_signature_aliases"](file_info.model_copy(update={"url": uri}))
        return [(name, checksum, links.of_uri(url, 0).partition("?")[0]) for name, checksum, url in aliases]

    async def get_shared_recordings_in_browser_session(organization_id: str, browser_session_id: str) -> list[Any]:
        files = await methods["get_shared_recordings_in_browser_session"](organization_id, browser_session_id)
        seconds = min(await seconds_for(organization_id), signing.SENSITIVE_ARTIFACT_URL_EXPIRY_SECONDS) if files else 0
        return [file.model_copy(update={"url": links.of_uri(file.url, seconds)}) for file in files]

    storage.get_share_link = get_share_link
    storage.get_share_links = get_share_links
    storage.get_downloaded_files = get_downloaded_files
    storage.get_downloaded_file_signature_aliases = get_downloaded_file_signature_aliases
    storage.get_shared_recordings_in_browser_session = get_shared_recordings_in_browser_session


def link_uploads(storage: Any, links: Links) -> None:
    """The answer to an upload has a link of this API."""
    from skyvern.forge.sdk.artifact import signing

    save = methods_of(storage, UPLOAD_METHODS)["save_legacy_file"]

    async def save_legacy_file(*, organization_id: str, filename: str, fileObj: Any) -> tuple[str, str] | None:
        saved = await save(organization_id=organization_id, filename=filename, fileObj=fileObj)
        return saved and (links.of_uri(saved[1], signing.ARTIFACT_URL_EXPIRY_SECONDS), saved[1])

    storage.save_legacy_file = save_legacy_file


def serve_content(app: Any, links: Links) -> None:
    """Replaces what the route does; RuntimeError where Skyvern has no such route, or makes routes in another way."""
    from fastapi import HTTPException
    from skyvern.forge.sdk.routes import agent_protocol as routes
    from skyvern.forge.sdk.services import org_auth_service

    original = routes.get_artifact_content
    if tuple(inspect.signature(original).parameters) != ROUTE_PARAMETERS:
        raise changed("route to an artifact's content")

    async def find(artifact_id: str, sig: str | None, expiry: str | None, kid: str | None, keys: dict[str, Any]) -> Any:
        """The row or the URI; HTTPException where the request has no right to it, or there is none."""
        if sig is None or expiry is None or kid is None:
            organization = await org_auth_service.get_current_org(**keys)
            return await app.DATABASE.artifacts.get_artifact_by_id(
                artifact_id=artifact_id, organization_id=organization.organization_id
            )
        if not links.is_valid(artifact_id, expiry, kid, sig):
            raise HTTPException(403, "Invalid or expired artifact URL")
        return uri_of(artifact_id) or await app.DATABASE.artifacts.get_artifact_by_id_no_org(artifact_id=artifact_id)

    @functools.wraps(original)
    async def content(
        artifact_id: str,
        request: Any,
        sig: str | None = None,
        expiry: str | None = None,
        kid: str | None = None,
        artifact_name: str | None = None,
        artifact_type: str | None = None,
        x_api_key: str | None = None,
        authorization: str | None = None,
    ) -> Any:
        found = await find(artifact_id, sig, expiry, kid, {"x_api_key": x_api_key, "authorization": authorization})
        if found is None:
            raise HTTPException(404, "Artifact not found")
        uri = found if isinstance(found, str) else found.uri
        media_type, disposition = file_config(routes, uri) if isinstance(found, str) else routes._artifact_response_config(found)
        headers = content_headers(media_type, disposition)
        if uri.startswith("file://"):
            response = local_file(uri, media_type, headers)
        elif isinstance(found, str) or not found.bundle_key:
            response = await bucket_object(app.STORAGE, uri, request.headers.get("range"), media_type, headers)
        else:
            # A member of a ZIP file of one step, some MiB at most.
            data = await app.ARTIFACT_MANAGER.retrieve_artifact(found)
            wanted = routes._parse_range_header(request.headers.get("range"), len(data or b""))
            response = None if data is None else in_memory(data, wanted, media_type, headers)
        if response is None:
            raise HTTPException(404, "Artifact content not available")
        return response

    mounted = [route for route in routes.base_router.routes if getattr(route, "endpoint", None) is original]
    if not mounted:
        raise changed("route to an artifact's content")
    for route in mounted:
        # include_router reads it again.
        route.endpoint = content

    async def check(fastapi_app: Any) -> None:
        served = [route for route in fastapi_app.routes if getattr(route, "path", "") == "/v1/artifacts/{artifact_id}/content"]
        if [getattr(route, "endpoint", None) for route in served] != [content]:
            raise changed("route to an artifact's content")

    at_start(app, "artifact links", check)


def file_config(routes: Any, uri: str) -> tuple[str, str]:
    """Type and disposition of what has no row: a video of a browser session is shown, anything else is saved."""
    name = routes.artifact_filename_from_uri(uri)
    kind = routes._VIDEO_CONTENT_TYPES_BY_EXTENSION.get(Path(name.lower()).suffix)
    if kind is not None and "/browser_sessions/" in uri and "/videos/" in uri:
        return kind, "inline"
    return "application/octet-stream", routes._build_attachment_disposition(name)


def content_headers(media_type: str, disposition: str) -> dict[str, str]:
    """Headers under which no browser runs, keeps or guesses what it gets."""
    return {
        "Cache-Control": "private, no-store",
        "Content-Disposition": disposition,
        "Content-Security-Policy": POLICIES.get(media_type.partition("/")[0], POLICY),
        "X-Content-Type-Options": "nosniff",
    }


def open_regular(path: str, roots: tuple[str, ...]) -> int:
    """A descriptor of a file below one of the roots, with no link on the way; OSError otherwise.

    Part by part, because whoever drives a browser may write into the folder of its downloads, also in between.
    """
    root = next((root for root in roots if path.startswith(f"{root}/")), None)
    parts = path[len(root) + 1 :].split("/") if root else []
    if root is None or not parts or any(part in ("", ".", "..") for part in parts):
        raise OSError(errno.EACCES, "not below a folder of files")
    at = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
        # Without waiting for the other end of a pipe.
        descriptor = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EACCES, "not a file")
    return descriptor


def local_file(uri: str, media_type: str, headers: dict[str, str]) -> Any:
    """The response with a local file, read piece by piece; None if there is none to serve."""
    from skyvern.config import settings
    from skyvern.forge.sdk.api.files import parse_uri_to_path
    from starlette.responses import FileResponse

    roots = (settings.ARTIFACT_STORAGE_PATH, settings.DOWNLOAD_PATH, settings.VIDEO_PATH)
    try:
        descriptor = open_regular(parse_uri_to_path(uri), tuple(str(root).rstrip("/") for root in roots))
    except (OSError, ValueError):
        return None

    class OpenFile(FileResponse):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            try:
                await super().__call__(scope, receive, send)
            finally:
                os.close(descriptor)

    # The file that was opened, whatever has its name now.
    return OpenFile(f"/proc/self/fd/{descriptor}", headers=headers, media_type=media_type, stat_result=os.fstat(descriptor))


def in_memory(data: bytes, wanted: tuple[int, int] | None, media_type: str, headers: dict[str, str]) -> Any:
    """The response with data, or with its bytes from one number to another one; (-1, -1) is a range beyond it."""
    from fastapi import Response

    headers = {**headers, "Accept-Ranges": "bytes"}
    if wanted is None:
        return Response(data, media_type=media_type, headers=headers)
    first, last = wanted
    if first < 0:
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
    return Response(data[first : last + 1], 206, media_type=media_type, headers=headers)


async def bucket_object(storage: Any, uri: str, wanted: str | None, media_type: str, headers: dict[str, str]) -> Any:
    """The response with an object of the store, or with the one range of it that is asked for; None if there is none."""
    from botocore.exceptions import ClientError
    from fastapi import Response
    from fastapi.responses import StreamingResponse
    from skyvern.config import settings

    place = urlsplit(uri)
    bucket, key = place.netloc, uri.removeprefix(f"s3://{place.netloc}/")
    # Of another storage are rows from before storage.type was changed.
    known = settings.SKYVERN_STORAGE_TYPE == "s3" and bucket in (settings.AWS_S3_BUCKET_ARTIFACTS, settings.AWS_S3_BUCKET_UPLOADS)
    if place.scheme != "s3" or not known:
        return None
    one = wanted if wanted and wanted.startswith("bytes=") and "," not in wanted else None
    leased = storage.async_client._s3_client()
    client = await leased.__aenter__()
    try:
        got = await client.get_object(Bucket=bucket, Key=key, **({"Range": one} if one else {}))
    except ClientError as error:
        await leased.__aexit__(None, None, None)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status == 416:
            return Response(status_code=416, headers=headers)
        if status == 404:
            return None
        raise
    except BaseException:
        await leased.__aexit__(None, None, None)
        raise

    async def pieces() -> AsyncIterator[bytes]:
        try:
            async for piece in got["Body"].iter_chunks(CHUNK_BYTES):
                yield piece
        finally:
            got["Body"].close()
            await leased.__aexit__(None, None, None)

    sizes = {"Accept-Ranges": "bytes", "Content-Length": str(got["ContentLength"])}
    if "ContentRange" in got:
        sizes["Content-Range"] = got["ContentRange"]
    status = 206 if "ContentRange" in got else 200
    return StreamingResponse(pieces(), status, headers={**headers, **sizes}, media_type=media_type)


def read_own_links(app: Any, links: Links) -> None:
    """Where Skyvern fetches a file, a link of its own is read here; RuntimeError where it fetches in another way."""
    from skyvern.config import settings
    from skyvern.forge.sdk.api import files
    from skyvern.forge.sdk.core import aiohttp_helper
    from skyvern.services import uploaded_file_service

    name_upload, pin = files.uploaded_file_id_for_local_uri, aiohttp_helper.validate_and_pin_fetch_url
    for place, parameters in ((name_upload, ("url", "organization_id")), (pin, ("url", "resolver"))):
        if not inspect.iscoroutinefunction(place) or tuple(inspect.signature(place).parameters) != parameters:
            raise changed(place.__name__)
    for function in (files.download_file, files.resolve_local_or_download_file):
        if "uploaded_file_id_for_local_uri" not in function.__code__.co_names:
            raise changed(function.__name__)
    for module, name in ((files, "download_file"), (aiohttp_helper, "aiohttp_request")):
        if "validate_and_pin_fetch_url" not in getattr(module, name).__code__.co_names:
            raise changed(name)

    @functools.wraps(name_upload)
    async def uploaded_file_id_for_local_uri(url: str, organization_id: str | None) -> str | None:
        """The upload's id for a link that has expired: a workflow keeps its inputs longer than a link lives."""
        parts = links.read(url)
        expired = parts and links.is_ours(parts) and not links.is_valid(parts.artifact_id, parts.expiry, parts.kid, parts.sig)
        uri = uri_of(parts.artifact_id) if expired and organization_id else None
        if uri is None:
            return await name_upload(url, organization_id)
        return await uploaded_file_service.file_id_for_storage_uri(storage_uri=uri, organization_id=organization_id)

    @functools.wraps(pin)
    async def validate_and_pin_fetch_url(url: str, resolver: Any) -> str:
        parts = links.read(url)
        if parts is None or not (parts.sig and parts.expiry and parts.kid):
            return await pin(url, resolver)
        if not links.is_valid(parts.artifact_id, parts.expiry, parts.kid, parts.sig):
            raise PermissionError("the link to a file has expired or was changed")
        # An address and no name, so nothing is resolved; made of the parts that were just checked.
        return urlsplit(url)._replace(scheme="http", netloc=f"127.0.0.1:{settings.PORT}", fragment="").geturl()

    files.uploaded_file_id_for_local_uri = uploaded_file_id_for_local_uri
    for module in (files, aiohttp_helper):
        replace(module, "validate_and_pin_fetch_url", pin, validate_and_pin_fetch_url)


def replace(module: Any, name: str, old: Callable[..., Any], new: Callable[..., Any]) -> None:
    """RuntimeError where the module has something else under the name."""
    if getattr(module, name, None) is not old:
        raise changed(f"{module.__name__}.{name}")
    setattr(module, name, new)

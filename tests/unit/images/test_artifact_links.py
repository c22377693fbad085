"""Links to files: how they are named and signed, and which files the server opens; whole: tests/host/test_links.py."""

import base64
import hashlib
import hmac
import os
import re
import socket
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest

from ops.observe.smoke.artifact_checks import unsafe_headers
from tests.support import server_image, skyvern_wheel


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return server_image.load("artifact_links.py", monkeypatch)


@pytest.mark.parametrize("uri", ["file:///data/downloads/wr_1/보고서 1.html", "s3://acme-uploads/a?b#c", "file:///data/a\udcff"])
def test_a_uri_is_one_part_of_a_path_and_comes_back(module: ModuleType, uri: str) -> None:
    encoded = base64.urlsafe_b64encode(uri.encode(errors="surrogateescape")).decode().rstrip("=")
    assert module.uri_of(f"{module.URI_PREFIX}{encoded}") == uri
    assert not set(f"{module.URI_PREFIX}{encoded}") & set("/?#%")


@pytest.mark.parametrize("artifact_id", ["a_123", "file_123", "", "uri-\N{HANGUL SYLLABLE GA}"])
def test_other_ids_are_not_uris(module: ModuleType, artifact_id: str) -> None:
    assert module.uri_of(artifact_id) is None


def test_only_files_below_a_root_are_opened_and_no_link_is_followed(module: ModuleType, tmp_path: Path) -> None:
    root = tmp_path / "artifacts"
    (root / "run").mkdir(parents=True)
    (root / "run" / "a b.png").write_bytes(b"picture")
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "link.png").symlink_to(tmp_path / "secret")
    (root / "out").symlink_to(tmp_path)
    (root / "run" / "inner").symlink_to(root / "run")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
    roots = (str(root),)
    descriptor = module.open_regular(f"{root}/run/a b.png", roots)
    assert os.read(descriptor, 100) == b"picture"
    os.close(descriptor)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in (
        f"{root}/link.png",
        f"{root}/out/secret",
        f"{root}/run/inner/a b.png",
        f"{root}/pipe",
        f"{root}/socket",
        f"{root}/run",
        f"{root}/none",
        f"{root}/run//a b.png",
        f"{root}/run/../../secret",
        f"{root}/./run/a b.png",
        f"{root}",
        f"{root}/",
        f"{root}-evil/a",
        str(tmp_path / "secret"),
        "/etc/passwd",
        "run/a b.png",
        "",
    ):
        with pytest.raises(OSError, match=r"\[Errno \d+\]"):
            module.open_regular(path, roots)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_a_browser_gets_runs_nowhere(module: ModuleType) -> None:
    for kind in ("text/html; charset=utf-8", "application/octet-stream", "image/png", "video/mp4"):
        headers = httpx.Headers({"Content-Type": kind, **module.content_headers(kind, "inline")})
        assert unsafe_headers(headers) == []
        policy = headers["content-security-policy"]
        assert "default-src 'none'; " in policy
        assert "script-src" not in policy
        assert policy.startswith("sandbox; ") == (not kind.startswith("video/"))
    assert unsafe_headers(httpx.Headers(module.content_headers("video/mp4", "inline"))) != [], "only a film needs no sandbox"


def test_a_storage_with_other_methods_ends_the_start(module: ModuleType) -> None:
    class Storage:
        async def save_legacy_file(self, *, organization_id: str, filename: str) -> None: ...

    with pytest.raises(RuntimeError, match=r"Storage\.save_legacy_file is not that of 1\.0\.56"):
        module.methods_of(Storage(), module.UPLOAD_METHODS)
    with pytest.raises(RuntimeError, match=r"\.save_legacy_file is not that of 1\.0\.56"):
        module.methods_of(SimpleNamespace(), module.UPLOAD_METHODS)


class TestSignature:
    """With the wheel's own signing module."""

    KEY = "k" * 48

    @pytest.fixture
    def links(self, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Any:
        signing = ModuleType("skyvern.forge.sdk.artifact.signing")
        models = ModuleType("skyvern.forge.sdk.artifact.models")
        vars(models)["ArtifactType"] = type("ArtifactType", (), dict.fromkeys(self.types(), "x"))
        package = ModuleType("skyvern.forge.sdk.artifact")
        for name in ("skyvern", "skyvern.forge", "skyvern.forge.sdk"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        for part in (package, models, signing):
            monkeypatch.setitem(sys.modules, part.__name__, part)
        exec(skyvern_wheel.text("skyvern/forge/sdk/artifact/signing.py"), vars(signing))  # noqa: S102
        vars(package)["signing"] = signing
        return module.Links("https://api.example.com", self.KEY)

    @staticmethod
    def types() -> list[str]:
        return re.findall(r"ArtifactType\.([A-Z_]+)", skyvern_wheel.text("skyvern/forge/sdk/artifact/signing.py"))

    def test_a_link_is_signed_as_the_gateway_checks_it(self, links: Any) -> None:
        parts = links.read(links.of_uri("file:///data/artifacts/a.png", 600))
        path = f"/v1/artifacts/{parts.artifact_id}/content"
        digest = hmac.digest(self.KEY.encode(), f"GET\n{path}\n{parts.expiry}\n1".encode(), hashlib.sha256)
        assert (parts.kid, parts.sig) == ("1", base64.urlsafe_b64encode(digest).decode().rstrip("="))
        assert links.is_valid(*parts)

    def test_a_changed_or_expired_one_is_not_valid_and_an_expired_one_still_ours(self, links: Any) -> None:
        parts = links.read(links.of_id("a_1", 600))
        for changes in ({"artifact_id": "a_2"}, {"expiry": f"{parts.expiry}0"}, {"kid": "2"}, {"sig": f"{parts.sig[:-1]}_"}):
            changed = parts._replace(**changes)
            assert not links.is_valid(*changed), changes
            assert not links.is_ours(changed), changes
        expired = links.read(links.of_id("a_1", -1))
        assert not links.is_valid(*expired)
        assert links.is_ours(expired)
        for expiry in (f"+{parts.expiry}", f" {parts.expiry}", f"{parts.expiry[:2]}_{parts.expiry[2:]}", "", "x"):
            assert not links.is_valid(parts.artifact_id, expiry, parts.kid, parts.sig), expiry

    def test_no_other_host_is_ours(self, links: Any) -> None:
        link = links.of_id("a_1", 600)
        assert links.read(link) is not None
        for url in (
            link.replace("https:", "http:"),
            link.replace("api.example.com", "api.example.com.example.org"),
            link.replace("https://", "https://x@"),
            link.replace("/content", "/contents"),
            "file:///data/artifacts/a.png",
            "https://api.example.com/v1/workflows",
        ):
            assert links.read(url) is None, url

    def test_a_short_key_ends_the_start(self, module: ModuleType, links: Any) -> None:
        with pytest.raises(ValueError, match="too short"):
            module.Links("https://api.example.com", "k")

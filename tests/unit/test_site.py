"""site/: the build that Vercel runs, without Vercel. The built site and its middleware are tested in tests/site."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from components.ui import UI_USER
from lab import loopback
from ops.paths import ROOT

SITE = ROOT / "site"
VARIABLES = {
    "VITE_API_BASE_URL": "https://api.example.com/api/v1",
    "VITE_ARTIFACT_API_BASE_URL": "https://app.example.com",
    "VITE_BROWSER_STREAMING_MODE": "cdp",
    "VITE_WSS_BASE_URL": "wss://wss.example.com/api/v1",
}
# What patch.mjs corrects, as it stands in the published UI.
CORRECTED = re.findall(r"^    from: (['\"])(.*)\1,$", (SITE / "patch.mjs").read_text(), re.MULTILINE)
SCRIPT = " ".join([*(text for _, text in CORRECTED), *(f"__{name}_PLACEHOLDER__" for name in VARIABLES)])
PICTURE = bytes(range(256)) * 40

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def make_wheel(files: Mapping[str, bytes]) -> bytes:
    """A wheel of the UI with these files in its dist folder, each second one stored and not deflated."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        for index, (name, content) in enumerate(files.items()):
            packing = zipfile.ZIP_STORED if index % 2 else zipfile.ZIP_DEFLATED
            opened.writestr(f"skyvern_ui/dist/{name}", content, compress_type=packing)
        opened.writestr("skyvern_ui/__init__.py", "")
        opened.comment = b"a comment moves the end record"
    return archive.getvalue()


WHEEL = make_wheel({"index.html": b"<html>", "assets/index.js": SCRIPT.encode(), "logo.png": PICTURE, "assets/x.css": b""})


@dataclass
class Index:
    """A simple index on loopback. failures: how many of the next requests get a 503."""

    url: str = ""
    wheel: bytes = WHEEL
    failures: int = 0
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def index() -> Iterator[Index]:
    served = Index()

    class Handler(loopback.Handler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            if served.failures:
                served.failures -= 1
                self.send_error(503)
                return
            listed = {"filename": "skyvern_ui.whl", "url": "../../files/ui.whl", "hashes": {"sha256": digest(WHEEL)}}
            page = json.dumps({"files": [{"url": "none", "hashes": {}}, listed]}).encode()
            content = page if self.path == "/simple/skyvern-ui/" else served.wheel
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with loopback.serving(Handler) as port:
        served.url = f"http://127.0.0.1:{port}/simple"
        yield served


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Built:
    """How a build ended. dist: the output, which exists only after a good one."""

    code: int
    message: str
    dist: Path


def build(folder: Path, variables: Mapping[str, str | None], *, pinned: bytes = WHEEL) -> Built:
    """Runs a copy of build.mjs; ``pinned`` is the wheel whose hash the requirements name, None leaves a variable out."""
    for name in ("build.mjs", "patch.mjs"):
        shutil.copy(SITE / name, folder)
    line = re.sub(r"[0-9a-f]{64}", digest(pinned), (SITE / "ui-requirements.txt").read_text())
    (folder / "ui-requirements.txt").write_text(line)
    environment = {"PATH": os.environ["PATH"], **VARIABLES, **variables}
    done = subprocess.run(
        ["node", folder / "build.mjs"],
        env={name: value for name, value in environment.items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
    )
    return Built(done.returncode, done.stdout + done.stderr, folder / "dist")


def test_the_wheel_of_the_pinned_hash_becomes_the_site(tmp_path: Path, index: Index) -> None:
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/of-the-last-build.js").touch()
    built = build(tmp_path, {"SKYVERN_UI_INDEX_URL": index.url})
    assert built.code == 0, built.message
    assert index.asked == ["/simple/skyvern-ui/", "/files/ui.whl"]
    found = {path.relative_to(built.dist).as_posix(): path.read_bytes() for path in built.dist.rglob("*") if path.is_file()}
    assert set(found) == {"index.html", "assets/index.js", "assets/x.css", "logo.png"}
    assert found["logo.png"] == PICTURE
    script = found["assets/index.js"].decode()
    assert script.endswith(" ".join(VARIABLES.values()))
    assert 'if(d.signed_url&&!d.signed_url.startsWith("file://"))return' in script


def test_a_registry_that_stumbles_is_asked_again(tmp_path: Path, index: Index) -> None:
    index.failures = 1
    assert build(tmp_path, {"SKYVERN_UI_INDEX_URL": index.url}).code == 0


def test_another_wheel_than_the_pinned_one_is_refused(tmp_path: Path, index: Index) -> None:
    index.wheel = make_wheel({"index.html": b"<html>not ours"})
    exchanged = build(tmp_path, {"SKYVERN_UI_INDEX_URL": index.url})
    assert (exchanged.code, exchanged.dist.exists()) == (1, False)
    assert "does not have the hash of ui-requirements.txt" in exchanged.message
    unlisted = build(tmp_path, {"SKYVERN_UI_INDEX_URL": index.url}, pinned=b"another")
    assert "no file of skyvern-ui 1.0.56 with the hash of ui-requirements.txt" in unlisted.message


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"VITE_WSS_BASE_URL": None}, "VITE_WSS_BASE_URL is not set"),
        ({"VITE_API_BASE_URL": ""}, "VITE_API_BASE_URL is not a plain URL or word"),
        ({"VITE_API_BASE_URL": 'https://a"+alert(1)+"'}, "VITE_API_BASE_URL is not a plain URL or word"),
        ({"VITE_API_BASE_URL": "https://a\nb"}, "VITE_API_BASE_URL is not a plain URL or word"),
        ({"SKYVERN_UI_WHEEL": "/none.whl"}, "/none.whl"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path: Path, variables: dict[str, str | None], message: str) -> None:
    built = build(tmp_path, variables)
    assert (built.code, built.dist.exists()) == (1, False)
    assert built.message.startswith("build: ")
    assert built.message.count("\n") == 1
    assert message in built.message


@pytest.mark.parametrize("place", ["index.html", "assets/other.css"])
def test_a_placeholder_that_nobody_fills_fails_the_build(tmp_path: Path, place: str) -> None:
    wheel = make_wheel({"assets/index.js": SCRIPT.encode(), place: b"__VITE_NEW_PLACEHOLDER__"})
    (tmp_path / "ui.whl").write_bytes(wheel)
    built = build(tmp_path, {"SKYVERN_UI_WHEEL": str(tmp_path / "ui.whl")}, pinned=wheel)
    assert (built.code, built.dist.exists()) == (1, False)
    assert f"left in {Path(place).name}: __VITE_NEW_PLACEHOLDER__" in built.message


def test_the_site_depends_on_the_platforms_helper_and_a_parser_and_on_exact_hashes() -> None:
    package = json.loads((SITE / "package.json").read_text())
    assert list(package["dependencies"]) == ["@vercel/functions", "acorn"]
    assert "devDependencies" not in package
    locked = json.loads((SITE / "package-lock.json").read_text())["packages"]
    assert all(entry["integrity"].startswith("sha512-") for path, entry in locked.items() if path)
    assert not [path for path, entry in locked.items() if entry.get("hasInstallScript")]


def test_the_readme_names_every_variable_that_is_read() -> None:
    sources = (SITE / "middleware.js").read_text() + (SITE / "build.mjs").read_text() + (SITE / "patch.mjs").read_text()
    read = set(re.findall(r"environment\.([A-Z_0-9]+)", sources)) | set(re.findall(r"__(VITE_[A-Z_]+)_PLACEHOLDER__", sources))
    assert {"GATEWAY_KEY", "VITE_WSS_BASE_URL", "SKYVERN_UI_WHEEL"} < read
    readme = (SITE / "README.md").read_text()
    assert [name for name in sorted(read) if f"`{name}`" not in readme] == []
    assert f"{UI_USER}:PASSWORD" in readme

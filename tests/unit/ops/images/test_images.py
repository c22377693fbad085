"""The names and contents of images (components/host/images.py), and how they get onto a daemon (ops/images/build.py)."""

import datetime
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from components.host import images
from components.settings import HostSettings
from components.settings.skyvern_settings import SKYVERN_VERSION
from ops.clients.docker import Docker
from ops.errors import UserError
from ops.images import build, commands, needs
from ops.machine import go
from ops.paths import ROOT
from tests.support.home import Home

REPOSITORY = images.ROOT
OURS = re.compile(r"localhost/skyvern/[a-z]+:[0-9a-f]{12}")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what images are built from."""
    root = tmp_path / "checkout"
    # Without what an import of an image's module leaves there: each test starts from what git has.
    shutil.copytree(REPOSITORY / "images", root / "images", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "site", root / "site", ignore=shutil.ignore_patterns("node_modules"))
    return root


# --- References --------------------------------------------------------------------------------------------------------


def test_official_bases_are_pinned_by_digest_and_packages_has_no_public_image() -> None:
    official, packages = images.references("official"), images.references("packages")
    assert set(official) - images.CONNECTORS == set(packages) == set(images.BASES)
    for image in ("debian", "cloudflared", "ngrok", "ollama", "postgres"):
        assert re.fullmatch(r"[a-z/]+:[^@]+@sha256:[0-9a-f]{64}", official[image])
    assert all(OURS.fullmatch(reference) for reference in packages.values())
    assert all(OURS.fullmatch(official[image]) for image in ("server", "gateway", "artifacts", "egress", "llm"))


def test_source_is_in_the_tag_of_everything_built_on_a_base() -> None:
    official, packages = images.references("official"), images.references("packages")
    assert [image for image in images.BASES if official[image] == packages[image]] == ["caddy"], "compiled for both"


def test_unknown_source_is_refused() -> None:
    with pytest.raises(ValueError, match="'hub'"):
        images.references("hub")  # type: ignore[arg-type]


def test_bases_come_before_what_is_built_on_them() -> None:
    order = list(images.BASES)
    assert all(order.index(base) < order.index(image) for image, bases in images.BASES.items() for base in bases)


def test_tags_depend_on_content_only(checkout: Path) -> None:
    # A clone under another umask, at another time, on a file system that makes everything executable.
    before = images.references("packages")
    for path in (checkout / "images").rglob("*"):
        path.chmod(0o700)
        os.utime(path, (1, 1))
    (checkout / "images/server/__pycache__").mkdir()
    (checkout / "images/server/__pycache__/link-browsers.cpython-311.pyc").write_bytes(b"\0")
    (checkout / "images/server/.Dockerfile.swp").write_text("x")
    (checkout / "images/server/Dockerfile~").write_text("x")
    assert dict(images.references("packages", checkout)) == dict(before)


@pytest.mark.parametrize(
    ("changed", "renamed"),
    [
        ("images/server/skyvern-start", {"server"}),
        ("images/server/requirements.in", {"server", "monitor"}),
        ("images/monitor/templates/page.html", {"monitor"}),
        ("images/artifacts/smoke/hostile.html", {"artifacts"}),
        ("images/caddy/go.sum", {"caddy", "gateway"}),
        ("site/patch.mjs", {"gateway"}),
        ("site/localize.mjs", {"gateway"}),
        ("site/locales/ko.json", {"gateway"}),
        ("images/llm/ollama-pull", {"llm"}),
        ("images/ollama/go.sum", {"ollama", "llm"}),
        ("images/debian/debian.sources", set(images.BASES) - {"caddy"}),
        ("images/refreshed.txt", set(images.BASES)),
    ],
)
def test_a_change_renames_what_is_built_from_it(checkout: Path, changed: str, renamed: set[str]) -> None:
    before = images.references("packages")
    path = checkout / changed
    path.write_bytes(path.read_bytes() + b"\n")
    after = images.references("packages", checkout)
    assert {image for image in images.BASES if before[image] != after[image]} == renamed


def test_a_file_that_moves_renames_the_image(checkout: Path) -> None:
    before = images.references("official")["egress"]
    (checkout / "images/egress/squid.conf").rename(checkout / "images/egress/squid.txt")
    assert images.references("official", checkout)["egress"] != before


# --- Contexts ------------------------------------------------------------------------------------------------------------


def test_context_has_fixed_modes_and_the_certificate_bundle_outside_the_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("certificates")
    for variable in build.CERTIFICATE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    old_umask = os.umask(0o077)
    try:
        build.copy_context("gateway", tmp_path / "context")
    finally:
        os.umask(old_umask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "context").rglob("*")}
    assert modes["gateway-start"] == 0o755
    assert modes["Dockerfile"] == modes["patch.mjs"] == modes["ko.json"] == modes["ca.crt"] == 0o644
    assert modes["locales"] == 0o755
    assert (tmp_path / "context/ca.crt").read_text() == "certificates"
    assert "ca.crt" not in dict(images.context_files("gateway"))
    assert (tmp_path / "context/locales/ko.json").is_file()


def test_certificate_bundle_is_empty_where_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in build.CERTIFICATE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "does-not-exist"))
    build.copy_context("egress", tmp_path / "context")
    assert (tmp_path / "context/ca.crt").read_bytes() == b""


@pytest.mark.parametrize("named", [True, False])
def test_a_companys_certificates_come_on_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    """F10: ca.crt replaces what the builder trusts."""
    for variable in build.CERTIFICATE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    bundle, system = tmp_path / "bundle.pem", tmp_path / "system.crt"
    bundle.write_text("of the machine")
    system.write_text("public\n")
    monkeypatch.setattr(build, "SYSTEM_BUNDLE", system)
    if named:
        monkeypatch.setenv("PIP_CERT", str(bundle))
    build.copy_context("egress", tmp_path / "context", "of the company\n")
    first = "of the machine" if named else "public"
    assert (tmp_path / "context/ca.crt").read_text() == f"{first}\nof the company\n"


@pytest.mark.parametrize("shell", [True, False])
def test_builds_use_the_stacks_proxy_where_the_shell_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: bool
) -> None:
    """F10."""
    for variable in (*build.PROXY_VARIABLES, "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
    if shell:
        monkeypatch.setenv("https_proxy", "http://of-the-shell:3128")
    build.copy_context("egress", tmp_path / "context")
    references = images.references("official")
    command = build.build_command(Docker("unix:///x"), "egress", references, tmp_path / "context", "http://of-the-stack:3128")
    given = {part for part in command if "proxy" in part}
    assert given == ({"https_proxy"} if shell else {f"{name}=http://of-the-stack:3128" for name in ("http_proxy", "https_proxy")})


@pytest.mark.parametrize("image", [image for image in images.BASES if image != "debian"])
def test_dockerfiles_work_with_the_classic_builder_and_keep_the_bundle_out(image: str) -> None:
    text = (REPOSITORY / "images" / image / "Dockerfile").read_text()
    for only_buildkit in ("--mount", "<<", "--chmod", "--link", "# syntax"):
        assert only_buildkit not in text
    last_stage = text.rpartition("\nFROM ")[2]
    assert "ca.crt" not in last_stage
    for base in images.BASES[image]:
        assert f"ARG {base.upper()}\n" in text
    assert not re.search(r"https?://", re.sub(r"#.*", "", text))
    # Stand-ins for public images that say no user either; what is built on them does.
    if image not in {"caddy", "ollama"}:
        assert re.search(r"^USER [1-9][0-9]*:[0-9]+$", last_stage, re.MULTILINE)


def test_server_and_ui_have_one_version() -> None:
    requirement = (REPOSITORY / "images/server/requirements.in").read_text().strip()
    assert requirement == f"skyvern[server]=={SKYVERN_VERSION}"
    assert f"skyvern-ui=={SKYVERN_VERSION} " in (REPOSITORY / "site/ui-requirements.txt").read_text()


@pytest.mark.parametrize(
    "name",
    [
        "images/monitor/requirements.txt",
        "images/server/requirements.txt",
        "images/server/build-requirements.txt",
        "site/ui-requirements.txt",
    ],
)
def test_requirements_are_exact_and_hashed_and_name_no_index(name: str) -> None:
    text = (REPOSITORY / name).read_text()
    assert "index-url" not in text
    pinned = re.findall(r"^[A-Za-z0-9][^\n]*\\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[A-Za-z0-9]", text, re.MULTILINE)) > 0
    assert all("==" in line for line in pinned)


# --- Scripts in the images -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("PANEL OTHERS PLACEHOLDERS", None),
        ("PANEL PANEL OTHERS PLACEHOLDERS", "expected 1 place(s), found 2"),
        ("OTHERS PLACEHOLDERS", "expected 1 place(s), found 0"),
        ("PANEL PLACEHOLDERS", "expected 1 place(s), found 0"),
        ("PANEL OTHERS", "placeholders changed: __VITE_API_BASE_URL_PLACEHOLDER__, "),
        ("PANEL OTHERS PLACEHOLDERS __VITE_NEW_PLACEHOLDER__", "placeholders changed: __VITE_NEW_PLACEHOLDER__"),
    ],
)
def test_patch_fits_exactly_once_or_fails(tmp_path: Path, script: str, problem: str | None) -> None:
    names = ("API_BASE_URL", "ARTIFACT_API_BASE_URL", "BROWSER_STREAMING_MODE", "WSS_BASE_URL")
    patched = re.findall(r"^    from: (['\"])(.*)\1,$", (REPOSITORY / "site/patch.mjs").read_text(), re.MULTILINE)
    panel, *others = (text for _, text in patched)
    assert panel == "if(d.signed_url)return YLt(d.signed_url,d.artifact_id,n);"
    text = script.replace("PANEL", panel).replace("OTHERS", " ".join(others))
    text = text.replace("PLACEHOLDERS", " ".join(f"__VITE_{name}_PLACEHOLDER__" for name in names))
    (tmp_path / "assets").mkdir()
    bundle = tmp_path / "assets/index.js"
    bundle.write_text(text)
    done = subprocess.run(["node", REPOSITORY / "site/patch.mjs", tmp_path], capture_output=True, text=True, check=False)
    if problem is None:
        assert done.returncode == 0, done.stderr
        assert 'if(d.signed_url&&!d.signed_url.startsWith("file://"))return YLt(' in bundle.read_text()
    else:
        assert done.returncode == 1
        assert problem in done.stderr
        assert bundle.read_text() == text


# --- Building ------------------------------------------------------------------------------------------------------------


def test_build_names_bases_date_and_proxy_without_its_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in build.PROXY_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy:3128")
    references = images.references("official")
    build.copy_context("gateway", tmp_path / "context")
    command = build.build_command(Docker("unix:///x.sock"), "gateway", references, tmp_path / "context")
    assert command[:5] == ["docker", "--host", "unix:///x.sock", "build", "--network"]
    assert f"DEBIAN={images.OFFICIAL['debian']}" in command
    assert f"CADDY={references['caddy']}" in command
    assert any(re.fullmatch(r"REFRESHED=\d{4}-\d\d-\d\d", part) for part in command)
    assert "HTTPS_PROXY" in command
    assert not any("password" in part for part in command)


@pytest.mark.parametrize(
    ("plugin", "version", "builder"),
    [
        ("exit 0", "Docker version 28.5.2, build ecc6942", "1"),
        ("exit 1", "Docker version 28.5.2, build ecc6942", "0"),
        ("exit 1", "Docker version 23.0.0, build e92dd87", "0"),
        ("exit 1", "Docker version 20.10.24+dfsg1, build 297e128", "1"),
        ("exit 1", "podman version 5.4.2", "0"),
    ],
)
def test_builder_is_the_daemons_own(home: Home, monkeypatch: pytest.MonkeyPatch, plugin: str, version: str, builder: str) -> None:
    home.program("docker", f"""case "$*" in *--version) echo '{version}' ;; *) {plugin} ;; esac""")
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere")
    environment = build.build_environment(Docker("unix:///x.sock"))
    assert environment["DOCKER_BUILDKIT"] == builder
    assert "DOCKER_HOST" not in environment
    assert environment.get("BUILDX_BUILDER") == ("default" if builder == "1" else None)


def test_a_failed_build_names_its_log(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.program("docker", 'case "$*" in *" pull "*) echo "no such host"; exit 1 ;; esac')
    monkeypatch.setattr(go, "ensure_go", lambda progress: None)
    lines: list[str] = []
    with pytest.raises(UserError, match=r"image-postgres\.log.*no such host"):
        build.build(Docker("unix:///nowhere.sock"), "official", lines.append, host=HostSettings())
    assert lines[0].startswith("6 to build or pull: postgres, egress, artifacts, caddy, gateway, server; about ")


@pytest.mark.parametrize(("chosen", "asked"), [("packages", True), ("official", False)])
def test_only_stand_ins_need_root_on_the_host(
    home: Home, monkeypatch: pytest.MonkeyPatch, chosen: images.ImageSource, asked: bool
) -> None:
    home.program("docker", 'case "$*" in *" pull "*) exit 1 ;; esac')

    def refuse(progress: Callable[[str], None]) -> None:
        raise UserError("needs root")

    monkeypatch.setattr(needs, "ensure_package_tools", refuse)
    asked_for_go: list[str] = []
    monkeypatch.setattr(go, "ensure_go", lambda progress: asked_for_go.append("asked"))
    with pytest.raises(UserError) as wrong:
        build.build(Docker("unix:///nowhere.sock"), chosen, lambda line: None, host=HostSettings())
    assert ("needs root" in str(wrong.value)) is asked
    assert asked_for_go == ([] if asked else ["asked"]), "Caddy is compiled for both"


def registry(home: Home, digests: Mapping[str, str]) -> None:
    """A registry in which each tag has a digest of its name, but for those given."""
    known = {**{reference.split("@")[0]: reference.split("@")[1] for reference in images.OFFICIAL.values()}, **digests}
    cases = "".join(f"""*" {tag}") echo '{json.dumps({"digest": digest})}' ;; """ for tag, digest in known.items())
    home.program("docker", f"""case "$*" in {cases} *) echo '{{"digest": "sha256:{"0" * 64}"}}' ;; esac""")


def test_digest_prints_what_changed(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    cloudflared, latest = "cloudflare/cloudflared:2026.9.3", images.MOVING_TAGS["cloudflared"]
    same = {tag: images.OFFICIAL[image].split("@")[1] for image, tag in images.MOVING_TAGS.items()}
    registry(home, same)
    commands.public_digests()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[:-1]] == ["unchanged"] * len(images.OFFICIAL)
    assert "COMPARED" in lines[-1]
    registry(home, {**same, cloudflared: "sha256:" + "1" * 64, latest: "sha256:" + "1" * 64})
    commands.public_digests()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("debian:trixie-slim: unchanged")
    assert f"{cloudflared}@sha256:" + "1" * 64 in lines[1]
    assert "ngrok" in lines[2]
    assert "components/host/images.py" in lines[-1]


def test_digest_looks_at_the_tags_that_move(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    """O7: a superseded version keeps its digest, so that it read "unchanged" for a year."""
    same = {tag: images.OFFICIAL[image].split("@")[1] for image, tag in images.MOVING_TAGS.items()}
    registry(home, {**same, "postgres:17-trixie": "sha256:" + "2" * 64})
    commands.public_digests()
    out = capsys.readouterr().out
    assert "postgres:17-trixie: another version, sha256:" + "2" * 64 in out
    assert "latest" not in out


def test_every_public_image_has_its_day_and_its_moving_tag() -> None:
    assert set(images.COMPARED) == set(images.MOVING_TAGS) == set(images.OFFICIAL)
    for image, reference in images.OFFICIAL.items():
        assert reference.split(":")[0] == images.MOVING_TAGS[image].split(":")[0]


def test_what_was_not_renewed_for_90_days_is_named() -> None:
    """O7, and the Debian packages of what is built here."""
    everything = frozenset({"llm", "cloudflared", "ngrok"})
    day = datetime.timedelta(days=1)
    fresh = min(images.refreshed(), *images.COMPARED.values()) + 90 * day
    assert list(commands.aged("official", everything, fresh)) == []
    later = max(images.refreshed(), *images.COMPARED.values()) + 91 * day
    lines = list(commands.aged("official", everything, later))
    assert len(lines) == 1 + len(images.OFFICIAL)
    assert lines[0].endswith("days ago; write today's date into images/refreshed.txt and run script/up")
    assert all(line.endswith("bin/ops images digest asks what is newest") for line in lines[1:])
    # Those that a stack has nothing of are not its.
    assert not any("ollama" in line or "ngrok" in line for line in commands.aged("official", frozenset(), later))
    assert len(list(commands.aged("packages", everything, later))) == 1


def test_the_official_ollama_takes_its_time() -> None:
    """O8: 2 GB were announced as about a minute."""
    assert build.expected_minutes("llm", "official") > 5
    assert build.expected_minutes("llm", "packages") == 1
    assert build.expected_minutes("server", "official") == build.EXPECTED_MINUTES["server"]


@pytest.mark.parametrize("page", ["docs/official.md", "docs/ko/official.md"])
def test_what_the_stand_in_of_ollama_differs_in_is_said(page: str) -> None:
    """O9: five minor versions were never run. No newer one can be built from its module, so both versions are named."""
    official = images.OFFICIAL["ollama"].partition("@")[0]
    (pinned,) = re.findall(r"^\tgithub.com/ollama/ollama v(\S+)$", (ROOT / "images/ollama/go.mod").read_text(), re.MULTILINE)
    assert f"version.Version={pinned}'" in (ROOT / "images/ollama/Dockerfile").read_text()
    (row,) = [line for line in (ROOT / page).read_text().splitlines() if line.startswith("| `ollama/")]
    assert f"`{official}`" in row
    assert f"Ollama {pinned}" in row
    assert "412" in row


def test_digest_says_when_the_registry_does_not_answer(home: Home) -> None:
    home.program("docker", """[ "$2" = version ] || { echo 'no such host' >&2; exit 1; }""")
    with pytest.raises(UserError, match="no such host"):
        commands.public_digests()


def test_digest_names_the_missing_plugin(home: Home) -> None:
    home.program("docker", "exit 125")
    with pytest.raises(UserError, match="install docker-buildx-plugin"):
        commands.public_digests()

"""What the build of the server's image proves: Playwright finds Chromium on both processors, and pages find their characters."""

import os
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from lab.standins.vercel.build import cached
from ops.paths import ROOT
from tests.support.pinned_wheel import REQUIREMENTS, download
from tests.support.server_image import FOLDER, load

DOCKERFILE = (FOLDER / "Dockerfile").read_text()


# --- Chromium under Playwright's names ---------------------------------------------------------------------------------------


def _unpack(folder: Path) -> None:
    """50 MB, of which its driver is used here: Node.js and the registry of browsers."""
    wheel = download("playwright", folder)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    wheel.unlink()
    (folder / "playwright/driver/node").chmod(0o755)


@pytest.fixture(scope="module")
def playwright() -> Path:
    """The folder of Playwright's own wheel, of the version that the image installs."""
    return cached("playwright", REQUIREMENTS, _unpack)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("image")


@pytest.fixture(scope="module")
def browsers(playwright: Path, folder: Path) -> Iterator[ModuleType]:
    """link-browsers.py as in the image, with its programs in ``folder``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(playwright)
        module = load("link-browsers.py")
        for name in ("sandboxed", "chromium"):
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
        patch.setattr(module, "SANDBOXED", folder / "sandboxed")
        patch.setattr(module, "DEBIANS", (folder / "chromium",))
        patch.setattr(module, "PROGRAMS", folder / "bin")
        yield module


@pytest.fixture(scope="module")
def linked(browsers: ModuleType, folder: Path) -> Path:
    """The folder of browsers, as the build makes it."""
    browsers.main(folder / "browsers")
    return folder / "browsers"


@pytest.mark.parametrize("platform", ["debian13-x64", "debian13-arm64"])
def test_playwright_finds_its_browser_on_both_processors(linked: Path, playwright: Path, platform: str) -> None:
    """F11: an arm64 image built, its server was healthy, and every run failed. Here Playwright itself starts a browser."""
    script = f"""
        const {{chromium}} = require({str(playwright / "playwright/driver/package")!r});
        const missing = failed => failed.message.match(/Executable doesn't exist at .*/);
        for (const headless of [true, false])
          chromium.launch({{headless}}).catch(failed => missing(failed) && console.log(missing(failed)[0]));
    """
    # The program that stands for the browser ends at once, which is another failure than a missing one.
    environment = {**os.environ, "PLAYWRIGHT_BROWSERS_PATH": str(linked), "PLAYWRIGHT_HOST_PLATFORM_OVERRIDE": platform}
    node = playwright / "playwright/driver/node"
    done = subprocess.run([node, "-e", script], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""


def test_every_link_leads_to_the_one_program(browsers: ModuleType, linked: Path) -> None:
    links = [path for path in linked.rglob("*") if path.is_symlink()]
    assert {path.name for path in links} == {"chrome", "chrome-headless-shell", "ffmpeg-linux"}
    assert {path.resolve() for path in links} == {browsers.SANDBOXED}
    # Playwright takes a folder without this file for a download that was cut off.
    assert len(list(linked.glob("*/INSTALLATION_COMPLETE"))) == 3


def test_the_build_fails_where_playwrights_own_path_leads_nowhere(
    browsers: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F11: the next Playwright may have another layout, and it has to be the build that notices."""
    made = browsers.link
    monkeypatch.setattr(browsers, "PROGRAMS", tmp_path / "bin")
    monkeypatch.setattr(browsers, "link", lambda place: None if "linux-arm64" in str(place) else made(place))
    nowhere = r"^link-browsers: Playwright on debian13-arm64: Error: Executable doesn't exist at .*chrome-linux-arm64/chrome$"
    with pytest.raises(SystemExit, match=nowhere):
        browsers.main(tmp_path / "browsers")


# --- Fonts -------------------------------------------------------------------------------------------------------------------

# As fontconfig answered in an image with Korean fonts alone, and with all of them.
KOREAN = {":lang=ko": "NanumGothic", ":charset=d55c": "NanumGothic", "Arial": "Liberation Sans"}
ALL = {
    **KOREAN,
    **dict.fromkeys(
        (":lang=zh-cn", ":lang=zh-tw", ":lang=ja", ":charset=53d1", ":charset=3042"), "WenQuanYi Micro Hei,文泉驛微米黑"
    ),
    ":charset=1f600": "Noto Color Emoji",
}


def check_fonts(folder: Path, answers: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """check-fonts with a fontconfig that has these answers, and some font for everything else."""
    cases = "".join(f"'{asked}') printf '%s' '{family}' ;;\n" for asked, family in answers.items())
    double = folder / "fc-match"
    double.write_text(f'#!/bin/sh\ncase "$3" in\n{cases}*) printf "Liberation Mono" ;;\nesac\n')
    double.chmod(0o755)
    search_path = f"{folder}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", FOLDER / "check-fonts"], env={"PATH": search_path}, capture_output=True, text=True, timeout=10, check=False
    )


def test_a_script_without_a_font_of_its_own_fails_the_build(tmp_path: Path) -> None:
    """F35: emoji and simplified Chinese were boxes in screenshots."""
    assert check_fonts(tmp_path, ALL).returncode == 0
    failed = check_fonts(tmp_path, KOREAN)
    assert failed.returncode == 1
    assert failed.stderr == "check-fonts: for :lang=zh-cn fontconfig has Liberation Mono, not WenQuanYi\n"
    # One that has every character, and would be there for pages in Korean too.
    taken = check_fonts(tmp_path, {**ALL, ":charset=d55c": "WenQuanYi Micro Hei"})
    assert "for :charset=d55c fontconfig has WenQuanYi Micro Hei, not Nanum" in taken.stderr


def test_the_build_asks_after_the_fonts_are_there() -> None:
    """F35"""
    steps = [step.strip() for step in DOCKERFILE.replace("\\\n", " ").replace("&&", "\n").splitlines()]
    assert steps.index("fc-cache -f") < steps.index("/usr/local/lib/skyvern/check-fonts")
    assert {"fonts-noto-color-emoji", "fonts-wqy-microhei"} <= set(DOCKERFILE.split())
    assert (ROOT / "images/server/fonts.conf").is_file()

"""``script/update-skyvern VERSION``: another Skyvern in every place of this checkout that names one, and whether ours fits it.

Locks with hashes, the UI's wheel, the version, the pages about its settings, and the SDK's version in those about the API; then
the texts of the UI that are new or gone, for translators, and the tests that hold our modules, patches and decisions against the
wheel. What they name is a maintainer's to change. Not here: LLM keys (components/settings/llm_keys.py), which the wheel makes at
run time; the schema of automation files, which Skyvern's own models make (tools/skyvern_schema/generate.py); and what an upgrade
does to a stack (ops/deploy/upgrade.py).
"""

import hashlib
import json
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ops import shell
from ops.clients import pip, process, terminal
from ops.clients.terminal import Progress, say
from ops.errors import UserError, explained
from ops.paths import ROOT, write_whole

SERVER = "images/server/requirements"
UI = "site/ui-requirements.txt"
# What lists the texts of a UI, and its dictionaries.
SITE = ("localize.mjs", "texts.mjs", "patch.mjs", "package.json", "package-lock.json", "locales")
SETTINGS = "components/settings/skyvern_settings.py"
# Pages that tell programs which SDK to install.
SDK_PAGES = ("docs/api.md", "docs/ko/api.md")
PAGES = {"en": "docs/skyvern-settings.md", "ko": "docs/ko/skyvern-settings.md"}
# As the server's image has it; a lock for another Python may choose other packages.
COMPILE = ("pip", "compile", "--quiet", "--no-header", "--generate-hashes", "--python-version", "3.13", "--no-python-downloads")
PLATFORM = ("--python-platform", "x86_64-manylinux_2_28")
# They read the wheel that is pinned, or compare its version with what was made from it.
TESTS = (
    "tests/unit/components/automations/test_files.py",
    "tests/unit/components/settings/test_skyvern_settings.py",
    "tests/unit/images",
    "tests/unit/ops/backups/test_migrations.py",
    "tests/unit/ops/images",
    "tests/unit/test_code.py",
    "tests/unit/test_site.py",
)
RESOLVE_SECONDS = 600
# Two UIs of 5 MB are parsed.
LIST_SECONDS = 600
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+){1,3}")
_PINNED = re.compile(r'^SKYVERN_VERSION = "([0-9.]+)"$', re.MULTILINE)


def update(version: str, progress: Progress, root: Path = ROOT) -> None:
    """Changes the files, then runs the tests. UserError, with no file changed, for a version that there is not."""
    if not _NUMBER.fullmatch(version):
        raise UserError(f"{version!r} is not a version of Skyvern; write one as on PyPI, for example 1.0.56")
    settings = (root / SETTINGS).read_text(encoding="utf-8")
    if len(_PINNED.findall(settings)) != 1:
        raise UserError(f"{SETTINGS}: has no line SKYVERN_VERSION, so this checkout is not changed")
    progress(f"resolving skyvern and skyvern-ui {version}")
    # Every text is known before the first file changes.
    lock, ui = root / f"{SERVER}.txt", root / UI
    wanted = f"skyvern[server]=={version}\n"
    (before,) = _PINNED.findall(settings)
    with tempfile.TemporaryDirectory(prefix="skyvern-update-") as folder:
        # What is locked stays where it fits.
        locked = comments(lock) + compiled(wanted, PLATFORM, before=lock.read_text(encoding="utf-8"))
        with explained(lambda failed: f"{failed}; nothing was changed"):
            new = wheel(f"skyvern-ui=={version}", Path(folder) / "new")
        texts = {
            root / f"{SERVER}.in": wanted,
            lock: locked,
            ui: comments(ui) + pinned(f"skyvern-ui=={version}", new),
            root / SETTINGS: _PINNED.sub(f'SKYVERN_VERSION = "{version}"', settings),
        }
        for page in SDK_PAGES:
            text = (root / page).read_text(encoding="utf-8")
            texts[root / page] = text.replace(f"pip install skyvern=={before}`", f"pip install skyvern=={version}`")
        try:
            old = wheel(f"skyvern-ui=={before}", Path(folder) / "old")
            changed = translations(new, old, root / "site", Path(folder))
        except UserError as failed:
            # A list for translators: English is shown for what they have not seen.
            progress(f"the UI's new and vanished texts could not be listed: {failed}")
            changed = ""
    for path, text in texts.items():
        write_whole(path, text)
        progress(f"{path.relative_to(root)}: written")
    for language, page in PAGES.items():
        command = [sys.executable, "-m", "ops", "configuration", "--skyvern", "--language", language]
        write_whole(root / page, process.capture(command, cwd=root, env=shell.variables()).decode())
        progress(f"{page}: written")
    if changed:
        progress(changed)
    if terminal.run_attended([sys.executable, "-m", "pytest", "-q", *TESTS], env=shell.variables(), ask=False, folder=root):
        raise UserError(
            f"Skyvern {version} does not fit yet: correct what the tests above name, then run them again (script/test unit); "
            "git checkout -- . takes all of it back"
        )
    progress(
        f"Skyvern {version} fits; now compare the LLM keys (components/settings/llm_keys.py), write CHANGELOG.md, and try it: "
        "script/up names its migrations"
    )


def compiled(wanted: str, options: Sequence[str], *, before: str = "") -> str:
    """What uv makes of one requirement, with hashes. before: the lock until now. UserError without uv, or for no such version."""
    with tempfile.TemporaryDirectory(prefix="skyvern-update-") as folder:
        source, lock = Path(folder) / "requirements.in", Path(folder) / "requirements.txt"
        source.write_text(wanted, encoding="utf-8")
        lock.write_text(before, encoding="utf-8")
        try:
            process.capture(
                ["uv", *COMPILE, *options, source.name, "-o", lock.name],
                cwd=Path(folder),
                env=shell.variables(),
                timeout_seconds=RESOLVE_SECONDS,
            )
        except UserError as failed:
            if "not found on PATH" in str(failed):
                raise UserError("uv: not found; install it (pip install uv), it makes the locks. Nothing was changed") from failed
            raise UserError(f"{wanted.strip()} cannot be resolved, and nothing was changed: {failed}") from failed
        return lock.read_text(encoding="utf-8").replace(f"-r {source.name}", f"-r {Path(SERVER).name}.in")


def wheel(wanted: str, folder: Path) -> Path:
    """Downloads the wheel of a requirement into a folder, which it makes. UserError where there is none."""
    folder.mkdir()
    options = ("--quiet", "--no-deps", "--only-binary", ":all:")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", *options, wanted]
    with explained(lambda failed: f"{wanted} cannot be had: {failed}"):
        process.capture(command, cwd=folder, env=pip.variables(), timeout_seconds=RESOLVE_SECONDS)
    (file,) = folder.glob("*.whl")
    return file


def pinned(wanted: str, file: Path) -> str:
    """A requirement with the hash of its wheel, which is all that the site's build takes."""
    return f"{wanted} \\\n    --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n"


def translations(new: Path, old: Path, site: Path, work: Path) -> str:
    """What translators have to do: texts that a new UI shows and the old one did not, and entries that the new one shows no more.

    new, old: wheels of the UI. work: a folder for other files. Lines for a terminal, "" if nothing changed. UserError without
    Node.js, or for a UI that cannot be read.
    """
    copy = work / "site"
    copy.mkdir()
    for name in SITE:
        (shutil.copytree if (site / name).is_dir() else shutil.copy)(site / name, copy / name)
    process.capture(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=copy, timeout_seconds=RESOLVE_SECONDS)
    folders = []
    for file in (new, old):
        folders.append(work / f"{file.parent.name}-ui")
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folders[-1])
    command: list[str | Path] = ["node", "localize.mjs", "--list", *(folder / "skyvern_ui/dist" for folder in folders)]
    listed = json.loads(process.capture(command, cwd=copy, timeout_seconds=LIST_SECONDS))
    return "\n".join(line for language, texts in listed.items() for line in lines_for(language, texts))


def lines_for(language: str, texts: dict[str, list[str]]) -> list[str]:
    """What a translator has to do: texts is {"new": [...], "vanished": [...]}. Nothing where both are empty."""
    new, vanished = texts["new"], texts["vanished"]
    head = f"site/locales/{language}.json: {len(new)} new in the UI (English until translated), {len(vanished)} to remove"
    marked = [f"  {mark} {json.dumps(text, ensure_ascii=False)}" for mark, kind in (("+", new), ("-", vanished)) for text in kind]
    return [head, *marked] if marked else []


def comments(path: Path) -> str:
    """The lines of a file before its first requirement."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    first = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return "".join(lines[:first])


def main(arguments: list[str] | None = None) -> int:
    """Entry point of script/update-skyvern."""
    parser = terminal.Parser(prog="script/update-skyvern", description="Another version of Skyvern in this checkout.")
    parser.add_argument("version", help="as on PyPI, for example 1.0.56")
    options = parser.parse_args(arguments)
    return terminal.run_main("script/update-skyvern", lambda: update(options.version, say))


if __name__ == "__main__":
    sys.exit(main())

"""Files with hostile names, types and kinds among what runs leave behind: the gateway gives out those that are recordings.

Paths that lead out, and links, are in the smoke run. Here the files are where they belong, which whoever writes them may choose.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote

import httpx
import pytest

from ops.observe.smoke.artifact_checks import KINDS, unsafe_headers
from ops.observe.smoke.site import Site

pytestmark = [pytest.mark.timeout(4800), pytest.mark.nightly]
CONTENT = b"recorded"
# As bytes on the disk, because a name need not be text.
SERVED = (
    b"plain.png",
    b"a b.png",
    b"a+b.png",
    b"a%20b.png",
    b"a%2fb.png",
    b"a%252e.png",
    b"a?b.png",
    b"a#b.png",
    b"a&path=b.png",
    b"a=b.png",
    b"a;b.png",
    b"a'b.png",
    b'a"b.png',
    b"a<script>.png",
    b"$(id).png",
    b"-rf.png",
    b"a..png",
    b"a.b.c.png",
    "키.png".encode(),
    "\u202egnp.exe.png".encode(),
    b"x" * 200 + b".png",
)
# Hidden files, names that are not one line of text, and what another program would read as a folder.
REFUSED = (b".png", b".a.png", b"..png", b"a\nb.png", b"a\rb.png", b"a\x01b.png", b"a\x7fb.png", b"a\\b.png")
_SHOWN = {"gif", "html", "jpg", "jpeg", "json", "log", "mp4", "pdf", "png", "txt", "webm", "webp", "PNG", "Html"}
_NEVER = {"css", "db", "har", "js", "php", "png.har", "png~", "sh", "so", "swf", "xhtml"}
# Ending -> whether it is given out, per folder. HAR and ZIP among recordings hold cookies of the sites that were visited.
TYPES = {
    "artifacts": dict.fromkeys(_SHOWN, True) | dict.fromkeys({*_NEVER, "csv", "htm", "svg", "xml", "zip"}, False),
    "videos": dict.fromkeys(_SHOWN, True) | dict.fromkeys({*_NEVER, "csv", "htm", "svg", "xml", "zip"}, False),
    "downloads": dict.fromkeys({*_SHOWN, "csv", "docx", "gz", "svg", "xml", "zip"}, True)
    | dict.fromkeys({*_NEVER, "crdownload", "exe"}, False),
}
# Reads names, one a line in hex; each becomes a file.
WRITE = """
import os, sys
folder = os.fsencode(sys.argv[1])
os.mkdir(folder)
for line in sys.stdin:
    with open(os.path.join(folder, bytes.fromhex(line)), "wb") as file:
        file.write(b"recorded")
"""
SPECIAL = """
import os, socket, sys
os.chdir(sys.argv[1])
os.mkfifo("fifo.png")
socket.socket(socket.AF_UNIX).bind("socket.png")
os.mkdir("folder.png")
os.symlink("plain.png", "link.png")
os.symlink("/dev/zero", "device.png")
open("unreadable.png", "w").close()
os.chmod("unreadable.png", 0)
"""


@dataclass(frozen=True)
class Folder:
    """A new folder among those that are served."""

    site: Site
    path: str

    def write(self, *names: bytes) -> None:
        lines = "\n".join(name.hex() for name in names)
        self.site.execute("server", "python3", "-c", WRITE, self.path, stdin=lines.encode())

    def ask(self, kind: str, name: bytes | str) -> httpx.Response:
        """By its path with every special character encoded, as most of the UI's panels ask."""
        target = f"/artifact/{kind}?path={quote(self.path, safe='')}%2F{quote(name, safe='')}"
        return self.site.ask("GET", self.site.outputs.app_url, target=target, login=True)


@pytest.fixture(params=["artifacts", "videos", "downloads"])
def folder(site: Site, request: pytest.FixtureRequest) -> Iterator[Folder]:
    path = f"/data/{request.param}/names-{secrets.token_hex(8)}"
    try:
        yield Folder(site, path)
    finally:
        site.execute("server", "rm", "-rf", path)


def test_a_name_leads_to_its_own_file_and_no_other(folder: Folder) -> None:
    folder.write(*SERVED, *REFUSED, b"a", b"b.png")
    for kind in KINDS:
        for name in SERVED:
            answer = folder.ask(kind, name)
            assert (answer.status_code, answer.content) == (200, CONTENT), (kind, name)
            assert unsafe_headers(answer.headers) == [], (kind, name)
        assert {name: folder.ask(kind, name).status_code for name in REFUSED} == dict.fromkeys(REFUSED, 404), kind


def test_only_recordings_and_what_people_download_have_a_type(folder: Folder) -> None:
    area = folder.path.split("/")[2]
    types = {f"file.{ending}": 200 if served else 404 for ending, served in TYPES[area].items()} | {"file": 404}
    folder.write(*(name.encode() for name in types))
    for kind in KINDS:
        answers = {name: folder.ask(kind, name) for name in types}
        assert {name: answer.status_code for name, answer in answers.items()} == types, kind
        for name, answer in answers.items():
            assert answer.status_code != 200 or unsafe_headers(answer.headers) == [], name
            # What comes from a page is never opened in the UI's origin.
            assert answer.status_code != 200 or area != "downloads" or answer.headers["content-disposition"] == "attachment", name


def test_what_is_no_regular_file_is_nobodys_recording(folder: Folder) -> None:
    folder.write(b"plain.png")
    folder.site.execute("server", "python3", "-c", SPECIAL, folder.path)
    names = ("fifo.png", "socket.png", "folder.png", "link.png", "device.png", "unreadable.png", "none.png")
    for kind in KINDS:
        assert folder.ask(kind, "plain.png").status_code == 200
        assert {name: folder.ask(kind, name).status_code for name in names} == dict.fromkeys(names, 404), kind

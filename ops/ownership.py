"""What the operating system refuses, as one line: most often a file that another user's run of ours has made.

``sudo script/up`` leaves folders of root in the home of whoever runs it without sudo the next time.
"""

import errno
import os
import pwd
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from ops.errors import UserError
from ops.paths import ROOT, cache_dir, config_dir, docker_config_dir

# What to do about an error of the operating system, where its own words do not say it.
_CURES = {
    errno.ENOSPC: "free some on that disk (df -h and df -i show how full it is)",
    errno.EDQUOT: "free some of what this user has there, or have the quota raised,",
    errno.EROFS: "mount it so that it can be written to",
    errno.EMFILE: "raise the limit with ulimit -n 4096",
}


def line_of(failed: OSError) -> str:
    """The line about what the operating system refused, with the cure where it is another owner's file."""
    path = Path(os.fsdecode(failed.filename)) if isinstance(failed.filename, str | bytes | os.PathLike) else None
    if path is not None and failed.errno in {errno.EACCES, errno.EPERM} and (line := foreign(path)):
        return line
    where = "" if path is None else f"{shown(path)}: "
    cure = _CURES.get(failed.errno or 0, "correct that")
    return f"{where}{failed.strerror or str(failed) or type(failed).__name__}; {cure} and run this again"


def foreign(path: Path) -> str:
    """That a path of this user's home or checkout, or the nearest folder that there is of it, is another user's, with the cure.

    "" where it is this user's own, or none that a user of ours should own.
    """
    me = os.geteuid()
    there = next((each for each in (path, *path.parents) if _owner(each) is not None), path)
    mine, owner, home = _name(me), _owner(there), Path.home()
    ours = [folder for folder in (home, ROOT, cache_dir(), config_dir()) if path.is_relative_to(folder)]
    if owner in {me, None} or not ours:
        return ""
    own_home = _home(me)
    if _owner(home) != me and path.is_relative_to(home) and (own_home not in {home, None} or home.parts[1:2] != ("home",)):
        # A user of a system's service may have none, or /, /usr/sbin and the like.
        known = own_home is not None and own_home != home and _owner(own_home) == me
        return (
            f"HOME: is {shown(home)}, which belongs to {_name(_owner(home))}, and you are {mine}; "
            f"run: export HOME={shlex.quote(str(own_home)) if known else '/a/folder/of/yours'}"
        )
    if not any(there.is_relative_to(folder) for folder in ours):
        # What is above ours has others in it, so it is not given away.
        if not os.access(there, os.X_OK, effective_ids=True):
            whose = f"belongs to {_name(owner)} and cannot be entered by {mine}"
            return f"{shown(there)}: {whose}; run: sudo chmod a+x {shlex.quote(str(there))}"
        folder = next(folder for folder in ours if path.is_relative_to(folder))
        cure = f"sudo install -d -o {mine} {shlex.quote(str(folder))}"
        return f"{shown(folder)}: cannot be made by {mine} in {shown(there)}, which belongs to {_name(owner)}; run: {cure}"
    # The topmost of ours that is the other owner's, so that one command is enough; never /home or /opt itself.
    while _owner(there.parent) == owner and any(there.parent.is_relative_to(folder) for folder in ours):
        there = there.parent
    cure = f"sudo chown -R {_with_group(me)} {shlex.quote(str(there))}"
    return f"{shown(there)}: belongs to {_name(owner)}, and you are {mine}; run: {cure}"


def check(*more: Path) -> None:
    """UserError for the first folder of ours that this user cannot write to, before anything is begun. more: besides those."""
    docker = docker_config_dir()
    # Whole is only what is small: of the others their first level, where the programs make their files.
    for path in (*_whole(config_dir()), *_level(cache_dir()), *_level(cache_dir() / "logs"), *_level(docker), *more):
        if _writable(path, os.W_OK):
            continue
        there = next(each for each in (path, *path.parents) if _owner(each) is not None)
        # What does not exist yet is made in the nearest folder that does.
        if _writable(there, os.W_OK | os.X_OK if there.is_dir() else os.W_OK):
            continue
        if os.statvfs(there).f_flag & os.ST_RDONLY:
            raise UserError(line_of(OSError(errno.EROFS, os.strerror(errno.EROFS), there)))
        raise UserError(
            foreign(path) or f"{shown(there)}: cannot be written to by {_name(os.geteuid())}; correct its mode (chmod)"
        )


def _writable(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=True)


def _whole(folder: Path) -> Iterator[Path]:
    yield folder
    for inside, folders, files in os.walk(folder):
        yield from (Path(inside) / name for name in (*folders, *files))


def _level(folder: Path) -> Iterable[Path]:
    try:
        return [folder, *folder.iterdir()]
    except OSError:
        return [folder]


def shown(path: Path) -> str:
    """A path as part of one line, whatever characters it has."""
    text = os.fsencode(path).decode(errors="replace")
    return text if text.isprintable() else repr(text)


def _owner(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:
        return None


def _home(uid: int) -> Path | None:
    try:
        return Path(pwd.getpwuid(uid).pw_dir)
    except KeyError:
        return None


def _with_group(uid: int) -> str:
    """A user as chown takes it, with the user's own group, which it does not know for a number without a name."""
    name = _name(uid)
    return f"{name}:" if name != str(uid) else f"{uid}:{os.getegid()}"


def _name(uid: int | None) -> str:
    try:
        return pwd.getpwuid(uid if uid is not None else 0).pw_name
    except KeyError:
        return str(uid)

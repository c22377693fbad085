"""A share that is NFS, on a machine whose kernel has it: its root is nobody there, and folders do not change places in one step.

Nightly: the machine is emulated. What a whole stack does with a share: test_swarm.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from components.host.volumes import SKYVERN_FOLDERS
from ops.backups import exchange, share
from ops.deploy import machines as deploy
from ops.errors import UserError
from ops.stack.stack import Stack
from tests.support.machines import SMALL, machines, small_image
from tests.support.swarm import stack_at
from tests.support.virtual_machine import NEEDS_QEMU, VirtualMachine, virtual_machines

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1800), NEEDS_QEMU]

# Of the stack file of stack_at().
SHARE = "/mnt/skyvern"
FOLDER = f"{SHARE}/skyvern-dev"
DISK = "/srv/nas"
STAMP = "20261130T000000Z"
PROGRAMS = ("chmod", "chown", "id", "ls", "mkdir", "mv", "rm", "rmdir", "sync", "touch")


@pytest.fixture(scope="module")
def nas(outside: Path) -> Iterator[VirtualMachine]:
    """Which keeps a share and has it mounted, as the first machine of some does; it sees a change of rights at once."""
    with machines(0), virtual_machines(1) as (machine,):
        machine.type(f"mkdir {DISK} {SHARE} && echo '{DISK} 127.0.0.1(rw,root_squash,fsid=0)' > /etc/exports && exportfs -ra")
        machine.type(f"mount -t nfs4 -o actimeo=0 127.0.0.1:/ {SHARE}")
        small_image(machine.docker, *PROGRAMS)
        yield machine


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return stack_at(tmp_path)


@pytest.fixture
def shared(nas: VirtualMachine, stack: Stack) -> deploy._Shared:
    """The stack's folder on an empty share, not made yet. Its top belongs to one user, as many a NAS has it."""
    nas.type(f"rm -rf {DISK}/* && chown 10001:10001 {DISK} && chmod 755 {DISK}")
    return deploy._Shared(stack=stack, folder=PurePosixPath(FOLDER), image=SMALL, daemons=[nas.docker], alone=False)


def in_parts(nas: VirtualMachine, folder: str, script: str) -> list[str]:
    """Lines of a script in each part of a folder, as services have them: mounted by Docker, which is nobody on the share."""
    mounts = [f"--mount=type=bind,source={folder}/{part},target=/data/{part}" for part in SKYVERN_FOLDERS]
    loop = f"for part in /data/*; do cd $part && {script} || exit 1; done"
    return nas.docker.run("run", "--rm", "--network=none", "--user=10001:10001", *mounts, SMALL, "sh", "-c", loop).splitlines()


def refuse_others(nas: VirtualMachine) -> None:
    """Other users of the machine get no further than to the parts."""
    other = ("run", "--rm", f"--mount=type=bind,source={SHARE},target=/s", "--user=5:5", SMALL, "ls")
    for path in ("/s/skyvern-dev", "/s/skyvern-dev/har"):
        with pytest.raises(UserError, match="ermission denied"):
            nas.docker.run(*other, path)


def test_a_service_has_each_part_of_a_folder_that_was_made_there(nas: VirtualMachine, shared: deploy._Shared) -> None:
    with shared.made():
        shared.fill()
    assert in_parts(nas, FOLDER, "touch file && ls") == ["file"] * len(SKYVERN_FOLDERS)
    refuse_others(nas)


def test_a_folder_that_nobody_has_made_is_made_by_the_command_of_the_line(nas: VirtualMachine, shared: deploy._Shared) -> None:
    """Where everybody may write, root makes it, who is nobody, and cannot give it away."""
    nas.type(f"chown 0:0 {DISK} && chmod 1777 {DISK}")
    with pytest.raises(UserError) as told, shared.made():
        shared.fill()
    cure = re.search(r"user 10001 cannot write there at .* run: (sudo install -d .*)$", str(told.value))
    assert cure, told.value
    assert nas.type(f"ls -A {DISK}") == ""
    nas.type(f"cd {DISK} && {cure[1]}")
    with shared.made():
        shared.fill()
    in_parts(nas, FOLDER, "touch file")


def test_a_folder_of_an_earlier_version_lets_services_through(nas: VirtualMachine, shared: deploy._Shared) -> None:
    nas.type(f"install -d -o 10001 -g 10001 -m 750 {DISK}/skyvern-dev")
    nas.type(f"cd {DISK}/skyvern-dev && install -d -o 10001 -g 10001 -m 700 {' '.join(SKYVERN_FOLDERS)}")
    with pytest.raises(UserError, match="permission denied"):
        in_parts(nas, FOLDER, "true")
    shared.fill()
    in_parts(nas, FOLDER, "true")


def test_a_copy_and_the_data_change_places_and_back(nas: VirtualMachine, shared: deploy._Shared, stack: Stack) -> None:
    """Each part of the copy is filled as a restore does it, mounted by itself."""
    nas.type(f"install -d -o 10001 -g 10001 {DISK}/skyvern-dev")
    shared.fill()
    docker = nas.docker
    share.make_copy(docker, SMALL, FOLDER, STAMP, "the set", SKYVERN_FOLDERS)
    fresh = {part: share.copy_of(FOLDER, STAMP, part) for part in SKYVERN_FOLDERS}
    in_parts(nas, FOLDER, "echo old > file")
    in_parts(nas, share.copy_of(FOLDER, STAMP, ""), "echo new > file")
    exchange.mark(docker, stack, SMALL, fresh, STAMP)

    def seen() -> tuple[str, set[str]]:
        """What a command says of the copy, and what services have."""
        (left,) = exchange.kept(docker, stack, SMALL)
        return left.state, set(in_parts(nas, FOLDER, "cat file"))

    assert seen() == ("filled", {"old"})
    exchange.put_in_place(docker, stack, SMALL, fresh, STAMP)
    assert seen() == ("exchanged", {"new"})
    # The power goes out between two of three renames.
    nas.type(f"cd {DISK}/skyvern-dev && mv har .restored-{STAMP}/har.was")
    assert exchange.kept(docker, stack, SMALL)[0].state == "torn"
    exchange.take_back(docker, stack, SMALL, fresh, STAMP)
    assert seen() == ("filled", {"old"})
    exchange.remove(docker, stack, SMALL, exchange.kept(docker, stack, SMALL)[0])
    assert exchange.kept(docker, stack, SMALL) == []
    assert set(in_parts(nas, FOLDER, "cat file")) == {"old"}

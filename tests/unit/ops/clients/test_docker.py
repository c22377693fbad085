"""ops.clients.docker: where no daemon answers, each command of a working day says what to do, and not Docker's own words."""

import pytest

from ops.clients.docker import Docker
from ops.errors import UserError
from tests.support.home import Home

# As Docker 28.2 prints them.
DENIED = (
    "permission denied while trying to connect to the Docker daemon socket at unix:///run/x.sock: "
    'Get "http://%2Frun%2Fx.sock/v1.50/containers/json": dial unix /run/x.sock: connect: permission denied'
)
SILENT = "Cannot connect to the Docker daemon at unix:///run/x.sock. Is the docker daemon running?"
BY_SSH = (
    'error during connect: Get "http://docker.example.com/v1.50/info": command [ssh -o ConnectTimeout=30 -T -l me -- h docker '
    "system dial-stdio] has exited with exit status 255, make sure the URL is valid, and Docker 18.09 or later is installed on "
    "the remote host: stderr=Host key verification failed."
)


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        (DENIED, "Docker: this user may not use unix:///run/x.sock; bin/ops doctor says what to do"),
        (SILENT, "Docker: no daemon answers at unix:///run/x.sock; bin/ops doctor says what to do"),
        (
            BY_SSH,
            "Docker: no daemon answers at unix:///run/x.sock (Host key verification failed.); bin/ops doctor says what to do",
        ),
        ("Error response from daemon: No such container: x", "docker: exit 1: Error response from daemon: No such container: x"),
    ],
)
def test_a_daemon_that_does_not_answer_is_one_line_with_its_cure(home: Home, printed: str, line: str) -> None:
    home.program("docker", f"echo '{printed}' >&2; exit 1")
    docker = Docker("unix:///run/x.sock")
    for ask in (lambda: docker.run("ps"), lambda: docker.run_with({"A": "b"}, "ps"), lambda: docker.has("x")):
        with pytest.raises(UserError) as told:
            ask()
        assert str(told.value) == line

"""script/check-workflows where there is Go: what zizmor lets pass, actionlint does not."""

import subprocess
from pathlib import Path

import pytest

from ops.machine import go
from ops.paths import ROOT

pytestmark = pytest.mark.timeout(300)


def test_a_planted_mistake_fails_the_check(tmp_path: Path) -> None:
    go.ensure_go(lambda _: None)
    file = tmp_path / "planted.yml"
    head = "on: push\npermissions: {}\njobs:\n  a:\n    runs-on: ubuntu-latest\n"
    for planted, code in (("    needs: nothing\n", 1), ("", 0)):
        file.write_text(f"{head}{planted}    steps:\n      - run: 'true'\n")
        done = subprocess.run(
            ["script/check-workflows", file], cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert ('"nothing"' in done.stdout) is bool(code)

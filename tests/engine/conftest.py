"""What the tests with the real engine share."""

from pathlib import Path

import pytest

from ops.engine import Engine, ensure
from rehearsal.standin import install


@pytest.fixture(scope="session")
def engine() -> Engine:
    return ensure(progress=print)


@pytest.fixture(scope="session")
def home(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PULUMI_HOME with stand-ins for every vendor; nobody changes it."""
    return install(tmp_path_factory.mktemp("standin") / "home", engine.pulumi_home, "cloudflare", "docker", "vercel")

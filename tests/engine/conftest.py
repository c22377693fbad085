"""What the tests with the real engine share."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.standins.providers import install
from ops.machine.engine_from_modules import Engine, ensure
from tests.engine import gateways


@pytest.fixture(scope="session")
def engine() -> Engine:
    return ensure(progress=print)


@pytest.fixture(scope="session")
def home(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PULUMI_HOME with stand-ins for every vendor; nobody changes it."""
    return install(tmp_path_factory.mktemp("standin") / "home", engine.pulumi_home, "cloudflare", "docker", "vercel")


@pytest.fixture(scope="session")
def caddy() -> Path:
    return gateways.build()


@pytest.fixture(scope="session")
def double() -> Iterator[int]:
    with gateways.double() as port:
        yield port


@pytest.fixture(scope="module")
def layouts(caddy: Path, double: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, gateways.Gateway]]:
    """One Caddy for each layout; what dials is the connector, as far as they know."""
    with ExitStack() as stack:
        yield {
            layout: stack.enter_context(gateways.running(caddy, tmp_path_factory.mktemp(layout), layout, double))
            for layout in gateways.LAYOUTS
        }

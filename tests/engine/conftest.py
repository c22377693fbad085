"""What the tests with the real engine share."""

import pytest

from ops.engine import Engine, ensure


@pytest.fixture(scope="session")
def engine() -> Engine:
    return ensure(progress=print)

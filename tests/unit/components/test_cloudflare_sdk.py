"""Cloudflare's SDK without what nobody uses of it: every name is there, as in the whole package."""

import subprocess
import sys

import pytest

from ops.paths import ROOT

# More than the modules that are used and what they share; the whole package has 782.
A_FEW = 30


def told(script: str) -> str:
    """What a process prints whose first import is ours."""
    command = [sys.executable, "-c", f"import sys\nfrom components.cloudflare_sdk import cloudflare\n{script}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("DnsRecord", "dns_record"),
        ("DnsRecordArgs", "dns_record"),
        ("GetZoneFilterArgs", "_inputs"),
        ("R2BucketLock", "r2_bucket_lock"),
        ("get_zone", "get_zone"),
    ],
)
def test_a_name_comes_from_its_module_alone(name: str, home: str) -> None:
    """Asked for twice: a function's module has its name, and is there behind the first time."""
    script = f"print(cloudflare.{name}.__module__, callable(cloudflare.{name}), sum('cloudflare' in one for one in sys.modules))"
    module, is_callable, loaded = told(script).split()
    assert (module, is_callable) == (f"pulumi_cloudflare.{home}", "True")
    assert int(loaded) < A_FEW


def test_modules_are_there_too() -> None:
    script = "import types\nprint(all(isinstance(one, types.ModuleType) for one in (cloudflare.outputs, cloudflare.dns_record)))"
    assert told(script) == "True"


def test_any_other_name_is_found_in_the_whole_package() -> None:
    script = "from pulumi_cloudflare import get_zone_output\nprint(get_zone_output.__module__)"
    assert told(script) == "pulumi_cloudflare.get_zone"
    assert told("print(hasattr(cloudflare, 'Nothing'), len(sys.modules) > 782)") == "False True"


def test_an_attribute_that_python_asks_for_loads_nothing() -> None:
    assert told("print(hasattr(cloudflare, '__wrapped__'), len(sys.modules) < 782)") == "False True"

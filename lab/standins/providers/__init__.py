"""Stand-in provider plugins behind the real engine, for providers that no package registry has.

The inputs of a resource come from the installed SDK (schema.py). Refusals and answers of a vendor's API are in the vendor's
module (cloudflare.py), against a world that tests read and change (world.py). provider.py speaks the engine's protocol, and
install.py makes a PULUMI_HOME in which the engine finds the plugin at the version that the SDK asks for.

Not here: the vendor's HTTP API. Where the published plugin is installed, a test needs its account or an HTTP server instead.
"""

from lab.standins.providers.install import install
from lab.standins.providers.world import WORLD_VARIABLE, World

__all__ = ["WORLD_VARIABLE", "World", "install"]

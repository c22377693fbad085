"""The plugin process that the engine starts: ``python -m skyvern_provider ENGINE``."""

from skyvern_provider.server import Provider, serve

if __name__ == "__main__":
    serve(Provider())

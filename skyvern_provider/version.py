"""The version of the provider, which the engine, the classes and the plugin have to agree on."""

VERSION = "0.1.0"

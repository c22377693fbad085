"""Entry point of the policy pack, started by Pulumi: serve the rules with the levels of this folder. No logic."""

from pathlib import Path

from rules.framework.analyzer import serve

if __name__ == "__main__":
    serve(Path(__file__).parent / "levels.yaml")

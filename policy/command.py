"""``skyvern-policies``, the command of the wheel: where the pack is, for ``pulumi preview --policy-pack``."""

import argparse
from pathlib import Path


def main() -> None:
    """Prints the pack's folder."""
    parser = argparse.ArgumentParser(prog="skyvern-policies", description="A policy pack for Docker hosts and their edge.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("path", help='print the folder of the pack: --policy-pack "$(skyvern-policies path)"')
    parser.parse_args()
    print(Path(__file__).resolve().parent)

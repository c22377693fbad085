"""Entry of script/bootstrap and script/env: a Docker daemon, a Pulumi CLI with its plugins, a place for the state.

The Python environment itself is made by script/bootstrap, because this file already runs in it. ``--print-env`` prints what
script/env hands to a shell. Not here: how each is decided and made (ops/machine).
"""

import argparse
import sys
from typing import get_args

from ops import ownership, shell
from ops.clients import terminal
from ops.machine import backend, daemon, engine, environment, go
from ops.machine.engine import EngineChoice


def main(arguments: list[str] | None = None) -> int:
    """Entry point of script/bootstrap, script/env and script/test; 1 with one line for a UserError."""
    # argparse, not Typer: script/env is evaluated by every shell and must not pay for the import.
    parser = terminal.Parser(prog="script/bootstrap", description="Prepares this machine for pulumi up.")
    parser.add_argument("--stack", default="dev", help="the stack whose Docker daemon is prepared (default: dev)")
    parser.add_argument("--engine", choices=get_args(EngineChoice), help="where the Pulumi CLI comes from")
    parser.add_argument("--only", choices=["engine", "go"], help="prepare the Pulumi CLI alone, or Go (prints its folder)")
    parser.add_argument("--print-env", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    return terminal.run_main("script/bootstrap", lambda: prepare(options))


def prepare(options: argparse.Namespace) -> None:
    """Prepares what the options ask for; UserError at the first thing that is not available."""
    if options.print_env:
        sys.stdout.write(environment.exports(environment.for_stacks(), shell.decisive()))
        return
    if options.only == "go":
        print(go.ensure_go(lambda line: print(f"bootstrap: {line}", file=sys.stderr, flush=True)))
        return
    ownership.check(engine.engine_pulumi_home())
    plugins: frozenset[str] = frozenset()
    if options.only is None:
        # Here for start time: script/env, which every shell evaluates, has no stack.
        from ops.stack.stack import Stack

        if remark := shell.remark():
            _say(remark)
        stack = Stack(options.stack)
        daemon.ensure_docker(stack.docker().host, _say)
        plugins = stack.plugins()
    engine.ensure_engine(options.engine, _say, plugins)
    if options.only is None:
        backend.ensure_state(_say)
        _say('ready; plain pulumi works after: eval "$(script/env)"')


def _say(line: str) -> None:
    print(f"bootstrap: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

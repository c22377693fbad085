"""The stack as an option of a command line, the same in every command."""

from typing import Annotated

import typer

from ops.stack.stack import Stack

DEV = Stack("dev")


def parse(text: str | Stack) -> Stack:
    """A stack by its name; a default is one already. UserError for a name that Pulumi refuses."""
    return text if isinstance(text, Stack) else Stack(text)


StackOption = Annotated[
    Stack, typer.Option("--stack", "-s", parser=parse, metavar="STACK", help="Stack, for example dev or prod.")
]

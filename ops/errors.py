"""The one error that reaches a user."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A wrong input or a machine that lacks something, told in one line: where, what is wrong, what to do instead.

    The CLI prints the message without a traceback and exits with 1. The message never holds a secret.
    """

    @property
    def line(self) -> str:
        """The message on one line, where it quotes a program that printed several."""
        return " ".join(str(self).split())


@contextmanager
def explained(line: Callable[[UserError], str]) -> Iterator[None]:
    """Gives a UserError of the block another line, which says what failed by it. line: of that error."""
    try:
        yield
    except UserError as failed:
        raise UserError(line(failed)) from failed

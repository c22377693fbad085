"""The one error that reaches a user."""


class UserError(Exception):
    """A wrong input or a machine that lacks something, told in one line: where, what is wrong, what to do instead.

    The CLI prints the message without a traceback and exits with 1. The message never holds a secret.
    """

    @property
    def line(self) -> str:
        """The message on one line, where it quotes a program that printed several."""
        return " ".join(str(self).split())

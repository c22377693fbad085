"""How many examples a property is tried with, by what one of them costs."""

from hypothesis import settings


def one_in(number: int) -> settings:
    """A share of the examples of the profile that is chosen (tests/conftest.py), where each of them builds a whole program."""
    return settings(max_examples=settings().max_examples // number)

"""Fixtures for the tests of several rooms of ops."""

from tests.support.checkout import checkout, git_folder
from tests.support.home import built, home

__all__ = ["built", "checkout", "git_folder", "home"]

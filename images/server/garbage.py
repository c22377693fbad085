"""How often Python looks for garbage: rarely while the server loads, as usual behind that, and never again among what was loaded.

What is loaded stays, and looking through all of it again and again took a quarter of the load. Not to look at all would keep 80
MB that are free by its end.
"""

import gc

_USUAL = gc.get_threshold()


def look_rarely() -> None:
    """Among young objects after 20,000 more; among all of them practically not."""
    gc.set_threshold(20_000, 20, 1000)


def look_as_usual() -> None:
    """Leaves out what is there by now: a look through a million and a half objects takes a second on a busy machine."""
    gc.freeze()
    gc.set_threshold(*_USUAL)

"""Keeps alive what a channel would lose if nothing were sent for weeks.

Kakao's refresh token is valid for two months, and a new one is given to whoever asks in its last month. Apprise asks only before
it sends, so a stack in which nothing goes wrong would lose it. Asking once a day is enough; Apprise keeps the new one on the
volume.
"""

from datetime import datetime, timedelta
from typing import Any

EVERY = timedelta(days=1)
KINDS = ("kakaotalk:", "kakao:")


def due(last: datetime | None, now: datetime) -> bool:
    """Whether to renew: at the first look, and once a day."""
    return last is None or now - last >= EVERY


def renew(sender: Any) -> bool:
    """Has Apprise log in anew, for each address of KakaoTalk in ``sender`` (apprise.Apprise); False where one refuses."""
    return all([plugin.login() is not None for plugin in sender])  # noqa: C419  # each of them, also after one that refuses

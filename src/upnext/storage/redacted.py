"""URLs of every backend as people may read them: without passwords."""

from __future__ import annotations

import re

SECRETS = ("password", "sslpassword")  # of a URL's query


def redacted(text: str) -> str:
    """A URL, of whatever scheme and however broken, without its password."""
    text = re.sub(rf"\b({'|'.join(SECRETS)})=[^&\s]*", r"\1=***", text)
    return re.sub(r"(://[^:/?#]*):.*@", r"\1:***@", text)  # up to the last @: it may stand unescaped in the password

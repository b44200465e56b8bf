"""``postgresql://user:password@host:port/database?schema=shop``: what of it is ours, and how it is shown to people."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from upnext.errors import ConfigError
from upnext.storage.redacted import SECRETS, redacted

EXAMPLE = "postgresql://user@host:5432/database"
SCHEMA = "upnext"  # tables of a name as common as "users" stay apart from those of other programs
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")

# Of libpq, where the URL does not say otherwise: whether a server that went without a word is gone is known in seconds.
_DEFAULTS = {
    "application_name": "upnext",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a log lies. ``uri`` goes to libpq, with its secrets; ``shown`` has none."""

    uri: str
    schema: str
    shown: str
    secrets: tuple[str, ...]

    def cleaned(self, text: str) -> str:
        """A message of the driver without what nobody else may read."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


def parse(rest: str) -> Address:
    """The address in what follows ``postgresql://``. Raises ConfigError that shows no password."""
    url = f"postgresql://{rest}"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        if parts.netloc.count("@") > 1:  # libpq would take the rest of the password for a host
            raise ValueError("there are several @ before the host")
    except ValueError as error:
        raise ConfigError(
            f"storage.log: {redacted(url)!r} is no URL of a database ({redacted(str(error))}); expected one such as "
            f"{EXAMPLE}, with what is special in a password escaped (@ as %40, / as %2F)"
        ) from None
    if not host and "host=" not in parts.query and "service=" not in parts.query:
        raise ConfigError(f"storage.log: {redacted(url)!r} names no host; expected one such as {EXAMPLE}")
    query = parse_qsl(parts.query, keep_blank_values=True)
    schema = next((value for name, value in query if name == "schema"), SCHEMA)
    if not _NAME.fullmatch(schema):
        raise ConfigError(
            f"storage.log: schema={schema!r} is no name of a schema; expected small letters, digits and _, such as shop"
        )
    options = {**_DEFAULTS, **{name: value for name, value in query if name != "schema"}}
    secrets = [parts.password, *(value for name, value in query if name in SECRETS)]
    given = [secret for secret in secrets if secret]
    return Address(
        urlunsplit(parts._replace(query=urlencode(options, quote_via=quote))),
        schema,
        redacted(url),
        tuple(dict.fromkeys([*given, *map(unquote, given)])),
    )

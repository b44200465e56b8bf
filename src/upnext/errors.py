"""Every error that upnext raises on purpose. A user sees the sentence, never a stack trace.

UpnextError
├── ConfigError        a key, value or flag is wrong
├── HomeError          a folder is not a home, or lacks what the command needs
├── DataError          input data cannot be read as a whole (single bad rows go to the rejects file instead)
├── StorageError       the log or catalogue cannot be read or written
└── ArtifactError      a model version is missing, damaged or does not fit this program
"""


class UpnextError(Exception):
    """Says where, what was found there, and what to do about it."""


class ConfigError(UpnextError):
    pass


class HomeError(UpnextError):
    pass


class DataError(UpnextError):
    pass


class StorageError(UpnextError):
    pass


class StorageUnavailable(StorageError):
    """Just now: the same call may succeed in a moment, as when a database is started again."""

    retry_after_s = 1


class ArtifactError(UpnextError):
    pass

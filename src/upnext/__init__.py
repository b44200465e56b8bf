"""upnext: the whole recommendation funnel as one package you can run, read and trust."""

__version__ = "0.1.0"

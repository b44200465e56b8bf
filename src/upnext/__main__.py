"""``python -m upnext`` is the ``upnext`` command."""

from upnext.cli import main

main()

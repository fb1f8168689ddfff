"""``python -m kilonet`` is the command line."""

from kilonet.cli import main

main()

"""The command line: parse, call, print. A file a group of commands.

The imports register the commands, in the order of ``kilonet --help``.
"""

# isort: off
from kilonet.cli.app import app
from kilonet.cli import study
from kilonet.cli import train
from kilonet.cli import search
from kilonet.cli import results
from kilonet.cli import specs
from kilonet.cli import bench
# isort: on

__all__ = ["app", "bench", "results", "search", "specs", "study", "train"]

"""python -m dglframer"""

import sys

from dglframer.cli.main import command

sys.exit(command())

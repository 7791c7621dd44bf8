"""python -m dglframer"""

import sys

from dglframer.cli import main

sys.exit(main())

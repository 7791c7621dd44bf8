"""python -m dglframer"""

import sys

from dglframer.cli.main import main

sys.exit(main())

# The package that goes with these rules: that of the same checkout or release, or the one they lie in.
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.sourcecache import HostingProviderFile, LocalGitFile, LocalSourceFile

HERE = workflow.current_basedir

# What pip installs to have this package: a checkout, or a tag of a repository. Of an installed package
# (`dglframer workflow`) that is known when it is imported.
INSTALLED = False
if isinstance(HERE, LocalSourceFile):
    BESIDE = Path(HERE).resolve().parents[1]
    INSTALLED = (BESIDE / "common" / "own_code.py").is_file()
    SOURCE = str(BESIDE)
    sys.path.insert(0, str(BESIDE.parent) if INSTALLED else SOURCE)
elif isinstance(HERE, LocalGitFile):
    SOURCE = f"git+{Path(HERE.repo_path).resolve().as_uri()}@{HERE.ref}"
elif isinstance(HERE, HostingProviderFile):
    SOURCE = f"git+https://{HERE.host}/{HERE.repo}@{HERE.ref}"
else:
    raise WorkflowError(f"{HERE}: give a path, or a tag with github(), gitlab() or gitfile()")

try:
    import dglframer
    from dglframer.common.errors import ConfigError
    from dglframer.common.own_code import PACKAGE, export_code, requirement
    from dglframer.config import load_config, merged_config
    from dglframer.config.run_config import freeze
    from dglframer.config.stages import stage_settings
    from dglframer.data.split import reads_checks
    from dglframer.graphs.shards import count_parts
except ImportError as error:
    raise WorkflowError(
        f"{error}. The configuration is read with dglframer itself: the environment in which Snakemake "
        f'runs needs it, too, for example by pip install "{SOURCE}"'
    )

if INSTALLED:
    SAME = PACKAGE == BESIDE
    SOURCE = requirement() if SAME else SOURCE
elif isinstance(HERE, LocalSourceFile):
    SAME = PACKAGE == Path(SOURCE) / "dglframer"
else:  # that file holds the version
    beside = Path(workflow.source_path("../../dglframer/common/version.py"))
    SAME = beside.read_text().strip() == (PACKAGE / "common" / "version.py").read_text().strip()
if not SAME:
    raise WorkflowError(
        f"The rules are of {SOURCE}, but dglframer {dglframer.__version__} is imported from {PACKAGE}: "
        "one workflow has one dglframer, and its rules are those of the same checkout or release"
    )

# Jobs refuse to run with other code; environments that Snakemake makes (--use-conda) install this one.
export_code()
os.environ.update(DGLFRAMER_SOURCE=SOURCE)

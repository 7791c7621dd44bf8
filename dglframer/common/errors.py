"""The errors that a user can mend; the command line prints them without a traceback."""


class UserError(Exception):
    """Something the user can mend: a config key, a damaged file, bad data. The message says what and how."""

    status = 2  # exit status of the command line


class ConfigError(UserError):
    """The configuration is not valid."""


class DamagedFile(UserError):
    """A file does not hold what its manifest or format says; the message names the file."""


class CannotWrite(UserError):
    """A file cannot be written: the disk is full or read-only, or the path is wrong."""


class NetworkError(UserError):
    """A server cannot be reached, refuses, or sends something else than the file asked for."""


class TrainingFailed(UserError):
    """Training cannot go on with these settings: numbers are not finite, or memory is too small."""


class HeldOut(UserError):
    """A stage asked for crystals that are held out from it."""


class Rejected(Exception):
    """One crystal cannot be used; ``str(error)`` is the reason written to rejected.parquet."""


class InUse(UserError):
    """Another process works in the same folder; the message says which."""

    status = 3


class Interrupted(Exception):
    """The run was asked to stop and has saved its state; the same command goes on with it."""

    status = 75  # EX_TEMPFAIL: queueing systems can be told to submit the job again

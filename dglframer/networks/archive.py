"""A trained model, or an ensemble, in one file: a zip archive of model directories.

Each model.json holds the sha256 of its weights, so that whoever reads the archive knows them to be whole.
"""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from dglframer.common.errors import DamagedFile, UserError
from dglframer.common.files import atomic_folder, atomic_path, sha256
from dglframer.networks.model_directory import FILES, INTERVALS, interval_files, load_model, members

# The same content is the same file: archives have no time.
TIME = (1980, 1, 1, 0, 0, 0)
MAX_BYTES = 4 * 2**30  # of all files of an archive together


def write_archive(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write a zip archive of files by name."""
    with (
        atomic_path(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name, TIME), content, zipfile.ZIP_DEFLATED)


def write_models(models: Path, path: Path, card: str | None = None) -> int:
    """Write a model directory, or a folder of seeds, as one archive; returns the number of members.

    The intervals of their evaluation go with them.

    ``card``: the text of README.md in it. Raises DamagedFile if a model is not whole, UserError if the
    name does not end in .zip.
    """
    if path.suffix != ".zip":
        raise UserError(f"{path}: the name must end in .zip")
    contents = {} if card is None else {"README.md": card.encode()}
    folders = members(models)
    for folder in folders:
        load_model(folder)  # verifies it
        contents |= {f"{folder.name}/{name}": (folder / name).read_bytes() for name in FILES}
    for found in interval_files(folders[0])[:1]:
        contents[INTERVALS] = found.read_bytes()
    write_archive(path, contents)
    return len(folders)


def unpacked(path: Path) -> Path:
    """The folder of the models of an archive, unpacked once into the user's cache.

    Raises DamagedFile if it is no archive of models.
    """
    place = cache() / sha256(path)
    if place.is_dir():
        return place
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(path, archive)
            with atomic_folder(place) as folder:
                for info in archive.infolist():
                    (folder / info.filename).parent.mkdir(exist_ok=True)
                    (folder / info.filename).write_bytes(archive.read(info))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DamagedFile(f"{path}: not a zip archive ({error})") from None
    return place


def check_members(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise DamagedFile unless the archive holds model directories, README.md and intervals.json at most."""
    for info in archive.infolist():
        parts = PurePosixPath(info.filename).parts
        is_model = len(parts) == 2 and parts[1] in FILES and parts[0] not in ("..", "/")
        if not is_model and info.filename not in ("README.md", INTERVALS):
            raise DamagedFile(f"{path}: {info.filename!r} is no file of a model")
    if not any(name.endswith("/model.json") for name in archive.namelist()):
        raise DamagedFile(f"{path}: there is no model in it")
    if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
        raise DamagedFile(f"{path}: it unpacks to more than {MAX_BYTES / 2**30:g} GiB")


def cache() -> Path:
    """The folder of unpacked archives: in XDG_CACHE_HOME, by default ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "dglframer" / "models"

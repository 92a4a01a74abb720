"""`python -m data_prep.fetch`: download the public data sets of a mixture from their origins, checked and resumable.

Every set's licence and origin are shown before the first byte is asked for: the sets are their authors', and not part of this
repository.
"""

import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from urllib.parse import quote

import hydra
import requests
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from tqdm import tqdm

from data_prep.command import REPOSITORY, UserError, run_stage, user_errors
from data_prep.files import sha256
from data_prep.secrets import mask
from data_prep.settings import DownloadSettings, MixtureSettings, SourceSettings, to_settings

TIMEOUT_S = (10, 30)  # to connect; between two pieces of an answer
WAITS_S = (0, 1, 3)  # before each attempt
TEMPORARY_STATUSES = {408, 429, 500, 502, 503, 504}


@dataclass
class FetchSettings:
    """The primary config of `python -m data_prep.fetch`."""

    mixture: MixtureSettings = field(default_factory=MixtureSettings)
    data_root: str = "data/raw"
    mirror: str = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class RemoteFile:
    """A file to download: from where, to where, and the SHA-256 that its bytes must have."""

    url: str
    path: Path
    sha256: str


@hydra.main(config_path="../configs", config_name="fetch", version_base="1.3")
def main(config: DictConfig) -> None:
    """Show what `mixture=...` is made of and on what terms, then download what is not there yet."""
    with user_errors():
        settings: FetchSettings = to_settings(config, FetchSettings)
        root = Path(settings.data_root)
        sources = [*settings.mixture.sources.values(), *settings.mixture.held_out.values()]
        listed = [remote_files(source, root, settings.mirror) for source in sources]
        missing = missing_files([file for files in listed for file in files])
        for source, files in zip(sources, listed, strict=True):
            print(describe(source, files, missing, root))
        if missing:
            print(f"\ndownloading from {mask(settings.mirror)}", flush=True)  # so that the terms are seen before any request
        try:
            download_all(missing)
        except KeyboardInterrupt:
            print("interrupted: run the same command again to go on where it stopped", file=sys.stderr)
            sys.exit(130)
        print(f"\nfiles: {sum(map(len, listed))} with the SHA-256 listed, {len(missing)} of them new -> {root}")
        print(f"next: {next_command(HydraConfig.get().runtime.choices['mixture'], sys.argv[1:])}")


def remote_files(source: SourceSettings, root: Path, mirror: str) -> list[RemoteFile]:
    """The files that a source's checksum file lists; none if the source is embedded or placed by hand.

    Raises
    ------
    UserError
        If the source's `download` or its checksum file is not usable, or a path would leave its folder.
    """
    if source.embedded or source.download is None:
        return []
    download, config = source.download, f"configs/source/{source.name}.yaml"
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", download.repository, re.ASCII):
        raise UserError(f"download.repository={download.repository} in {config} is not owner/name: correct it")
    if not re.fullmatch(r"[0-9a-f]{40}", download.commit):
        raise UserError(f"download.commit={download.commit} in {config} can change: give the 40 digits of a commit, not a branch or tag")
    base = f"{mirror.rstrip('/')}/{_inside(download.repository, config)}/{download.commit}"
    checksums = REPOSITORY / download.checksums
    return [
        RemoteFile(f"{base}/{quote(_inside(upstream_path(path, download), config))}", root / _inside(path, checksums), digest)
        for path, digest in read_checksums(checksums).items()
    ]


def read_checksums(path: Path) -> dict[str, str]:
    """The path and the SHA-256 of every line of a file that `sha256sum` wrote.

    Raises
    ------
    UserError
        If the file is missing, empty or of another format.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path} cannot be read ({error}): name the source's checksum file in download.checksums") from None
    matches = [re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line) for line in lines]
    if not lines or None in matches:
        number = matches.index(None) + 1 if lines else 1
        raise UserError(f"{path}, line {number} is not `<SHA-256>  <path>`: write the file with sha256sum in the folder of data_root")
    return {match[2]: match[1] for match in matches if match}


def upstream_path(path: str, download: DownloadSettings) -> str:
    """The path in the repository of a file below data_root; {name} stands for one path part or a piece of it, as in `files`.

    >>> upstream_path("posts/dev.csv", DownloadSettings(paths={"posts/{part}.csv": "data/posts_{part}.csv"}))
    'data/posts_dev.csv'

    Raises
    ------
    UserError
        If no pattern of `download.paths` matches, or one lacks a name that its counterpart uses.
    """
    for local, upstream in download.paths.items():
        pieces = re.split(r"{(\w+)}", local)  # literal, name, literal, ...
        pattern = "".join(f"(?P<{piece}>[^/]+?)" if index % 2 else re.escape(piece) for index, piece in enumerate(pieces))
        if match := re.fullmatch(pattern, path):
            try:
                return upstream.format_map(match.groupdict())
            except (LookupError, ValueError):
                raise UserError(f"download.paths: {upstream} has a name in braces that {local} lacks, so correct either") from None
    raise UserError(f"no pattern of download.paths matches {path} of {download.checksums}: add one that says where it is upstream")


def _inside(path: str, named_by: str | Path) -> str:
    """The path itself, if it stays in the folder that it is relative to; Windows' rules include the others'."""
    if PureWindowsPath(path).anchor or ".." in PureWindowsPath(path).parts:
        raise UserError(f"{named_by} names the path {path}, which leaves its folder: give a relative one without ..")
    return path


def missing_files(files: Sequence[RemoteFile]) -> list[RemoteFile]:
    """The files that are not there yet.

    Raises
    ------
    UserError
        If other bytes have the place of one: they may be somebody's work and are not overwritten.
    """
    try:
        there = {file: file.path.exists() for file in files}
        foreign = [str(file.path) for file in files if there[file] and sha256(file.path) != file.sha256]
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read ({error.strerror}): correct its permissions or move it away") from None
    if foreign:
        raise UserError(f"not the bytes that the checksum files list: {', '.join(foreign)}; move them away to have them downloaded")
    return [file for file in files if not there[file]]


def describe(source: SourceSettings, files: Sequence[RemoteFile], missing: Sequence[RemoteFile], root: Path) -> str:
    """What a source is, on what terms it may be used, and how its files get where they belong."""
    patterns = " and ".join([source.files, *(join.files for join in source.join)])
    if source.embedded:
        come = "part of this repository"
    elif source.files.startswith("hf://"):
        come = f"read from the hub when data_prep runs: {patterns}"
    elif source.download is None:
        come = f"no download is configured: place {patterns} below {root} by hand"
    else:
        come = f"{sum(file in missing for file in files)} to download of {len(files)}"
    licence = source.licence + (" (NON-COMMERCIAL use only)" if source.non_commercial else "")
    return f"{source.name}: {source.title}\n  licence  {licence}\n  origin   {source.origin}\n  files    {come}"


def download_all(files: Sequence[RemoteFile]) -> None:
    """Download the files one by one, with a bar for all of them and one for the current."""
    with requests.Session() as session:
        session.headers["Accept-Encoding"] = "identity"  # a byte range of a compressed answer is not one of the file
        for file in tqdm(files, desc="downloading", unit=" files", disable=None):
            download(session, file)


def download(session: requests.Session, file: RemoteFile) -> None:
    """Download a file to `<path>.partial`, from where an earlier run stopped, and rename it once its SHA-256 is right.

    Raises
    ------
    UserError
        If the file cannot be had after several attempts, has another SHA-256 (the partial file is then removed) or cannot be
        written.
    """
    partial = file.path.with_name(f"{file.path.name}.partial")
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        for attempt, wait in enumerate(WAITS_S, start=1):
            time.sleep(wait)
            try:
                _append(session, file.url, partial)
                break
            except requests.RequestException as error:
                if attempt == len(WAITS_S) or not _is_temporary(error):
                    raise UserError(
                        f"cannot download {file.url} ({_reason(error)}): run this again on a network that reaches it, give mirror=..., "
                        f"or download it elsewhere to {file.path}"
                    ) from error
        digest = sha256(partial)
        if digest != file.sha256:
            partial.unlink()
            raise UserError(
                f"{file.url} has the SHA-256 {digest} instead of {file.sha256} and is not kept: run this again, and if that "
                "does not help, a proxy or the mirror changes files, so download from elsewhere"
            )
        partial.replace(file.path)
    except OSError as error:
        raise UserError(f"cannot write {file.path} ({error.strerror}): give a data_root that is writable and has space") from error


def _append(session: requests.Session, url: str, partial: Path) -> None:
    offset = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={offset}-"} if offset else None
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # nothing lies behind the partial file: it is whole, or its SHA-256 will tell
        response.raise_for_status()
        resumed = response.status_code == requests.codes.partial_content
        length = response.headers.get("Content-Length", "")
        with (
            partial.open("ab" if resumed else "wb") as target,  # a server that ignores Range begins again
            tqdm(desc=partial.stem, unit="B", unit_scale=True, leave=False, disable=None) as bar,
        ):
            bar.total = target.tell() + int(length) if length.isdecimal() else None
            bar.update(target.tell())
            for chunk in response.iter_content(1 << 16):
                target.write(chunk)
                bar.update(len(chunk))


def _is_temporary(error: requests.RequestException) -> bool:
    if error.response is not None:
        return error.response.status_code in TEMPORARY_STATUSES
    return isinstance(error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError)


def _reason(error: BaseException) -> str:
    """The innermost cause, which says in the fewest words what happened; for an HTTP status that is its line."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    while cause := error.__cause__ or error.__context__:
        error = cause
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def next_command(mixture: str, arguments: Sequence[str]) -> str:
    """The command that prepares what was downloaded: the same settings, without the mirror.

    >>> next_command("research", ["data_root=/sets", "mirror=https://mirror.example.org"])
    'python -m data_prep mixture=research data_root=/sets'
    """
    kept = [argument for argument in arguments if not argument.startswith(("mixture=", "mirror="))]
    return f"python -m data_prep {shlex.join([f'mixture={mixture}', *kept])}"


if __name__ == "__main__":
    ConfigStore.instance().store(name="fetch_schema", node=FetchSettings)
    run_stage(main)

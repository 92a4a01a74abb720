"""Rows of a data set on the Hugging Face hub, streamed: nothing is downloaded first, and no code of the set runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import requests
from huggingface_hub import constants

from data_prep.command import UserError, first_line
from data_prep.settings import ReaderSettings

PATIENCE_S = 10.0  # for the hub's first answer


def why_unreachable() -> str | None:
    """Why the hub cannot be asked, found out by one request; None if it answers, or if the user has told its client not to ask.

    The client itself asks a hub that hangs again and again, for minutes.
    """
    if constants.HF_HUB_OFFLINE:
        return None
    try:
        requests.head(constants.ENDPOINT, timeout=PATIENCE_S)
    except requests.Timeout:
        return f"{constants.ENDPOINT} gave no answer in {PATIENCE_S:g} seconds"
    except requests.RequestException as error:
        return first_line(error)
    return None


def read_hub(address: str, settings: ReaderSettings) -> Iterator[dict[str, Any]]:
    """Every row of `hf://owner/name` or `hf://owner/name@revision`, with the name of its split in the column `split`.

    A set's own column `split` is kept instead. Class labels are numbers, as the set stores them.

    Raises
    ------
    UserError
        If the hub cannot be reached, or has no such data set, revision, subset or split for this user.
    """
    name, _, revision = address.removeprefix("hf://").partition("@")
    try:
        if not Path(name).exists() and (reason := why_unreachable()):  # the client takes a folder of that name as well
            raise ConnectionError(reason)
        loaded = datasets.load_dataset(name, settings.subset, split=settings.split, revision=revision or None, streaming=True)
        splits = loaded if isinstance(loaded, dict) else {settings.split: loaded}
        for split, rows in splits.items():
            for row in rows.decode(False):  # pictures and sounds stay bytes
                yield {"split": split, **row}
    except Exception as error:  # the hub's client, the file system over it and the HTTP library below all raise their own
        raise UserError(
            f"{address} cannot be read from the Hugging Face hub: {str(error).rstrip('.')}; check its name, reader.subset and "
            "reader.split, that this machine reaches the hub, and, if access is granted on request, that you are logged in"
        ) from error

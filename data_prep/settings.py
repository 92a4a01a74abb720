"""What `configs/data_prep.yaml`, `configs/mixture/` and `configs/source/` may say: the schema Hydra validates against."""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

ANY_OTHER_VALUE = "*"


@dataclass
class ValueSettings:
    """Where a row's value comes from: a constant `value`, or a `column`, optionally translated by `map`.

    In `map`, the key "" stands for an empty cell and "*" for any value not named; a cell that the map
    does not cover rejects the row as unknown. A null in the map means "no judgement".
    """

    value: str | None = None
    column: str | None = None
    map: dict[str, str | None] | None = None


@dataclass
class ReaderSettings:
    """How the bytes of a source's files become rows."""

    format: str = MISSING  # csv, tsv, jsonl, json, parquet, xlsx, templates
    encoding: str = "utf-8-sig"
    delimiter: str = ","


@dataclass
class JoinSettings:
    """Columns taken from other files by a shared key; a row without a partner gets empty cells."""

    files: str = MISSING
    by: str = MISSING
    add: list[str] = field(default_factory=list)


@dataclass
class SourceSettings:
    """One labelled data set: where it is, how to read it, what its labels mean, and on what terms it may be used."""

    name: str = MISSING
    title: str = MISSING
    origin: str = MISSING
    licence: str = MISSING
    non_commercial: bool = False
    cite: str = ""
    embedded: bool = False  # its files are part of this repository
    evaluation_only: bool = False  # every row is a test row
    files: str = MISSING  # path pattern below data_root; what {name} matches becomes the column `name`
    reader: ReaderSettings = field(default_factory=ReaderSettings)
    join: list[JoinSettings] = field(default_factory=list)
    text: str = MISSING
    family: str | None = None  # rows with the same value of this column stay in one split
    language: ValueSettings = field(default_factory=ValueSettings)
    split: ValueSettings = field(default_factory=ValueSettings)  # train, validation, test; null = assigned by hash
    # head -> column -> cell -> 1, 0 or null (masked); the first column that judges decides
    labels: dict[str, dict[str, dict[str, int | None]]] = field(default_factory=dict)
    sense: dict[str, str] = field(default_factory=dict)  # per head: what this source's label means (see the taxonomy)
    hard_negative: ValueSettings = field(default_factory=ValueSettings)
    attributes: dict[str, ValueSettings] = field(default_factory=dict)


@dataclass
class MixtureSettings:
    """A named set of sources that is prepared, trained on and audited together."""

    name: str = MISSING
    sources: dict[str, SourceSettings] = field(default_factory=dict)
    validation_fraction: float = 0.1
    test_fraction: float = 0.2
    split_seed: int = 0


@dataclass
class HeadSettings:
    """One binary question the classifier answers about a text."""

    description: str = MISSING


@dataclass
class DataPrepSettings:
    """The primary config of `python -m data_prep`."""

    mixture: MixtureSettings = field(default_factory=MixtureSettings)
    heads: dict[str, HeadSettings] = field(default_factory=dict)
    data_root: str = "data/raw"
    data_dir: str = "data"


def register_schemas() -> None:
    """Tell Hydra's config store the types of everything data_prep's configs may say."""
    store = ConfigStore.instance()
    store.store(name="data_prep_schema", node=DataPrepSettings)


def to_settings(config: Any, schema: type[Any]) -> Any:
    """The composed config as an instance of its dataclass, every interpolation resolved."""
    merged = OmegaConf.merge(OmegaConf.structured(schema), config)
    return OmegaConf.to_object(merged)

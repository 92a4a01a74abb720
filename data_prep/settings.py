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
    does not cover stops the run. A null in the map means "no judgement".
    """

    value: str | None = None
    column: str | None = None
    map: dict[str, str | None] | None = None


@dataclass
class ReaderSettings:
    """How a source's files become rows. What is null is detected, for each file by its name and content."""

    format: str | None = None  # csv, tsv, jsonl, json, parquet, arrow, xlsx, templates
    encoding: str | None = None  # of text: one of Python's, such as cp1256
    delimiter: str | None = None  # of csv: one character
    quoting: str | None = None  # of csv and tsv: double ("" in quotes is a mark), backslash (\" is one), none
    subset: str | None = None  # of hf://owner/name: which of its configurations, where it has several
    split: str | None = None  # of hf://owner/name: which split; null = all, told apart by a column `split`


@dataclass
class JoinSettings:
    """Columns taken from other files by a shared key; a row without a partner gets empty cells."""

    files: str = MISSING
    by: str = MISSING
    add: list[str] = field(default_factory=list)


@dataclass
class DownloadSettings:
    """Where a source's files can be had: one commit of a GitHub repository, whose bytes can never change."""

    repository: str = MISSING  # owner/name
    commit: str = MISSING  # all 40 digits
    checksums: str = MISSING  # path in this repository: the files to download, in the format of `sha256sum -c`, relative to data_root
    paths: dict[str, str] = field(default_factory=dict)  # path pattern below data_root -> path pattern in the repository


@dataclass
class SourceSettings:
    """One data set: where it is, how to read it, what its labels mean, and on what terms it may be used."""

    name: str = MISSING
    title: str = MISSING
    origin: str = MISSING
    licence: str = MISSING
    non_commercial: bool = False
    cite: str = ""
    embedded: bool = False  # its files are part of this repository
    evaluation_only: bool = False  # every row is a test row
    download: DownloadSettings | None = None  # null: the files are placed by hand
    files: str = MISSING  # path pattern below data_root; what {name} matches becomes the column `name`
    reader: ReaderSettings = field(default_factory=ReaderSettings)
    join: list[JoinSettings] = field(default_factory=list)
    text: str = MISSING
    family: str | None = None  # rows with the same value of this column stay in one split
    language: ValueSettings = field(default_factory=ValueSettings)  # BCP-47; null = und
    split: ValueSettings = field(default_factory=ValueSettings)  # train, validation, test; null = assigned by hash
    # head -> column -> cell -> 1, 0 or null (masked); the first column that judges decides. A source without labels is text
    # to adapt an encoder to (train's `adaptation`): its rows are training rows.
    labels: dict[str, dict[str, dict[str, int | None]]] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)  # columns of text that hold several values -> what stands between them
    sense: dict[str, str] = field(default_factory=dict)  # per head: what this source's label means (see the taxonomy)
    hard_negative: ValueSettings = field(default_factory=ValueSettings)
    parallel: dict[str, str] = field(default_factory=dict)  # columns that hold the same post in another language -> its BCP-47 code
    votes: dict[str, list[str]] = field(default_factory=dict)  # head -> columns with one annotator's judgement each, in the labels' cells
    attributes: dict[str, ValueSettings] = field(default_factory=dict)


@dataclass
class MixtureSettings:
    """A named set of sources that is prepared, trained on and audited together."""

    name: str = MISSING
    sources: dict[str, SourceSettings] = field(default_factory=dict)
    held_out: dict[str, SourceSettings] = field(default_factory=dict)  # not in the table: no row like theirs may be trained on
    validation_fraction: float = 0.1
    test_fraction: float = 0.2
    split_seed: int = 0
    near_duplicate: float = 0.8  # least Jaccard similarity of character 4-grams
    mask_conflicts: bool = True  # near duplicates with opposite labels lose them; otherwise they are only counted
    max_leaking: float = 0.001  # share of test rows for which the audit may find a twin in training


@dataclass
class HeadSettings:
    """One binary question the classifier answers about a text."""

    description: str = MISSING


@dataclass
class EngineSettings:
    """Where the work runs."""

    name: str = "local"  # local or ray
    workers: int | None = None  # processes at a time; null = one per core
    address: str | None = None  # of a Ray cluster; null = a cluster of this machine alone


@dataclass
class DataPrepSettings:
    """The primary config of `python -m data_prep`."""

    mixture: MixtureSettings = field(default_factory=MixtureSettings)
    heads: dict[str, HeadSettings] = field(default_factory=dict)
    data_root: str = "data/raw"
    data_dir: str = "data"
    engine: EngineSettings = field(default_factory=EngineSettings)
    salt: str | None = None  # keys the hashes that ids and families are, so that nobody can recompute them


def register_schemas() -> None:
    """Tell Hydra's config store the types of everything data_prep's configs may say."""
    store = ConfigStore.instance()
    store.store(name="data_prep_schema", node=DataPrepSettings)


def to_settings(config: Any, schema: type[Any]) -> Any:
    """The composed config as an instance of its dataclass, every interpolation resolved."""
    merged = OmegaConf.merge(OmegaConf.structured(schema), config)
    return OmegaConf.to_object(merged)

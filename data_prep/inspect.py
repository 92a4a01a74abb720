"""`python -m data_prep.inspect posts.csv`: what a file of labelled posts holds, and a source config to begin with.

It prints no post: examples are masked, and only languages and the values of label columns are shown as they are.
Everything it says about columns is a guess for a person to check.
"""

import argparse
import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import yaml

from data_prep.columns import (
    JUDGEMENTS,
    PROPAGANDA_WORDS,
    SPLIT_NAMES,
    VIOLENCE_WORDS,
    Columns,
    Guess,
    column_cell,
    contains,
    count_values,
    guess_columns,
    language_code,
    printable,
)
from data_prep.command import REPOSITORY, UserError, run_stage
from data_prep.compression import unpacked_name
from data_prep.detection import FORMATS, detect
from data_prep.files import write_text
from data_prep.language import detect_language
from data_prep.normaliser import normalise
from data_prep.readers import Malformed, read_rows
from data_prep.script import ADDRESS, dominant_script
from data_prep.settings import ReaderSettings

USUAL = {"encoding": "utf-8-sig", "delimiter": ",", "quoting": "double"}
MOST_LANGUAGES = 8
LONGEST_COLUMN_NAME = 60
MOST_DETECTED = 20_000  # texts whose language is detected, evenly spread: a second or two


def main() -> None:
    """Describe a file, propose its configs and, when asked to, write them."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.inspect",
        description="Describe a file of labelled posts without printing any, and propose its config. docs/bring_your_own_data.md",
        epilog="examples:\n"
        "  python -m data_prep.inspect posts.csv\n  python -m data_prep.inspect posts.csv --write\n"
        "  python -m data_prep.inspect downloads/tweets.xlsx --write --name tweets_2024\n\n"
        "exit codes: 0 done; 2 the file or an option is wrong, in one sentence",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help=f"the labelled posts, as {', '.join(FORMATS)}, packed as .gz or .zst or not")
    parser.add_argument("--write", action="store_true", help="save configs/source/<name>.yaml and configs/mixture/<name>.yaml")
    parser.add_argument("--name", help="the source's and the mixture's name (default: from the file's name)")
    arguments = parser.parse_args()

    path: Path = arguments.file
    name = arguments.name or _name_of(path)
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise UserError(f"--name {name} is not usable: begin with a letter and use ASCII letters, digits and underscores")
    reader = guess_reader(path)
    columns, malformed = read_columns(path, reader)
    guess = guess_columns(columns)
    source = source_config(path, name, reader, columns, guess)
    print(f"{path}: {len(columns[guess.text]):,} rows, read as {_reader_config(reader)}\n")
    print(describe(columns, malformed, guess))
    print(f"\n--- configs/source/{name}.yaml: the guesses to check and the comments to answer ---\n\n{source}")
    if arguments.write:
        print(f"wrote {' and '.join(map(str, write_configs(name, source, mixture_config(path, name))))}")
    else:
        again = [str(path), "--write"] + (["--name", name] if arguments.name else [])
        print(f"next: python -m data_prep.inspect {shlex.join(again)}")
    prepare = f"python -m data_prep mixture={name} {_override('data_root', path.parent.as_posix())}"
    print(f"{'next' if arguments.write else 'then'}: {prepare}")


def _name_of(path: Path) -> str:
    name = re.sub(r"\W+", "_", unpacked_name(path).stem.lower(), flags=re.ASCII).strip("_")
    return name if name[:1].isalpha() else f"posts_{name}".rstrip("_")


def _override(key: str, value: str) -> str:
    """A Hydra override as it is typed in a shell: Hydra wants quotes of its own around unusual characters."""
    return f"{key}={value}" if re.fullmatch(r"[A-Za-z0-9_./-]+", value) else shlex.quote(f'{key}="{value}"')


def guess_reader(path: Path) -> ReaderSettings:
    """What the readers detect of a file: its format, of a text file the encoding, of a CSV or TSV the delimiter and quoting.

    Raises
    ------
    UserError
        If there is no such file, a source config could not name it, or its content cannot be read.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder: give one of its files, and name the others by a pattern in the config's `files` afterwards")
    if str(path).startswith("hf:"):
        raise UserError(
            "inspect looks at a file: save some rows of the hub's data set as one, then set `files` in the config to hf://owner/name"
        )
    if not path.is_file() or not os.access(path, os.R_OK):
        raise UserError(f"there is no file {path} that can be read: give the path of one that holds labelled posts")
    if unpacked_name(path).suffix.lower() not in FORMATS:
        raise UserError(f"{path} has none of the extensions {', '.join(FORMATS)}: convert it, or rename it to what it is")
    if set("{}[]*?") & set(path.name):
        raise UserError(f"{path} has a character in its name that stands for others in a config's `files`: rename it without {{}}[]*?")
    return detect(path, ReaderSettings())


def read_columns(path: Path, reader: ReaderSettings) -> tuple[Columns, list[str]]:
    """The cells of every column, as label maps would see them, and why rows could not be read.

    Raises
    ------
    UserError
        If no row can be read, or what should be column names looks like data (and must not be printed).
    """
    rows = list(read_rows(path.parent, path.name, reader))
    malformed = [row.reason for row in rows if isinstance(row, Malformed)]
    whole = [row for row in rows if not isinstance(row, Malformed)]
    if not whole:
        raise UserError(f"{path} holds no row that can be read ({len(malformed)} malformed): check that it has a header and rows")
    names = dict.fromkeys(name for row in whole for name in row)
    if any(len(name) > LONGEST_COLUMN_NAME or name.strip("+-.").isdecimal() for name in names):
        raise UserError(
            f"{path} has a column name that is a number or longer than {LONGEST_COLUMN_NAME} characters: "
            "begin the file with a line of short column names, such as id, text, language, label"
        )
    return {name: [column_cell(row.get(name)) for row in whole] for name in names}, malformed


def describe(columns: Columns, malformed: Sequence[str], guess: Guess) -> str:
    """The columns, the values of labels and languages, and the texts, in numbers."""
    width = max(8, *(len(printable(name)) + 2 for name in columns))
    lines = [f"{'column':<{width}}{'guess':<10}{'filled':>8}{'distinct':>10}  example (masked)"]
    for name, cells in columns.items():
        filled = [cell for cell in cells if cell]
        example = mask_text(filled[0][:60]) if filled else ""
        lines.append(f"{printable(name):<{width}}{guess.role(name):<10}{len(filled):>8,}{len(set(filled)):>10,}  {example}")
    for name in filter(None, (guess.language, guess.split, *guess.labels)):
        lines += ["", f"values of {printable(name)}"]
        lines += [f"{count:>8,}  {_quoted(value)}" for value, count in count_values(columns[name]).most_common()]
    lines += ["", f"texts of {printable(guess.text)}"]
    lines += _describe_texts(columns[guess.text], columns[guess.language] if guess.language else [""] * len(columns[guess.text]))
    if malformed:
        lines.append(f"  malformed rows    {len(malformed):,} (will be rejected), the first: {malformed[0]}")
    return "\n".join(lines)


def _describe_texts(texts: Sequence[str], languages: Sequence[str]) -> list[str]:
    filled = [(language, text) for language, text in zip(languages, texts, strict=True) if text]
    # readers keep bytes that are not of the encoding as surrogates
    readable = [(language, text) for language, text in filled if not re.search("[\0\ud800-\udfff]", text)]
    normalised = [(language, normalise(text)) for language, text in readable]
    visible = [row for row in normalised if row[1]]
    scripts = Counter(_script(text) for _, text in readable)
    looked_at = readable[:: -(-len(readable) // MOST_DETECTED) or 1]
    detected = Counter(detect_language(text)[0] for _, text in looked_at).most_common()
    others = sum(count for _, count in detected[MOST_LANGUAGES:])
    mix = [*detected[:MOST_LANGUAGES], *([("others", others)] if others else [])]
    lengths = np.percentile([len(text) for _, text in readable] or [0], [5, 50, 95, 99, 100], method="nearest")
    named = zip(("5%", "median", "95%", "99%", "longest"), lengths, strict=True)
    lines = [
        "  scripts           " + ", ".join(f"{script} {100 * count / len(readable):.1f}%" for script, count in scripts.most_common()),
        "  languages         "
        + ", ".join(f"{language} {100 * count / len(looked_at):.1f}%" for language, count in mix)
        + (f" (detected in {len(looked_at):,} of the texts)" if len(looked_at) < len(readable) else " (detected)"),
        "  characters        " + ", ".join(f"{name} {length:,}" for name, length in named),
        f"  exact duplicates  {len(visible) - len(set(visible)):,} (after normalisation, within a language)",
        f"  empty             {len(texts) - len(filled) + len(normalised) - len(visible):,}",
    ]
    if len(readable) < len(filled):
        lines.append(f"  undecodable       {len(filled) - len(readable):,} (will be rejected)")
    return lines


def _script(text: str) -> str:
    return dominant_script(ADDRESS.sub(" ", text))


def mask_text(text: str) -> str:
    """All but the first character of each word replaced: a text's shape and direction remain, its content does not.

    By white space and not by letters, because vowel signs are no letters: else every consonant of Hindi would begin a word.

    >>> mask_text("Down with हिन्दी 24")
    'D••• w••• ह••••• 2•'
    """
    return " ".join((word[0] if word[0].isprintable() else "•") + "•" * (len(word) - 1) for word in text.split())


def source_config(path: Path, name: str, reader: ReaderSettings, columns: Columns, guess: Guess) -> str:
    """The text of configs/source/<name>.yaml: valid as it is, with a comment at each decision that is a person's."""
    lines = [
        f"# {printable(path.name)}: say here in one line whose posts these are and what their labels mean.",
        f"name: {name}",
        f"title: {_scalar(path.name)}  # what the data set is called",
        "origin: unknown  # where it comes from, with a version or date",
        "licence: unknown  # its SPDX identifier, or the terms in a few words",
        "non_commercial: false  # true if the terms forbid commercial use: the datasheet and the model card then say so",
        f"files: {_scalar(path.name)}",
        f"reader: {_reader_config(reader)}"
        + ("  # the encoding is a guess: see that posts are legible" if reader.encoding not in (None, "utf-8-sig", "utf-16") else ""),
        f"text: {_scalar(guess.text)}",
        "# family: thread  # a column whose equal values must share a split: a thread, a page, an author",
        *_language_config(columns, guess),
    ]
    if guess.split:
        table = {value: SPLIT_NAMES.get(value.casefold()) for value in dict.fromkeys(columns[guess.split])}
        cells = ", ".join(f"{_quoted(value)}: {split or 'null'}" for value, split in table.items())
        lines.append(f"split: {{column: {_scalar(guess.split)}, map: {{{cells}}}}}")
    lines += _label_config(columns, guess)
    return "\n".join(lines) + "\n"


def _reader_config(reader: ReaderSettings) -> str:
    """The settings as YAML, without those that are usual for the format."""
    usual = {"encoding": "utf-8-sig", "delimiter": "\t", "quoting": "none"} if reader.format == "tsv" else USUAL
    given = {name: value for name, value in asdict(reader).items() if value is not None and value != usual.get(name)}
    return f"{{{', '.join(f'{name}: {_scalar(value)}' for name, value in given.items())}}}"


def _language_config(columns: Columns, guess: Guess) -> list[str]:
    if guess.language is None:
        scripts = Counter(map(_script, columns[guess.text]))
        return [
            f"language: {{value: und}}  # the BCP-47 code, such as ur or ur-Latn; most texts are in {scripts.most_common(1)[0][0]} script"
        ]
    counts = Counter(columns[guess.language])
    codes = {value: language_code(value) for value in counts}
    if all(value in (spelled, "") for value, spelled in codes.items()):
        return [f"language: {{column: {_scalar(guess.language)}}}"]
    lines = ["language:", f"  column: {_scalar(guess.language)}", "  map:  # to BCP-47 codes, such as ur or ur-Latn; null is undetermined"]
    for value, count in counts.most_common():
        code = codes[value]
        spelled = _quoted(code) if code else "null"  # quoted, since YAML takes the code of Norwegian for false
        lines.append(f"    {_quoted(value)}: {spelled}  # {count:,} rows" + ("" if code or not value else ": decide"))
    return lines


def _label_config(columns: Columns, guess: Guess) -> list[str]:
    chosen: dict[str, str] = {}
    for name in guess.labels:
        chosen.setdefault(_head_of([name, *count_values(columns[name])]), name)
    if not chosen:
        return [
            "labels:  # no column looks like a label: name yours and its values",
            '  violence_glorification: {label: {"1": 1, "0": 0}}  # or propaganda',
            "sense: {violence_glorification: glorification}  # or incitement, threat; of propaganda: persuasion, violent_entity",
        ]
    lines = ["labels:  # head: column: value: 1, 0 or null (no judgement); docs/taxonomy.md says what the heads mean"]
    for head, name in chosen.items():
        other = "propaganda" if head == "violence_glorification" else "violence_glorification"
        lines += [
            f"  {head}:  # a guess: move it to {other} if that is the question this column answers",
            f"    {_scalar(name)}:",
        ]
        for value, count in count_values(columns[name]).most_common():
            label = JUDGEMENTS.get(value.casefold())
            lines.append(
                f"      {_quoted(value)}: {'null' if label is None else label}  # {count:,} rows"
                + (": decide 1, 0 or null" if label is None and value else "")
            )
    senses = {"propaganda": "persuasion", "violence_glorification": "glorification"}
    lines.append(
        f"sense: {{{', '.join(f'{head}: {senses[head]}' for head in chosen)}}}"
        "  # violence: glorification, incitement, threat; propaganda: persuasion, violent_entity"
    )
    if unused := [printable(name) for name in guess.labels if name not in chosen.values()]:
        lines.append(f"# unused, though their values are few: {', '.join(unused)}")
    return lines


def _head_of(names: Iterable[str]) -> str:
    """The head that the first telling one of a column's name and its values speaks of.

    >>> _head_of(["label", "none", "propaganda"]), _head_of(["violence_label", "propaganda"]), _head_of(["label", "1", "0"])
    ('propaganda', 'violence_glorification', 'violence_glorification')
    """
    heads = {"propaganda": PROPAGANDA_WORDS, "violence_glorification": VIOLENCE_WORDS}
    return next((head for name in names for head, words in heads.items() if contains(name, words)), "violence_glorification")


def mixture_config(path: Path, name: str) -> str:
    """The text of configs/mixture/<name>.yaml: the source alone, so that it can be tried by itself."""
    return (
        f"# {printable(path.name)} by itself; a further line under defaults adds a further source of configs/source.\n"
        f"defaults:\n  - /source@sources.{name}: {name}\nname: {name}\n"
    )


def write_configs(name: str, source: str, mixture: str) -> list[Path]:
    """Save both files below the checkout's configs, where Hydra looks for them whatever folder the user is in, or neither.

    Raises
    ------
    UserError
        If one of the files exists, or cannot be written.
    """
    configs = Path("configs") if Path.cwd() == REPOSITORY else REPOSITORY / "configs"
    texts = {configs / "source" / f"{name}.yaml": source, configs / "mixture" / f"{name}.yaml": mixture}
    if taken := [path for path in texts if path.exists()]:
        raise UserError(f"{taken[0]} exists and is left as it is: give another --name, or remove it first")
    try:
        for path, text in texts.items():
            write_text(path, text)
    except OSError as error:
        (configs / "source" / f"{name}.yaml").unlink(missing_ok=True)
        raise UserError(f"cannot write {path} ({error.strerror}): make it writable, or keep configs of your own (--config-dir)") from error
    return list(texts)


def _quoted(text: str) -> str:
    """A double-quoted YAML string; what cannot be seen is spelled out, so that it survives an editor and a terminal."""
    return printable(json.dumps(text, ensure_ascii=False))


def _scalar(text: str) -> str:
    """A YAML string, quoted only where YAML needs it."""
    return text if re.fullmatch(r"[A-Za-z][\w.-]*", text, re.ASCII) and yaml.safe_load(text) == text else _quoted(text)


if __name__ == "__main__":
    run_stage(main)

"""What `python -m data_prep.inspect` guesses of a file, that it shows no post, and that its tutorial runs as written."""

import csv
import gzip
import json
import random
import re
import shutil
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from data_prep.columns import guess_columns
from data_prep.command import UserError
from data_prep.inspect import describe, guess_reader, main, mask_text, read_columns, source_config
from data_prep.settings import ReaderSettings, SourceSettings, ValueSettings, to_settings
from tests.conftest import ROOT, run_command, run_stage_process

URDU = ("دریا کنارے دلمیر میں بارش ہوئی", "روول کے بازار میں چائے اچھی ہے", "آج سورج نکلا اور سب خوش ہیں", "کل کا میچ بہت دلچسپ تھا")
ENGLISH = ("Rain fell on Dalmire all day", "The tea in Ruvel is good", "The sun came out at last today", "That was quite a match in Ruvel")


def rows() -> list[dict[str, Any]]:
    """Eight posts in two languages with an id and a label."""
    return [
        {"id": f"p{index}", "lang": ("ur", "en")[index % 2], "post": (URDU, ENGLISH)[index % 2][index // 2], "label": (1, 0, 0)[index % 3]}
        for index in range(8)
    ]


def write_csv(path: Path, table: list[dict[str, Any]], *, delimiter: str = ",", encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(table)
    return path


def inspected(path: Path) -> tuple[SourceSettings, str]:
    """The settings that the proposed config gives, and everything else that would be printed."""
    reader = guess_reader(path)
    columns, malformed = read_columns(path, reader)
    guess = guess_columns(columns)
    text = source_config(path, "posts", reader, columns, guess)
    return to_settings(OmegaConf.create(text), SourceSettings), describe(columns, malformed, guess)


@pytest.mark.parametrize("format_", ["csv", "tsv", "jsonl", "json", "parquet", "arrow", "xlsx"])
def test_every_format_gives_the_same_guesses(format_: str, tmp_path: Path) -> None:
    path = tmp_path / f"posts.{format_}"
    match format_:
        case "csv" | "tsv":
            write_csv(path, rows(), delimiter="," if format_ == "csv" else "\t")
        case "jsonl":
            path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows()), encoding="utf-8")
        case "json":
            path.write_text(json.dumps(rows()), encoding="utf-8")
        case "parquet":
            pq.write_table(pa.Table.from_pylist(rows()), path)
        case "arrow":
            pyarrow.feather.write_feather(pa.Table.from_pylist(rows()), path)
        case "xlsx":
            workbook = openpyxl.Workbook()
            for cells in (list(rows()[0]), *(list(row.values()) for row in rows())):
                workbook.active.append(cells)
            workbook.save(path)
    source, described = inspected(path)
    assert (source.reader, source.files) == (ReaderSettings(format_), path.name)
    assert (source.text, source.language) == ("post", ValueSettings(column="lang"))
    assert source.labels == {"violence_glorification": {"label": {"0": 0, "1": 1}}}
    assert source.sense == {"violence_glorification": "glorification"}
    assert re.search(r"^id +id +8 +8 ", described, re.MULTILINE)
    assert "Arab 50.0%, Latn 50.0%" in described


def test_a_semicolon_csv_in_a_code_page(tmp_path: Path) -> None:
    table = [{"Beitrag": f"Grüße, schöne Tage in Ruvel {index}", "Urteil": ("ja", "nein")[index % 2]} for index in range(6)]
    path = write_csv(tmp_path / "a.csv", table, delimiter=";", encoding="cp1252")
    source, described = inspected(path)
    assert source.reader == ReaderSettings("csv", "cp1252", ";")
    assert source.text == "Beitrag"
    assert source.language == ValueSettings(value="und")
    assert source.labels == {"violence_glorification": {"Urteil": {"ja": None, "nein": None}}}
    assert "G••••• s••••• T••• i• R•••• 0" in described
    reader = guess_reader(path)
    columns, _ = read_columns(path, reader)
    assert "  # the encoding is a guess: see" in source_config(path, "posts", reader, columns, guess_columns(columns))


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_tsv_with_quoted_cells_says_so(tmp_path: Path, quoting: int) -> None:
    """Because a reader that is told `tsv` takes quotation marks as they are."""
    with (tmp_path / "a.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=quoting)
        writer.writerows([("text", "label"), *((f'"{ENGLISH[index % 4]}" {index}', index % 2) for index in range(6))])
    source, described = inspected(tmp_path / "a.tsv")
    assert source.reader == ReaderSettings("tsv", quoting="double")
    assert '"••• ••' not in described


def test_a_packed_file_is_named_without_its_packing(workspace: Path) -> None:
    (workspace / "My posts.csv.gz").write_bytes(gzip.compress(write_csv(workspace / "a.csv", rows()).read_bytes()))
    shown = run_stage_process("data_prep.inspect", "My posts.csv.gz", cwd=workspace)
    assert shown.returncode == 0, shown.stderr
    assert "My posts.csv.gz: 8 rows, read as {format: csv}" in shown.stdout
    assert "--- configs/source/my_posts.yaml" in shown.stdout
    assert 'files: "My posts.csv.gz"' in shown.stdout


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters(delimiter: str, tmp_path: Path) -> None:
    table = [{**row, "post": f"{row['post']}, ; | and more"} for row in rows()]
    assert inspected(write_csv(tmp_path / "a.csv", table, delimiter=delimiter))[0].reader.delimiter == (
        None if delimiter == "," else delimiter
    )


def test_one_broken_row_does_not_change_the_encoding(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", rows())
    path.write_bytes(path.read_bytes() + "p9,ur,schön und gut,1\n".encode("latin-1") + b"p10,ur\n")
    source, described = inspected(path)
    assert source.reader == ReaderSettings("csv"), "which is UTF-8"
    assert re.search(r"undecodable +1 ", described)
    assert re.search(r"malformed rows +1 .*2 fields where the header has 4", described)


def test_a_utf_16_export(tmp_path: Path) -> None:
    source, _ = inspected(write_csv(tmp_path / "a.csv", rows(), delimiter="\t", encoding="utf-16"))
    assert source.reader == ReaderSettings("csv", "utf-16", "\t", "none")


def test_duplicates_and_empty_texts_are_counted_as_data_prep_would(tmp_path: Path) -> None:
    texts = ("Rain in Dalmire!", "Rain  in Dalmire!\u200b", "Tea in Ruvel", "", "\u200e", "Sun in Ruvel")
    table = [{"text": text, "label": index % 2, "lang": "en"} for index, text in enumerate(texts)]
    _, described = inspected(write_csv(tmp_path / "a.csv", table))
    assert re.search(r"exact duplicates +1 ", described)
    assert re.search(r"empty +2$", described)


def test_scripts_and_detected_languages_are_shown(tmp_path: Path) -> None:
    """Whether or not a column says which they are; a link decides neither."""
    link = " https://library.example/opening-hours-of-the-reading-room"
    roman = ("yeh log kya kar rahe hain", "hum sab dekh rahe thay", "kal ka match bohat acha tha", "yeh kitab kahan hai yaar")
    table = [{"text": text + link} for text in (*URDU, *ENGLISH, *roman)]
    _, described = inspected(write_csv(tmp_path / "a.csv", table))
    assert "  scripts           Latn 66.7%, Arab 33.3%\n" in described
    assert "  languages         ur 33.3%, en 33.3%, ur-Latn 33.3% (detected)\n" in described


def test_values_in_lists_are_labels_each_by_itself(tmp_path: Path) -> None:
    kinds = (["threat"], ["threat", "insult"], [], ["insult"])
    table = [{"text": f"{ENGLISH[index % 4]} {index}", "labels": kinds[index % 4]} for index in range(16)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
    source, described = inspected(tmp_path / "a.jsonl")
    assert source.labels == {"violence_glorification": {"labels": {"threat": None, "insult": None, "": None}}}
    assert '8  "threat"' in described
    written, _ = inspected(write_csv(tmp_path / "a.csv", table))  # "['threat', 'insult']", as data frames write it
    assert written.labels == source.labels


def test_other_values_are_left_for_a_person(tmp_path: Path) -> None:
    values = ("Yes", "no", "", "can't say", 'a "quote": #1')
    table = [{"text": f"{ENGLISH[index % 4]} {index}", "Label": values[index % 5]} for index in range(20)]
    source, described = inspected(write_csv(tmp_path / "a.csv", table))
    assert source.labels["violence_glorification"]["Label"] == {"Yes": 1, "no": 0, "": None, "can't say": None, 'a "quote": #1': None}
    assert '4  "can\'t say"' in described


def test_values_tell_the_head_where_the_columns_name_does_not(tmp_path: Path) -> None:
    table = [{"text": f"{ENGLISH[index % 4]} {index}", "label": ("none", "propaganda")[index % 2]} for index in range(12)]
    source, _ = inspected(write_csv(tmp_path / "a.csv", table))
    assert source.labels == {"propaganda": {"label": {"none": None, "propaganda": None}}}
    assert source.sense == {"propaganda": "persuasion"}


def test_two_heads_an_official_split_and_what_is_not_a_label(tmp_path: Path) -> None:
    table = [
        {
            "text": f"{ENGLISH[index % 4]} {index}", "country": ("PK", "IN")[index % 2], "fold": ("train", "dev", "test")[index % 3],
            "manipulative": index % 2, "violence_label": (True, False)[index % 2], "by": f"@user{index % 3}",
        }
        for index in range(12)
    ]  # fmt: skip
    source, described = inspected(write_csv(tmp_path / "a.csv", table))
    assert source.labels == {
        "propaganda": {"manipulative": {"0": 0, "1": 1}},
        "violence_glorification": {"violence_label": {"True": 1, "False": 0}},
    }
    assert source.sense == {"propaganda": "persuasion", "violence_glorification": "glorification"}
    assert source.split == ValueSettings(column="fold", map={"train": "train", "dev": "validation", "test": "test"})
    assert source.language == ValueSettings(value="und"), "a country is no language"
    assert "user1" not in described, "a handle is no label"


def test_the_text_is_the_column_that_says_most(tmp_path: Path) -> None:
    table = [
        {
            "uri": f"https://posts.example/{'x' * 80}/{index}", "template": "[place] has rain and tea and sun and matches all year long",
            "case": f"{ENGLISH[index % 4]} {index}", "translation": URDU[index % 4][:9], "label": index % 2,
        }
        for index in range(40)
    ]  # fmt: skip
    assert inspected(write_csv(tmp_path / "a.csv", table))[0].text == "case"
    for row in table:
        row["tweet"] = row.pop("translation")
    assert inspected(write_csv(tmp_path / "a.csv", table))[0].text == "tweet", "a name that says it decides"


def test_language_names_are_mapped_or_left_for_a_person(tmp_path: Path) -> None:
    values = ("Urdu", "en_us", "UR-LATN", "")
    table = [{"text": f"{ENGLISH[index % 4]} {index}", "language": values[index % 4], "y": index % 2} for index in range(8)]
    source, _ = inspected(write_csv(tmp_path / "a.csv", table))
    assert source.language == ValueSettings(column="language", map={"Urdu": None, "en_us": "en-US", "UR-LATN": "ur-Latn", "": None})


def test_the_code_of_norwegian_stays_a_code(tmp_path: Path) -> None:
    """YAML takes `no` without quotation marks for false."""
    table = [{"text": f"{ENGLISH[index % 4]} {index}", "language": ("NO", "EN")[index % 2], "y": index % 2} for index in range(8)]
    source, _ = inspected(write_csv(tmp_path / "a.csv", table))
    assert source.language == ValueSettings(column="language", map={"NO": "no", "EN": "en"})


@pytest.mark.parametrize("name", ["no", "my text", "a: b", "#1", "متن", "x,y", "1e3"])
def test_awkward_column_names_stay_valid_yaml(name: str, tmp_path: Path) -> None:
    table = [{name: f"{ENGLISH[index % 4]} {index}", "label": index % 2} for index in range(4)]
    assert inspected(write_csv(tmp_path / "a.csv", table))[0].text == name


def test_invisible_and_astral_characters_in_labels_survive(tmp_path: Path) -> None:
    values = ("می\u200cخواہم", "👨\u200d👩", "a\u202eb")
    table = [{"text": f"{ENGLISH[index % 4]} {index}", "label": values[index % 3]} for index in range(9)]
    source, described = inspected(write_csv(tmp_path / "a.csv", table))
    assert list(source.labels["violence_glorification"]["label"]) == list(values)
    assert "\u202e" not in described


def test_without_a_label_the_config_says_which_columns_there_are(tmp_path: Path) -> None:
    write_csv(tmp_path / "posts.csv", [{"text": text} for text in ENGLISH])
    source, _ = inspected(tmp_path / "posts.csv")
    assert source.labels == {"violence_glorification": {"label": {"1": 1, "0": 0}}}


def test_masking_leaves_the_first_character_of_a_word() -> None:
    assert mask_text("بارش in हिन्दी\n@someone https://a.example") == "ب••• i• ह••••• @••••••• h" + "•" * 16


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "there is no file"),
        ("a.docx", "x", "has none of the extensions .csv"),
        ("a[1].csv", "text,label\nhello there,1\n", "rename it without"),
        ("a.csv", "", "holds no row"),
        ("a.csv", "text,label\n", "holds no row"),
        ("a.csv", "Rain fell on Dalmire,1\nTea in Ruvel,0\n", "begin the file with a line of short column names"),
        ("a.csv", "a,b\n1,2\n2,3\n", "name the column of posts `text`"),
        ("a.parquet", "x", "cannot be read as parquet"),
        ("a.csv.gz", "x", "cannot be read as csv"),
    ],
)
def test_unusable_files_are_told_in_one_sentence(name: str, content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        inspected(tmp_path / name)
    assert "Dalmire" not in str(caught.value)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder with the packages and configs of the repository, as a checkout has them before anyone follows the tutorial."""
    for folder in ("data_prep", "train", "export", "evaluate", "configs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "posts.yaml"))
    return tmp_path


def test_write_saves_configs_that_data_prep_takes_and_overwrites_nothing(workspace: Path) -> None:
    write_csv(workspace / "My posts 2024.csv", rows())
    written = run_stage_process("data_prep.inspect", "My posts 2024.csv", "--write", cwd=workspace)
    assert written.returncode == 0, written.stderr
    assert written.stdout.endswith("next: python -m data_prep mixture=my_posts_2024 data_root=.\n")
    for post in (*URDU, *ENGLISH):
        assert not set(re.findall(r"\w{3,}", post)) & set(re.findall(r"\w+", written.stdout)) - {"the", "and"}
    for group in ("source", "mixture"):
        lines = (workspace / "configs" / group / "my_posts_2024.yaml").read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("# ")
        assert len(lines) < 40
    prepared = run_stage_process("data_prep", "mixture=my_posts_2024", "data_root=.", cwd=workspace)
    assert prepared.returncode == 0, prepared.stderr

    (workspace / "configs" / "source" / "my_posts_2024.yaml").unlink()
    again = run_stage_process("data_prep.inspect", "My posts 2024.csv", "--write", cwd=workspace)
    assert again.returncode == 2
    assert again.stderr.startswith("error: configs/mixture/my_posts_2024.yaml exists")
    assert not (workspace / "configs" / "source" / "my_posts_2024.yaml").exists(), "both files or neither"


def test_from_elsewhere_it_writes_into_the_checkout(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("else where")
    path = write_csv(elsewhere / "posts.csv", rows())
    shown = run_stage_process("data_prep.inspect", str(path), cwd=elsewhere, PYTHONPATH=str(workspace))
    assert shown.returncode == 0, shown.stderr
    assert f"next: python -m data_prep.inspect '{path}' --write\n" in shown.stdout
    assert shown.stdout.endswith(f"then: python -m data_prep mixture=posts 'data_root=\"{path.parent}\"'\n")
    written = run_stage_process("data_prep.inspect", "posts.csv", "--write", cwd=elsewhere, PYTHONPATH=str(workspace))
    assert written.returncode == 0, written.stderr
    assert (workspace / "configs" / "mixture" / "posts.yaml").is_file()
    assert list(elsewhere.iterdir()) == [path]
    prepared = run_stage_process("data_prep", "mixture=posts", "data_root=.", cwd=elsewhere, PYTHONPATH=str(workspace))
    assert prepared.returncode == 0, prepared.stderr
    assert (elsewhere / "data" / "posts" / "manifest.json").is_file()


@pytest.mark.parametrize("name", ["a/b", "1st", "posts"])
def test_a_name_that_cannot_be_used(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_csv(tmp_path / "posts.csv", rows())
    monkeypatch.setattr("data_prep.inspect.REPOSITORY", tmp_path / "nowhere")
    monkeypatch.setattr("sys.argv", ["inspect", str(path), "--write", "--name", name])
    with pytest.raises(UserError, match="cannot write" if name == "posts" else "is not usable"):
        main()


def tutorial_commands() -> list[str]:
    """The commands of the tutorial's bash blocks, in order."""
    page = (ROOT / "docs" / "bring_your_own_data.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]


def test_the_tutorial_runs_as_written(workspace: Path) -> None:
    """Only the training line gets the overrides that the page itself offers for a trial."""
    random_ = random.Random(0)  # invented words: posts that differ in a number only would be one family, in one split
    table = [
        {**row, "id": index, "post": " ".join([row["post"], *("".join(random_.sample("abdefiklmnorstu", 6)) for _ in range(12))])}
        for index, row in enumerate(rows() * 30)
    ]
    write_csv(workspace / "posts.csv", table)
    commands = tutorial_commands()
    assert [command.split()[2] for command in commands if command.startswith("python -m")] == [
        "data_prep.inspect", "data_prep.inspect", "data_prep", "train", "export", "evaluate",
    ]  # fmt: skip
    assert len(commands) <= 10
    trial = "encoder=tiny trainer.max_steps=8"
    assert f"`{trial}`" in (ROOT / "docs" / "bring_your_own_data.md").read_text(encoding="utf-8")
    for command in commands:
        if command.startswith("python -m train "):
            command = command.replace("name=posts", f"name=posts {trial}")
        done = run_command(command, workspace)
        # so few rows cannot pass the gate, which the page says
        assert done.returncode == ("python -m evaluate" in command), f"{command}\n{done.stdout}{done.stderr}"
    assert json.loads(done.stdout)["violence_glorification"]["decision"] == "review"
    assert (workspace / "releases" / "posts" / "report" / "report.html").is_file()


def test_help_shows_three_examples() -> None:
    done = run_stage_process("data_prep.inspect", "--help")
    assert done.returncode == 0
    assert done.stdout.count("  python -m data_prep.inspect ") == 3

"""Each public set's config reads its real format: made-up files in that format prepare with one command."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.pipeline import prepare
from data_prep.settings import DataPrepSettings, to_settings
from data_prep.table import load_examples

ENGLISH = ("rain fell early", "who sings now?", "a blue door")


def lines(path: Path, content: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A data root with a few invented rows in the format of each of the sets."""
    root = tmp_path / "raw"
    (root / "urdu_threatening_tweets").mkdir(parents=True)
    workbook = openpyxl.Workbook()
    for row in (("Tweets", "label", "S/G"), ("الف", 1, 0), ("بے", 0, 2), ("جیم", 0, 2), ("دال", 1, 1)):
        workbook.active.append(row)
    workbook.save(root / "urdu_threatening_tweets" / "dataset.xlsx")
    for part in ("train", "val", "test"):
        lines(
            root / "phate_fa" / f"{part}_simple.csv",
            f"tweet_id,text,Violenc,Hate,Vulgar,HateSpeech\n1,متن {part},1,0,0,1\n2,دیگر {part},0,1,0,1\n",
        )
    for part in ("train", "dev", "test"):
        lines(root / "vitd_blp2023_bn" / f"{part}.csv", f'text,label\n"ক {part}",2\nখ {part},1\nগ {part},0\n')
    lines(
        root / "germeval_harmful_de" / "vio_train_26.csv", 'id;description;vio\n1;"Ja; nein";glorification\n2;Gut;nothing\n3;Naja;other\n'
    )
    lines(
        root / "edos_en" / "edos_labelled_aggregated.csv",
        "rewire_id,text,label_sexist,label_category,label_vector,split\n"
        "1,a,sexist,x,1.1 threats of harm,train\n2,b,sexist,x,3.2 other,dev\n3,c,not sexist,none,none,test\n",
    )
    kinds = ["Individual", "Group", "Religion", "Race", "Physical", "Gender", "Other", "Weak", "Moderate", "Strong"]
    header = ",".join(["Tweet", "HS", "Abusive", *(f"HS_{kind}" for kind in kinds)])
    body = "\n".join(
        f"kata \xe9{row[-1]}{row[0]},{row}" for row in ("1,0,0,0,0,0,0,0,0,0,0,1", "1,0,0,0,0,0,0,0,0,1,0,0", "0,0,0,0,0,0,0,0,0,0,0,0")
    )
    lines(root / "id_multilabel_hate" / "re_dataset.csv", f"{header}\n{body}\n", "latin-1")
    posts: dict[str, dict[str, Any]] = {
        str(key): {
            "id": str(key),
            "text": f"yeh text {key}",
            "translation": ENGLISH[key],
            "labels": [{"technique": "Slogans"}] * (key % 2),
        }
        for key in range(3)
    }
    folder = root / "codeswitch_en_romanurdu_propaganda"
    lines(folder / "dataset.json", json.dumps(posts))
    lines(folder / "train_split.json", json.dumps({"0": posts["0"]}))
    lines(folder / "test_split.json", json.dumps({"1": posts["1"]}))
    (root / "unlp2025_manipulation_uk_ru").mkdir()
    table = {
        "id": ["1", "2"],
        "content": ["текст", "слово"],
        "lang": ["uk", "ru"],
        "manipulative": [True, False],
        "techniques": [["cliche"], None],
    }
    pq.write_table(pa.table(table), root / "unlp2025_manipulation_uk_ru" / "train.parquet")
    arabic = [{"page_id": "p", "paragraph": f"فقرة {index}", "label": label} for index, label in enumerate(("true", "false"))]
    lines(root / "arpro_v2_dev_ar" / "ArMPro_binary_dev_V2.jsonl", "\n".join(json.dumps(row) for row in arabic))
    for part in ("training", "dev", "test"):
        memes = [{"id": "1", "labels": [], "text": f"calm {part}"}, {"id": "2", "labels": ["Smears"], "text": f"loud {part}"}]
        lines(root / "semeval2021_task6_en" / f"{part}_set_task1.txt", json.dumps(memes))
    for folder_name, text in (("urd_Arab", "ایک"), ("eng_Latn", "one")):
        for number, part in enumerate(("train", "dev", "test")):
            lines(
                root / "sib200_topics" / "data" / "annotated" / folder_name / f"{part}.tsv",
                f'index_id\tcategory\ttext\n{number}\tsports\t{text} "{part}\n',
            )
    lines(
        root / "hatecheck_en" / "test_suite_cases.csv",
        ",functionality,test_case\n0,threat_dir_h,x\n1,derog_neg_emote_h,y\n2,profanity_nh,z\n",
    )
    return root


def test_the_research_mixture_maps_every_set(raw: Path, tmp_path: Path, compose_stage: Callable[..., Any]) -> None:
    config = compose_stage("data_prep", "mixture=research", f"data_root={raw}", f"data_dir={tmp_path / 'data'}")
    settings: DataPrepSettings = to_settings(config, DataPrepSettings)
    assert len(settings.mixture.sources) == 11
    table = load_examples(prepare(settings)).to_pandas()
    judged = table.groupby("source")[["propaganda", "violence_glorification"]].agg(["sum", "count"])
    judged.columns = ["p1", "p", "v1", "v"]
    expected = {
        "urdu_threatening_tweets": (0, 0, 2, 4),
        "phate_fa": (0, 0, 3, 6),
        "vitd_blp2023_bn": (0, 0, 3, 6),
        "germeval_harmful_de": (0, 0, 1, 2),
        "edos_en": (0, 0, 1, 3),
        "id_multilabel_hate": (0, 0, 1, 2),
        "codeswitch_en_romanurdu": (2, 6, 0, 0),
        "unlp2025_manipulation": (1, 2, 0, 0),
        "arpro_v2_dev_ar": (1, 2, 0, 0),
        "semeval2021_task6_en": (3, 6, 0, 0),
        "sib200_topics": (0, 6, 0, 6),
    }
    assert {source: tuple(int(value) for value in row) for source, row in judged.iterrows()} == expected

    def of(source: str, column: str) -> list[Any]:
        return table[table.source == source].sort_values("text")[column].tolist()

    switched = table[table.source == "codeswitch_en_romanurdu"]
    assert dict(zip(switched.text, switched.split, strict=True)) == {
        **{"yeh text 0": "train", "yeh text 1": "test", "yeh text 2": "validation"},
        **{ENGLISH[0]: "train", ENGLISH[1]: "test", ENGLISH[2]: "validation"},
    }
    assert switched.groupby("family").language.nunique().tolist() == [2, 2, 2], "a post and its translation are one family"
    assert set(of("unlp2025_manipulation", "language")) == {"uk", "ru"}
    assert set(of("sib200_topics", "language")) == {"ur", "en"}
    sib = table[table.source == "sib200_topics"]
    assert sib.groupby("family").language.nunique().tolist() == [2, 2, 2]
    assert len(set(of("arpro_v2_dev_ar", "split"))) == 1, "paragraphs of one page stay together"


def test_hatecheck_is_for_evaluation_only(raw: Path, tmp_path: Path, compose_stage: Callable[..., Any]) -> None:
    overrides = ("+source@mixture.sources.hatecheck_en=hatecheck_en", f"data_root={raw}", f"data_dir={tmp_path / 'data'}")
    settings: DataPrepSettings = to_settings(
        compose_stage("data_prep", "mixture.name=suite", "~mixture.sources.sample", *overrides), DataPrepSettings
    )
    table = load_examples(prepare(settings))
    assert settings.mixture.sources["hatecheck_en"].evaluation_only
    assert list(table["violence_glorification"]) == [1, 0]
    assert set(table["split"]) == {"test"}

"""Encoding, delimiter and quoting are told from what a file holds; the texts in other languages are machine-assisted."""

import csv
import gzip
import io
import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.command import UserError
from data_prep.detection import detect
from data_prep.readers import read_rows
from data_prep.settings import ReaderSettings

# Everyday sentences; Persian and Urdu spelled with the letters that windows-1256 has.
SENTENCES = {
    "ar": "نزل المطر على دلمير طوال اليوم|الشاي في روفيل جيد جدا|أشرقت الشمس أخيرا هذا الصباح|يفتح المتجر أبوابه عند الساعة التاسعة",
    "fa": "باران در دلمير تمام روز باريد|چاي در روول خوب است|بازي ديروز خيلي جالب بود|جاده به خاطر تعميرات بسته است",
    "ur": "روول کے بازار ميں چائے اچھي ہے|کل کا ميچ بہت دلچسپ تھا|دکان صبح نو بجے کھلتي ہے|سڑک مرمت کي وجہ سے بند ہے",
    "ru": "В Далмире весь день шёл дождь|Чай в Рувеле очень хороший|Магазин открывается в девять часов|Дорога закрыта на ремонт",
    "uk": "У Далмирі весь день ішов дощ|Чай у Рувелі дуже смачний|Крамниця відчиняється о дев'ятій|Дорогу закрито на ремонт",
    "de": "Es regnete in Dalmire den ganzen Tag über|Grüße aus Ruvel, schöne Tage|Der Laden öffnet um neun|Die Straße ist gesperrt",
    "fr": "Il a plu à Dalmire toute la journée|Le thé à Ruvel est très bon|Les élèves vont à l'école|La route est fermée, désolé",
    "es": "Llovió en Dalmire todo el día|El té en Ruvel está muy bueno|Los niños van al colegio|El camino está cerrado, señor",
    "tr": "Dalmire'de bütün gün yağmur yağdı|Ruvel'de çay çok güzel|Dünkü maç çok ilginçti|Şehrin tarihi üzerine kitap okudum",
    "he": "ירד גשם בדלמיר כל היום|התה ברובל טוב מאוד|החנות נפתחת בתשע|הדרך סגורה בגלל תיקונים",
    "zh": "达尔米尔下了一整天的雨|鲁维尔的茶很好喝|商店九点开门|道路因维修而关闭",
}  # fmt: skip


def posts(language: str, count: int, seed: int = 0) -> str:
    """A CSV whose rows are mostly not text, as files of tweets are."""
    random_ = random.Random(seed)
    sentences = SENTENCES[language].split("|")
    rows = [
        f'{random_.getrandbits(60)},"@user{index} {random_.choice(sentences)} https://p.example/{random_.getrandbits(40)}",{index % 2}\n'
        for index in range(count)
    ]
    return "id,text,label\n" + "".join(rows)


@pytest.mark.parametrize(
    ("language", "encoding"),
    [
        ("ar", "cp1256"), ("fa", "cp1256"), ("ur", "cp1256"), ("ru", "cp1251"), ("uk", "cp1251"), ("ru", "koi8_r"), ("de", "cp1252"),
        ("fr", "cp1252"), ("es", "cp1252"), ("tr", "cp1254"), ("he", "cp1255"), ("zh", "gb18030"),
        *itertools.product(("ur", "ru", "fr", "zh"), ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("count", [40, 2000])
def test_encodings(language: str, encoding: str, count: int, tmp_path: Path) -> None:
    text = posts(language, count)
    (tmp_path / "a.csv").write_bytes(text.encode(encoding))
    rows = list(read_rows(tmp_path, "a.csv", ReaderSettings()))
    assert rows == list(csv.DictReader(io.StringIO(text)))


def test_few_broken_lines_do_not_change_the_encoding_and_many_do(tmp_path: Path) -> None:
    broken, whole = posts("de", 41).encode("cp1252").splitlines(keepends=True), posts("de", 40).encode().splitlines(keepends=True)
    for invalid, encoding in ((39, "utf-8-sig"), (40, "utf-8-sig"), (41, "cp1252")):
        (tmp_path / "a.csv").write_bytes(b"".join(whole + broken[1 : invalid + 1]))
        assert detect(tmp_path / "a.csv", ReaderSettings()).encoding == encoding


def test_a_nul_byte_does_not_make_utf_16(tmp_path: Path) -> None:
    for content in (b"text,label\0x", b"text,label\n\0a,1\n", b"a,b\0\nc,d\n", b"\n\0"):
        (tmp_path / "a.csv").write_bytes(content)
        assert detect(tmp_path / "a.csv", ReaderSettings()).encoding == "utf-8-sig"


def test_what_no_code_page_explains_is_read_as_latin_1(tmp_path: Path) -> None:
    random_ = random.Random(0)
    noise = b"".join(bytes(random_.choices(range(128, 256), k=9)) + b",1\n" for _ in range(99))
    (tmp_path / "a.csv").write_bytes(b"text,label\n" + noise)
    reader = detect(tmp_path / "a.csv", ReaderSettings())
    assert reader.encoding == "latin-1"
    assert len(list(read_rows(tmp_path, "a.csv", reader))) == 99


AWKWARD = [
    "Rain, tea; and sun",
    '"Hello" she said, twice',
    'He said "Rain; or tea", then left',
    "It's 5 | 6; or 7",
    "two\nlines; here",
    "plain",
    '5" of snow',
]


def table(delimiter: str, quoting: int, *, escaped: bool = False) -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, quoting=quoting, doublequote=not escaped, escapechar="\\" if escaped else None)
    writer.writerow(["id", "text", "label"])
    writer.writerows([index, AWKWARD[index % len(AWKWARD)], index % 2] for index in range(35))
    return file.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    ("quoting", "escaped"),
    [
        (csv.QUOTE_MINIMAL, False),
        (csv.QUOTE_ALL, False),
        (csv.QUOTE_NONNUMERIC, False),
        (csv.QUOTE_ALL, True),
        (csv.QUOTE_NONNUMERIC, True),
    ],
)
def test_free_text_full_of_delimiters_and_marks(delimiter: str, quoting: int, escaped: bool, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table(delimiter, quoting, escaped=escaped), encoding="utf-8", newline="")
    reader = detect(tmp_path / "a.csv", ReaderSettings())
    assert (reader.delimiter, reader.quoting) == (delimiter, "backslash" if escaped else "double")
    assert [row["text"] for row in read_rows(tmp_path, "a.csv", ReaderSettings()) if isinstance(row, dict)] == AWKWARD * 5


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_marks_that_quote_nothing(delimiter: str, tmp_path: Path) -> None:
    """A third of the texts begin with a quotation mark, and hardly any ends with one: to quote would swallow lines."""
    texts = ['"Rain in Dalmire', "tea and sun", '5" of snow', '"Hello" she said', "it's a day", "plain"]
    lines = [f"{index}{delimiter}{texts[index % 6]}{delimiter}{index % 2}\n" for index in range(36)]
    (tmp_path / "a.csv").write_text(f"id{delimiter}text{delimiter}label\n" + "".join(lines), encoding="utf-8")
    assert detect(tmp_path / "a.csv", ReaderSettings()).quoting == "none"
    assert [row["text"] for row in read_rows(tmp_path, "a.csv", ReaderSettings()) if isinstance(row, dict)] == texts * 6


def test_one_row_in_disorder_does_not_change_the_quoting_of_all(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table(",", csv.QUOTE_ALL) + '"40","Rain" in Ruvel","0"\n', encoding="utf-8", newline="")
    rows = list(read_rows(tmp_path, "a.csv", ReaderSettings()))
    assert rows[0] == {"id": "0", "text": "Rain, tea; and sun", "label": "0"}
    assert rows[-1] == {"id": "40", "text": 'Rain in Ruvel"', "label": "0"}


def test_long_texts_of_many_lines(tmp_path: Path) -> None:
    """Most lines are then in the middle of a cell, and many of them have as many commas as the header."""
    text = "\n".join(["Rain, and tea", "Sun", "It snowed, then it rained", "", "Ruvel is near"] * 6)
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((text, index % 2) for index in range(20))])
    assert list(read_rows(tmp_path, "a.csv", ReaderSettings())) == [{"text": text, "label": str(index % 2)} for index in range(20)]


def test_a_single_column_of_free_text(tmp_path: Path) -> None:
    texts = ["Rain, and tea", "sun; and snow", "plain"] * 5
    (tmp_path / "a.csv").write_text("text\n" + "".join(text + "\n" for text in texts), encoding="utf-8")
    assert list(read_rows(tmp_path, "a.csv", ReaderSettings())) == [{"text": text} for text in texts]


WORDS = st.sampled_from(["Rain", "tea,", "sun;", '"snow"', "5|6", "چائے", "\n", "Ruvel's", "a"])


@given(
    st.lists(st.lists(WORDS, min_size=1, max_size=8).map(" ".join), min_size=30, max_size=60),
    st.sampled_from(",;|"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_detection_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], delimiter: str, quoting: int
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter, quoting=quoting).writerows([("id", "text"), *enumerate(texts)])
    assert list(read_rows(path.parent, path.name, ReaderSettings())) == [
        {"id": str(index), "text": text} for index, text in enumerate(texts)
    ]


def test_a_packed_file_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / "A.CSV.GZ").write_bytes(gzip.compress(posts("ur", 60).replace(",", ";").encode("cp1256", "replace")))
    reader = detect(tmp_path / "A.CSV.GZ", ReaderSettings())
    assert reader == ReaderSettings("csv", "cp1256", ";", "double")


def test_each_file_of_a_source_is_looked_at_for_itself(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("text;label\nGrüße aus Ruvel, früh;1\nschöne Tage;0\n".encode("cp1252"))
    (tmp_path / "b.csv").write_bytes("text,label\nGrüße aus Dalmire,1\n".encode())
    assert [row["text"] for row in read_rows(tmp_path, "{name}.csv", ReaderSettings()) if isinstance(row, dict)] == [
        "Grüße aus Ruvel, früh", "schöne Tage", "Grüße aus Dalmire",
    ]  # fmt: skip


def test_what_is_set_is_not_detected(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes('text;label\n"Grüße";1\n'.encode("cp1252"))
    given = ReaderSettings("csv", "cp1251", ",", "none")
    assert detect(tmp_path / "a.csv", given) == given
    with pytest.raises(UserError, match=r"reader\.delimiter='' is not one character"):
        detect(tmp_path / "a.csv", ReaderSettings(delimiter=""))

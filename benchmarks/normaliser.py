"""What the normaliser costs and gives the encoder, per language, on parallel sentences (SIB-200's layout).

python benchmarks/normaliser.py <folder of SIB-200's data/annotated> [--quick]

Compares, with the packaged encoder before any fine-tuning: `stock` (NFKC only, the vocabulary as it came), `folded` (the
project's normaliser, the vocabulary as it came) and `both` (the project's normaliser and the vocabulary folded by it, which
is what training uses). Printed per language: tokens per word; the mean cosine between a sentence's vector and its English
translation's; and, for languages in Arabic script, the cosine between a sentence's vector and that of the same sentence
typed with the other keyboard's yeh, kaf and heh. The last line is JSON, with the microseconds per text in it.
"""

import argparse
import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer, normalizers
from transformers import XLMRobertaModel

sys.path[0] = str(Path(__file__).resolve().parent.parent)

from data_prep.normaliser import normalise  # noqa: E402
from train.encoder import Encoder, build_tokenizer, fold_vocabulary  # noqa: E402
from train.packaged_encoder import packaged_file, read_packaged  # noqa: E402
from train.tokenised import collate  # noqa: E402

LANGUAGES = ("urd_Arab", "pbt_Arab", "snd_Arab", "pes_Arab", "arb_Arab", "eng_Latn", "rus_Cyrl", "hin_Deva")
OTHER_KEYBOARD = str.maketrans("یکہيكه", "يكهیکہ")


def sentences(folder: Path) -> dict[str, str]:
    """Sentences by their number, which is the same in every language."""
    rows: dict[str, str] = {}
    for path in sorted(folder.glob("*.tsv")):
        with path.open(encoding="utf-8") as file:
            rows |= {row["index_id"]: row["text"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}
    return rows


@torch.inference_mode()
def embed(encoder: Encoder, texts: list[str]) -> npt.NDArray[np.float32]:
    """Mean-pooled, normalised vectors, shape (texts, hidden)."""
    ids = [encoding.ids for encoding in encoder.tokenizer.encode_batch(texts)]
    vectors = np.zeros((len(texts), encoder.model.config.hidden_size), dtype=np.float32)
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        batch = collate([{"input_ids": ids[row], "labels": [], "language": 0} for row in rows])
        mask = batch["attention_mask"].unsqueeze(-1)
        with torch.autocast("cpu", torch.bfloat16):
            hidden = encoder.model(batch["input_ids"], batch["attention_mask"]).last_hidden_state.float()
        vectors[rows] = torch.nn.functional.normalize((hidden * mask).sum(dim=1), dim=-1).numpy()
    return vectors


class Stock(Encoder):
    """The encoder with NFKC for a normaliser."""

    @property
    def tokenizer(self) -> Tokenizer:
        """A tokenizer over the encoder's pieces."""
        tokenizer = build_tokenizer(self.pieces, self.max_length)
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])
        return tokenizer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true", help="one sentence in forty instead of eight")
    arguments = parser.parse_args()
    path = packaged_file()
    if path is None:
        parser.error("the packaged encoder is not installed here")

    def encoder(kind: type[Encoder]) -> Encoder:
        packaged = read_packaged(path)
        model = XLMRobertaModel(packaged.config, add_pooling_layer=False).eval()
        model.load_state_dict(packaged.tensors)
        return kind(model, packaged.pieces, 256)

    encoders = {"stock": encoder(Stock), "folded": encoder(Encoder), "both": fold_vocabulary(encoder(Encoder))}
    english = sentences(arguments.folder / "eng_Latn")
    chosen = sorted(english)[:: 40 if arguments.quick else 8]
    to_english = embed(encoders["stock"], [english[number] for number in chosen])
    results = {}
    print(f"{len(chosen)} sentences; tokens per word | cosine with English | cosine with the other keyboard's spelling")
    print(f"{'':10}" + (f"{'stock':>8}{'folded':>8}{'both':>8} |" * 3))
    for language in LANGUAGES:
        own = sentences(arguments.folder / language)
        texts = [own[number] for number in chosen]
        words = sum(len(text.split()) for text in texts)
        figures: dict[str, list[float | None]] = {"tokens_per_word": [], "cosine_english": [], "cosine_keyboards": []}
        for one in encoders.values():
            vectors = embed(one, texts)
            figures["tokens_per_word"].append(sum(len(encoding.ids) - 2 for encoding in one.tokenizer.encode_batch(texts)) / words)
            figures["cosine_english"].append(float((vectors * to_english).sum(axis=1).mean()))
            typed = [text.translate(OTHER_KEYBOARD) for text in texts]
            figures["cosine_keyboards"].append(float((vectors * embed(one, typed)).sum(axis=1).mean()) if typed != texts else None)
        results[language] = figures
        print(
            f"{language:10}"
            + "".join("".join(f"{'-' if value is None else format(value, '.3f'):>8}" for value in row) + " |" for row in figures.values()),
            flush=True,
        )
    started, texts = time.process_time(), list(english.values())
    for text in texts:
        normalise(text)
    microseconds = (time.process_time() - started) / len(texts) * 1e6
    print(f"{microseconds:.0f} microseconds to normalise an English sentence")
    print(json.dumps({"sentences": len(chosen), "normalise_us": round(microseconds, 1), "results": results}))


if __name__ == "__main__":
    main()

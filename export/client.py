"""Reference client of a release: scores posts with nothing but this folder, onnxruntime, tokenizers and numpy.

    echo '{"text": "hello", "language": "en"}' | python predict.py --variant int8
    python predict.py --batch posts.jsonl > answers.jsonl

Each line of input is a JSON object with `text` and (better) `language`; each line of output has, per head, the calibrated probability
and a decision: `flag` (a reason for a person to look, never for automatic removal), `pass` or `review`; or {"error": ...}, and exit code 2.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decide(policy: dict[str, Any], head: str, language: str, logit: float) -> tuple[float, str]:
    """Calibrated probability and decision of one head; a language without evidence goes to review."""
    applies = (of_head := policy["heads"][head]) | of_head["languages"].get(language, {})
    probability = float(1 / (1 + np.exp(np.clip(-np.float64(logit) / applies["temperature"] - applies["intercept"], -700, 700))))
    tier = policy["tiers"].get(head, {}).get(language, "not_evaluated")
    above, below = probability * (1 - applies["threshold"]), applies["threshold"] * (1 - probability)  # their ratio is that of the odds
    if tier == "not_evaluated" or (above < applies["review_odds"] * below and below < applies["review_odds"] * above):
        return probability, "review"
    return probability, "flag" if probability >= applies["threshold"] else "pass"


class Classifier:
    """The artifact in `folder`. One worker scores a post soonest; `CORES` of them, a batch and a thread each, the most posts a second."""

    def __init__(self, folder: Path, variant: str = "fp32", workers: int = 1) -> None:
        self.contract, self.policy = (json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("contract", "policy"))
        self.decide = partial(decide, self.policy)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        if variant not in (variants := self.contract["variants"]):  # fp32, and perhaps fp16 or int8
            raise ValueError(f"this release has no variant {variant}: choose one of {', '.join(sorted(variants))}")
        gpu = [("CUDAExecutionProvider", {"use_tf32": 0})]  # TF32 would keep 10 bits of float32's 23
        wanted = [*(gpu if gpu[0][0] in onnxruntime.get_available_providers() else []), "CPUExecutionProvider"]
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = 3, 0 if workers == 1 else 1  # errors only; 0: as many as there are cores
        self.pool = ThreadPoolExecutor(workers)
        self.session = onnxruntime.InferenceSession(str(folder / variants[variant]["file"]), options, providers=wanted)
        self.tokens_per_batch = 384 * CORES // workers if self.session.get_providers() == wanted[-1:] else 16384  # a core caches 384

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text; an unpaired surrogate, which is no character, becomes U+FFFD."""
        whole = [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts]
        return [encoding.ids for encoding in self.tokenizer.encode_batch_fast(whole)]

    def run(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """Logits (texts, heads) and sentence embeddings (texts, dimension), texts of similar length batched together."""
        encoded = self.encode(texts)
        batches: list[list[int]] = []
        for index in sorted(range(len(texts)), key=lambda index: len(encoded[index])):  # so a batch's longest text is its last
            if not batches or (len(batches[-1]) + 1) * len(encoded[index]) > self.tokens_per_batch:
                batches.append([])
            batches[-1].append(index)
        outputs = np.zeros((len(texts), (heads := len(self.contract["heads"])) + self.contract["embedding_dimension"]), dtype=np.float32)
        list(self.pool.map(partial(self._score, encoded, outputs), batches))
        return outputs[:, :heads], outputs[:, heads:]

    def _score(self, encoded: list[list[int]], outputs: np.ndarray, batch: list[int]) -> None:
        pad, longest = self.contract["pad_id"], len(encoded[batch[-1]])
        ids = np.asarray([encoded[index] + [pad] * (longest - len(encoded[index])) for index in batch], dtype=np.int64)
        inputs = {"input_ids": ids, "attention_mask": (ids != pad).astype(np.int64)}  # no text writes the padding's id
        outputs[batch] = np.concatenate(self.session.run(["logits", "sentence_embedding"], inputs), axis=1)

    def predict(self, posts: list[dict[str, Any]]) -> list[dict[str, dict[str, object]]]:
        """One answer per post, in order: {head: {"probability": float, "decision": str}}."""
        answers: list[dict[str, dict[str, object]]] = [{} for _ in posts]
        for post, logits, answer in zip(posts, self.run([post["text"] for post in posts])[0], answers, strict=True):
            for head, logit in zip(self.contract["heads"], logits, strict=True):
                probability, decision = self.decide(head, post.get("language") or "und", logit)
                answer[head] = {"probability": round(probability, 6), "decision": decision}
        return answers


def read_post(line: str) -> dict[str, Any]:
    """The post that a line of JSON holds, with a string `text` and perhaps a `language`; else {"error": why it holds none}."""
    try:
        post = json.loads(line)
    except (ValueError, RecursionError) as error:
        return {"error": f"not a post: {'JSON nested too deep' if isinstance(error, RecursionError) else error}"}
    if not isinstance(post, dict) or not isinstance(post.get("text"), str):
        return {"error": 'not a post: no object with a string "text"'}
    return post if isinstance(post.get("language"), str | None) else {"error": 'not a post: "language" is no string'}


def answer_lines(classifier: Classifier, lines: list[str]) -> int:
    """Print an answer or an error for each line that is not blank; the exit code, 2 if there was an error."""
    read = [read_post(line) for line in lines if line.strip()]
    answers = iter(classifier.predict([post for post in read if "text" in post]))
    for post in read:
        print(json.dumps(next(answers) if "text" in post else post), flush=True)
    return 0 if all("text" in post for post in read) else 2


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="fp32", help="fp32 (default), fp16 for GPUs or int8 for processors, where the release has it")
    parser.add_argument("--batch", metavar="FILE", help="score this JSONL file, on all cores, rather than standard input line by line")
    arguments = parser.parse_args()
    try:
        loaded = Classifier(Path(__file__).absolute().parent, arguments.variant, CORES if arguments.batch else 1)
        given = Path(arguments.batch).read_text(encoding="utf-8", errors="replace").split("\n") if arguments.batch else None
    except (OSError, ValueError) as error:
        parser.error(str(error))
    sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    chunks = ([line] for line in sys.stdin) if given is None else (given[at : at + 4096] for at in range(0, len(given), 4096))
    sys.exit(max((answer_lines(loaded, chunk) for chunk in chunks), default=0))

#!/usr/bin/env python3
"""Reference client of a release: scores posts with nothing but this folder, onnxruntime, tokenizers and numpy.

    echo '{"text": "hello", "language": "en"}' | python predict.py

Each line of standard input is a JSON object with `text` and (better) `language`; each line of standard
output gives, per head, the calibrated probability and a decision: `flag`, `pass` or `review`. Every flag
is a reason for a person to look, never for an automatic removal.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


class Classifier:
    """The artifact in `folder`, ready to score."""

    def __init__(self, folder: Path) -> None:
        self.contract = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
        self.policy = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        available = onnxruntime.get_available_providers()
        wanted = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=wanted)

    def run(self, texts: list[str], tokens_per_batch: int = 8192) -> tuple[np.ndarray, np.ndarray]:
        """Logits (texts, heads) and sentence embeddings (texts, dimension), texts of similar length batched together."""
        encodings = self.tokenizer.encode_batch_fast(texts)
        order = sorted(range(len(texts)), key=lambda index: len(encodings[index].ids))
        logits = np.zeros((len(texts), len(self.contract["heads"])), dtype=np.float32)
        embeddings = np.zeros((len(texts), self.contract["embedding_dimension"]), dtype=np.float32)
        while order:
            longest = len(encodings[order[0]].ids)
            batch: list[int] = []
            while order and (not batch or (len(batch) + 1) * max(longest, len(encodings[order[0]].ids)) <= tokens_per_batch):
                longest = max(longest, len(encodings[order[0]].ids))
                batch.append(order.pop(0))
            ids = np.full((len(batch), longest), self.contract["pad_id"], dtype=np.int64)
            mask = np.zeros_like(ids)
            for row, index in enumerate(batch):
                ids[row, : len(encodings[index].ids)] = encodings[index].ids
                mask[row, : len(encodings[index].ids)] = 1
            logits[batch], embeddings[batch] = self.session.run(
                ["logits", "sentence_embedding"], {"input_ids": ids, "attention_mask": mask}
            )
        return logits, embeddings

    def decide(self, head: str, language: str, logit: float) -> tuple[float, str]:
        """Calibrated probability and decision of one head; a language without evidence goes to review."""
        policy = self.policy["heads"][head]
        applies = policy["languages"].get(language, policy)
        probability = float(1 / (1 + np.exp(-np.float64(logit) / applies.get("temperature", policy["temperature"]))))
        threshold = applies["threshold"]
        tier = self.policy["tiers"].get(head, {}).get(language, "not_evaluated")
        if tier == "not_evaluated" or abs(probability - threshold) < policy["review_band"]:
            return probability, "review"
        return probability, "flag" if probability >= threshold else "pass"

    def predict(self, posts: list[dict[str, str]]) -> list[dict[str, dict[str, object]]]:
        """One answer per post, in order: {head: {"probability": float, "decision": str}}."""
        logits, _ = self.run([post["text"] for post in posts])
        answers = []
        for post, row in zip(posts, logits, strict=True):
            answer = {}
            for head, logit in zip(self.contract["heads"], row, strict=True):
                probability, decision = self.decide(head, post.get("language", "und"), logit)
                answer[head] = {"probability": round(probability, 6), "decision": decision}
            answers.append(answer)
        return answers


if __name__ == "__main__":
    classifier = Classifier(Path(__file__).resolve().parent)
    posts = [json.loads(line) for line in sys.stdin if line.strip()]
    for answer in classifier.predict(posts):
        print(json.dumps(answer))

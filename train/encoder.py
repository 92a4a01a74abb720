"""The pre-trained encoder and its tokenizer: from the hub, a local folder, the offline package, or random."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from huggingface_hub import hf_hub_download
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import AutoConfig, BertConfig, BertModel, XLMRobertaConfig, XLMRobertaModel

from data_prep.command import UserError, first_line
from data_prep.hub import why_unreachable
from data_prep.normaliser import build_normaliser, normalise
from data_prep.script import dominant_script
from train.encoding import encode
from train.packaged_encoder import HUB_TWIN, packaged_file, read_packaged
from train.settings import EncoderSettings

BOS, PAD, EOS, UNK = range(4)
_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")
_MASK = "<mask>"
_SHAPE = {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "layer_norm_eps"}
_WORD_START = "▁"
Pieces = list[tuple[str, float]]


@dataclass
class Encoder:
    """An XLM-R encoder whose embedding row i belongs to piece i of its tokenizer."""

    model: XLMRobertaModel
    pieces: Pieces
    max_length: int

    @property
    def tokenizer(self) -> Tokenizer:
        """A fresh tokenizer over the encoder's pieces, truncating at `max_length` tokens."""
        return build_tokenizer(self.pieces, self.max_length)


def build_tokenizer(pieces: Pieces, max_length: int) -> Tokenizer:
    """Unigram tokenizer with the project's normaliser; everything serving needs is in its JSON.

    Special tokens are deliberately not registered as added tokens: those are matched in raw text before
    the normaliser runs, so a post that contains `</s>` could end its own sequence.
    """
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=UNK, byte_fallback=False))
    tokenizer.normalizer = build_normaliser()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement=_WORD_START, prepend_scheme="always")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair=None, special_tokens=[("<s>", BOS), ("</s>", EOS)])
    tokenizer.enable_truncation(max_length)
    return tokenizer


def load_encoder(settings: EncoderSettings) -> Encoder:
    """The encoder that the configuration names, its vocabulary folded by the normaliser.

    Raises
    ------
    UserError
        If the weights cannot be had (the message says how to fetch them), are of another architecture than XLM-R's, or of fewer
        layers, inner neurons or attention heads or shorter texts than asked for.
    """
    if settings.kind == "random":
        return _lowest_layers(_wide_enough(_random_encoder(settings), settings), settings.layers)
    if settings.kind == "packaged" and settings.path is None:
        path = packaged_file()
        # where the package has no build, the same model from the hub
        encoder = _packaged_encoder(path, settings) if path is not None else _hub_encoder(replace(settings, path=HUB_TWIN))
    else:
        encoder = _hub_encoder(settings)
    return fold_vocabulary(_lowest_layers(_wide_enough(_of_length(encoder), settings), settings.layers))


def _of_length(encoder: Encoder) -> Encoder:
    """The encoder itself, if it was made for texts of its `max_length`."""
    longest = encoder.model.config.max_position_embeddings - PAD - 1  # positions are counted from behind the padding's
    if encoder.max_length > longest:
        raise UserError(f"encoder.max_length={encoder.max_length} is more than the encoder was made for: use at most {longest}")
    return encoder


def _wide_enough(encoder: Encoder, settings: EncoderSettings) -> Encoder:
    """The encoder itself, if it has as many inner neurons and heads as are to be left once it is pruned (train/pruning.py)."""
    config = encoder.model.config
    for key, left, all_of_them in (
        ("feed_forward", settings.feed_forward, config.intermediate_size),
        ("attention_heads", settings.attention_heads, config.num_attention_heads),
    ):
        if left is not None and left > all_of_them:
            raise UserError(f"encoder.{key}={left} is more than the encoder has: use at most {all_of_them}")
    return encoder


def _lowest_layers(encoder: Encoder, layers: int | None) -> Encoder:
    """The encoder with its lowest so many layers; of several ways to leave some out this costs the least (Sajjad et al. 2020)."""
    model = encoder.model
    if layers is not None and layers > model.config.num_hidden_layers:
        raise UserError(f"encoder.layers={layers} is more than the encoder has: use at most {model.config.num_hidden_layers}")
    model.encoder.layer = model.encoder.layer[:layers]
    model.config.num_hidden_layers = len(model.encoder.layer)
    return encoder


def _empty_model(config: XLMRobertaConfig) -> XLMRobertaModel:
    return XLMRobertaModel(config, add_pooling_layer=False)


def _random_encoder(settings: EncoderSettings) -> Encoder:
    """Random weights over a character vocabulary: no download, no package, seconds to train; for tests."""
    printable = [chr(code) for code in range(0x21, 0x2FFF) if normalise(chr(code)) == chr(code)]
    pieces: Pieces = [(piece, 0.0) for piece in _SPECIAL] + [(_WORD_START, -2.0)]
    pieces += [(character, -5.0) for character in printable] + [(_MASK, 0.0)]
    config = XLMRobertaConfig(
        vocab_size=len(pieces), max_position_embeddings=settings.max_length + 2, type_vocab_size=1,
        pad_token_id=PAD, bos_token_id=BOS, eos_token_id=EOS, **settings.shape,
    )  # fmt: skip
    return Encoder(_empty_model(config), pieces, settings.max_length)


def _packaged_encoder(path: Path, settings: EncoderSettings) -> Encoder:
    packaged = read_packaged(path)
    model = _empty_model(packaged.config)
    if settings.pretrained:
        model.load_state_dict(packaged.tensors)
    return Encoder(model, packaged.pieces, settings.max_length)


def _hub_encoder(settings: EncoderSettings) -> Encoder:
    name = settings.path or ""
    try:
        local = Path(name)
        here = local.is_dir() or why_unreachable() is not None  # in a folder, or in the cache
        tokenizer_file = (
            local / "tokenizer.json" if local.is_dir() else Path(hf_hub_download(name, "tokenizer.json", local_files_only=here))
        )
        document = json.loads(tokenizer_file.read_text(encoding="utf-8"))
        config = AutoConfig.from_pretrained(name, local_files_only=here)
        kind = document["model"].get("type", "Unigram")
        if config.model_type not in ("xlm-roberta", "bert") or kind != "Unigram":
            raise UserError(
                f"the encoder {settings.name} is {config.model_type} with a {kind} tokenizer: use one of XLM-R's "
                "architecture, whose vocabulary is Unigram (docs/extending.md)"
            )
        # weights from safetensors only: a pickled checkpoint is a program, and this would run it
        options = {"add_pooling_layer": False, "dtype": torch.float32, "local_files_only": here}
        if config.model_type == "bert":
            model = _from_bert(config, BertModel.from_pretrained(name, use_safetensors=True, **options) if settings.pretrained else None)
        elif settings.pretrained:
            model = XLMRobertaModel.from_pretrained(name, use_safetensors=True, **options)
        else:
            model = _empty_model(config)
        pieces = [(str(piece), float(score)) for piece, score in document["model"]["vocab"]]
        if len(pieces) > model.config.vocab_size:
            raise ValueError(f"{len(pieces)} pieces, and rows for {model.config.vocab_size}")
    except UserError:
        raise
    except Exception as error:  # the hub's client, the HTTP library below it and the readers of the files all raise their own
        tried = f"the folder {name}" if Path(name).is_dir() else f"{name} on the model hub and in its local cache"
        raise UserError(
            f"the encoder {settings.name} could not be loaded: tried {tried} ({type(error).__name__}: {first_line(error)[:160]}); "
            f"fetch it where the hub can be reached with `hf download {name} --local-dir xlmr`, then add `encoder.path=<that folder>`; "
            "or use `experiment=quickstart`, whose encoder needs no hub"
        ) from error
    return Encoder(model, pieces, settings.max_length)


def _from_bert(config: BertConfig, bert: BertModel | None) -> XLMRobertaModel:
    """The same network under XLM-R's name: BERT numbers positions from 0, XLM-R from 2 (rows 0 and 1 are never read).

    The small encoders of the E5 family are BERT with XLM-R's vocabulary. Without a network the weights are random.
    """
    shape = {key: value for key, value in config.to_dict().items() if key in _SHAPE}
    model = _empty_model(
        XLMRobertaConfig(
            **shape,
            max_position_embeddings=config.max_position_embeddings + 2,
            type_vocab_size=1,
            pad_token_id=PAD,
            bos_token_id=BOS,
            eos_token_id=EOS,
        )
    )
    if bert is not None:
        tensors = bert.state_dict()
        positions = tensors["embeddings.position_embeddings.weight"]
        tensors["embeddings.position_embeddings.weight"] = torch.cat([torch.zeros(2, positions.shape[1]), positions])
        tensors["embeddings.token_type_embeddings.weight"] = tensors["embeddings.token_type_embeddings.weight"][:1]
        model.load_state_dict(tensors)
    return model


def _with_rows(encoder: Encoder, pieces: Pieces, rows: Sequence[int]) -> Encoder:
    """The same encoder over other pieces, whose embeddings are the given rows of the present matrix."""
    old = encoder.model.embeddings.word_embeddings
    embedding = nn.Embedding(len(pieces), old.embedding_dim, padding_idx=PAD)
    with torch.no_grad():
        embedding.weight.copy_(old.weight[list(rows)])
    encoder.model.embeddings.word_embeddings = embedding
    encoder.model.config.vocab_size = len(pieces)
    return Encoder(encoder.model, pieces, encoder.max_length)


def fold_vocabulary(encoder: Encoder) -> Encoder:
    """Rewrite each piece as the normaliser would, so that folded letters still meet the pieces XLM-R knows.

    Of several pieces that become one (Arabic and Persian spellings of a word), the most frequent keeps its
    embedding. Pieces that normalised text cannot contain are dropped.
    """
    best: dict[str, tuple[float, int]] = {}
    for row, (piece, score) in enumerate(encoder.pieces):
        if row <= UNK or piece == _MASK:
            continue
        body = piece.removeprefix(_WORD_START)
        folded = piece if piece == _WORD_START else piece[: len(piece) - len(body)] + normalise(body)
        if folded != _WORD_START and (folded in _SPECIAL or not folded.strip(_WORD_START) or " " in folded):
            continue
        if folded not in best or score > best[folded][0]:
            best[folded] = (score, row)
    rows = sorted(row for _, row in best.values())
    names = {row: piece for piece, (_, row) in best.items()}
    kept = [BOS, PAD, EOS, UNK, *rows]
    pieces: Pieces = [(piece, 0.0) for piece in _SPECIAL] + [(names[row], encoder.pieces[row][1]) for row in rows]
    if (_MASK, 0.0) in encoder.pieces[-1:]:
        kept.append(len(encoder.pieces) - 1)
        pieces.append((_MASK, 0.0))
    return _with_rows(encoder, pieces, kept)


def trim_vocabulary(encoder: Encoder, texts: Sequence[str], reserve: int, cache: Path | None = None) -> Encoder:
    """Drop the pieces that neither the training texts, their scripts nor the reserve need.

    Kept are the special pieces, every piece the texts use, every single character of the scripts they are
    written in (so an unseen word is spelled rather than unknown), symbols and emoji, and a reserve for words that
    the texts do not use: the most frequent pieces of the original vocabulary, as many of every script as of the
    others while it has any, `reserve` in all. By frequency alone half would be Latin, and the words of smaller scripts
    would fall apart. A text whose pieces are all kept gets the same pieces as before, because the best segmentation is
    still there; its logits do not change.
    """
    tokenizer = encoder.tokenizer
    tokenizer.no_truncation()
    used: set[int] = {BOS, PAD, EOS, UNK}
    for ids in encode(texts, tokenizer, cache):
        used.update(ids.tolist())
    scripts = {"Zyyy", "Zinh", "Latn", *map(dominant_script, texts)}
    by_script: dict[str, list[int]] = {script: [] for script in scripts}
    for row, (piece, _) in enumerate(encoder.pieces):
        body = piece.removeprefix(_WORD_START)
        script = dominant_script(body)
        if piece in (_WORD_START, _MASK) or (len(body) == 1 and script in scripts):
            used.add(row)
        if row > UNK and piece != _MASK and script in scripts:
            by_script[script].append(row)
    ranked = [enumerate(sorted(rows, key=lambda row: -encoder.pieces[row][1])) for rows in by_script.values()]
    in_turn = sorted((rank, -encoder.pieces[row][1], row) for rows in ranked for rank, row in rows)
    used.update(row for _, _, row in in_turn[:reserve])
    rows = sorted(used)
    return _with_rows(encoder, [encoder.pieces[row] for row in rows], rows)

"""What `configs/train.yaml` and the groups it composes may say."""

from dataclasses import dataclass, field

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from data_prep.settings import HeadSettings, MixtureSettings


@dataclass
class EncoderSettings:
    """Which pre-trained encoder to fine-tune and how its vocabulary is trimmed."""

    name: str = MISSING
    kind: str = MISSING  # hub, packaged or random
    path: str | None = None  # a hub name or a local folder (hub)
    pretrained: bool = True  # false: the same shapes with random weights, for measuring
    pooling: str = "mean"
    layers: int | None = None  # only the lowest so many; null: all
    feed_forward: int | None = None  # inner neurons of a layer that are not pruned away when the model is trained; null: all
    attention_heads: int | None = None  # and attention heads
    max_length: int = 128  # tokens, special tokens included
    trim: bool = True  # drop vocabulary pieces that neither the data nor the reserve uses
    reserve: int = 20_000  # pieces kept whether used or not: the most frequent of every script in the data, as many of each
    shape: dict[str, int] = field(default_factory=dict)  # XLMRobertaConfig overrides (random)


@dataclass
class SamplingSettings:
    """Which rows an epoch draws: first the cap on negatives, then the balance, which keeps the number of rows."""

    max_negatives_per_source: int | None = None  # all-negative rows of a source an epoch sees, drawn anew each epoch
    language_alpha: float = 1.0  # a language's share goes with its rows to this power: 1 as they are, 0 all alike
    source_alpha: float = 1.0
    head_alpha: float = 1.0
    max_repeats: float = 4  # how often an epoch may see a row
    tokens_per_batch: int = 2048  # padded tokens: short texts come in large batches


@dataclass
class LossSettings:
    """What training minimises over the judged (row, head) cells."""

    kind: str = "bce"  # or focal, asymmetric
    positive_weight: dict[str, float] = field(default_factory=dict)  # head: weight; or balanced: the most it may become
    label_smoothing: float = 0
    focus: float = 2  # focal and asymmetric: how much sure cells fade (asymmetric: negatives)
    positive_focus: float = 0  # asymmetric: the same for positives
    margin: float = 0.05  # asymmetric: negatives below this probability count nothing
    dro_step: float = 0  # group DRO over language x head: how fast weights move to the worst group; 0 is off
    dro_adjustment: float = 2  # its C / sqrt(rows of the group), against overfitting small groups
    r_drop: float = 0  # weight of the divergence between two dropout passes; 0 is off, and saves a pass


@dataclass
class LoraSettings:
    """Low-rank adapters in place of training the encoder's own weights."""

    rank: int = 0  # 0: no adapters
    alpha: float = 32  # the update is scaled by alpha / rank
    dropout: float = 0.05
    targets: list[str] = field(default_factory=lambda: ["query", "key", "value", "dense"])  # every linear layer of the encoder


@dataclass
class DistillationSettings:
    """What a model learns beside the labels: the mean scores of finished runs, or, pruned, what it said itself before."""

    teachers: list[str] = field(default_factory=list)  # runs/<name>/<timestamp>, or latest in its place
    weight: float = 0.5  # of the teachers' scores; the labels have the rest
    temperature: float = 2  # softens both sides' probabilities
    layers_weight: float = 1  # pruned: of each layer saying what it said before; 0: it is not taught by what it was


@dataclass
class TrainerSettings:
    """Optimisation and bookkeeping; everything else is transformers.Trainer's default."""

    epochs: float = 3
    epochs_after_pruning: float = 1  # if inner neurons or heads are then pruned away (encoder): so many more for those that stay
    learning_rate: float = 5e-5
    head_learning_rate: float = 5e-3  # the heads start from random weights, the encoder does not
    layer_decay: float = 1.0  # each layer below the top learns at this share of the rate of the one above
    freeze_embeddings: bool = False
    freeze_layers: int = 0  # the lowest so many, and the embeddings, keep their weights
    lora: LoraSettings = field(default_factory=LoraSettings)
    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    weight_decay: float = 0.01
    warmup_fraction: float = 0.1
    dropout: float = 0.1
    edited_copies: float = 0  # share of the training rows that are also seen written differently: digits for letters, accents, …
    seed: int = 1
    bf16: bool | None = None  # null: where the processor or GPU computes in it
    packed: bool | None = None  # attention without padding; null: on a GPU that computes in bfloat16
    compile: bool = False  # torch.compile: pays on a GPU after some minutes
    gradient_accumulation: int = 1  # batches in an optimiser step, each of sampling.tokens_per_batch
    max_steps: int = -1
    evaluations_per_epoch: int = 1
    best_metric: str = "macro_auprc"  # macro_, worst_ or a percentile such as p25_ of auprc, auroc or f1; or loss
    patience: int | None = None  # evaluations without a better best_metric after which training stops
    checkpoint_minutes: float = 10  # a kill costs at most this much
    trackers: list[str] = field(default_factory=lambda: ["tensorboard"])  # also wandb, mlflow
    sampling: SamplingSettings = field(default_factory=SamplingSettings)
    loss: LossSettings = field(default_factory=LossSettings)


@dataclass
class AdaptationSettings:
    """Masked-language modelling on the mixture's own training texts, labelled or not, before fine-tuning."""

    epochs: float = 0  # 0: the encoder is fine-tuned as it was published
    learning_rate: float = 1e-4
    masked_share: float = 0.15  # of the pieces


@dataclass
class PolicySettings:
    """How calibrations and thresholds are fitted on the validation split, and when a language gets its own."""

    target: str = "f1"  # what a threshold is chosen for: the best f1, an fpr of at most target_value, a precision of at least
    target_value: float = 0.02
    min_negatives: int = 205  # below this a language shares the head's calibration and threshold
    min_positives: int = 50
    shrinkage: float = 100  # rows of the rarer class at which a language's own temperature counts half
    max_neutral_fpr: float = 0.02  # no language may have more of its neutral text flagged
    min_neutral: int = 50  # neutral rows that say something about a language
    review_odds: float = 1.5  # posts whose odds are this many times the threshold's or nearer go to a human first: 0.4 to 0.6 for 0.5


@dataclass
class ProjectionSettings:
    """The sentence embedding by which edited copies of a post are found: a projection trained after the classifier."""

    dimension: int = 128
    texts: int = 1500  # training texts that are edited to learn from
    steps: int = 300
    batch: int = 256
    temperature: float = 0.05
    learning_rate: float = 1e-2


@dataclass
class TrainSettings:
    """The primary config of `python -m train`."""

    name: str = MISSING  # the run's name: runs/<name>/<timestamp>
    mixture: MixtureSettings = field(default_factory=MixtureSettings)
    heads: dict[str, HeadSettings] = field(default_factory=dict)
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    adaptation: AdaptationSettings = field(default_factory=AdaptationSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    projection: ProjectionSettings = field(default_factory=ProjectionSettings)
    ngram_buckets: int = 2**18  # for pieces and pairs of pieces that are weighed beside the encoder, where that helps; 0: none are
    leave_out: list[str] = field(default_factory=list)  # languages whose rows are not trained on, to measure transfer
    fraction: float = 1.0  # share of the families that is trained and validated on, always the same ones: for trials
    data_root: str = "data/raw"
    data_dir: str = "data"
    runs_dir: str = "runs"
    average: list[str] = field(default_factory=list)  # finished runs of this recipe: the mean of their weights, in place of training
    resume: str | None = None  # an unfinished run's folder: go on with its own settings


def register_schemas() -> None:
    """Tell Hydra's config store the types of everything train's configs may say."""
    ConfigStore.instance().store(name="train_schema", node=TrainSettings)

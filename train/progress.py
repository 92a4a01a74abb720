"""What training shows while it runs: one bar, and per evaluation one line with the weakest language."""

from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class LanguageProgress(TrainerCallback):
    """A progress bar on a terminal (silent in a log), and a line per evaluation everywhere."""

    def __init__(self, best_metric: str) -> None:
        self.metric = "auprc" if best_metric == "loss" else best_metric.partition("_")[2]
        self.bar: Any = None

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Open the bar."""
        if state.is_world_process_zero:
            self.bar = tqdm(total=state.max_steps, initial=state.global_step, desc="training", unit=" steps", disable=None)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Advance the bar."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Show the running loss beside the bar."""
        if self.bar is not None and logs and "loss" in logs:
            self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}")

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: dict[str, float] | None = None, **kwargs: Any
    ) -> None:
        """Print the aggregate over languages and the language that is worst off."""
        if self.bar is None or not metrics:
            return
        of_languages = {key: value for key, value in metrics.items() if key.endswith(f"/{self.metric}")}
        worst = min(of_languages, key=lambda key: of_languages[key], default=None)
        line = f"epoch {state.epoch or 0:.2f}: validation loss {metrics['eval_loss']:.3f}"
        if worst is not None:
            head, language, _ = worst.removeprefix("eval_").split("/")
            line += f", {self.metric} {metrics[f'eval_macro_{self.metric}']:.3f} over {len(of_languages)} language-head cells"
            line += f", lowest {of_languages[worst]:.3f} ({language}, {head})"
        self.bar.write(line)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()

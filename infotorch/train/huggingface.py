"""LIMIT in the Trainer of transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infotorch.errors import ConfigError, DataError, NotSupported, require
from infotorch.ops import LimitNoise
from infotorch.task.targets import IGNORED_LABEL
from infotorch.train import checkpoint
from infotorch.train.limit_gradient import limit_gradient
from infotorch.train.options import LimitOptions, check_apart, check_trainable
from infotorch.train.ranks import world_size

__all__ = ["LimitHFTrainer"]

WHERE = "LimitHFTrainer"
FORM = "infotorch LimitHFTrainer 1"
KEYS = ("format", "config", "aux")
FILE = Path("aux", "limit.pt")
"""Where a checkpoint's folder has the auxiliary network."""
require(WHERE, "accelerate", "huggingface")  # transformers has a Trainer without, which can't train
transformers: Any = require(WHERE, "transformers", "huggingface")
Trainer: Any = transformers.Trainer
TrainerCallback: Any = transformers.TrainerCallback
CAUSAL = require(WHERE, "transformers.models.auto.modeling_auto", "huggingface").MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


class TrainerOptions(LimitOptions):
    """Settings of ``LimitHFTrainer``, checked."""

    where = WHERE


class LimitHFTrainer(Trainer):
    r"""The Trainer of transformers, whose model gets predicted gradients in place of those of cross-entropy.

    With s and u the probabilities of the model and of ``aux_model``, the model gets :math:`\mu = s - u`, or a draw
    around it, where cross-entropy sends back :math:`s - t`; ``aux_model`` learns to predict it under the penalty
    :math:`\beta \|\mu\|_2^2` (Harutyunyan, Reing, Ver Steeg, Galstyan, arXiv 2002.07933, section 3; see
    ``limit_gradient``). Labels are taken out of what both models are called with. The loss that training logs is that
    of ``aux_model``, the mean of match + beta pen; evaluation is of the model alone, as it is without this class.

    Labels are those of ``cross_entropy``, -100 where there is none: one a sample, or one a token. Of a causal language
    model they are shifted by one, as it does itself. The mean over labels is the Trainer's own: over those of all
    accumulated batches and processes where it counts them (``num_items_in_batch``), else over each batch.
    ``label_smoothing_factor`` smooths t.

    One optimizer and one schedule move both models: ``create_optimizer`` adds the parameters of ``aux_model`` in groups
    of their own. Gradients are clipped at ``max_grad_norm`` in each model by itself. ``aux/limit.pt`` lies beside the
    model wherever it is saved; a training that is resumed goes on exactly, and loading the best model brings its
    auxiliary network back with it.

    Args:
        *args: As for ``Trainer``.
        aux_model: Another network for the model's inputs and outputs: returns logits, alone, first in a tuple or as
            ``logits``. Moved to the model's device.
        q: As for ``LimitTrainer``, like the next two.
        beta: See there.
        lam: See there; noise is keyed by ``seed``, the step and the samples' ``ids``, a column of the data set, without
            which samples are numbered in their step.
        aux_learning_rate: Of ``aux_model``; default that of the model.
        seed: Of the noise, below 2^63.
        **kwargs: As for ``Trainer``.

    Raises:
        ConfigError: An option is out of range, or is one of Trainer's that doesn't go with this class; the models share
            a parameter, or one has nothing to train.
        NotSupported: The model is an encoder with a decoder, whose inputs are its labels; DeepSpeed, FSDP, or several
            GPUs in one process.
        MissingExtraError: transformers or accelerate is not installed.

    Example:
        >>> trainer = LimitHFTrainer(model, args, aux_model=aux, q="laplace", beta=10.0,
        ...                          train_dataset=noisy)  # doctest: +SKIP
        >>> trainer.train()  # doctest: +SKIP
    """

    def __init__(
        self,
        *args: Any,
        aux_model: nn.Module,
        q: Literal["gaussian", "laplace", "ce"] = "gaussian",
        beta: float = 1.0,
        lam: float | None = None,
        aux_learning_rate: float | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        self.limit = TrainerOptions(q=q, beta=beta, lam=lam, seed=seed, lr=aux_learning_rate or 1e-3)
        check_trainable(WHERE, "aux", aux_model)
        super().__init__(*args, **kwargs)
        self.aux_model, self.aux_learning_rate = aux_model, aux_learning_rate
        self._check()
        self.aux_model.to(self.args.device)
        self._aux: nn.Module | None = None
        self._met = (-1, 0)
        self.add_callback(_AuxStep(self))

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> Any:
        """In training the loss of LIMIT, whose backward gives both models their gradients; else the model's own.

        Raises:
            ConfigError: A model doesn't return logits of classes.
            DataError: The batch has no labels; several processes draw noise for samples without ids.
        """
        inputs = dict(inputs)
        ids = inputs.pop("ids", None)
        if not model.training:
            return super().compute_loss(
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch, **kwargs
            )
        if inputs.get("labels") is None:
            raise DataError(f"{WHERE}: a batch must hold labels; got {sorted(inputs)}. Let the collator return them.")
        labels, shifted = inputs.pop("labels"), inputs.pop("shift_labels", None)
        if shifted is not None:
            labels = shifted
        elif self._shifts():
            labels = F.pad(labels, (0, 1), value=IGNORED_LABEL)[..., 1:]
        outputs = model(**inputs)
        logits = logits_in(WHERE, "model", outputs)
        with self.accelerator.autocast():
            aux_outputs = self._wrapped_aux()(**inputs)
        aux_logits = logits_in(WHERE, "aux_model", aux_outputs).to(logits.dtype)
        if labels.is_floating_point() or logits.shape[-1] < 2:
            raise ConfigError(
                f"{WHERE}: labels must be classes, int64; got {labels.dtype} for {logits.shape[-1]} outputs. "
                "Regression and several labels a sample have no LIMIT."
            )
        loss = limit_gradient(
            logits, aux_logits, labels, q=self.limit.q, beta=self.limit.beta, lam=self.limit.lam,
            noise=self._noise(logits, ids), label_smoothing=self.args.label_smoothing_factor,
            reduction="mean" if num_items_in_batch is None else "sum",
        )  # fmt: skip
        assert isinstance(loss, Tensor)  # rows were not asked for
        if num_items_in_batch is not None:
            processes = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
            loss = loss * (processes / torch.as_tensor(num_items_in_batch, dtype=loss.dtype, device=loss.device))
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's optimizer, with the parameters of ``aux_model`` in it.

        Raises:
            ConfigError: The optimizer was given, and lacks some of them.
        """
        given = self.optimizer is not None
        optimizer = super().create_optimizer(*args, **kwargs)
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        named = {name: p for name, p in self.aux_model.named_parameters() if p.requires_grad}
        absent = [name for name, p in named.items() if id(p) not in held]
        if given and absent:
            raise ConfigError(
                f"{WHERE}: an optimizer that is given must hold the parameters of both models; got one without "
                f"aux_model.{absent[0]}. Add them in a group of their own."
            )
        if absent:
            rate = {} if self.aux_learning_rate is None else {"lr": self.aux_learning_rate}
            decays = set(self.get_decay_parameter_names(self.aux_model))
            for decay in (True, False):
                params = [p for name, p in named.items() if (name in decays) is decay]
                if params:
                    weight_decay = self.args.weight_decay if decay else 0.0
                    optimizer.add_param_group({"params": params, "weight_decay": weight_decay, **rate})
        return optimizer

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As of ``Trainer``, and ``aux/limit.pt`` beside the model.

        Raises:
            StoreError: The system refuses; an ``aux/limit.pt`` that was there before is still there.
        """
        super().save_model(output_dir, _internal_call=_internal_call)
        if self.args.should_save:
            path = Path(self.args.output_dir if output_dir is None else output_dir, FILE)
            path.parent.mkdir(parents=True, exist_ok=True)
            state = {"format": FORM, "config": self._limit_config(), "aux": self.aux_model.state_dict()}
            checkpoint.write(path, state)

    def load_aux(self, folder: str | Path) -> None:
        """Takes the auxiliary network from where ``save_model`` has written.

        Raises:
            ConfigError: It was trained with other settings.
            StoreError: There is none, or it is another network.
        """
        where = f"{WHERE}.load_aux"
        state = checkpoint.read(Path(folder, FILE), where=where, form=FORM, keys=KEYS)
        checkpoint.check_config(state["config"], self._limit_config(), None, where=where)
        checkpoint.check_tensors("aux_model", state["aux"], self.aux_model.state_dict(), where=where)
        self.aux_model.load_state_dict(state["aux"])

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.load_aux(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        super()._load_best_model()
        self.load_aux(self.state.best_model_checkpoint)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if "ids" not in self._signature_columns:  # else they'd be taken out of the data set
            self._signature_columns.append("ids")

    def _check(self) -> None:
        """Refuses what can't be trained so."""
        check_apart(WHERE, self.model, self.aux_model)
        optim = str(getattr(self.args.optim, "value", self.args.optim))
        for name, wrong, todo in (
            ("compute_loss_func", self.compute_loss_func is not None, "Leave it out: the loss is LIMIT's."),
            ("model_init", self.model_init is not None, "Pass model itself, as aux_model is made once."),
            ("optim", optim.endswith(("lomo", "layerwise")), "Choose an optimizer that steps after the backward pass."),
        ):
            if wrong:
                raise ConfigError(f"{WHERE}: {name} does not go with an auxiliary network; got it. {todo}")
        if list(self.label_names) != ["labels"]:
            raise ConfigError(
                f"{WHERE}: label_names must be ['labels']; got {list(self.label_names)}. Take a model with one head."
            )
        config = getattr(self.model, "config", None)
        if getattr(config, "is_encoder_decoder", False):
            raise NotSupported(
                f"{WHERE}: labels must be no inputs; got {type(self.model).__name__}, whose decoder reads them. "
                "Take an encoder or a causal model."
            )
        problem = getattr(config, "problem_type", None)
        if problem not in (None, "single_label_classification"):
            raise ConfigError(
                f"{WHERE}: problem_type must be single_label_classification; got {problem!r}. Regression and several "
                "labels a sample have no LIMIT."
            )
        for name, on in (
            ("DeepSpeed", self.is_deepspeed_enabled),
            ("FSDP", self.is_fsdp_enabled),
            ("DataParallel", self.args.n_gpu > 1),
        ):
            if on:
                raise NotSupported(
                    f"{WHERE}: both models must be whole in a process of each GPU; got {name}. Start it by torchrun."
                )

    def _limit_config(self) -> dict[str, Any]:
        return {name: getattr(self.limit, name) for name in ("q", "beta", "lam", "seed")}

    def _shifts(self) -> bool:
        """Whether the model predicts each position's next label, as causal language models do."""
        return predicts_next(self.accelerator.unwrap_model(self.model))

    def _wrapped_aux(self) -> nn.Module:
        """The auxiliary network, in DistributedDataParallel where there are several processes."""
        if self._aux is None:
            self._aux = self.aux_model
            if world_size() > 1:
                self._aux = nn.parallel.DistributedDataParallel(self.aux_model)
        return self._aux.train()

    def _noise(self, logits: Tensor, ids: Tensor | None) -> LimitNoise | None:
        """The noise's key. Samples without ids are numbered through all batches of a step."""
        if self.limit.lam is None:
            return None
        step = self.state.global_step
        if ids is None:
            if world_size() > 1:
                raise DataError(
                    f"{WHERE}: noise in several processes needs the samples' ids; got none. Add a column 'ids'."
                )
            first = self._met[1] if self._met[0] == step else 0
            self._met = (step, first + len(logits))
            ids = torch.arange(first, first + len(logits))
        return LimitNoise(seed=self.limit.seed, step=step, ids=ids.to(logits.device))


class _AuxStep(TrainerCallback):
    """What Trainer does for its model around a step, for the auxiliary one."""

    def __init__(self, trainer: LimitHFTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.trainer.aux_model.zero_grad()

    def on_pre_optimizer_step(self, args: Any, *_: Any, **__: Any) -> None:
        if args.max_grad_norm:  # where the optimizer's gradients are already unscaled
            nn.utils.clip_grad_norm_(self.trainer.aux_model.parameters(), args.max_grad_norm)

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.trainer.aux_model.zero_grad()


def logits_in(where: str, name: str, outputs: Any) -> Tensor:
    """The logits in what a model returns."""
    found = outputs
    if isinstance(outputs, Mapping):
        found = outputs.get("logits")
    elif isinstance(outputs, tuple) and outputs:
        found = outputs[0]
    if not isinstance(found, Tensor):
        got = f"keys {sorted(outputs)}" if isinstance(outputs, Mapping) else type(outputs).__name__
        raise ConfigError(f"{where}: {name} must return logits; got {got}. Take a model with a classification head.")
    return found


def predicts_next(model: Any) -> bool:
    """Whether the model predicts each position's next label, as causal language models do."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model  # an adapter's, of peft
    return type(inner).__name__ in CAUSAL.values() or getattr(inner, "loss_type", None) == "ForCausalLM"

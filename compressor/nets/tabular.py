"""Small networks of our own for tables: a multilayer perceptron, and the supervised autoencoder."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, smooth_l1_loss
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.generic import ModelOutput

from compressor.nets.compat import AutoClass, empty_mapping


@dataclass(frozen=True)
class Features:
    """The columns of a table that a network reads, with the scale of each in the training data."""

    names: tuple[str, ...]
    means: tuple[float, ...]
    """Of what is left of a feature when its origin is subtracted."""
    stds: tuple[float, ...]
    origins: tuple[int, ...] | None = None
    """Subtracted in float64 where float32 is too coarse for some feature; zero for the others."""


@strict
class TabularConfig(PreTrainedConfig):
    """Settings that the networks for tables have in common: the features of a row, and the hidden layers."""

    hidden_sizes: list[int] | tuple[int, ...] = (96,)
    hidden_act: str = "silu"
    batch_norm: bool = False
    feature_names: list[str] | tuple[str, ...] = ()
    feature_means: list[float] | tuple[float, ...] | None = None
    """Subtracted from each feature; zeros by default."""
    feature_stds: list[float] | tuple[float, ...] | None = None
    """What it is then divided by; ones by default."""
    feature_origins: list[int] | tuple[int, ...] | None = None
    """What is subtracted first, in float64: rows are float64 then, and float32 by default."""

    def __post_init__(self, **kwargs: Any) -> None:
        n_features = len(self.feature_names)
        self.feature_means = [0.0] * n_features if self.feature_means is None else self.feature_means
        self.feature_stds = [1.0] * n_features if self.feature_stds is None else self.feature_stds
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]


@strict
class MlpConfig(TabularConfig):
    """Settings of the multilayer perceptron."""

    model_type = "mlp"


@strict
class AutoencoderConfig(TabularConfig):
    """Settings of the supervised autoencoder; the decoder mirrors the encoder's hidden layers."""

    model_type = "autoencoder"

    reconstruction_weight: float = 1.0
    """Factor of the reconstruction loss, whose unit is the standard deviation of a feature."""


@dataclass
class AutoencoderOutput(ModelOutput):
    """Output of the supervised autoencoder."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    reconstruction: Tensor | None = None
    """All features of a row, in their own units."""
    reconstruction_loss: Tensor | None = None
    """The weighted reconstruction loss; absent in inference."""


class Inputs(nn.Module):
    """Selects the features that are read from a whole row, and standardises them.

    Both are part of the network, so that its ONNX file takes rows as they are in the table, whichever features were
    removed: no scaler has to be shipped with the file, and none can be forgotten.
    """

    features: Tensor
    mean: Tensor
    std: Tensor
    origin: Tensor
    """Integers, because loading a network turns all else into float32."""

    def __init__(self, config: TabularConfig) -> None:
        super().__init__()
        self.register_buffer("features", torch.arange(len(config.feature_names)))
        self.register_buffer("mean", torch.tensor(config.feature_means))
        self.register_buffer("std", torch.tensor(config.feature_stds))
        self.is_double = config.feature_origins is not None
        if self.is_double:
            self.register_buffer("origin", torch.tensor(config.feature_origins))

    def forward(self, rows: Tensor) -> Tensor:
        """Return the surviving features, shape (batch, n_kept), of rows, shape (batch, n_features)."""
        if len(self.features) == len(self.mean):  # nothing to select: saves an operation in the exported graph
            return self.standardized(rows)
        picked = self._near(rows).index_select(
            1, self.features
        )  # one Gather in ONNX, where indexing is three operations
        return (picked - self.mean[self.features]) / self.std[self.features]

    def standardized(self, rows: Tensor) -> Tensor:
        """Bring all features to mean zero and standard deviation one."""
        return (self._near(rows) - self.mean) / self.std

    def restored(self, rows: Tensor) -> Tensor:
        """Undo `standardized`."""
        near = rows * self.std + self.mean
        return near.double() + self.origin if self.is_double else near

    def _near(self, rows: Tensor) -> Tensor:
        """Subtract the origins, as float32 is fine enough for what is left."""
        return (rows - self.origin.double()).float() if self.is_double else rows


class Hidden(nn.Module):
    """One hidden layer: neurons, their normalisation and their activation."""

    def __init__(self, n_inputs: int, n_neurons: int, config: TabularConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(n_inputs, n_neurons)
        self.norm = nn.BatchNorm1d(n_neurons) if config.batch_norm else None
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the activations of the neurons."""
        neurons = self.dense(inputs)
        activated: Tensor = self.activation(neurons if self.norm is None else self.norm(neurons))
        return activated


class Perceptron(nn.Module):
    """Hidden layers and a linear output."""

    def __init__(self, sizes: list[int], config: TabularConfig) -> None:
        super().__init__()
        *hidden, last = pairwise(sizes)
        self.layers = nn.ModuleList([Hidden(*ends, config) for ends in hidden])
        self.output = nn.Linear(*last)

    def forward(self, inputs: Tensor) -> Tensor:
        """Run all layers."""
        for layer in self.layers:
            inputs = layer(inputs)
        output: Tensor = self.output(inputs)
        return output


class TabularModel(PreTrainedModel):
    """A network on rows of a table: its inputs, and an encoder from them to the classes."""

    main_input_name = "features"

    def __init__(self, config: TabularConfig) -> None:
        super().__init__(config)
        self.inputs = Inputs(config)
        self.encoder = Perceptron([len(config.feature_names), *config.hidden_sizes, config.num_labels or 0], config)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Start from torch's own scale, which follows the number of inputs; transformers' 0.02 suits wide layers."""
        if isinstance(module, nn.Linear | nn.BatchNorm1d):
            module.reset_parameters()

    @property
    def kept_features(self) -> tuple[str, ...]:
        """Names of the features that are still read."""
        return tuple(self.config.feature_names[index] for index in self.inputs.features.tolist())


class MlpForTabularClassification(TabularModel):
    """A multilayer perceptron that classifies rows of a table."""

    config_class = MlpConfig

    def __init__(self, config: MlpConfig) -> None:
        super().__init__(config)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, features: Tensor, labels: Tensor | None = None, **_: Any) -> SequenceClassifierOutput:
        """Classify rows, shape (batch, n_features), given in the units of the table."""
        logits = self.encoder(self.inputs(features))
        return SequenceClassifierOutput(loss=None if labels is None else cross_entropy(logits, labels), logits=logits)


class AutoencoderForTabularClassification(TabularModel):
    """An encoder whose latent space is the classes, and a decoder that reconstructs the row from them.

    Trained on cross-entropy plus a weighted smooth-l1 reconstruction loss (Barlaud and Guyard, "Learning a sparse
    generative non-parametric supervised autoencoder", ICASSP 2021). The decoder reconstructs every feature of the row,
    including those that the encoder no longer reads.
    """

    config_class = AutoencoderConfig

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config)
        self.decoder = Perceptron(
            [config.num_labels or 0, *reversed(config.hidden_sizes), len(config.feature_names)], config
        )
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, features: Tensor, labels: Tensor | None = None, **_: Any) -> AutoencoderOutput:
        """Classify and reconstruct rows, shape (batch, n_features), given in the units of the table."""
        logits = self.encoder(self.inputs(features))
        decoded = self.decoder(logits)
        output = AutoencoderOutput(logits=logits, reconstruction=self.inputs.restored(decoded))
        if self.training or labels is not None:
            loss = smooth_l1_loss(decoded, self.inputs.standardized(features))
            output["reconstruction_loss"] = reconstruction_loss = self.config.reconstruction_weight * loss
            if labels is not None:
                output["loss"] = cross_entropy(logits, labels) + reconstruction_loss
        return output


class AutoModelForTabularClassification(AutoClass):
    """Auto class from a config to its network, for the only task for which transformers has none."""

    _model_mapping: Any = empty_mapping()


def register() -> None:
    """Register these networks with transformers' auto classes; to be called before any network is loaded."""
    for net in (MlpForTabularClassification, AutoencoderForTabularClassification):
        AutoConfig.register(net.config_class.model_type, net.config_class, exist_ok=True)
        for auto in (AutoModel, AutoModelForTabularClassification):
            auto.register(net.config_class, net, exist_ok=True)

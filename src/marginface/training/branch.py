"""The reconstruction branch of a run: its networks, its optimiser, its part of a step."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Adam

from marginface.axes import Float, Int, Tensor
from marginface.reconstruction import Objective, ReconstructionConfig, Reconstructor
from marginface.reconstruction.config import IMAGE
from marginface.reconstruction.fusion import FusedRecogniser, make_networks
from marginface.reconstruction.stages import recorded

BETAS = (0.9, 0.999)


@dataclass(frozen=True, kw_only=True)
class Branch:
    """The reconstruction beside a recogniser.

    Args:
        config: Its weights and choices.
        objective: Its terms.
        optimizer: Adam over its networks.
        uses_bf16: Whether the recogniser runs under autocast.
    """

    config: ReconstructionConfig
    objective: Objective
    optimizer: Adam
    uses_bf16: bool

    @property
    def networks(self) -> Reconstructor:
        """The networks of the reconstruction."""
        return self.objective.reconstructor

    def terms(
        self,
        images: Float[Tensor, "batch 3 height width"],
        labels: Int[Tensor, " batch"],
        seen: list[Tensor],
        head: nn.Module,
        *,
        share: float,
    ) -> dict[str, Tensor]:
        """Return the weighted terms of a batch, none if all weights are 0.

        Args:
            images: As the recogniser sees them.
            labels: Classes, -1 for none.
            seen: What `watching` yielded.
            head: Called with features and labels for the canonical face. It is in evaluation mode
                then: running statistics belong to real pictures.
            share: Share of the run that is done.
        """
        if self.objective.is_idle:
            return {}

        def recognise(pictures: Tensor, classes: Tensor) -> Tensor:
            is_training = head.training
            head.eval()
            try:
                with torch.autocast(
                    pictures.device.type, dtype=torch.bfloat16, enabled=self.uses_bf16
                ):
                    features = self.objective.backbone(pictures)
                value: Tensor = head(features.float(), classes)
                return value
            finally:
                head.train(is_training)

        return self.objective.terms(
            images,
            labels,
            seen[0].float() if seen else None,
            recognise,
            canon_weight=self.config.canon_weight_at(share),
        )

    def live_tensors(self) -> dict[str, Tensor]:
        """Return every tensor a step may change, by name."""
        tensors = {}
        # Part of the backbone's own tensors where that looks at reconstructions.
        if self.config.fr_input == IMAGE:
            state = self.networks.state_dict()
            tensors = {f"reconstruction/{key}": item for key, item in state.items()}
        for name, parameter in self.networks.named_parameters():
            for kind, tensor in self.optimizer.state[parameter].items():
                tensors[f"adam/{kind}/{name}"] = tensor
        return tensors


@contextmanager
def watching(branch: Branch | None) -> Iterator[list[Tensor]]:
    """Yield a list for the feature map a branch decodes from, of the forward pass in the block."""
    if branch is None or branch.objective.source is None or branch.objective.is_idle:
        yield []
        return
    with recorded(branch.objective.source) as seen:
        yield seen


def build_branch(
    config: ReconstructionConfig,
    backbone: nn.Module,
    *,
    input_size: int,
    uses_bf16: bool,
    device: str,
) -> Branch:
    """Build the networks for a recogniser, with their first weights.

    Raises:
        ValueError: If the config names a stage the recogniser does not have.
    """
    networks = make_networks(config, backbone, input_size=input_size).to(device)
    recogniser = backbone
    if config.fr_input != IMAGE:
        recogniser = FusedRecogniser(
            backbone, networks, decoder_input=config.decoder_input, fr_input=config.fr_input
        )
    objective = Objective(config, networks, recogniser, input_size=input_size)
    optimizer = Adam(
        networks.parameters(), lr=config.lr, betas=BETAS, weight_decay=config.weight_decay
    )
    # Zeros are what Adam begins with; a checkpoint then always holds the same tensors.
    for parameter in networks.parameters():
        optimizer.state[parameter] = {
            "step": torch.zeros(()),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return Branch(config=config, objective=objective, optimizer=optimizer, uses_bf16=uses_bf16)

"""What the reconstruction adds to a training step of the recogniser.

    L = L_FR + λ_reco·L_reco + λ_canon·L_FR(J) + λ_view·L_view
    L_reco = E₁ + λ_f·E₁' + λ_p·(E_p + λ_f·E_p') + λ_sm·L_sm         ' : mirrored depth and albedo

Gradients run both ways: L_FR of the canonical face J reaches depth, albedo and light, and J trains
the recogniser; the photometric terms reach the recogniser through the feature map that depth and
albedo are decoded from.

Source: Xie et al., "LH2Face", arXiv:2506.23555 (the sum of four terms); He et al., CVPR 2022, and
    Wu et al., CVPR 2020 (L_reco). How L_FR(J) and L_view are built is inferred.
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import nn

from marginface.axes import Float, Int, Tensor
from marginface.reconstruction.config import IMAGE, ReconstructionConfig
from marginface.reconstruction.fusion import FusedRecogniser, ImageAlone
from marginface.reconstruction.reconstructor import Reconstructor, Scene, resize_pictures
from marginface.reconstruction.stages import (
    at_rest,
    map_at,
    stage_of,
    statistics_kept,
)
from marginface.reconstruction.terms import (
    perceptual,
    photometric,
    smoothness,
    view_distance,
)
from marginface.rendering import Rendering, mirror_view, render

Recognise = Callable[[Tensor, Tensor], Tensor]


class Objective:
    """The weighted terms of the reconstruction for a batch.

    Args:
        config: The weights and choices.
        reconstructor: The networks.
        backbone: The recogniser; its stages give feature maps.
        input_size: Side of the pictures the recogniser takes, in pixels.
    """

    def __init__(
        self,
        config: ReconstructionConfig,
        reconstructor: Reconstructor,
        backbone: nn.Module,
        *,
        input_size: int,
    ) -> None:
        self.config = config
        self.reconstructor = reconstructor
        self.backbone = backbone
        # A fused recogniser would reconstruct what it is shown; features are those of the picture.
        self.feature_network = (
            ImageAlone(backbone) if isinstance(backbone, FusedRecogniser) else backbone
        )
        self.input_size = input_size
        self.source = None
        if config.decoder_input != IMAGE:
            argument = "reconstruction.decoder_input"
            self.source = stage_of(backbone, config.decoder_input, argument=argument)
        argument = "reconstruction.perceptual_stage"
        self.feature_stage = stage_of(backbone, config.perceptual_stage, argument=argument)

    @property
    def is_idle(self) -> bool:
        """Whether all weights are 0, so that nothing is to be computed."""
        return self.config.reco_weight == self.config.canon_weight == self.config.view_weight == 0

    def terms(
        self,
        images: Float[Tensor, "batch 3 height width"],
        labels: Int[Tensor, " batch"],
        feature_map: Float[Tensor, "batch channels h w"] | None,
        recognise: Recognise,
        *,
        canon_weight: float,
    ) -> dict[str, Tensor]:
        """Return each term times its λ, as means over the batch.

        Args:
            images: As the recogniser sees them.
            labels: Classes; -1 counts for reconstruction and not for recognition.
            feature_map: Output of the stage depth and albedo are decoded from, with its gradient.
            recognise: From pictures of the recogniser's size and labels to L_FR.
            canon_weight: λ_canon of this step.
        """
        scene = self.reconstructor(images, feature_map)
        picture = self.reconstructor.resized(images)
        terms: dict[str, Tensor] = {}
        if self.config.reco_weight:
            terms["reco"] = self.config.reco_weight * self._reconstruction(scene, picture)
        if canon_weight:
            face = self.reconstructor.canonical(scene)
            terms["canon"] = canon_weight * self._canonical_loss(face, labels, recognise)
        if self.config.view_weight:
            terms["view"] = self.config.view_weight * self._view_loss(scene, picture)
        return terms

    def _reconstruction(self, scene: Scene, picture: Tensor) -> Tensor:
        config = self.config
        plain = self.reconstructor.draw(scene)
        loss = config.smooth_weight * smoothness(scene.depth)
        pairs = [(plain, 1.0, 0)]
        if config.flip_weight:
            mirrored = self.reconstructor.draw(scene.mirrored())
            pairs.append((mirrored, config.flip_weight, 1))
        mask = pairs[0][0].mask & pairs[-1][0].mask
        return loss + self._likeness(pairs, picture, mask, scene)

    def _likeness(
        self,
        pairs: list[tuple[Rendering, float, int]],
        picture: Tensor,
        mask: Tensor,
        scene: Scene,
    ) -> Tensor:
        loss = picture.new_zeros(())
        wanted = None
        if self.config.perceptual_weight:
            with torch.no_grad():
                wanted = self._features(picture)
        for drawn, weight, which in pairs:
            sigma = None if scene.sigma is None else scene.sigma[:, which]
            part = photometric(drawn.image, picture, mask, sigma)
            if wanted is not None:
                coarse = None if scene.feature_sigma is None else scene.feature_sigma[:, which]
                # Outside the mask the picture stands in, so that no edge is mistaken for a feature.
                whole = torch.where(mask[:, None], drawn.image, picture)
                distance = perceptual(self._features(whole), wanted, mask, coarse)
                part = part + self.config.perceptual_weight * distance
            loss = loss + weight * part
        return loss

    def _features(self, pictures: Tensor) -> Tensor:
        """Return φ, scaled to a mean square of 1; the recogniser's weights take no gradient."""
        with at_rest(self.backbone):
            seen = map_at(
                self.feature_network, self.feature_stage, resize_pictures(pictures, self.input_size)
            )
        return seen / seen.detach().square().mean(dim=(1, 2, 3), keepdim=True).add(1e-6).sqrt()

    def _canonical_loss(self, face: Tensor, labels: Tensor, recognise: Recognise) -> Tensor:
        picture = resize_pictures(face, self.input_size).clamp(-1, 1)
        is_kept = self.config.canon_statistics == "kept"
        with statistics_kept(self.backbone) if is_kept else nullcontext():
            return recognise(picture, labels)

    def _view_loss(self, scene: Scene, picture: Tensor) -> Tensor:
        view_of = self.reconstructor.view_of
        loss = picture.new_zeros(())
        names = self.config.view_terms
        if "canon" in names:
            face = self.reconstructor.canonical(scene).detach()
            loss = loss + view_distance(view_of(face), torch.zeros_like(scene.view))
        if "flip" in names:
            loss = loss + view_distance(view_of(picture.flip(-1)), mirror_view(scene.view))
        if "cycle" in names:
            # Another picture's view: the batch turned by one, so that nothing is drawn at random.
            other = scene.view.roll(1, dims=0).detach()
            with torch.no_grad():
                r = self.reconstructor
                turned = render(
                    scene.depth, scene.albedo, scene.light, other, r.camera, march=r.march
                )
            loss = loss + view_distance(view_of(turned.image), other)
        return loss

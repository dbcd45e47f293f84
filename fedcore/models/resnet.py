"""ResNet: residual connections around pairs of 3x3 convolutions."""

from __future__ import annotations

from fedcore.models.architecture import MODELS
from fedcore.models.torchvision_nets import TorchvisionNet


@MODELS.register("resnet18", "ResNet-18 (He et al. 2016)")
class ResNet18(TorchvisionNet):
    """18 layers with identity shortcuts (He et al., CVPR 2016), in the ImageNet form.

    The 7x7 stem with stride 2 and the pooling after it stay, so that ImageNet weights fit.
    11,176,512 parameters and 513 per class; no dropout.
    """

    constructor = "resnet18"

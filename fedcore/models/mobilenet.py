"""MobileNets: depthwise convolutions between thin layers, for devices of little power."""

from __future__ import annotations

from fedcore.models.architecture import MODELS
from fedcore.models.torchvision_nets import TorchvisionNet


@MODELS.register("mobilenet_v2", "MobileNetV2 (Sandler et al. 2018)")
class MobileNetV2(TorchvisionNet):
    """Inverted residuals and linear bottlenecks (Sandler et al., CVPR 2018).

    2,223,872 parameters and 1281 per class; dropout 0.2 before the head.
    """

    constructor = "mobilenet_v2"


@MODELS.register("mobilenet_v3_small", "MobileNetV3-Small (Howard et al. 2019)")
class MobileNetV3Small(TorchvisionNet):
    """Searched blocks with squeeze-and-excitation and hard-swish (Howard et al., ICCV 2019).

    1,517,856 parameters and 1025 per class; dropout 0.2 before the head.
    """

    constructor = "mobilenet_v3_small"

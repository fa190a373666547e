"""Networks that mix convolution and local self-attention; importing this package registers them with timm."""

from sasa_cli.models.attention import LocalSelfAttention, plain_torch
from sasa_cli.models.build import attention_problems, build_model, model_kwargs
from sasa_cli.models.sasa_resnet import SasaResNet, sasa_resnet26, sasa_resnet38, sasa_resnet50
from sasa_cli.models.stem import StemAttention

__all__ = [
    "LocalSelfAttention",
    "SasaResNet",
    "StemAttention",
    "attention_problems",
    "build_model",
    "model_kwargs",
    "plain_torch",
    "sasa_resnet26",
    "sasa_resnet38",
    "sasa_resnet50",
]

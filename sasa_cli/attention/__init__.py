"""Local self-attention: a slow definition, and fast backends behind one function."""

from sasa_cli.attention.operator import available_backends, choose_backend, local_attention
from sasa_cli.attention.problem import Problem
from sasa_cli.attention.reference import reference_local_attention

__all__ = [
    "Problem",
    "available_backends",
    "choose_backend",
    "local_attention",
    "reference_local_attention",
]

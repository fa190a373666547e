"""Local self-attention: a slow definition, and fast backends behind one function."""

from sasa_cli.attention.backends.cpu.kernel import instruction_set, why_unavailable
from sasa_cli.attention.choice import (
    available_backends,
    choose_backend,
    estimate_behind,
    known_backends,
    refused_backends,
    suitable_backends,
)
from sasa_cli.attention.operator import local_attention, packed_local_attention
from sasa_cli.attention.plain import plain_local_attention
from sasa_cli.attention.problem import Problem
from sasa_cli.attention.reference import reference_local_attention

__all__ = [
    "Problem",
    "available_backends",
    "choose_backend",
    "estimate_behind",
    "instruction_set",
    "known_backends",
    "local_attention",
    "packed_local_attention",
    "plain_local_attention",
    "reference_local_attention",
    "refused_backends",
    "suitable_backends",
    "why_unavailable",
]

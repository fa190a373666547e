"""The ways to compute local attention. What each offers is a `Backend`; `choice.py` says which is taken when."""

from sasa_cli.attention.backends import dense, halo, sdpa, shift
from sasa_cli.attention.backends.backend import Backend
from sasa_cli.attention.backends.cpu import kernel as cpu
from sasa_cli.attention.backends.triton import launch as triton

BACKENDS: tuple[Backend, ...] = (
    cpu.BACKEND,
    sdpa.BACKEND,
    triton.BACKEND,
    halo.BACKEND,
    dense.BACKEND,
    shift.BACKEND,
)

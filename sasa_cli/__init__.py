"""sasa: convolution against stand-alone self-attention, run as experiments from the command line.

Importing this package registers `sasa_resnet26`, `sasa_resnet38` and `sasa_resnet50` with timm. The
registration waits for timm itself to be imported, because `sasa --help` and `sasa report` need neither timm
nor torch.

`load_runs` and `load_curves` give the results of an experiment as pandas frames.
"""

import importlib
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING, Any

import wrapt

if TYPE_CHECKING:
    from sasa_cli.reporting.evidence.frames import load_curves, load_runs

__all__ = ["__version__", "load_curves", "load_runs"]
__version__ = version("sasa-cli")


def __getattr__(name: str) -> Any:
    if name in ("load_curves", "load_runs"):  # pandas is not imported before it is needed
        return getattr(importlib.import_module("sasa_cli.reporting.evidence.frames"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _register_models(_timm: ModuleType) -> None:
    importlib.import_module("sasa_cli.models")


wrapt.register_post_import_hook(_register_models, "timm")

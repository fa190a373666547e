"""sasa: convolution against stand-alone self-attention, run as experiments from the command line.

Importing this package registers `sasa_resnet26`, `sasa_resnet38` and `sasa_resnet50` with timm. The
registration waits for timm itself to be imported, because `sasa --help` and `sasa report` need neither timm
nor torch.
"""

import importlib
from importlib.metadata import version
from types import ModuleType

import wrapt

__version__ = version("sasa-cli")


def _register_models(_timm: ModuleType) -> None:
    importlib.import_module("sasa_cli.models")


wrapt.register_post_import_hook(_register_models, "timm")

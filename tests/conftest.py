import os
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says something about the machine, not about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def real_data_dir() -> Path:
    """A folder with cifar-10-batches-bin/ and imagenette-224-mini/, where the machine has one."""
    variable = "SASA_TEST_DATA"
    if variable not in os.environ:
        pytest.skip(f"{variable} is not set to a folder with cifar-10-batches-bin/ and imagenette-224-mini/")
    folder = Path(os.environ[variable])
    for name in ("cifar-10-batches-bin", "imagenette-224-mini"):
        if not (folder / name).is_dir():
            pytest.skip(f"{variable}={folder} has no {name}/")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests neither read nor fill the cache of whoever runs them."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))

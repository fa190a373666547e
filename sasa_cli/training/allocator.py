"""The C library's allocator, which decides a good part of the speed on a CPU.

By default glibc gives large blocks back to the system as soon as they are freed. Each step of training then gets all of
its maps as fresh pages, one page fault for every 4 KiB: a tenth of the time of a ResNet-26 with attention.
"""

import ctypes
import os
import platform

C_LIBRARY_VARIABLES = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
TORCH_VARIABLES = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")  # of its allocator for GPUs
KEPT = "glibc, keeps freed pages"
# Of mallopt(3).
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
NEVER = -1


def keep_pages() -> str:
    """Make the allocator of this process keep what is freed, where it is glibc's and the user has not set it.

    Returns:
        How the allocator is set now, for the record.
    """
    if _told(C_LIBRARY_VARIABLES) or platform.libc_ver()[0] != "glibc":
        return allocator_settings()
    mallopt = ctypes.CDLL(None).mallopt
    kept = mallopt(M_MMAP_MAX, 0) == 1 and mallopt(M_TRIM_THRESHOLD, NEVER) == 1
    return KEPT if kept else allocator_settings()


def allocator_settings() -> str:
    """How the allocators are set unless `keep_pages` was called: `default`, or what the environment tells them."""
    return _told(C_LIBRARY_VARIABLES + TORCH_VARIABLES) or "default"


def _told(variables: tuple[str, ...]) -> str:
    """The environment variables that begin with one of these, as `NAME=value` pairs; empty where there are none."""
    told = {name: value for name, value in os.environ.items() if name.startswith(variables)}
    return " ".join(f"{name}={value}" for name, value in sorted(told.items()))

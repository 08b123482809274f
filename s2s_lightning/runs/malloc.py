"""Settings of glibc's malloc for the large tensors that each training step makes anew."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""

LARGEST = 2**31 - 1


def reuse_freed_memory() -> None:
    """Let malloc keep what is freed and hand it out again; call it before torch makes its first tensor.

    By default, glibc gives blocks above 32 MiB and free memory at the end of the heap back to the kernel. It pays for
    fresh zeroed pages at the next step. The price of keeping them: a process stays as large as it has once been.
    Only glibc has these settings; elsewhere nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_THRESHOLD, LARGEST)
    libc.mallopt(M_TRIM_THRESHOLD, LARGEST)

"""Settings of the C allocator, for networks that run many times on the CPU."""

import ctypes
import platform

# Names and values of glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of returning it to the kernel.

    Every batch allocates and frees the same few hundred large tensors. By default glibc requests
    the memory from the kernel each time, and the kernel clears it. That can cost more time than the
    computation. Without glibc this does nothing. It changes the whole process, so only commands
    and training call it.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, 256 << 20)

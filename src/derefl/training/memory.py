"""What the C allocator does with freed memory, which decides the speed of CPU training."""

import ctypes
import platform

# Names and values of glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> None:
    """Let glibc keep freed blocks instead of giving them back to the kernel.

    Every training step allocates and frees the same few hundred large tensors. By default glibc
    maps each from the kernel anew, and clearing its pages can cost more than the arithmetic on it
    (docs/notes/reflection_training.md). Elsewhere than on glibc this does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_M_TOP_PAD, 256 << 20)

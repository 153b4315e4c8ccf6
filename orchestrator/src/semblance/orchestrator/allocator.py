"""The C library's allocator, set for buffers as large as decoded photos."""

import ctypes

# Of glibc's <malloc.h>; see mallopt(3).
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
# The most that glibc takes. Larger buffers than this go back to the kernel when they are freed.
LARGEST_KEPT = 32 * 2**20
# Of free memory at the end of a heap, in bytes.
MOST_KEPT = 256 * 2**20


def keep_freed_memory() -> None:
    """From now on a photo is decoded into memory that earlier ones have left.

    Otherwise glibc gives it back to the kernel at once, which then has to clear every page of the next photo. Does
    nothing where the C library has no such settings.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT)

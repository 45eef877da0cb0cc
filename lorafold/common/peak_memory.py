"""The most memory that this process has held, on whichever system it runs. Free of torch."""

from __future__ import annotations

import ctypes
import sys
from typing import Any


class _Counters(ctypes.Structure):
    """PROCESS_MEMORY_COUNTERS of the Windows API."""

    _fields_ = (
        ("cb", ctypes.c_uint32),
        ("PageFaultCount", ctypes.c_uint32),
        ("PeakWorkingSetSize", ctypes.c_size_t),
        ("WorkingSetSize", ctypes.c_size_t),
        ("QuotaPeakPagedPoolUsage", ctypes.c_size_t),
        ("QuotaPagedPoolUsage", ctypes.c_size_t),
        ("QuotaPeakNonPagedPoolUsage", ctypes.c_size_t),
        ("QuotaNonPagedPoolUsage", ctypes.c_size_t),
        ("PagefileUsage", ctypes.c_size_t),
        ("PeakPagefileUsage", ctypes.c_size_t),
    )


def peak_rss_mb() -> float | None:
    """The largest resident set of this process so far, in MB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return _peak_working_set()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def peak_memory() -> dict[str, float | None]:
    """For a record: that, and where this process has used a GPU the most memory that its tensors took there, in MB."""
    gpu: Any = getattr(sys.modules.get("torch"), "cuda", None)
    used = gpu is not None and gpu.is_initialized()
    return {"peak_rss_mb": peak_rss_mb()} | ({"peak_gpu_mb": gpu.max_memory_allocated() / 2**20} if used else {})


def _peak_working_set() -> float | None:
    try:
        kernel = ctypes.WinDLL("kernel32")  # type: ignore[attr-defined]
        current, info = kernel.GetCurrentProcess, kernel.K32GetProcessMemoryInfo
    except (AttributeError, OSError):
        return None
    current.argtypes, current.restype = (), ctypes.c_void_p
    info.argtypes, info.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32), ctypes.c_int
    counters = _Counters(cb=ctypes.sizeof(_Counters))
    succeeded = info(current(), ctypes.byref(counters), counters.cb)
    return counters.PeakWorkingSetSize / 2**20 if succeeded else None

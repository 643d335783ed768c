"""End with the process that started us, however it ended."""

import ctypes
import sys

#: From linux/prctl.h: the signal that a process gets when its parent dies.
PR_SET_PDEATHSIG = 1


def die_with_parent(signal_number: int) -> None:
    """Ask the kernel to send us `signal_number` when our parent dies; elsewhere than on Linux do nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal_number))

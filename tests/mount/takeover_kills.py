#!/usr/bin/env python3
# ctest: serial timeout=420
"""The worker of a mount is killed 300 times, and no client notices (_takeover_kills.py)."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import _lib
import _takeover_kills

_lib.main(lambda: _takeover_kills.test(300))

#!/usr/bin/env python3
# ctest: long serial timeout=3600
"""The same with 5,000 kills."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import _lib
import _takeover_kills

_lib.main(lambda: _takeover_kills.test(5_000))

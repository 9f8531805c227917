#!/usr/bin/env python3
# ctest: long timeout=1800
"""lru_traces.py with 100,000 requests in each trace."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import _lib
import _traces

if _lib.PLAIN:
    _lib.skip("nothing is evicted from a plain directory")
_lib.main(lambda: _traces.replay_all(100_000))

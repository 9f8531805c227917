#!/usr/bin/env python3
# ctest: timeout=300
"""--max-files and --recency 0: the same hits and misses as a textbook LRU, request for request, on traces of 3,000 requests
(uniform, Zipf, loops, scans, mixed), across a remount; and after SIGKILL at most one miss more for each use in memory."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import _lib
import _traces

if _lib.PLAIN:
    _lib.skip("nothing is evicted from a plain directory")
_lib.main(lambda: _traces.replay_all(3000))

#!/usr/bin/env python3
# ctest: long serial timeout=3600
"""takeover_kills.py with 5,000 kills."""
import sys; sys.dont_write_bytecode = True  # noqa: E702
import os
import runpy

os.environ.setdefault("LRUFS_TEST_KILLS", "5000")
runpy.run_path(os.path.join(os.path.dirname(os.path.realpath(__file__)), "takeover_kills.py"), run_name="__main__")

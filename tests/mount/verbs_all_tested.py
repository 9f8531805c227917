#!/usr/bin/env python3
"""Each verb and each option that --help names occurs in a test of this folder."""
# ctest: timeout=60
import sys; sys.dont_write_bytecode = True
import os
import re

import _lib
from _lib import LRUFS, TESTS_DIR, check, run


def main():
    tests = ""
    for name in sorted(os.listdir(TESTS_DIR)):
        if name.endswith((".sh", ".py")) and name != os.path.basename(__file__):
            with open(os.path.join(TESTS_DIR, name), encoding="utf-8", errors="replace") as file:
                tests += "".join(line for line in file if not line.lstrip().startswith("#"))
    verbs = re.findall(r"^  ([a-z]+)  ", run(20, LRUFS, "--help"), re.M)
    check(len(verbs) >= 12, f"no verbs found in the help: {verbs}")
    missing = []
    for verb in verbs:
        # As a word of a command line of the program, in shell or Python.
        if not re.search(rf"""(\$LRUFS"?|LRUFS,|expect_status \d|refuse(_with \d)? "[^"]*"|say) "?{verb}\b"""
                         rf"""|mount_store|umount_store""" if verb in ("mount", "umount") else
                         rf"""(\$LRUFS"?|LRUFS,|lrufs\(|expect_status \d+|refuse(_with \d+)? "[^"\n]*"|say|in_use "[^"\n]*")"""
                         rf""" *(\\\n *)?["']?{verb}\b""", tests):
            missing.append(verb)
        text = run(20, LRUFS, verb, "--help")
        for short, long in re.findall(r"^  (-[A-Za-z])?,?(--[a-z-]+)?(?=[ \n])", text, re.M):
            if short and not long and not re.search(rf"(?<![\w-]){short}(?![\w-])", tests):
                missing.append(f"{verb} {short}")
            if long and not re.search(rf"""(?<![\w-]){long}(?![\w-])""", tests):
                missing.append(f"{verb} {long}")
    check(not missing, f"in no test: {', '.join(missing)}")
    print(f"{len(verbs)} verbs: {' '.join(verbs)}")


_lib.main(main)

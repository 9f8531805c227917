// Crash points: where a test lets the process die in the middle of a request
// (tests/mount/takeover_crashes.py). Built in by LRUFS_FAULTS, as the switches of store/faults.h are,
// and into the program of that test (tests/CMakeLists.txt); otherwise nothing of them is left.
//
// LRUFS_CRASH_FILE names a file with one line, "KIND PLACE HOW": the number of the kind of request as the
// kernel has it, one of the places below, and "kill" (SIGKILL), "crash" (SIGSEGV) or "always" (SIGSEGV, each
// time). But for "always" the file is removed before, so that it happens once.
//
// Thread-safety: any thread.
#pragma once

namespace lrufs::fs {

#if defined(LRUFS_FAULTS) || defined(LRUFS_CRASH_POINTS)
// Places: "begun", "changed" (all is changed, nothing is published), "published", "answered".
void crash_point(const char* place);
#else
inline void crash_point(const char* /*place*/) {}
#endif

}  // namespace lrufs::fs

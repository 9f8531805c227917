// The one place where a store error becomes an errno.
#pragma once

#include "store/error.h"

namespace lrufs::fs {

// The errno, positive, that a system call fails with for `code`.
int to_errno(store::Code code);
inline int to_errno(const store::Error& error) { return to_errno(error.code); }

}  // namespace lrufs::fs

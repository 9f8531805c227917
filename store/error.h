// Errors of lrufs are values: every function that can fail returns Result<T> (or Status). The code is a
// closed enum, so that the one switch that maps it to errno (fs/errno_map.h) is checked by the compiler to be
// complete. The message is for a person: what happened, to what, and what to do; it is empty for the answers
// that are part of ordinary work (kNotFound, kExists, …), so that they cost no allocation on hot paths.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace lrufs::store {

enum class Code : std::uint8_t {
  kNotFound,       // no such object, entry or key
  kExists,         // the name is taken
  kNotDirectory,   // a directory was needed
  kIsDirectory,    // a directory cannot be used here
  kNotEmpty,       // the directory has entries
  kNameTooLong,    // a name of more than kMaxName bytes
  kInvalid,        // an argument that never can be right
  kNoAttribute,    // no such xattr
  kTooManyLinks,   // kMaxLinks reached
  kFileTooLarge,   // an offset or size above what the store can hold
  kValueTooLarge,  // an xattr value above kMaxXattr
  kNoSpace,        // the bound is reached and nothing more can be evicted
  kReadOnly,       // the store was opened, or became, read-only
  kBusy,           // the store is in use by another process
  kIo,             // the operating system reported an error
  kCorrupt,        // a page or record contradicts itself or its checksum
  kNotAStore,      // the file is something else
  kNewerFormat,    // written by a later version
  kBoundTooSmall,  // the bound does not hold what it must
  kUnsupported,    // not offered here
  kStale,          // an inode that no longer exists
  kConflict,       // readers are at work where pages were to be edited in place: to be run again, copying
  kNotPermitted,   // never allowed, whoever asks
};

struct [[nodiscard]] Error {
  Code code = Code::kIo;
  std::string message{};
  int os_errno = 0;  // what the operating system said, or 0

  Error() = default;
  Error(Code c) : code(c) {}  // NOLINT(google-explicit-constructor): `return fail(code)` reads best
  Error(Code c, std::string text, int err = 0) : code(c), message(std::move(text)), os_errno(err) {}
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

inline tl::unexpected<Error> fail(Code code) { return tl::unexpected<Error>(Error(code)); }
inline tl::unexpected<Error> fail(Code code, std::string message, int os_errno = 0) {
  return tl::unexpected<Error>(Error(code, std::move(message), os_errno));
}
inline tl::unexpected<Error> fail(Error error) { return tl::unexpected<Error>(std::move(error)); }

// The code's name for logs and tests, e.g. "not_found".
std::string_view code_name(Code code);
// "message" or, where that is empty, the code's name.
std::string describe(const Error& error);

// Propagate an error, as Rust's `?` does.
#define LRUFS_CONCAT_(a, b) a##b
#define LRUFS_CONCAT(a, b) LRUFS_CONCAT_(a, b)
#define LRUFS_TRY_(tmp, expr)                                                                            \
  do {                                                                                                   \
    if (auto tmp = (expr); !tmp) return ::tl::unexpected<::lrufs::store::Error>(std::move(tmp).error()); \
  } while (false)
#define LRUFS_TRY(expr) LRUFS_TRY_(LRUFS_CONCAT(lrufs_status_, __COUNTER__), expr)
#define LRUFS_TRY_ASSIGN_(tmp, target, expr)                                        \
  auto tmp = (expr);                                                                \
  if (!tmp) return ::tl::unexpected<::lrufs::store::Error>(std::move(tmp).error()); \
  target = *std::move(tmp)
#define LRUFS_TRY_ASSIGN(target, expr) LRUFS_TRY_ASSIGN_(LRUFS_CONCAT(lrufs_try_, __LINE__), target, expr)

}  // namespace lrufs::store

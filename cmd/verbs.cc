#include "cmd/verbs.h"

#include <cstdio>

#include "cmd/os.h"

namespace lrufs::cmd {

store::Error about_store(const std::string& path, store::Error error) {
  using store::Code;
  switch (error.code) {
    case Code::kNotAStore:
    case Code::kNewerFormat:
    case Code::kCorrupt:
    case Code::kBoundTooSmall:
    case Code::kReadOnly:
    case Code::kBusy:
    case Code::kNotFound:
      break;
    default:
      return error;
  }
  if (error.message.find(path) == std::string::npos)
    error.message = shown(path) + ": " + store::describe(error);
  return error;
}

int report(const store::Error& error, int exit_code) {
  std::fprintf(stderr, "lrufs: %s\n", store::describe(error).c_str());
  return exit_code;
}

}  // namespace lrufs::cmd

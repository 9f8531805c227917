#include "fs/crash_point.h"

#if defined(LRUFS_FAULTS) || defined(LRUFS_CRASH_POINTS)

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "fs/receipts.h"

namespace lrufs::fs {

void crash_point(const char* place) {
  static const char* const path =
      std::getenv("LRUFS_CRASH_FILE");  // NOLINT(concurrency-mt-unsafe): never set
  if (path == nullptr || ServedRequest::current() == nullptr) return;
  std::ifstream file(path);
  std::uint32_t kind = 0;
  std::string where;
  std::string how;
  if (!(file >> kind >> where >> how) || where != place || kind != ServedRequest::current()->kind()) return;
  if (how != "always" && ::unlink(path) != 0) return;  // another thread was faster
  ::signal(SIGSEGV, SIG_DFL);
  ::raise(how == "kill" ? SIGKILL : SIGSEGV);
}

}  // namespace lrufs::fs

#endif

// Recovery: the requests that the worker before this one had read and not answered. The kernel is asked to
// send them again. What was executed already (receipts.h) is answered only, and what has ended several
// workers is answered with EIO.
//
// They are read first, all of them, while nobody else reads; then the pool starts, and they are served beside
// it, since one of them may wait for what a new request brings. If this process dies meanwhile, the next one
// gets all that is not answered once more.
//
// Thread-safety: from one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "fs/fuse/context.h"
#include "fs/fuse/fuse_api.h"
#include "fs/fuse/takeover_memory.h"
#include "store/error.h"

namespace lrufs::fs::fuse {

class Recovery {
 public:
  // Counts against the requests that were being served that their worker died.
  Recovery(fuse_session* session, Context& context, TakeoverMemory& memory, ReceiptTable& receipts);
  Recovery(const Recovery&) = delete;
  Recovery& operator=(const Recovery&) = delete;

  // Asks for them and reads them. kStale: the connection has ended. kIo: the kernel does not know this.
  store::Status read(std::size_t max_write);
  // Answers all of them, and forgets what was kept for them.
  void serve();

 private:
  struct Resent {
    std::vector<std::byte> bytes;
    std::uint64_t id = 0;
    std::uint32_t opcode = 0;
    bool is_new = false;  // the first that was not sent again
    const Executed* executed = nullptr;
    std::uint32_t weight = 0;
  };
  void suspect(std::uint64_t request, std::uint32_t weight);
  [[nodiscard]] std::uint32_t weight_of(std::uint64_t request) const;
  bool take(const std::byte* bytes, std::size_t size);
  void match();
  void serve_one(Resent& request, Receipt* slot);
  void refuse(const Resent& request);

  fuse_session* const session_;
  Context& context_;
  TakeoverMemory& memory_;
  ReceiptTable& receipts_;
  std::vector<Resent> requests_;
  std::vector<ReceiptTable::Kept> kept_;
  std::vector<bool> asked_for_;  // of kept_: was it sent again?
};

}  // namespace lrufs::fs::fuse

#include "fs/fuse/recovery.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <thread>

#include "fs/fuse/event.h"
#include "fs/fuse/serve_request.h"
#include "store/types.h"

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using store::fail;
using store::Status;

// A request that was being served when its worker died is suspected of it: three times is enough if the
// worker ended itself (a crash), ten times if it was killed, by somebody, or for the memory that it used.
constexpr std::uint32_t kCrash = 10;
constexpr std::uint32_t kKill = 3;
constexpr std::uint32_t kTooMuch = 30;

constexpr std::uint32_t kNotifyResend = 7;  // FUSE_NOTIFY_RESEND, Linux 6.9
constexpr unsigned kThreads = 8;

// Nobody waits for these, and they are not sent again: they come in between.
bool stays_behind(std::uint32_t opcode) {
  return opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET || opcode == FUSE_INTERRUPT;
}

bool has_ended(int error) { return error == ENODEV || error == ENOTCONN || error == ECONNABORTED; }

// The descriptor does not wait, as long as it lives. (It is the supervisor's, too, which never reads.)
class NonBlocking {
 public:
  explicit NonBlocking(int fd) : fd_(fd) { set(true); }
  ~NonBlocking() { set(false); }
  NonBlocking(const NonBlocking&) = delete;
  NonBlocking& operator=(const NonBlocking&) = delete;

 private:
  void set(bool on) const {
    const int flags = ::fcntl(fd_, F_GETFL);
    ::fcntl(fd_, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
  }
  int fd_;
};

// Memory that is there: a kill in the middle of a read(2) into pages that are not would end the request.
class LockedBuffer {
 public:
  explicit LockedBuffer(std::size_t bytes) : bytes_(bytes) {
    void* const at =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (at == MAP_FAILED) return;
    data_ = static_cast<std::byte*>(at);
    (void)::mlock(at, bytes);
  }
  ~LockedBuffer() {
    if (data_ != nullptr) ::munmap(data_, bytes_);
  }
  LockedBuffer(const LockedBuffer&) = delete;
  LockedBuffer& operator=(const LockedBuffer&) = delete;
  [[nodiscard]] std::byte* data() const { return data_; }

 private:
  std::size_t bytes_;
  std::byte* data_ = nullptr;
};

}  // namespace

Recovery::Recovery(fuse_session* session, Context& context, TakeoverMemory& memory, ReceiptTable& receipts)
    : session_(session), context_(context), memory_(memory), receipts_(receipts) {
  const std::uint32_t weight = memory_.supervised.killed != 0 ? kKill : kCrash;
  for (Receipt& slot : receipts_.slots()) {
    if (const std::uint64_t request = slot.serving.exchange(0); request != 0) suspect(request, weight);
  }
  kept_ = receipts_.kept();
  asked_for_.resize(kept_.size());
}

void Recovery::suspect(std::uint64_t request, std::uint32_t weight) {
  auto& suspects = memory_.suspects;
  auto found = std::ranges::find(suspects, request, &TakeoverMemory::Suspect::request);
  if (found == suspects.end()) {
    // The lightest has to go, where there are too many.
    found = std::ranges::min_element(suspects, {}, &TakeoverMemory::Suspect::weight);
    *found = {};
  }
  found->weight += weight;
  found->request = request;
}

std::uint32_t Recovery::weight_of(std::uint64_t request) const {
  const auto found = std::ranges::find(memory_.suspects, request, &TakeoverMemory::Suspect::request);
  return found == memory_.suspects.end() ? 0 : found->weight;
}

Status Recovery::read(std::size_t max_write) {
  const int fd = fuse_session_fd(session_);
  const LockedBuffer buffer(max_write + store::kPageSize);
  if (buffer.data() == nullptr) return fail(Code::kIo, "no memory for the buffers of requests", ENOMEM);
  const fuse_out_header resend{.len = sizeof(fuse_out_header), .error = kNotifyResend, .unique = 0};
  if (::write(fd, &resend, sizeof resend) < 0) {
    if (has_ended(errno)) return fail(Code::kStale);
    return fail(Code::kIo, "the kernel does not send requests again", errno);
  }
  const NonBlocking without_waiting(fd);
  for (;;) {
    const ssize_t n = ::read(fd, buffer.data(), max_write + store::kPageSize);
    if (n < 0) {
      if (errno == EAGAIN) break;
      if (errno == EINTR || errno == ENOENT) continue;
      if (has_ended(errno)) return fail(Code::kStale);
      return fail(Code::kIo, "reading requests: " + std::generic_category().message(errno), errno);
    }
    if (!take(buffer.data(), static_cast<std::size_t>(n))) break;
  }
  match();
  return {};
}

// False: this is the first that is new.
bool Recovery::take(const std::byte* bytes, std::size_t size) {
  const RequestHeader header = header_of(bytes, size);
  Resent request;
  request.bytes.assign(bytes, bytes + size);
  request.id = header.id();
  request.opcode = header.opcode;
  request.is_new = !header.sent_again();
  const bool last = request.is_new && !stays_behind(header.opcode);
  requests_.push_back(std::move(request));
  return !last;
}

void Recovery::match() {
  for (Resent& request : requests_) {
    if (request.is_new) continue;
    request.weight = weight_of(request.id);
    for (std::size_t i = 0; i < kept_.size(); ++i) {
      if (kept_[i].request != request.id) continue;
      request.executed = &kept_[i].executed;
      asked_for_[i] = true;
    }
  }
}

void Recovery::refuse(const Resent& request) {
  tell(Level::err, "request_refused",
       std::string("a request (") + kind_name(request.opcode) +
           ") was being served each time that a worker died; its caller gets EIO",
       {{"request", kind_name(request.opcode)}});
  const fuse_out_header answer{.len = sizeof(fuse_out_header),
                               .error = -EIO,
                               .unique = header_of(request.bytes.data(), request.bytes.size()).unique};
  [[maybe_unused]] const ssize_t n = ::write(fuse_session_fd(session_), &answer, sizeof answer);
  context_.counters.count_error(EIO);
}

void Recovery::serve_one(Resent& request, Receipt* slot) {
  if (request.executed == nullptr && request.weight >= kTooMuch) {
    refuse(request);
  } else {
    serve_request(session_, request.bytes.data(), request.bytes.size(), slot, request.executed);
  }
}

void Recovery::serve() {
  // One after the other where one of them may be deadly, so that it is alone in being suspected again.
  const bool careful =
      std::ranges::any_of(requests_, [](const Resent& request) { return request.weight >= kCrash; });
  // The worker before may have died between the publish and the checkpoint that belongs to the answer.
  const bool any_executed =
      std::ranges::any_of(requests_, [](const Resent& request) { return request.executed != nullptr; });
  if (any_executed && context_.store_options.sync == store::Options::Sync::kAlways)
    (void)context_.volume.store().checkpoint();
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    Receipt* const slot = receipts_.claim();
    for (std::size_t i = 0; (i = next.fetch_add(1)) < requests_.size();) serve_one(requests_[i], slot);
    receipts_.release(slot);
  };
  std::vector<std::thread> threads;
  const std::size_t wanted = careful ? 1 : std::min<std::size_t>(requests_.size(), kThreads);
  for (std::size_t i = 1; i < wanted; ++i) {
    try {
      threads.emplace_back(work);
    } catch (const std::system_error&) {
      break;  // fewer do it as well
    }
  }
  work();
  for (std::thread& thread : threads) thread.join();

  std::size_t executed = 0;
  for (std::size_t i = 0; i < kept_.size(); ++i) {
    // The kernel has had this answer: the lookup that it brought is among those nobody has counted.
    if (!asked_for_[i]) context_.volume.forget(kept_[i].executed.counted, 1);
    if (asked_for_[i]) ++executed;
  }
  receipts_.drop_kept();
  memory_.suspects.fill({});
  const auto resent = static_cast<std::size_t>(std::ranges::count(requests_, false, &Resent::is_new));
  tell(Level::info, "taken_over",
       "taken over: " + std::to_string(resent) + " requests were sent again, of which " +
           std::to_string(executed) + " had been executed",
       {{"requests", resent}, {"executed", executed}});
  requests_.clear();
}

}  // namespace lrufs::fs::fuse

// Request: one request of the kernel, and its one answer. handle() is the frame that every callback of
// libfuse runs in: it counts the request, keeps exceptions from crossing into C, and makes sure that there is
// an answer.
//
// Thread-safety: one thread owns a request.
#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <span>

#include "fs/fuse/context.h"
#include "fs/fuse/fuse_api.h"
#include "fs/volume.h"

namespace lrufs::fs::fuse {

class Request {
 public:
  Request(fuse_req_t request, Op op)
      : request_(request), context_(*static_cast<Context*>(fuse_req_userdata(request))), op_(op) {}
  using Clock = std::chrono::steady_clock;
  [[nodiscard]] Clock::time_point started() const { return started_; }
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  [[nodiscard]] Context& context() { return context_; }
  [[nodiscard]] Volume& volume() { return context_.volume; }
  [[nodiscard]] Caller caller() const;
  // The calling thread; 0 if it is in a PID namespace that this one does not see.
  [[nodiscard]] pid_t caller_pid() const { return fuse_req_ctx(request_)->pid; }
  // Is the caller in this group? Reads /proc for the supplementary ones; false if it cannot tell.
  [[nodiscard]] bool caller_in_group(std::uint32_t gid) const;
  [[nodiscard]] bool answered() const { return request_ == nullptr; }
  // For libfuse's functions that format into a buffer.
  [[nodiscard]] fuse_req_t raw() const { return request_; }

  // Exactly one of these ends the request.
  void fail(int error);                  // errno, positive
  void fail(const store::Error& error);  // logs what a person should know
  void done();                           // success without data
  void done(const Status& status);
  void no_answer();  // FORGET
  // Of what is not in the volume (control_requests.h); false: the kernel did not get it.
  bool answer(const fuse_entry_param& entry);
  void answer(const struct stat& attributes, double seconds);
  // An object of which one lookup was counted; takes it back if the kernel did not get the answer.
  void entry(const Inode& inode);
  void created(const Inode& inode, fuse_file_info& file);
  void absent();  // the name does not exist, and the kernel may remember that
  void attributes(const Inode& inode);
  void target(const std::string& link);
  void opened(fuse_file_info& file);
  void written(std::size_t bytes);
  void offset(std::uint64_t position);
  bool bytes(std::span<const char> data);      // false: the kernel did not get it
  bool pieces(std::span<const iovec> pieces);  // at most kMaxPieces
  void xattr_size(std::size_t size);
  void usage(const VolumeUsage& usage);

  static constexpr std::size_t kMaxPieces = 1023;  // UIO_MAXIOV less the header's

 private:
  fuse_req_t take();
  void delivered_or_forget(int result, Ino ino);
  void log_delivery(int result);

  fuse_req_t request_;  // null once answered
  Context& context_;
  Op op_;
  const Clock::time_point started_ = Clock::now();
};

// Called for what escaped a callback; answers with EIO unless there was an answer already.
void answer_escaped(Request& request, Op op, const char* what) noexcept;

template <typename Body>
void handle(fuse_req_t raw, Op op, Body&& body) noexcept {
  Request request(raw, op);
  Counters& counters = request.context().counters;
  counters.count(op);
  try {
    body(request);
    if (!request.answered()) answer_escaped(request, op, "no answer was given");
  } catch (const std::exception& e) {
    answer_escaped(request, op, e.what());
  } catch (...) {
    answer_escaped(request, op, "unknown exception");
  }
  counters.latency(op).add(Request::Clock::now() - request.started());
}

}  // namespace lrufs::fs::fuse

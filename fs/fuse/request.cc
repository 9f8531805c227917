#include "fs/fuse/request.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "fs/errno_map.h"
#include "fs/fuse/attributes.h"
#include "fs/fuse/event.h"

namespace lrufs::fs::fuse {
namespace {

// A failing disk answers thousands of requests with the same error.
RateLimit unreadable_limit;
RateLimit failed_limit;
RateLimit full_limit;
RateLimit escaped_limit;

void tell_failed(RateLimit& limit, Level level, const char* event, Op op, const std::string& what) {
  tell_limited(limit, level, event, std::string(op_name(op)) + ": " + what, {{"request", op_name(op)}});
}

}  // namespace

Caller Request::caller() const {
  const fuse_ctx* ctx = fuse_req_ctx(request_);
  return {.uid = ctx->uid, .gid = ctx->gid, .umask = ctx->umask};
}

bool Request::caller_in_group(std::uint32_t gid) const {
  if (fuse_req_ctx(request_)->gid == gid) return true;
  std::vector<gid_t> groups(32);
  int count = fuse_req_getgroups(request_, static_cast<int>(groups.size()), groups.data());
  if (count > static_cast<int>(groups.size())) {
    groups.resize(static_cast<std::size_t>(count));
    count = std::min(count, fuse_req_getgroups(request_, count, groups.data()));
  }
  if (count <= 0) return false;
  return std::find(groups.begin(), groups.begin() + count, gid) != groups.begin() + count;
}

fuse_req_t Request::take() { return std::exchange(request_, nullptr); }

void Request::log_delivery(int result) {
  // ENOENT: the caller was killed meanwhile. EFAULT: a page of the map could not be read; the kernel has
  // already answered EIO to the caller. Others: the connection is gone.
  if (result == 0 || result == -ENOENT) return;
  context_.counters.count_failure();
  if (result != -EFAULT) return;
  context_.counters.count_error(EIO);
  tell_failed(unreadable_limit, Level::err, "page_unreadable", op_,
              "a page of the store could not be read from disk; the caller got EIO");
}

void Request::delivered_or_forget(int result, Ino ino) {
  log_delivery(result);
  if (result != 0) context_.volume.forget(ino, 1);
}

void Request::fail(int error) {
  // Not those by which the kernel learns what it need not ask again, and that a file has no capabilities.
  if (error != ENOSYS && error != ENODATA) context_.counters.count_error(error);
  log_delivery(fuse_reply_err(take(), error));
}

void Request::fail(const store::Error& error) {
  if (error.code == store::Code::kIo || error.code == store::Code::kCorrupt) {
    context_.counters.count_failure();
    tell_failed(failed_limit, Level::err, "request_failed", op_, store::describe(error));
  } else if (error.code == store::Code::kNoSpace) {
    tell_failed(full_limit, Level::warn, "no_space", op_, store::describe(error));
  }
  fail(to_errno(error));
}

void Request::done() { log_delivery(fuse_reply_err(take(), 0)); }

void Request::done(const Status& status) {
  if (status) {
    done();
  } else {
    fail(status.error());
  }
}

bool Request::answer(const fuse_entry_param& entry) {
  const int result = fuse_reply_entry(take(), &entry);
  log_delivery(result);
  return result == 0;
}
void Request::answer(const struct stat& attributes, double seconds) {
  log_delivery(fuse_reply_attr(take(), &attributes, seconds));
}

void Request::no_answer() { fuse_reply_none(take()); }

void Request::entry(const Inode& inode) {
  const fuse_entry_param param = to_entry(inode, context_.options.recency);
  delivered_or_forget(fuse_reply_entry(take(), &param), inode.ino);
}

void Request::created(const Inode& inode, fuse_file_info& file) {
  const fuse_entry_param param = to_entry(inode, context_.options.recency);
  delivered_or_forget(fuse_reply_create(take(), &param, &file), inode.ino);
}

void Request::absent() {
  const fuse_entry_param param = negative_entry();
  log_delivery(fuse_reply_entry(take(), &param));
}

void Request::attributes(const Inode& inode) {
  const struct stat attr = to_stat(inode);
  log_delivery(fuse_reply_attr(take(), &attr, believable_for(inode, kAttributeSeconds)));
}

void Request::target(const std::string& link) { log_delivery(fuse_reply_readlink(take(), link.c_str())); }
void Request::opened(fuse_file_info& file) { log_delivery(fuse_reply_open(take(), &file)); }
void Request::written(std::size_t bytes) { log_delivery(fuse_reply_write(take(), bytes)); }
void Request::offset(std::uint64_t position) {
  log_delivery(fuse_reply_lseek(take(), static_cast<off_t>(position)));
}
bool Request::bytes(std::span<const char> data) {
  const int result = fuse_reply_buf(take(), data.data(), data.size());
  log_delivery(result);
  return result == 0;
}

bool Request::pieces(std::span<const iovec> pieces) {
  const int result = fuse_reply_iov(take(), pieces.data(), static_cast<int>(pieces.size()));
  log_delivery(result);
  return result == 0;
}
void Request::xattr_size(std::size_t size) { log_delivery(fuse_reply_xattr(take(), size)); }

void Request::usage(const VolumeUsage& usage) {
  struct statvfs out {};
  out.f_bsize = usage.block_size;
  out.f_frsize = usage.block_size;
  out.f_blocks = usage.blocks;
  out.f_bfree = usage.free_blocks;
  out.f_bavail = usage.available_blocks;
  out.f_files = usage.files;
  out.f_ffree = usage.free_files;
  out.f_favail = usage.free_files;
  out.f_namemax = usage.name_max;
  log_delivery(fuse_reply_statfs(take(), &out));
}

void answer_escaped(Request& request, Op op, const char* what) noexcept {
  try {
    request.context().counters.count_failure();
    if (!request.answered()) request.fail(EIO);
    tell_failed(escaped_limit, Level::err, "request_escaped", op, what);
  } catch (...) {  // NOLINT(bugprone-empty-catch): the answer is out, and there is nobody left to tell
  }
}

}  // namespace lrufs::fs::fuse

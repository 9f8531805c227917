// Content. There is no open state: OPEN and FLUSH are answered with ENOSYS once, and not sent again.
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string_view>
#include <vector>

#include "fs/fuse/control_requests.h"
#include "fs/fuse/kill_privileges.h"
#include "fs/fuse/ops_table.h"
#include "fs/fuse/request.h"
#include "store/keys.h"

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using store::Ino;

// A copy_file_range(2) may be short, and callers go on; a worker should not be held for gigabytes.
constexpr std::size_t kMaxCopy = 64UL << 20U;

// What holes read as. Never written, so that all of it is the kernel's one page of zeros.
constexpr std::size_t kZeroBytes = 1UL << 20U;
alignas(4096) char zeros[kZeroBytes];  // NOLINT(cppcoreguidelines-avoid-c-arrays): .bss, no initialiser

void on_open(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* file) {
  handle(req, Op::kOpen, [&](Request& request) {
    if (request.context().connection.zero_message_open) {
      request.fail(ENOSYS);
      return;
    }
    file->keep_cache = 1;
    request.opened(*file);
  });
}

// Sent only for files that were created before the first OPEN, or by kernels that always open.
void on_release(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* /*file*/) {
  handle(req, Op::kRelease, [](Request& request) { request.done(); });
}

void on_flush(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* /*file*/) {
  // What was written is published already: close() has nothing to wait for.
  handle(req, Op::kFlush, [](Request& request) { request.fail(ENOSYS); });
}

// One array for each thread, so that a READ allocates nothing of its own.
std::vector<iovec>& pieces_of_this_thread() {
  thread_local std::vector<iovec> pieces;
  pieces.clear();
  return pieces;
}

void add_pieces(const ReadReply& reply, std::vector<iovec>& pieces) {
  for (const store::Segment& segment : reply.segments) {
    if (segment.data != nullptr) {
      // iovec has no const; writev(2) only reads.
      pieces.push_back({.iov_base = const_cast<std::byte*>(segment.data), .iov_len = segment.length});
      continue;
    }
    for (std::uint64_t left = segment.length; left > 0;) {
      const std::size_t length = std::min<std::uint64_t>(left, kZeroBytes);
      pieces.push_back({.iov_base = zeros, .iov_len = length});
      left -= length;
    }
  }
}

// Under a supervisor: SIGKILL while the kernel copies an answer from pages that are not mapped would end the
// request with an error, and nobody could take over. A page that cannot be read stays unmapped, and fails the
// answer as it would anyway. What lies in a tree page was just read.
void map_pages(const ReadReply& reply) {
  for (const store::Segment& segment : reply.segments) {
    if (segment.data == nullptr) {
      [[maybe_unused]] static const int mapped = ::madvise(zeros, kZeroBytes, MADV_POPULATE_READ);
      continue;
    }
    if (segment.length <= store::kMaxInline) continue;
    const auto begin = reinterpret_cast<std::uintptr_t>(segment.data);
    const std::uintptr_t first = begin / store::kPageSize * store::kPageSize;
    (void)::madvise(reinterpret_cast<void*>(first), begin + segment.length - first, MADV_POPULATE_READ);
  }
}

// A file in more pieces than one system call takes.
void answer_by_copy(Request& request, const ReadReply& reply, const std::vector<iovec>& pieces) {
  std::vector<char> copy;
  copy.reserve(reply.bytes);
  for (const iovec& piece : pieces) {
    const char* data = static_cast<const char*>(piece.iov_base);
    copy.insert(copy.end(), data, data + piece.iov_len);
  }
  if (!request.volume().store().all_readable(reply.segments)) {
    request.context().counters.count_failure();
    request.fail(EIO);
    return;
  }
  request.bytes(copy);
}

void on_read(fuse_req_t req, fuse_ino_t ino, std::size_t size, off_t offset, fuse_file_info* /*file*/) {
  handle(req, Op::kRead, [&](Request& request) {
    if (is_control(ino)) {
      control_read(request, ino, size, offset);
      return;
    }
    // The snapshot in `reply` keeps the pages until the kernel has them, that is, until the answer is out.
    const auto reply = request.volume().read(Ino{ino}, static_cast<std::uint64_t>(offset), size);
    if (!reply) {
      request.fail(reply.error());
      return;
    }
    std::vector<iovec>& pieces = pieces_of_this_thread();
    add_pieces(*reply, pieces);
    if (request.context().link != nullptr) map_pages(*reply);
    if (pieces.size() <= Request::kMaxPieces) {
      // A page that the kernel cannot read from the map fails the answer, and the caller gets EIO.
      if (!request.pieces(pieces) && !request.volume().store().all_readable(reply->segments))
        request.context().counters.count_failure();
    } else {
      answer_by_copy(request, *reply, pieces);
    }
  });
}

// `data` lies in the buffer that the request was read into.
void on_write(fuse_req_t req, fuse_ino_t ino, const char* data, std::size_t size, off_t offset,
              fuse_file_info* file) {
  handle(req, Op::kWrite, [&](Request& request) {
    if (is_control(ino)) {
      control_write(request, ino, std::string_view(data, size));
      return;
    }
    const bool kill = loses_set_id(request, Ino{ino}, asks_to_kill(*file) ? Asked::kYes : Asked::kNo);
    const auto written = request.volume().write(Ino{ino}, static_cast<std::uint64_t>(offset),
                                                std::as_bytes(std::span(data, size)), kill);
    if (kill) tell_lost_set_id(request, Ino{ino});
    if (written) {
      request.written(*written);
    } else {
      request.fail(written.error());
    }
  });
}

void on_fsync(fuse_req_t req, fuse_ino_t ino, int /*datasync*/, fuse_file_info* /*file*/) {
  handle(req, Op::kFsync, [&](Request& request) {
    if (is_control(ino)) {
      request.done();
    } else {
      request.done(request.volume().sync(Ino{ino}));
    }
  });
}

void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length,
                  fuse_file_info* /*file*/) {
  handle(req, Op::kFallocate, [&](Request& request) {
    if (is_control(ino)) {
      request.fail(EOPNOTSUPP);
      return;
    }
    const bool kill = loses_set_id(request, Ino{ino}, Asked::kUnknown);
    const Status done = request.volume().fallocate(Ino{ino}, mode, static_cast<std::uint64_t>(offset),
                                                   static_cast<std::uint64_t>(length), kill);
    if (kill) tell_lost_set_id(request, Ino{ino});
    request.done(done);
  });
}

void on_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, fuse_file_info* /*file*/) {
  handle(req, Op::kLseek, [&](Request& request) {
    if (is_control(ino)) {
      control_seek(request, ino, offset, whence);
      return;
    }
    if (offset < 0) {
      request.fail(ENXIO);
      return;
    }
    const auto found = request.volume().seek(Ino{ino}, static_cast<std::uint64_t>(offset), whence);
    if (found) {
      request.offset(*found);
    } else if (found.error().code == Code::kNotFound) {
      request.fail(ENXIO);  // lseek(2): beyond the end, or no data after it
    } else {
      request.fail(found.error());
    }
  });
}

void on_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_offset, fuse_file_info* /*from_file*/,
                        fuse_ino_t to, off_t to_offset, fuse_file_info* /*to_file*/, std::size_t length,
                        int flags) {
  handle(req, Op::kCopyFileRange, [&](Request& request) {
    if (is_control(from) || is_control(to)) {
      request.fail(EOPNOTSUPP);  // the kernel then reads and writes
      return;
    }
    if (flags != 0) {
      request.fail(EINVAL);
      return;
    }
    const bool kill = loses_set_id(request, Ino{to}, Asked::kUnknown);
    const auto copied =
        request.volume().copy_range(Ino{from}, static_cast<std::uint64_t>(from_offset), Ino{to},
                                    static_cast<std::uint64_t>(to_offset), std::min(length, kMaxCopy), kill);
    if (kill) tell_lost_set_id(request, Ino{to});
    if (copied) {
      request.written(*copied);
    } else {
      request.fail(copied.error());
    }
  });
}

}  // namespace

void add_data_operations(fuse_lowlevel_ops& table) {
  table.open = on_open;
  table.release = on_release;
  table.flush = on_flush;
  table.read = on_read;
  table.write = on_write;
  table.fsync = on_fsync;
  table.fallocate = on_fallocate;
  table.lseek = on_lseek;
  table.copy_file_range = on_copy_file_range;
}

}  // namespace lrufs::fs::fuse

// Names: lookup and forget, what makes objects, and what changes where they are.
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <span>

#include "fs/fuse/ops_table.h"
#include "fs/fuse/request.h"
#include "fs/fuse/tmpfile_request.h"

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using store::Ino;

void on_lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  handle(req, Op::kLookup, [&](Request& request) {
    const auto inode = request.volume().lookup(Ino{parent}, name);
    if (inode) {
      request.entry(*inode);
    } else if (inode.error().code == Code::kNotFound) {
      request.absent();
    } else {
      request.fail(inode.error());
    }
  });
}

void on_forget(fuse_req_t req, fuse_ino_t ino, std::uint64_t count) {
  handle(req, Op::kForget, [&](Request& request) {
    // First: nobody waits for it, and it must have an end even if the volume fails.
    request.volume().forget(Ino{ino}, count);
    request.no_answer();
  });
}

void on_forget_multi(fuse_req_t req, std::size_t count, fuse_forget_data* forgets) {
  handle(req, Op::kBatchForget, [&](Request& request) {
    for (const fuse_forget_data& forget : std::span(forgets, count)) {
      request.volume().forget(Ino{forget.ino}, forget.nlookup);
    }
    request.no_answer();
  });
}

void make(fuse_req_t req, Op op, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  handle(req, op, [&](Request& request) {
    const auto inode = request.volume().make(Ino{parent}, name, mode, rdev, request.caller());
    if (inode) {
      request.entry(*inode);
    } else {
      request.fail(inode.error());
    }
  });
}

void on_mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  make(req, Op::kMknod, parent, name, mode, rdev);
}

void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  make(req, Op::kMkdir, parent, name, (mode & ~static_cast<mode_t>(S_IFMT)) | S_IFDIR, 0);
}

void on_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, fuse_file_info* file) {
  handle(req, Op::kTmpfile, [&](Request& request) {
    const auto inode = request.volume().tmpfile(Ino{parent}, mode, request.caller());
    if (inode) {
      file->fh = 0;
      file->keep_cache = 1;
      request.created(*inode, *file);
    } else {
      request.fail(inode.error());
    }
  });
}

void on_symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  handle(req, Op::kSymlink, [&](Request& request) {
    const auto inode = request.volume().symlink(Ino{parent}, name, target, request.caller());
    if (inode) {
      request.entry(*inode);
    } else {
      request.fail(inode.error());
    }
  });
}

void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char* new_name) {
  handle(req, Op::kLink, [&](Request& request) {
    const auto inode = request.volume().link(Ino{ino}, Ino{new_parent}, new_name);
    if (inode) {
      request.entry(*inode);
    } else {
      request.fail(inode.error());
    }
  });
}

void on_unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  handle(req, Op::kUnlink,
         [&](Request& request) { request.done(request.volume().unlink(Ino{parent}, name)); });
}

void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
  handle(req, Op::kRmdir, [&](Request& request) { request.done(request.volume().rmdir(Ino{parent}, name)); });
}

void on_rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
               const char* new_name, unsigned flags) {
  handle(req, Op::kRename, [&](Request& request) {
    RenameMode mode = RenameMode::kReplace;
    switch (flags) {
      case 0:
        break;
      case RENAME_NOREPLACE:
        mode = RenameMode::kNoReplace;
        break;
      case RENAME_EXCHANGE:
        mode = RenameMode::kExchange;
        break;
      case RENAME_WHITEOUT:
        mode = RenameMode::kWhiteout;
        break;
      case RENAME_NOREPLACE | RENAME_WHITEOUT:
        mode = RenameMode::kNoReplaceWhiteout;
        break;
      default:
        request.fail(EINVAL);
        return;
    }
    request.done(
        request.volume().rename(Ino{parent}, name, Ino{new_parent}, new_name, mode, request.caller()));
  });
}

// No CREATE: the kernel then sends MKNOD, and opens without a request. After CREATE it would send a RELEASE.
[[maybe_unused]] void on_create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
                                fuse_file_info* file) {
  if (name == kNoName) {
    on_tmpfile(req, parent, mode, file);
  } else {
    fuse_reply_err(req, ENOSYS);
  }
}

template <typename Table>
void add_tmpfile(Table& table) {
  if constexpr (knows_tmpfile<Table>()) {
    table.tmpfile = on_tmpfile;
  } else {
    table.create = on_create;  // see tmpfile_request.h
  }
}

}  // namespace

void add_name_operations(fuse_lowlevel_ops& table) {
  table.lookup = on_lookup;
  table.forget = on_forget;
  table.forget_multi = on_forget_multi;
  table.mknod = on_mknod;
  table.mkdir = on_mkdir;
  table.symlink = on_symlink;
  table.link = on_link;
  table.unlink = on_unlink;
  table.rmdir = on_rmdir;
  table.rename = on_rename;
  add_tmpfile(table);
}

}  // namespace lrufs::fs::fuse

// Names: lookup and forget, what makes objects, and what changes where they are.
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <span>

#include "fs/fuse/control_requests.h"
#include "fs/fuse/ops_table.h"
#include "fs/fuse/request.h"
#include "fs/fuse/tmpfile_request.h"

namespace lrufs::fs::fuse {
namespace {

using store::Code;
using store::Ino;

void count_lookup(Request& request, LookupLedger::Found found, fuse_ino_t parent, const char* name) {
  const auto thread = static_cast<std::uint32_t>(request.caller_pid());
  request.context().counters.lookups().looked_up(found, parent, name, thread, request.started());
}
// A lookup of this name just before was no question of whether it is there.
void count_change(Request& request, fuse_ino_t parent, const char* name) {
  const auto thread = static_cast<std::uint32_t>(request.caller_pid());
  request.context().counters.lookups().changed(parent, name, thread, request.started());
}

// What makes, removes or moves a name: false if it may not.
bool may_change(Request& request, fuse_ino_t parent, const char* name) {
  if (control_refuses(request, parent, name)) return false;
  count_change(request, parent, name);
  return true;
}

void on_lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  handle(req, Op::kLookup, [&](Request& request) {
    if (is_control(parent) || names_control(request, parent, name)) {
      control_lookup(request, parent, name);
      return;
    }
    const auto inode = request.volume().lookup(Ino{parent}, name);
    if (inode) {
      if (inode->is_regular()) count_lookup(request, LookupLedger::Found::kFile, parent, name);
      request.entry(*inode);
    } else if (inode.error().code == Code::kNotFound) {
      count_lookup(request, LookupLedger::Found::kNothing, parent, name);
      request.absent();
    } else {
      request.fail(inode.error());
    }
  });
}

void forget_one(Request& request, fuse_ino_t ino, std::uint64_t count) {
  if (is_control(ino)) {
    control_forget(request.context(), ino);
  } else {
    request.volume().forget(Ino{ino}, count);
  }
}

void on_forget(fuse_req_t req, fuse_ino_t ino, std::uint64_t count) {
  handle(req, Op::kForget, [&](Request& request) {
    // First: nobody waits for it, and it must have an end even if the volume fails.
    forget_one(request, ino, count);
    request.no_answer();
  });
}

void on_forget_multi(fuse_req_t req, std::size_t count, fuse_forget_data* forgets) {
  handle(req, Op::kBatchForget, [&](Request& request) {
    for (const fuse_forget_data& forget : std::span(forgets, count)) {
      forget_one(request, forget.ino, forget.nlookup);
    }
    request.no_answer();
  });
}

void make(fuse_req_t req, Op op, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  handle(req, op, [&](Request& request) {
    if (!may_change(request, parent, name)) return;
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
    if (is_control(parent)) {
      request.fail(EPERM);
      return;
    }
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
    if (!may_change(request, parent, name)) return;
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
    if (is_control(ino)) {
      request.fail(EPERM);
      return;
    }
    if (!may_change(request, new_parent, new_name)) return;
    const auto inode = request.volume().link(Ino{ino}, Ino{new_parent}, new_name);
    if (inode) {
      request.entry(*inode);
    } else {
      request.fail(inode.error());
    }
  });
}

void on_unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  handle(req, Op::kUnlink, [&](Request& request) {
    if (may_change(request, parent, name)) request.done(request.volume().unlink(Ino{parent}, name));
  });
}

void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
  handle(req, Op::kRmdir, [&](Request& request) {
    if (may_change(request, parent, name)) request.done(request.volume().rmdir(Ino{parent}, name));
  });
}

void on_rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
               const char* new_name, unsigned flags) {
  handle(req, Op::kRename, [&](Request& request) {
    if (control_refuses_rename(request, parent, name, new_parent, new_name)) return;
    count_change(request, parent, name);
    count_change(request, new_parent, new_name);
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

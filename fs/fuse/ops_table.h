// The callbacks of libfuse, by family; each is a thin adapter: translate, call the volume, answer. They are
// found in ops_names.cc, ops_attr.cc, ops_data.cc, ops_dir.cc and ops_xattr.cc. The userdata of the session
// is a Context.
#pragma once

#include "fs/fuse/fuse_api.h"

namespace lrufs::fs::fuse {

// All of them, for fuse_session_new(). What is missing on purpose: access (default_permissions), ioctl, bmap,
// poll, locks (the kernel's are right).
fuse_lowlevel_ops operation_table();

// Each family fills in its own.
void add_name_operations(fuse_lowlevel_ops& table);  // lookup, forget, create, mknod, …, rename, link, unlink
void add_attr_operations(fuse_lowlevel_ops& table);  // getattr, setattr, readlink, statfs
void add_data_operations(
    fuse_lowlevel_ops& table);  // open, read, write, fsync, fallocate, lseek, copy_file_range
void add_dir_operations(fuse_lowlevel_ops& table);    // opendir, readdir, readdirplus, fsyncdir
void add_xattr_operations(fuse_lowlevel_ops& table);  // getxattr, setxattr, listxattr, removexattr

}  // namespace lrufs::fs::fuse

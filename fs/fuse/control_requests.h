// Requests that concern the control folder: each adapter asks here first, and goes on if the answer is false.
// For all other requests that costs a comparison of numbers.
//
// The folder is found by its name in the root and not listed there. It cannot be changed: making, removing
// and linking in it is EPERM, moving or removing itself EBUSY, writing to what is only read EACCES (root,
// too, as in sysfs).
//
// Thread-safety: any thread, on a request that it owns.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <string_view>

#include "fs/fuse/control_inode.h"
#include "fs/fuse/fuse_api.h"
#include "fs/fuse/request.h"

namespace lrufs::fs::fuse {

// Is it the folder's own name?
inline bool names_control(Request& request, fuse_ino_t parent, const char* name) {
  return parent == FUSE_ROOT_ID && name[0] == '.' && name == kControlName &&
         request.context().control != nullptr;
}

void control_lookup(Request& request, fuse_ino_t parent, std::string_view name);
void control_getattr(Request& request, fuse_ino_t ino);
void control_setattr(Request& request, fuse_ino_t ino, const struct stat& attr, int valid);
void control_read(Request& request, fuse_ino_t ino, std::size_t size, off_t offset);
void control_write(Request& request, fuse_ino_t ino, std::string_view data);
void control_seek(Request& request, fuse_ino_t ino, off_t offset, int whence);
void control_readdir(Request& request, fuse_ino_t ino, std::size_t size, off_t offset, bool plus);
void control_forget(Context& context, fuse_ino_t ino);

// True: answered. `parent` and `name` are of what is to be made, removed or moved.
bool control_refuses(Request& request, fuse_ino_t parent, const char* name);
bool control_refuses_rename(Request& request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
                            const char* new_name);

}  // namespace lrufs::fs::fuse

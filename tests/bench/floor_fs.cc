// The floor of the protocol: the least that a FUSE file system can do, so that what is left above it is the
// store's. Files in memory, one lock, no permissions of its own, no errors that a benchmark does not meet.
// Asks the kernel for the same as lrufs does, so that the same requests come.
//
//     floor_fs single|pool|ours|spread|alone|close MOUNT_POINT [OPTIONS OF FUSE]
//
// single and pool are libfuse's own loops, ours is the one of lrufs, spread, alone and close are ours with
// the option placement. Runs in the foreground until unmounted.
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fs/fuse/fuse_api.h"
#include "fs/fuse/init.h"
#include "fs/fuse/init_exchange.h"
#include "fs/fuse/worker_pool.h"

namespace {

using namespace lrufs::fs::fuse;

constexpr double kDay = 86400;
constexpr double kName = 10;  // as lrufs's --recency

struct Node {
  struct stat attr {};
  std::string data;
  std::map<std::string, fuse_ino_t> names;
};

std::mutex mutex;
std::unordered_map<fuse_ino_t, Node> nodes;  // never removed: a benchmark ends
fuse_ino_t last_ino = FUSE_ROOT_ID;
Connection connection;

using Lock = std::lock_guard<std::mutex>;

void on_init(void* /*userdata*/, fuse_conn_info* conn) {
  MountOptions options;
  connection = negotiate(options, *conn);
}

void answer_entry(fuse_req_t req, fuse_ino_t ino) {
  fuse_entry_param entry{};
  entry.ino = ino;
  entry.attr_timeout = kDay;
  entry.entry_timeout = ino == 0 ? kDay : kName;
  if (ino != 0) entry.attr = nodes[ino].attr;
  fuse_reply_entry(req, &entry);
}

void on_lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  const Lock lock(mutex);
  const auto& names = nodes[parent].names;
  const auto found = names.find(name);
  answer_entry(req, found == names.end() ? 0 : found->second);
}

void on_getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info* /*file*/) {
  const Lock lock(mutex);
  fuse_reply_attr(req, &nodes[ino].attr, kDay);
}

void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat* attr, int what, fuse_file_info* /*file*/) {
  const Lock lock(mutex);
  Node& node = nodes[ino];
  if ((what & FUSE_SET_ATTR_SIZE) != 0) node.data.resize(static_cast<size_t>(attr->st_size));
  node.attr.st_size = static_cast<off_t>(node.data.size());
  if ((what & FUSE_SET_ATTR_MODE) != 0) node.attr.st_mode = attr->st_mode;
  fuse_reply_attr(req, &node.attr, kDay);
}

void on_mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t /*rdev*/) {
  const Lock lock(mutex);
  Node& node = nodes[++last_ino];
  node.attr.st_ino = last_ino;
  node.attr.st_mode = mode;
  node.attr.st_nlink = 1;
  nodes[parent].names[name] = last_ino;
  answer_entry(req, last_ino);
}

void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  on_mknod(req, parent, name, (mode & 07777U) | S_IFDIR, 0);
}

void on_unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  const Lock lock(mutex);
  fuse_reply_err(req, nodes[parent].names.erase(name) != 0 ? 0 : ENOENT);
}

void on_rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
               const char* new_name, unsigned /*flags*/) {
  const Lock lock(mutex);
  nodes[new_parent].names[new_name] = nodes[parent].names[name];
  nodes[parent].names.erase(name);
  fuse_reply_err(req, 0);
}

// OPEN, OPENDIR and FLUSH: the kernel does not ask again.
void on_open(fuse_req_t req, fuse_ino_t /*ino*/, fuse_file_info* /*file*/) { fuse_reply_err(req, ENOSYS); }

void on_fsync(fuse_req_t req, fuse_ino_t /*ino*/, int /*datasync*/, fuse_file_info* /*file*/) {
  fuse_reply_err(req, 0);
}

void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* /*file*/) {
  const Lock lock(mutex);
  const std::string& data = nodes[ino].data;
  const size_t from = std::min(static_cast<size_t>(offset), data.size());
  fuse_reply_buf(req, data.data() + from, std::min(size, data.size() - from));
}

void on_write(fuse_req_t req, fuse_ino_t ino, const char* from, size_t size, off_t offset,
              fuse_file_info* /*file*/) {
  const Lock lock(mutex);
  Node& node = nodes[ino];
  const size_t at = static_cast<size_t>(offset);
  if (node.data.size() < at + size) node.data.resize(at + size);
  std::memcpy(node.data.data() + at, from, size);
  node.attr.st_size = static_cast<off_t>(node.data.size());
  fuse_reply_write(req, size);
}

void on_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* /*file*/) {
  const Lock lock(mutex);
  std::vector<char> buffer(size);
  size_t used = 0;
  off_t position = 0;
  for (const auto& [name, child] : nodes[ino].names) {
    if (position++ < offset) continue;
    fuse_entry_param entry{};
    entry.ino = child;
    entry.attr = nodes[child].attr;
    entry.attr_timeout = kDay;
    entry.entry_timeout = kName;
    const size_t needs =
        fuse_add_direntry_plus(req, buffer.data() + used, size - used, name.c_str(), &entry, position);
    if (needs > size - used) break;
    used += needs;
  }
  fuse_reply_buf(req, buffer.data(), used);
}

void on_getxattr(fuse_req_t req, fuse_ino_t /*ino*/, const char* /*name*/, size_t /*size*/) {
  fuse_reply_err(req, ENODATA);
}

fuse_lowlevel_ops operations() {
  fuse_lowlevel_ops table{};
  table.init = on_init;
  table.lookup = on_lookup;
  table.getattr = on_getattr;
  table.setattr = on_setattr;
  table.mknod = on_mknod;
  table.mkdir = on_mkdir;
  table.unlink = on_unlink;
  table.rmdir = on_unlink;
  table.rename = on_rename;
  table.open = on_open;
  table.opendir = on_open;
  table.flush = on_open;
  table.fsync = on_fsync;
  table.read = on_read;
  table.write = on_write;
  table.readdirplus = on_readdirplus;
  table.getxattr = on_getxattr;
  return table;
}

int run_ours(fuse_session* session, Placement::Wish wish) {
  const int never = ::eventfd(0, EFD_CLOEXEC);
  if (!exchange_init(session, connection, {never, never})) return 1;
  WorkerPool pool(session, connection.max_write, wish);
  if (!pool.start(WorkerPool::default_threads())) return 1;
  return pool.wait() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4) {
    std::fprintf(stderr,
                 "usage: floor_fs single|pool|ours|spread|alone|close MOUNT_POINT [OPTIONS OF FUSE]\n");
    return 2;
  }
  const std::string_view loop = argv[1];
  nodes[FUSE_ROOT_ID].attr.st_mode = S_IFDIR | 0755;
  nodes[FUSE_ROOT_ID].attr.st_ino = FUSE_ROOT_ID;
  nodes[FUSE_ROOT_ID].attr.st_nlink = 2;

  fuse_args arguments = FUSE_ARGS_INIT(0, nullptr);
  fuse_opt_add_arg(&arguments, "floor_fs");
  fuse_opt_add_arg(&arguments, "-odefault_permissions,fsname=floor,subtype=floor");
  if (argc == 4) fuse_opt_add_arg(&arguments, (std::string("-o") + argv[3]).c_str());
  const fuse_lowlevel_ops table = operations();
  fuse_session* const session = fuse_session_new(&arguments, &table, sizeof table, nullptr);
  if (session == nullptr || fuse_session_mount(session, argv[2]) != 0) return 1;
  int result = 0;
  if (loop == "ours") {
    result = run_ours(session, Placement::Wish::kAuto);
  } else if (loop == "spread") {
    result = run_ours(session, Placement::Wish::kSpread);
  } else if (loop == "alone") {
    result = run_ours(session, Placement::Wish::kAlone);
  } else if (loop == "close") {
    result = run_ours(session, Placement::Wish::kClose);
  } else if (loop == "single") {
    result = fuse_session_loop(session);
  } else {
    fuse_loop_config* const config = fuse_loop_cfg_create();
    result = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
  }
  fuse_session_unmount(session);
  fuse_session_destroy(session);
  fuse_opt_free_args(&arguments);
  return result == 0 ? 0 : 1;
}

#include "fs/fuse/ops_table.h"

#include "fs/fuse/context.h"
#include "fs/fuse/init.h"

namespace lrufs::fs::fuse {
namespace {

void on_init(void* userdata, fuse_conn_info* connection) {
  auto& context = *static_cast<Context*>(userdata);
  context.connection = negotiate(context.options, *connection);
}

}  // namespace

fuse_lowlevel_ops operation_table() {
  fuse_lowlevel_ops table{};
  table.init = on_init;
  add_name_operations(table);
  add_attr_operations(table);
  add_data_operations(table);
  add_dir_operations(table);
  add_xattr_operations(table);
  return table;
}

}  // namespace lrufs::fs::fuse

#include "store/copy_store.h"

#include <sys/stat.h>

#include <cerrno>

#include "store/copier.h"
#include "store/salvage.h"
#include "store/store_impl.h"
#include "store/unfinished_file.h"

namespace lrufs::store {

namespace {

std::string first_of(const std::vector<std::string>& paths) {
  return paths.front() +
         (paths.size() == 1 ? std::string() : " and " + std::to_string(paths.size() - 1) + " more");
}

Result<CopyStoreReport> fill(StoreImpl& from, const std::string& to, const CopyStoreOptions& options) {
  const auto state = from.snapshot(Snapshot::Kind::kFull);
  const Salvage all = salvage(state.view());
  if (!all.dropped.empty() || all.found != 0)
    return fail(Code::kCorrupt, from.path + " is damaged" +
                                    (all.dropped.empty() ? "" : ", at " + first_of(all.dropped)) +
                                    ": keep what is whole with lrufs check --repair, then copy it");
  Options target_options;
  target_options.bound = options.bound.value_or(from.options.bound);
  target_options.sync = Options::Sync::kUnmount;
  target_options.background = false;
  target_options.file_ops = options.file_ops;
  target_options.name_hash_mask = options.name_hash_mask;
  bool disk_is_full = false;
  target_options.on_event = [&](Options::Severity severity, const std::string& /*text*/) {
    disk_is_full = disk_is_full || severity == Options::Severity::kWarning;  // it could not grow
  };
  LRUFS_TRY_ASSIGN(const auto store, Store::open(to, target_options));
  std::uint64_t bytes = 0;
  for (const SalvagedObject& object : all.objects) bytes += object.inode.size;
  const auto progress = [&](std::uint64_t done) -> Status {
    if (disk_is_full) return fail(Code::kNoSpace);
    if (options.on_progress && !options.on_progress(done, bytes))
      return fail(Code::kIo, "interrupted", EINTR);
    return {};
  };
  const Result<CopyReport> copied =
      copy_objects({state.view(), *from.ops, from.fd, progress}, all.objects, *store);
  if (disk_is_full)
    return fail(Code::kNoSpace, "the disk is full: there is no room for the copy. Nothing was left behind",
                ENOSPC);
  LRUFS_TRY(copied);
  if (!copied->dropped.empty()) {
    std::vector<std::string> paths;
    for (const Ino ino : copied->dropped)
      paths.push_back(state.view().path_of(ino).value_or("inode " + std::to_string(raw(ino))));
    return fail(Code::kIo, first_of(paths) + " could not be read, so " + from.path + " was not copied", EIO);
  }
  CopyStoreReport report;
  const Statistics statistics = store->statistics();
  report.files = statistics.files;
  report.directories = statistics.directories;
  report.evicted = statistics.evicted_objects;
  report.content_bytes = statistics.content_bytes;
  report.bound_bytes = statistics.bound_bytes;
  report.file_bytes = statistics.file_bytes;
  LRUFS_TRY(store->close());
  return report;
}

}  // namespace

Result<CopyStoreReport> copy_store(const std::string& from, const std::string& to,
                                   const CopyStoreOptions& options) {
  struct stat there {};
  if (::lstat(to.c_str(), &there) == 0)
    return fail(Code::kExists, to + " exists already: nothing was changed", EEXIST);
  if (options.bound && *options.bound < kMinBound)
    return fail(Code::kBoundTooSmall, "a store needs at least " + std::to_string(kMinBound) + " bytes (" +
                                          std::to_string(kMinBound >> 20U) + "M)");
  Options open_options = as_it_lies(options.from_checkpoint, options.file_ops, options.name_hash_mask);
  open_options.shared = true;
  StoreImpl source(from, open_options);
  LRUFS_TRY(source.open());
  LRUFS_TRY_ASSIGN(UnfinishedFile file, UnfinishedFile::beside(to, "copy"));
  LRUFS_TRY_ASSIGN(const CopyStoreReport report, fill(source, file.path(), options));
  LRUFS_TRY(file.finish(false));
  LRUFS_TRY(source.close());
  return report;
}

}  // namespace lrufs::store

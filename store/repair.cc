#include "store/repair.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "store/check.h"
#include "store/copier.h"
#include "store/damage_mark.h"
#include "store/salvage.h"
#include "store/store_impl.h"
#include "store/unfinished_file.h"

namespace lrufs::store {

namespace {

// Who may read it, and whose it is, stays as it was; where that is not allowed it is the caller's.
void take_owner_and_mode(const std::string& from, const std::string& to) {
  struct stat old {};
  if (::stat(from.c_str(), &old) == 0 && ::chown(to.c_str(), old.st_uid, old.st_gid) == 0)
    (void)::chmod(to.c_str(), old.st_mode & 07777U);
}

Status check_room(const std::string& path, const Salvage& kept) {
  constexpr std::uint64_t kRecords = 1024;  // bytes of tree an object may need, with room to spare
  std::uint64_t needed = 2U << 20U;
  for (const SalvagedObject& object : kept.objects) needed += object.inode.pages * kPageSize + kRecords;
  struct statvfs disk {};
  if (::statvfs(path.c_str(), &disk) != 0) return {};
  const std::uint64_t available = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  if (available >= needed) return {};
  return fail(Code::kNoSpace, "a repair writes a second file beside " + path + ", which needs about " +
                                  std::to_string(needed >> 20U) + " MiB; the disk has " +
                                  std::to_string(available >> 20U) + " MiB. Nothing was changed");
}

// Copies all that is kept into a new store at `target`, closed at the end.
Status fill(const CopySource& from, const Salvage& kept, const Options& options, const std::string& target,
            RepairReport& report) {
  Options target_options;
  target_options.bound = options.bound;
  target_options.sync = Options::Sync::kUnmount;
  target_options.background = false;
  target_options.file_ops = options.file_ops;
  target_options.name_hash_mask = options.name_hash_mask;
  bool disk_is_full = false;
  std::vector<std::string> evicted;
  target_options.on_event = [&](Options::Severity severity, const std::string& /*text*/) {
    disk_is_full = disk_is_full || severity == Options::Severity::kWarning;  // it could not grow
  };
  target_options.on_evict = [&](const std::vector<Evicted>& gone) {
    for (const Evicted& each : gone) evicted.push_back(each.name + " (no room)");
  };
  LRUFS_TRY_ASSIGN(const auto store, Store::open(target, target_options));
  const Result<CopyReport> copied = copy_objects(from, kept.objects, *store);
  const Statistics statistics = store->statistics();
  // Before other errors: what was evicted for want of room is missed later.
  if (disk_is_full)
    return fail(Code::kNoSpace,
                "the disk is full: there is no room for a second file beside the store. "
                "Nothing was changed");
  LRUFS_TRY(copied);
  LRUFS_TRY(store->close());
  report.files = statistics.files;
  report.directories = statistics.directories;
  for (const Ino ino : copied->dropped) {
    const auto path = from.view.path_of(ino);
    report.dropped.push_back(path ? *path : "inode " + std::to_string(raw(ino)));
  }
  report.dropped.insert(report.dropped.end(), evicted.begin(), evicted.end());
  return {};
}

Status expect_sound(const std::string& path, const Options& options) {
  LRUFS_TRY_ASSIGN(const CheckReport report, check_file(path, {.file_ops = options.file_ops,
                                                               .name_hash_mask = options.name_hash_mask}));
  if (report.clean()) return {};
  return fail(Code::kCorrupt, "the repaired store is not sound (" + report.findings.front().message +
                                  "). Nothing was changed");
}

}  // namespace

Result<RepairReport> repair_file(const std::string& path, const RepairOptions& options) {
  Options open_options = as_it_lies(options.from_checkpoint, options.file_ops, options.name_hash_mask);
  open_options.exclusive = true;
  StoreImpl old(path, open_options);
  LRUFS_TRY(old.open());
  RepairReport report;
  report.opened_from = old.opened_from;
  const CheckReport checked = check_store(old);
  if (checked.clean()) {
    report.was_sound = true;
    report.files = checked.files;
    report.directories = checked.directories;
    LRUFS_TRY(old.close());
    LRUFS_TRY(mark_damaged(path, false, options.file_ops));
    return report;
  }
  const auto state = old.snapshot(Snapshot::Kind::kFull);
  const Salvage kept = salvage(state.view());
  report.found = kept.found;
  report.dropped = kept.dropped;
  LRUFS_TRY(check_room(path, kept));
  LRUFS_TRY_ASSIGN(UnfinishedFile file, UnfinishedFile::beside(path, "repair"));
  LRUFS_TRY(fill({state.view(), *old.ops, old.fd}, kept, old.options, file.path(), report));
  LRUFS_TRY(expect_sound(file.path(), old.options));
  take_owner_and_mode(path, file.path());
  LRUFS_TRY(file.finish(true, old.ops.get()));
  return report;
}

}  // namespace lrufs::store

#include "tests/support/power_cut_file_ops.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <stdexcept>
#include <utility>

namespace lrufs::test {

using store::kPageSize;
using store::Result;
using store::Status;

namespace {

constexpr std::size_t kSector = 512;

void write_file(const std::string& path, const std::vector<std::byte>& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(content.data()), static_cast<std::streamsize>(content.size()));
  file.close();
  if (!file) throw std::runtime_error("cannot write the image " + path);
}

}  // namespace

const char* PowerCutFileOps::name(Moment moment) {
  switch (moment) {
    case Moment::kBeforeSyncAll:
      return "before the sync of all";
    case Moment::kDuringSyncAll:
      return "during the sync of all";
    case Moment::kAfterSyncAll:
      return "after the sync of all";
    case Moment::kBeforeSyncRange:
      return "before the sync of the meta";
    case Moment::kDuringSyncRange:
      return "during the sync of the meta";
    case Moment::kAfterSyncRange:
      return "after the sync of the meta";
  }
  return "";
}

PowerCutFileOps::PowerCutFileOps(std::shared_ptr<store::FileOps> under)
    : ForwardingFileOps(std::move(under)) {}

PowerCutFileOps::Content PowerCutFileOps::read_now() const {
  std::ifstream file(path_, std::ios::binary);
  Content content(std::filesystem::file_size(path_));
  file.read(reinterpret_cast<char*>(content.data()), static_cast<std::streamsize>(content.size()));
  if (!file) throw std::runtime_error("cannot read " + path_);
  return content;
}

Result<int> PowerCutFileOps::open(const std::string& path, bool create, bool read_only) {
  LRUFS_TRY_ASSIGN(const int fd, under_->open(path, create, read_only));
  const std::lock_guard lock(mutex_);
  if (!known_ || path_ != path) {
    // What is there when it is opened first counts as old.
    path_ = path;
    durable_ = read_now();
    known_ = true;
  }
  return fd;
}

Status PowerCutFileOps::sync_all(int fd, std::byte* base, std::uint64_t bytes) {
  tell(Moment::kBeforeSyncAll);
  Content covered;
  {
    const std::lock_guard lock(mutex_);
    covered = read_now();
  }
  tell(Moment::kDuringSyncAll);
  LRUFS_TRY(under_->sync_all(fd, base, bytes));
  {
    const std::lock_guard lock(mutex_);
    durable_ = std::move(covered);
    ++syncs_;
  }
  tell(Moment::kAfterSyncAll);
  return {};
}

Status PowerCutFileOps::sync_range(int fd, std::byte* base, std::uint64_t offset, std::uint64_t length) {
  tell(Moment::kBeforeSyncRange);
  Content covered;
  {
    const std::lock_guard lock(mutex_);
    covered = read_now();
  }
  tell(Moment::kDuringSyncRange);
  LRUFS_TRY(under_->sync_range(fd, base, offset, length));
  {
    const std::lock_guard lock(mutex_);
    // Whole pages, but no new length of the file.
    const std::size_t end = std::min(
        {(offset + length + kPageSize - 1) / kPageSize * kPageSize, covered.size(), durable_.size()});
    for (std::size_t at = offset / kPageSize * kPageSize; at < end; ++at) durable_[at] = covered[at];
    ++syncs_;
  }
  tell(Moment::kAfterSyncRange);
  return {};
}

std::string PowerCutFileOps::make_image(std::uint64_t seed, const std::string& path) {
  std::mt19937_64 random(seed);
  const auto below = [&](std::uint64_t limit) {
    return std::uniform_int_distribution<std::uint64_t>(0, limit - 1)(random);
  };
  const std::lock_guard lock(mutex_);
  const Content now = read_now();

  // The file's length: old, new, or somewhere between.
  std::size_t size = durable_.size();
  if (now.size() != durable_.size()) {
    const std::size_t low = std::min(now.size(), durable_.size());
    const std::size_t high = std::max(now.size(), durable_.size());
    const std::uint64_t choice = below(4);
    size = choice == 0   ? durable_.size()
           : choice == 1 ? now.size()
                         : low + below((high - low) / kPageSize + 1) * kPageSize;
  }
  Content image = durable_;
  image.resize(size);

  std::vector<std::size_t> changed;  // pages
  for (std::size_t at = 0; at < std::min(size, now.size()); at += kPageSize) {
    const std::size_t length = std::min({kPageSize, size - at, now.size() - at});
    if (std::memcmp(image.data() + at, now.data() + at, length) != 0) changed.push_back(at / kPageSize);
  }
  // How many of them reach the disk: extremes are as likely as the middle.
  static constexpr const char* kPlans[] = {"none",
                                           "all",
                                           "half",
                                           "all but one",
                                           "one alone",
                                           "few",
                                           "most",
                                           "metas, few others",
                                           "others, no metas",
                                           "low pages first",
                                           "high pages first"};
  const std::uint64_t plan = below(std::size(kPlans));
  const std::size_t picked = changed.empty() ? 0 : changed[below(changed.size())];
  const unsigned torn_percent = std::array{0U, 10U, 50U}[below(3)];
  std::size_t kept = 0;
  std::size_t torn = 0;
  for (const std::size_t page : changed) {
    const bool meta = page < 4;
    bool keep = false;
    switch (plan) {
      case 0:
        break;
      case 1:
        keep = true;
        break;
      case 2:
        keep = below(2) == 0;
        break;
      case 3:
        keep = page != picked;
        break;
      case 4:
        keep = page == picked;
        break;
      case 5:
        keep = below(10) == 0;
        break;
      case 6:
        keep = below(10) != 0;
        break;
      case 7:
        keep = meta || below(10) == 0;
        break;
      case 8:
        keep = !meta && below(10) != 0;
        break;
      case 9:
        keep = page <= picked;
        break;
      default:
        keep = page >= picked;
        break;
    }
    if (!keep) continue;
    ++kept;
    const std::size_t at = page * kPageSize;
    const std::size_t length = std::min({kPageSize, size - at, now.size() - at});
    const bool tear = below(100) < torn_percent;
    if (tear) ++torn;
    for (std::size_t sector = 0; sector < length; sector += kSector) {
      if (tear && below(2) == 0) continue;
      std::memcpy(image.data() + at + sector, now.data() + at + sector, std::min(kSector, length - sector));
    }
  }
  write_file(path, image);
  return std::string(kPlans[plan]) + ": " + std::to_string(kept) + " of " + std::to_string(changed.size()) +
         " changed pages, " + std::to_string(torn) + " torn, " + std::to_string(size) + " bytes (" +
         std::to_string(durable_.size()) + " durable, " + std::to_string(now.size()) + " now)";
}

void PowerCutFileOps::make_durable_image(const std::string& path) {
  const std::lock_guard lock(mutex_);
  write_file(path, durable_);
}

void PowerCutFileOps::make_current_image(const std::string& path) {
  const std::lock_guard lock(mutex_);
  write_file(path, read_now());
}

}  // namespace lrufs::test

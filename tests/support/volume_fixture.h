// VolumeTest: a volume on a fresh store file for each test. Teardown closes it and checks the whole file.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/volume.h"
#include "store/check.h"
#include "tests/support/temp_dir.h"

namespace lrufs::test {

// "ok", or the name of the error's code: EXPECT_EQ(outcome(volume().unlink(dir, "a")), "not_found").
template <typename T>
std::string outcome(const store::Result<T>& result) {
  return result ? "ok" : std::string(store::code_name(result.error().code));
}

inline store::Bytes bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class VolumeTest : public ::testing::Test {
 protected:
  static constexpr fs::Ino kRoot = store::kRootIno;
  // What setattr() below gives objects, so that a time that was set to now shows.
  static constexpr fs::Timestamp kLongAgo{.sec = 1'000'000, .nsec = 5};

  VolumeTest() {
    store_options_.bound = 64U << 20U;
    store_options_.background = false;
  }
  void SetUp() override { open(); }
  void TearDown() override {
    close();
    check();
  }

  void open() {
    auto opened = fs::Volume::open(path(), store_options_, volume_options_,
                                   [this](const std::vector<store::Evicted>& evicted) {
                                     const std::lock_guard lock(removed_mutex_);
                                     removed_.insert(removed_.end(), evicted.begin(), evicted.end());
                                   });
    ASSERT_TRUE(opened) << store::describe(opened.error());
    volume_ = *std::move(opened);
  }
  void close() {
    if (volume_ == nullptr) return;
    const auto closed = volume_->close();
    EXPECT_TRUE(closed) << store::describe(closed.error());
    volume_.reset();
  }
  void reopen() {
    close();
    open();
  }

  [[nodiscard]] std::string path() const { return dir_.file("store.lrufs"); }
  fs::Volume& volume() { return *volume_; }

  // --- short forms, for what a test does not test ---
  fs::Inode file(fs::Ino parent, std::string_view name, std::uint32_t mode = 0644) {
    return value(volume().make(parent, name, S_IFREG | mode, 0, caller_));
  }
  fs::Inode folder(fs::Ino parent, std::string_view name, std::uint32_t mode = 0755) {
    return value(volume().make(parent, name, S_IFDIR | mode, 0, caller_));
  }
  void put(fs::Ino ino, std::string_view text, std::uint64_t offset = 0) {
    EXPECT_EQ(value(volume().write(ino, offset, bytes_of(text), false)), text.size());
  }
  fs::Inode attributes(fs::Ino ino) { return value(volume().getattr(ino)); }
  std::string content(fs::Ino ino, std::uint64_t offset = 0, std::uint64_t length = 1ULL << 40U) {
    auto reply = volume().read(ino, offset, length);
    EXPECT_TRUE(reply) << outcome(reply);
    std::string text;
    if (!reply) return text;
    for (const store::Segment& segment : reply->segments) {
      if (segment.data == nullptr) {
        text.append(segment.length, '\0');
      } else {
        text.append(reinterpret_cast<const char*>(segment.data), segment.length);
      }
    }
    EXPECT_EQ(text.size(), reply->bytes);
    return text;
  }
  // Looks up without keeping the lookup.
  std::string find(fs::Ino parent, std::string_view name) {
    const auto found = volume().lookup(parent, name);
    if (found) volume().forget(found->ino, 1);
    return outcome(found);
  }
  fs::Ino ino_of(fs::Ino parent, std::string_view name) {
    const auto found = volume().lookup(parent, name);
    EXPECT_TRUE(found) << name << ": " << outcome(found);
    if (!found) return store::kNoIno;
    volume().forget(found->ino, 1);
    return found->ino;
  }
  std::vector<std::string> names(fs::Ino dir) {
    std::vector<std::string> all;
    const auto listed = volume().list(dir, 0, false, [&](const fs::ListEntry& entry) {
      all.emplace_back(entry.name);
      return true;
    });
    EXPECT_EQ(outcome(listed), "ok");
    std::sort(all.begin(), all.end());
    return all;
  }
  // All times of the objects to kLongAgo.
  void age(std::initializer_list<fs::Ino> inodes) {
    for (const fs::Ino ino : inodes) {
      const fs::AttrChange change{.atime = kLongAgo, .mtime = kLongAgo, .ctime = kLongAgo};
      EXPECT_EQ(outcome(volume().setattr(ino, change, caller_)), "ok");
    }
  }
  // Which of the times were set to now since age(): some of "acm".
  std::string times_set(fs::Ino ino) {
    const fs::Inode inode = attributes(ino);
    const auto is_now = [](const fs::Timestamp& time) {
      const auto now = store::now();
      return time <= now && time.sec >= now.sec - 600;
    };
    std::string set;
    for (const auto& [letter, time] : {std::pair{'a', inode.atime}, {'c', inode.ctime}, {'m', inode.mtime}}) {
      if (is_now(time)) set += letter;
      EXPECT_TRUE(is_now(time) || time == kLongAgo) << letter;
    }
    return set;
  }
  // After what the reclaimer has to do.
  std::uint64_t orphans() {
    volume().wait_for_reclaim();
    return volume().store().statistics().orphans;
  }

  template <typename T>
  static T value(store::Result<T> result) {
    EXPECT_TRUE(result) << store::describe(result.error());
    return result ? *std::move(result) : T{};
  }

  TempDir dir_;
  store::Options store_options_;
  fs::Volume::Options volume_options_;
  fs::Caller caller_{.uid = 1000, .gid = 1000, .umask = 0};
  std::mutex removed_mutex_;             // eviction may run in a thread of the store
  std::vector<store::Evicted> removed_;  // what it told
  std::unique_ptr<fs::Volume> volume_;

 private:
  void check() {
    const auto report = store::check_file(path());
    ASSERT_TRUE(report) << store::describe(report.error());
    for (const store::CheckFinding& finding : report->findings) {
      ADD_FAILURE() << finding.message << " (inode " << store::raw(finding.ino) << " " << finding.path << ")";
    }
  }
};

}  // namespace lrufs::test

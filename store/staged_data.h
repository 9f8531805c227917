// StagedData: pages that were allocated and filled outside of the writer's lock and belong to no file yet.
// Commit of the transaction that used them makes them part of a file; otherwise the destructor gives them
// back.
#pragma once

#include <cstdint>
#include <vector>

#include "store/types.h"

namespace lrufs::store {

class StoreImpl;

struct PageRun {
  PageNo first{0};
  std::uint64_t count = 0;
  friend bool operator==(const PageRun&, const PageRun&) = default;
};

class StagedData {
 public:
  StagedData() = default;
  StagedData(StagedData&& other) noexcept;
  StagedData& operator=(StagedData&& other) noexcept;
  StagedData(const StagedData&) = delete;
  StagedData& operator=(const StagedData&) = delete;
  ~StagedData();

  // The first file offset that the pages cover, in pages, and the pages in order. The last one may be padded
  // with zeros.
  [[nodiscard]] std::uint64_t first_file_page() const { return first_file_page_; }
  [[nodiscard]] const std::vector<PageRun>& runs() const { return runs_; }
  [[nodiscard]] std::uint64_t page_count() const;
  [[nodiscard]] bool empty() const { return runs_.empty(); }

 private:
  friend class StoreImpl;
  friend class Transaction;
  StoreImpl* owner_ = nullptr;
  std::uint64_t first_file_page_ = 0;
  std::vector<PageRun> runs_;
  bool tail_filled_ =
      false;  // the last page holds what a file had behind the data, of a transaction that was aborted
};

}  // namespace lrufs::store

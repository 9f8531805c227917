// Limbo: pages that the current state has freed, but that a reader of an older state may still see. They are
// busy in the space map until nobody can.
//
// A page is visible to the readers of the states from its birth up to its freeing. The births of content
// pages are not recorded, so at first each page waits for all readers older than its freeing. Once that takes
// long, or many pages (a reader has stalled), the limbo notes which pages are taken: one that was not taken
// then is born later, and waits only for readers that are newer than the note. So a stalled reader pins what
// it can see, a little of what was freed before the note, and not what comes and goes afterwards.
//
// Not thread-safe: the store's writer lock protects it.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <vector>

#include "store/lazy_memory.h"
#include "store/reader_table.h"
#include "store/space_map.h"

namespace lrufs::store {

class Limbo {
 public:
  using Clock = std::chrono::steady_clock;
  // What waits for longer than this, or is more than this and a part of the file, waits for a stalled reader.
  static constexpr std::chrono::milliseconds kStalled{100};
  static constexpr std::uint64_t kManyPages = 32;

  Limbo(const ReaderTable& readers, SpaceMap& space) : readers_(readers), space_(space) {}

  // Pages that transaction `txn`, just published, has freed; they are busy already.
  void add(TxnId txn, PageRun run, Clock::time_point now = Clock::now());
  // Gives back what no reader can see any more: busy → free, or pending.
  void release(Clock::time_point now = Clock::now());

  [[nodiscard]] std::uint64_t pages() const { return old_.pages + young_.pages; }
  [[nodiscard]] bool empty() const { return pages() == 0; }
  // How long the page that waits longest has waited.
  [[nodiscard]] Clock::duration age(Clock::time_point now = Clock::now()) const;

 private:
  struct Freed {
    TxnId txn{0};
    Clock::time_point since;
    std::vector<PageRun> runs;
  };
  struct Queue {
    std::deque<Freed> freed;
    std::uint64_t pages = 0;
    void add(TxnId txn, PageRun run, Clock::time_point now);
  };
  void release(Queue& queue, TxnId oldest);
  void note_taken();
  [[nodiscard]] bool is_young(PageNo page) const;

  const ReaderTable& readers_;
  SpaceMap& space_;
  Queue old_;          // wait for all readers of states before their freeing
  Queue young_;        // born after noted_at_: wait only for those of them that are newer than it
  TxnId noted_at_{0};  // 0: nothing is noted
  LazyMemory noted_;   // a bit a page: taken at noted_at_
};

}  // namespace lrufs::store

#include "store/limbo.h"

#include <algorithm>
#include <iterator>

namespace lrufs::store {

void Limbo::Queue::add(TxnId txn, PageRun run, Clock::time_point now) {
  if (freed.empty() || freed.back().txn != txn) freed.push_back({txn, now, {}});
  std::vector<PageRun>& runs = freed.back().runs;
  if (!runs.empty() && raw(runs.back().first) + runs.back().count == raw(run.first))
    runs.back().count += run.count;
  else
    runs.push_back(run);
  pages += run.count;
}

bool Limbo::is_young(PageNo page) const {
  const auto* words = static_cast<const std::uint64_t*>(noted_.data());
  return raw(noted_at_) != 0 && ((words[raw(page) / 64] >> (raw(page) % 64)) & 1U) == 0;
}

void Limbo::add(TxnId txn, PageRun run, Clock::time_point now) {
  while (run.count > 0) {
    const bool young = is_young(run.first);
    std::uint64_t count = 1;
    while (count < run.count && is_young(run.first + count) == young) ++count;
    (young ? young_ : old_).add(txn, {run.first, count}, now);
    run = {run.first + count, run.count - count};
  }
}

void Limbo::release(Queue& queue, TxnId oldest) {
  while (!queue.freed.empty() && queue.freed.front().txn <= oldest) {
    for (const PageRun& run : queue.freed.front().runs) {
      space_.give_back(run);
      queue.pages -= run.count;
    }
    queue.freed.pop_front();
  }
}

void Limbo::release(Clock::time_point now) {
  if (empty()) return;
  const TxnId oldest = readers_.oldest();
  release(old_, oldest);
  if (oldest > noted_at_) {  // nobody is left from before the note
    release(young_, oldest);
    noted_at_ = TxnId{0};
  } else {
    release(young_, readers_.oldest_after(noted_at_));
  }
  const bool noted = raw(noted_at_) != 0;
  const Queue& waiting = noted ? young_ : old_;
  if (waiting.freed.empty()) return;
  // A second note forgets what is younger than the first, so it takes more to make one.
  const std::uint64_t many = std::max<std::uint64_t>(kManyPages, space_.grown() / (noted ? 8 : 64));
  if (waiting.pages > many || now - waiting.freed.front().since > kStalled) note_taken();
}

// What waits now may have been born after the last note, but that is no longer known.
void Limbo::note_taken() {
  std::deque<Freed> merged;
  std::merge(std::make_move_iterator(old_.freed.begin()), std::make_move_iterator(old_.freed.end()),
             std::make_move_iterator(young_.freed.begin()), std::make_move_iterator(young_.freed.end()),
             std::back_inserter(merged), [](const Freed& a, const Freed& b) { return a.txn < b.txn; });
  old_ = {std::move(merged), old_.pages + young_.pages};
  young_ = {};
  noted_at_ = readers_.latest();
  noted_ = space_.taken();
}

Limbo::Clock::duration Limbo::age(Clock::time_point now) const {
  Clock::duration age{0};
  for (const Queue* queue : {&old_, &young_})
    if (!queue->freed.empty()) age = std::max(age, now - queue->freed.front().since);
  return age;
}

}  // namespace lrufs::store

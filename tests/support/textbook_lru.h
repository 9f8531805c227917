// TextbookLru: a list in order of use and a map into it. The reference for the order of eviction.
#pragma once

#include <cstddef>
#include <list>
#include <unordered_map>
#include <vector>

namespace lrufs::test {

template <typename Key>
class TextbookLru {
 public:
  explicit TextbookLru(std::size_t limit) : limit_(limit) {}
  bool use(Key key) {  // true: a hit
    const auto found = where_.find(key);
    if (found != where_.end()) {
      order_.splice(order_.end(), order_, found->second);
      return true;
    }
    if (order_.size() == limit_) {
      where_.erase(order_.front());
      order_.pop_front();
    }
    where_[key] = order_.insert(order_.end(), key);
    return false;
  }
  [[nodiscard]] std::vector<Key> order() const { return {order_.begin(), order_.end()}; }

 private:
  std::size_t limit_;
  std::list<Key> order_;  // least recently used first
  std::unordered_map<Key, typename std::list<Key>::iterator> where_;
};

}  // namespace lrufs::test

// Image: the bytes of a store file, page by page, as SIGKILL or a copy leaves them; to be changed, and
// written to a file that a store can be opened from.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <ios>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/file_ops.h"
#include "store/images.h"
#include "store/meta.h"
#include "store/page.h"

namespace lrufs::test {

class Image {
 public:
  explicit Image(const std::string& path) : size_(std::filesystem::file_size(path)) {
    base_.reset(static_cast<std::byte*>(std::aligned_alloc(store::kPageSize, size_)));
    std::ifstream file(path, std::ios::binary);
    file.read(reinterpret_cast<char*>(base_.get()), static_cast<std::streamsize>(size_));
  }
  Image(const Image& other) : size_(other.size_) {
    base_.reset(static_cast<std::byte*>(std::aligned_alloc(store::kPageSize, size_)));
    std::memcpy(base_.get(), other.base_.get(), size_);
  }
  Image& operator=(const Image&) = delete;
  ~Image() = default;

  std::byte* page(std::uint64_t number) { return base_.get() + number * store::kPageSize; }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  std::byte* base() { return base_.get(); }
  void cut(std::uint64_t size) { size_ = size; }

  std::optional<store::Meta> meta(std::uint64_t number) { return store::decode_meta(page(number)).meta; }
  std::optional<store::Meta> newest(std::uint64_t first) {
    const auto a = meta(first);
    const auto b = meta(first + 1);
    return a && (!b || a->txn > b->txn) ? a : b;
  }
  store::Meta durable() { return newest(store::kDurableMetaPage).value(); }
  store::Meta live() { return newest(store::kLiveMetaPage).value(); }
  std::uint64_t live_page() { return store::kLiveMetaPage + raw(live().txn) % 2; }  // where that lies
  // What the newest live meta names; nothing if the durable one is newer, or if the list is damaged.
  std::vector<store::ImageRef> images() {
    const auto newest_live = newest(store::kLiveMetaPage);
    if (!newest_live || newest_live->txn <= durable().txn) return {};
    const auto images = store::decode_images(page(live_page()));
    return images ? *images : std::vector<store::ImageRef>();
  }
  // Does the live meta bring the page back, if it is lost?
  bool has_image_of(std::uint64_t target) {
    const auto all = images();
    return std::any_of(all.begin(), all.end(),
                       [&](const store::ImageRef& ref) { return raw(ref.target) == target; });
  }
  void change_live(const std::function<void(store::Meta&)>& change) {
    for (const std::uint64_t number : {store::kLiveMetaPage, store::kLiveMetaPage + 1}) {
      auto known = meta(number);
      if (!known) continue;
      change(*known);
      const auto images = store::decode_images(page(number));
      store::encode_meta(*known, page(number), images ? *images : std::vector<store::ImageRef>());
    }
  }

  // A new file. With `adopt` its live metas say that they were written to this very file: as if its process
  // had died.
  void write(const std::string& path, bool adopt) {
    std::filesystem::remove(path);
    put_onto(path);
    if (!adopt) return;
    const auto ops = store::posix_file_ops();
    const int fd = ops->open(path, false, true).value();
    const auto identity = ops->identify(fd).value();
    ops->close(fd);
    change_live([&](store::Meta& meta) {
      meta.device = identity.device;
      meta.inode = identity.inode;
    });
    put_onto(path);
  }
  // Into the file that is there, if one is: it stays the same file.
  void put_onto(const std::string& path) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    if (!file.is_open()) file.open(path, std::ios::binary | std::ios::out);
    file.write(reinterpret_cast<const char*>(base_.get()), static_cast<std::streamsize>(size_));
  }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> base_;
  std::uint64_t size_;
};

}  // namespace lrufs::test

// libFuzzer: a stream of bytes drives a small store beside a model of it: files are written, cut, erased and
// evicted; the store is closed, checkpointed, killed, or loses power. What is read is what the model says,
// and the check finds nothing.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "store/bytes.h"
#include "store/check.h"
#include "store/store.h"

namespace lrufs::store {
namespace {

using Model = std::map<std::string, std::string>;

// Ends the process where the store and the model differ; libFuzzer keeps the input.
void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "operations: %s\n", what);
  std::abort();
}

class Run {
 public:
  Run(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {
    path_ = folder() + "/store";
    ::unlink(path_.c_str());
    open(false);
    durable_ = {};
  }
  ~Run() { store_.reset(); }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  void all() {
    for (int steps = 0; at_ < size_ && steps < 400; ++steps) step();
    close();
    expect_sound(path_);
  }

 private:
  static const std::string& folder() {
    static const std::string path = [] {
      std::string name = "/tmp/lrufs_fuzz_XXXXXX";
      if (::mkdtemp(name.data()) == nullptr) std::abort();
      return name;
    }();
    return path;
  }

  std::uint8_t byte() { return at_ < size_ ? data_[at_++] : std::uint8_t{0}; }
  std::string key() {
    const std::uint8_t b = byte();
    return "d" + std::to_string(b % 5) + "/f" + std::to_string(b / 5 % 12);
  }
  std::string text() {
    constexpr std::size_t kSizes[] = {0, 1, 100, 900, 1001, 1002, 4096, 5000, 20'000, 70'000, 200'000};
    return std::string(kSizes[byte() % std::size(kSizes)], static_cast<char>('a' + byte() % 26));
  }

  void open(bool from_checkpoint) {
    Options options;
    options.bound = kMinBound;
    options.background = false;
    options.from_checkpoint = from_checkpoint;
    options.on_evict = [this](const std::vector<Evicted>& gone) {
      for (const Evicted& each : gone) evicted_.push_back(each);
    };
    auto opened = Store::open(path_, options);
    require(opened.has_value(), "the store does not open");
    store_ = *std::move(opened);
    require(!store_->read_only(), "the store is read-only");
  }
  void close() {
    require(store_->close().has_value(), "close fails");
    store_.reset();
    durable_ = model_;
  }
  static void expect_sound(const std::string& path) {
    const auto report = check_file(path);
    require(report.has_value() && report->clean(), "the check finds something");
  }

  // Evicted names are gone from the model as well; folders are told, too, and are no keys of it.
  void settle() {
    for (const Evicted& each : evicted_) {
      for (auto at = model_.begin(); at != model_.end();) {
        const bool same_name = at->first.substr(at->first.find('/') + 1) == each.name;
        at = same_name && !store_->resolve(at->first) ? model_.erase(at) : std::next(at);
      }
    }
    evicted_.clear();
  }

  void expect_equal() {
    for (const auto& [name, content] : model_) {
      const auto found = store_->get(name);
      require(found.has_value() && *found == content, "other content than the model's");
    }
    std::size_t files = 0;
    for (int d = 0; d < 5; ++d) {
      const auto names = store_->names("d" + std::to_string(d), "", 1000);
      files += names ? names->size() : 0;
    }
    require(files == model_.size(), "other names than the model's");
  }

  // As SIGKILL leaves it: the bytes of now under the same inode, and nobody who has it open.
  void kill() {
    const std::string copy = path_ + ".copy";
    std::filesystem::copy_file(path_, copy, std::filesystem::copy_options::overwrite_existing);
    store_.reset();  // closes it; what it writes is taken back
    std::FILE* from = std::fopen(copy.c_str(), "rb");
    std::FILE* to = std::fopen(path_.c_str(), "r+b");
    require(from != nullptr && to != nullptr, "no copy");
    std::vector<char> buffer(1U << 20U);
    std::size_t total = 0;
    for (std::size_t got; (got = std::fread(buffer.data(), 1, buffer.size(), from)) > 0; total += got)
      require(std::fwrite(buffer.data(), 1, got, to) == got, "no copy");
    std::fclose(from);
    std::fclose(to);
    std::filesystem::resize_file(path_, total);
    evicted_.clear();
  }

  void step() {
    switch (byte() % 12) {
      case 0:
      case 1:
      case 2: {
        const std::string name = key();
        const std::string content = text();
        require(store_->put(name, as_bytes(content)).has_value(), "put fails");
        settle();
        model_[name] = content;
        break;
      }
      case 3: {
        const std::string name = key();
        const std::string content = text();
        const std::size_t offset = byte() * 37U;
        require(store_->write(name, offset, as_bytes(content)).has_value(), "write fails");
        settle();
        std::string& whole = model_[name];
        if (!content.empty()) {
          whole.resize(std::max(whole.size(), offset + content.size()), '\0');
          whole.replace(offset, content.size(), content);
        }
        break;
      }
      case 4: {
        const std::string name = key();
        const bool had = model_.erase(name) > 0;
        require(store_->erase(name).has_value() == had, "erase differs");
        break;
      }
      case 5: {
        const std::string name = key();
        const auto found = store_->get(name);
        require(found.has_value() == model_.contains(name), "get differs");
        break;
      }
      case 6:
        require(store_->checkpoint().has_value(), "a checkpoint fails");
        durable_ = model_;
        break;
      case 7:
        close();
        expect_sound(path_);
        open(false);
        break;
      case 8:
        kill();
        expect_sound(path_);
        open(false);
        expect_equal();
        break;
      case 9:
        kill();
        open(true);
        // Evictions make checkpoints of their own when room waits for one: the model knows only a lower
        // bound.
        if (!may_be_newer_) model_ = durable_;
        if (may_be_newer_) read_model();
        may_be_newer_ = false;
        durable_ = model_;
        expect_equal();
        break;
      case 10:
        require(store_->evict(byte() * 1000U).has_value(), "evict fails");
        settle();
        break;
      default:
        expect_equal();
    }
    if (store_->statistics().room_waits > 0) may_be_newer_ = true;
  }

  void read_model() {
    model_.clear();
    for (int d = 0; d < 5; ++d) {
      const std::string dir = "d" + std::to_string(d);
      const auto names = store_->names(dir, "", 1000);
      if (!names) continue;
      for (const std::string& name : *names) {
        const auto content = store_->get(dir + "/" + name);
        require(content.has_value(), "a file cannot be read");
        model_[dir + "/" + name] = *content;
      }
    }
  }

  const std::uint8_t* data_;
  std::size_t size_;
  std::size_t at_ = 0;
  std::string path_;
  std::unique_ptr<Store> store_;
  Model model_;    // now
  Model durable_;  // at the last checkpoint
  bool may_be_newer_ = false;
  std::vector<Evicted> evicted_;
};

}  // namespace
}  // namespace lrufs::store

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  lrufs::store::Run(data, size).all();
  return 0;
}

// StoreTest: a store in a folder of its own for each test, small and without background threads. Teardown
// closes it and checks the whole file.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/bytes.h"
#include "store/store.h"
#include "tests/support/temp_dir.h"

namespace lrufs::test {

// "ok", or the name of the error's code: EXPECT_EQ(code_of(store().erase("a")), "not_found").
template <typename T>
std::string code_of(const store::Result<T>& result) {
  return result ? "ok" : std::string(store::code_name(result.error().code));
}
// "ok", or the code and the message.
template <typename T>
std::string say(const store::Result<T>& result) {
  return result ? "ok" : code_of(result) + ": " + store::describe(result.error());
}

class StoreTest : public ::testing::Test {
 protected:
  StoreTest();
  void SetUp() override { open(); }
  void TearDown() override;

  // --- the store
  // -------------------------------------------------------------------------------------------------
  void open();   // with options_; a failure fails the test
  void close();  // nothing if it is closed
  void reopen() {
    close();
    open();
  }
  // Empty if the check finds nothing, else what it found. The store must be closed.
  [[nodiscard]] std::string check() const { return check(path()); }
  [[nodiscard]] std::string check(const std::string& path, bool from_checkpoint = false) const;
  [[nodiscard]] std::string path() const { return dir_.file("store.lrufs"); }
  [[nodiscard]] store::Store& store() { return *store_; }

  // --- short forms, for what a test does not test: any failure fails the test
  // ------------------------------------
  template <typename T>
  static T value(store::Result<T> result) {
    EXPECT_TRUE(result) << say(result);
    return result ? *std::move(result) : T{};
  }
  static void ok(const store::Status& status) { EXPECT_EQ(say(status), "ok"); }
  void put(std::string_view key, std::string_view text) { ok(store().put(key, store::as_bytes(text))); }
  std::string get(std::string_view key) { return value(store().get(key)); }
  store::Inode resolve(std::string_view key) { return value(store().resolve(key)); }
  // An object with a name in `dir`; mode as in stat(2).
  store::Inode make(store::Ino dir, std::string_view name, std::uint32_t mode = 0100644);
  // One transaction on one inode: read, changed by `body`, put back.
  void change(store::Ino ino, const std::function<store::Status(store::Transaction&, store::Inode&)>& body);
  // The content of a file in a view.
  static std::string content(const store::ReadView& view, store::Ino ino);
  std::string content(store::Ino ino);

  TempDir dir_;
  store::Options options_;
  bool check_at_end_ = true;
  std::vector<std::string> events_;  // Options::on_event, where options_ does not say otherwise
  std::unique_ptr<store::Store> store_;
};

}  // namespace lrufs::test

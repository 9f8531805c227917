// What a state holds, as text: the same lines that read_store.py prints, made through the store's own
// interface. And how the tests of this folder run read_store.py.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "store/bytes.h"
#include "store/read_view.h"
#include "tests/support/store_fixture.h"

namespace lrufs::test {

// FIPS 180-4.
inline std::string sha256(std::string_view text) {
  constexpr std::array<std::uint32_t, 64> kRound = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
      0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
      0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
      0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
      0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
      0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  std::array<std::uint32_t, 8> state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::string padded(text);
  padded.push_back('\x80');
  padded.resize((padded.size() + 8 + 63) / 64 * 64, '\0');
  const std::uint64_t bits = std::uint64_t{text.size()} * 8;
  for (std::size_t i = 0; i < 8; ++i) padded[padded.size() - 1 - i] = static_cast<char>(bits >> (8 * i));
  const auto rotate = [](std::uint32_t x, unsigned n) { return x >> n | x << (32 - n); };
  for (std::size_t block = 0; block < padded.size(); block += 64) {
    std::array<std::uint32_t, 64> w{};
    for (std::size_t i = 0; i < 64; ++i)
      w[i / 4] |= std::uint32_t{static_cast<unsigned char>(padded[block + i])} << (24 - 8 * (i % 4));
    for (std::size_t i = 16; i < 64; ++i) {
      const std::uint32_t a = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
      const std::uint32_t b = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
      w[i] = w[i - 16] + a + w[i - 7] + b;
    }
    std::array<std::uint32_t, 8> s = state;
    for (std::size_t i = 0; i < 64; ++i) {
      const std::uint32_t high = rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25);
      const std::uint32_t one = s[7] + high + ((s[4] & s[5]) ^ (~s[4] & s[6])) + kRound[i] + w[i];
      const std::uint32_t low = rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22);
      const std::uint32_t two = low + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
      s = {one + two, s[0], s[1], s[2], s[3] + one, s[4], s[5], s[6]};
    }
    for (std::size_t i = 0; i < 8; ++i) state[i] += s[i];
  }
  std::string hex;
  for (const std::uint32_t word : state) {
    std::array<char, 9> digits{};
    std::snprintf(digits.data(), digits.size(), "%08x", word);
    hex += digits.data();
  }
  return hex;
}

// Printable ASCII as it is, all else (blanks and backslashes, too) as \xNN.
inline std::string shown_bytes(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte < 0x7F && byte != '\\') {
      out += c;
      continue;
    }
    std::array<char, 5> escape{};
    std::snprintf(escape.data(), escape.size(), "\\x%02x", byte);
    out += escape.data();
  }
  return out;
}

class Listing {
 public:
  explicit Listing(const store::ReadView& view) : view_(view) { add("/", store::kRootIno); }

  // Sorted by path, each line ended.
  [[nodiscard]] std::string text() const {
    std::string out;
    for (const auto& [path, lines] : lines_) out += lines;
    return out;
  }

 private:
  void add(const std::string& path, store::Ino ino) {
    const auto inode = view_.inode(ino);
    ASSERT_TRUE(inode) << path << ": " << say(inode);
    std::string digest = "-";
    if (!inode->is_directory()) {
      std::string content(inode->size, '\0');
      const auto read = view_.read(*inode, 0, {reinterpret_cast<std::byte*>(content.data()), content.size()});
      ASSERT_TRUE(read) << path << ": " << say(read);
      digest = sha256(content);
    }
    std::array<char, 256> fields{};
    std::snprintf(fields.data(), fields.size(), "%o\t%u\t%u\t%u\t%llu\t%llu\t%lld.%09u\t%llu\t", inode->mode,
                  inode->nlink, inode->uid, inode->gid, static_cast<unsigned long long>(inode->rdev),
                  static_cast<unsigned long long>(inode->size), static_cast<long long>(inode->mtime.sec),
                  inode->mtime.nsec, static_cast<unsigned long long>(raw(ino)));
    std::string& lines = lines_[path];
    lines = fields.data() + digest + '\t' + shown_bytes(path) + '\n';
    add_xattrs(path, ino, lines);
    if (!inode->is_directory()) return;

    std::vector<std::pair<std::string, store::Ino>> children;
    const auto listed = view_.list(ino, store::Cookie{0}, [&](const store::DirEntry& entry) {
      children.emplace_back(std::string(entry.name), entry.ino);
      return true;
    });
    ASSERT_TRUE(listed) << path << ": " << say(listed);
    for (const auto& [name, child] : children) add((path == "/" ? path : path + '/') + name, child);
  }

  void add_xattrs(const std::string& path, store::Ino ino, std::string& lines) {
    auto names = view_.xattr_names(ino);
    ASSERT_TRUE(names) << path << ": " << say(names);
    std::sort(names->begin(), names->end());
    for (const std::string& name : *names) {
      const auto value = view_.xattr(ino, name);
      ASSERT_TRUE(value) << path << ": " << say(value);
      lines += "@\t" + std::to_string(value->size()) + '\t' + sha256(*value) + '\t' + shown_bytes(name) +
               '\t' + shown_bytes(path) + '\n';
    }
  }

  const store::ReadView& view_;
  std::map<std::string, std::string> lines_;  // std::string compares as unsigned bytes, as the script does
};

inline std::string listing_of(const store::Store& store) {
  const store::Snapshot snapshot = store.snapshot();
  return Listing(snapshot.view()).text();
}

struct CommandResult {
  int status = -1;
  std::string output;  // of stdout
};
inline CommandResult run_command(const std::string& command) {
  CommandResult result;
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return result;
  std::array<char, 65536> buffer;
  for (std::size_t n = 0; (n = std::fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    result.output.append(buffer.data(), n);
  const int status = ::pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

inline std::string file_text(const std::string& path) {
  const std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// read_store.py on a store file; paths without blanks. `complaint`: what it printed to stderr.
inline CommandResult read_store(const std::string& path, std::string& complaint,
                                const std::string& options = "") {
  const std::string script = std::string(LRUFS_TESTS_DIR) + "/format/read_store.py";
  CommandResult result =
      run_command("python3 " + script + " " + options + " " + path + " 2> " + path + ".err");
  complaint = file_text(path + ".err");
  return result;
}

}  // namespace lrufs::test

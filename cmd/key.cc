#include "cmd/key.h"

#include <algorithm>
#include <array>
#include <cstdio>

#include "cmd/os.h"
#include "store/types.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Result;

// The length of the UTF-8 sequence at the beginning of `text`, 0 if it is none (Unicode 15, table 3-7).
std::size_t utf8_sequence(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  std::size_t length = 0;
  unsigned char low = 0x80;
  unsigned char high = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;  // surrogates
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  }
  if (length == 0 || text.size() < length || byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if (byte(i) < 0x80 || byte(i) > 0xBF) return 0;
  }
  return length;
}

bool is_control(std::string_view sequence) {
  const auto first = static_cast<unsigned char>(sequence[0]);
  if (sequence.size() == 1) return first < 0x20 || first == 0x7F;
  return sequence.size() == 2 && first == 0xC2 && static_cast<unsigned char>(sequence[1]) < 0xA0;  // C1
}

std::string escaped(unsigned char byte) {
  switch (byte) {
    case '\n':
      return "\\n";
    case '\t':
      return "\\t";
    case '\r':
      return "\\r";
    case '\a':
      return "\\a";
    case '\b':
      return "\\b";
    case '\f':
      return "\\f";
    case '\v':
      return "\\v";
    default:
      break;
  }
  std::array<char, 8> text{};
  std::snprintf(text.data(), text.size(), "\\%03o", static_cast<unsigned>(byte));
  return text.data();
}

// Calls plain(sequence) for what can be printed, and odd(byte) for what cannot.
template <typename Plain, typename Odd>
void for_each_sequence(std::string_view text, const Plain& plain, const Odd& odd) {
  while (!text.empty()) {
    const std::size_t length = utf8_sequence(text);
    if (length == 0 || is_control(text.substr(0, length))) {
      for (std::size_t i = 0; i < std::max<std::size_t>(length, 1); ++i)
        odd(static_cast<unsigned char>(text[i]));
    } else {
      plain(text.substr(0, length));
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
}

const char* meaning(Code code) {
  switch (code) {
    case Code::kNotFound:
    case Code::kStale:
      return "there is no such object";
    case Code::kNotDirectory:
      return "a part of it is no folder (symbolic links are not followed)";
    case Code::kIsDirectory:
      return "is a folder";
    case Code::kNotEmpty:
      return "is a folder that is not empty";
    case Code::kNoSpace:
      return "the store is full, and nothing that could make room may go. A larger bound: lrufs mount --size";
    case Code::kFileTooLarge:
      return "is larger than the store can hold";
    case Code::kReadOnly:
      return "the store is read-only";
    case Code::kNotPermitted:
      return "no permission";
    case Code::kCorrupt:
      return "is damaged: lrufs check names what is hurt";
    default:
      return nullptr;
  }
}

}  // namespace

Result<Key> parse_key(std::string_view text) {
  Key key;
  std::vector<std::string_view> parts;
  key.folder = text.empty() || text.ends_with('/');
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find('/'));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    if (text.empty() && (part == "." || part == "..")) key.folder = true;
    if (part.empty() || part == ".") continue;
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
      continue;
    }
    if (part.size() > store::kMaxName) {
      return fail(Code::kNameTooLong,
                  "the name '" + std::string(part.substr(0, 32)) + "...' has " + std::to_string(part.size()) +
                      " bytes: a part of a key has at most " + std::to_string(store::kMaxName));
    }
    parts.push_back(part);
  }
  for (const std::string_view part : parts) key.path = join_keys(key.path, std::string(part));
  return key;
}

std::string join_keys(const std::string& folder, const std::string& key) {
  if (folder.empty()) return key;
  return key.empty() ? folder : folder + "/" + key;
}

std::string parent_key(const std::string& key) {
  const std::size_t slash = key.rfind('/');
  return slash == std::string::npos ? std::string() : key.substr(0, slash);
}

std::string name_in_key(const std::string& key) { return key.substr(key.rfind('/') + 1); }

std::vector<std::string> parts_of_key(const std::string& key) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at < key.size();) {
    const std::size_t end = std::min(key.find('/', at), key.size());
    parts.push_back(key.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

std::string shown_key(const std::string& key) {
  if (key.empty()) return "/";
  std::string text;
  for_each_sequence(
      key, [&](std::string_view plain) { text += plain; },
      [&](unsigned char byte) { text += escaped(byte); });
  return shown(text);
}

std::string shell_quoted(std::string_view text) {
  constexpr std::string_view kSpecial = " !\"#$&'()*;<=>?[\\]^`{|}~";
  bool odd_bytes = false;
  for_each_sequence(
      text, [](std::string_view) {}, [&](unsigned char) { odd_bytes = true; });
  if (!odd_bytes && !text.empty() && text.find_first_of(kSpecial) == std::string_view::npos)
    return std::string(text);
  std::string out = "'";
  bool escaping = false;
  const auto change = [&](bool to) {
    if (escaping != to) out += to ? "'$'" : "''";
    escaping = to;
  };
  for_each_sequence(
      text,
      [&](std::string_view plain) {
        change(false);
        if (plain == "'") {
          out += "'\\''";
        } else {
          out += plain;
        }
      },
      [&](unsigned char byte) {
        change(true);
        out += escaped(byte);
      });
  return out + "'";
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const std::size_t length = utf8_sequence(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

store::Error about_key(const std::string& key, const store::Error& error) {
  store::Error told = error;
  const char* means = error.message.empty() ? meaning(error.code) : nullptr;
  told.message = shown_key(key) + ": " + (means != nullptr ? means : store::describe(error));
  return told;
}

}  // namespace lrufs::cmd

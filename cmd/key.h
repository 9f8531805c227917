// Keys: the names of objects in a store, "a/b/c", as people write them and as they are shown.
//
// A key is relative to the root of its store, wherever that is mounted. What people write is cleaned by its
// text alone: leading, trailing and double slashes and "." mean nothing, ".." takes the part before it away
// and stops at the root, so that a key never leaves its store. Any bytes but NUL may occur.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "store/error.h"

namespace lrufs::cmd {

struct Key {
  std::string path;     // clean; "" is the root
  bool folder = false;  // written with a slash (or "." or "..") at its end: must be a folder
};

// kNameTooLong if a part has more than 255 bytes.
store::Result<Key> parse_key(std::string_view text);

std::string join_keys(const std::string& folder, const std::string& key);
std::string parent_key(const std::string& key);   // "" for a key in the root
std::string name_in_key(const std::string& key);  // the last part
std::vector<std::string> parts_of_key(const std::string& key);

// For a message: as shown() has it, with control characters escaped; the root is "/".
std::string shown_key(const std::string& key);
// For a listing on a terminal, as coreutils quotes there: 'a b', 'it'\''s', 'tab'$'\t'. Bytes that are no
// UTF-8 are escaped, too.
std::string shell_quoted(std::string_view text);
bool is_utf8(std::string_view text);

// `error`, which befell an operation on `key`, as a message for a person.
store::Error about_key(const std::string& key, const store::Error& error);

}  // namespace lrufs::cmd

// What tests of failures do with a store besides put and get: content that tells which write made it, a
// rename, and the complete tree as a map.
#pragma once

#include <cstdint>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "store/bytes.h"
#include "store/store.h"

namespace lrufs::test {

// `size` bytes that only this id gives, page by page different.
inline std::string patterned(std::uint64_t id, std::size_t size) {
  std::string text(size, '\0');
  std::uint64_t state = id * 0x9E3779B97F4A7C15ULL + 1;
  for (std::size_t at = 0; at < size; ++at) {
    if (at % 8 == 0) state = (state ^ (state >> 29U)) * 0xBF58476D1CE4E5B9ULL + at;
    text[at] = static_cast<char>(state >> (8 * (at % 8)));
  }
  return text;
}

// In a transaction: the file at `from` gets the name `to`; a file that has it is destroyed. Keys are
// "dir/name".
inline store::Status rename_file(store::Transaction& txn, std::string_view from, std::string_view to) {
  using namespace store;  // NOLINT(google-build-using-namespace)
  const auto dir_of = [&](std::string_view key) -> Result<Inode> {
    LRUFS_TRY_ASSIGN(const DirEntry entry, txn.view().lookup(kRootIno, key.substr(0, key.find('/'))));
    return txn.view().inode(entry.ino);
  };
  const auto name_of = [](std::string_view key) { return key.substr(key.find('/') + 1); };
  LRUFS_TRY_ASSIGN(Inode source, dir_of(from));
  LRUFS_TRY_ASSIGN(Inode other, dir_of(to));
  Inode& target = other.ino == source.ino ? source : other;
  LRUFS_TRY_ASSIGN(const DirEntry entry, txn.view().lookup(source.ino, name_of(from)));
  LRUFS_TRY_ASSIGN(Inode child, txn.view().inode(entry.ino));
  if (const auto old = txn.view().lookup(target.ino, name_of(to))) {
    if (old->ino == child.ino) return {};
    LRUFS_TRY_ASSIGN(Inode victim, txn.view().inode(old->ino));
    LRUFS_TRY(txn.unlink(target, name_of(to), victim));
    if (victim.nlink == 0) {
      LRUFS_TRY(txn.destroy(victim));
    } else {
      LRUFS_TRY(txn.put_inode(victim));
    }
  }
  LRUFS_TRY(txn.unlink(source, name_of(from), child));
  LRUFS_TRY(txn.link(target, name_of(to), child));
  LRUFS_TRY(txn.put_inode(source));
  if (&target != &source) LRUFS_TRY(txn.put_inode(target));
  return txn.put_inode(child);
}

// Everything that has a name: path → what it is, with a hash of its content.
using Tree = std::map<std::string, std::string>;

inline store::Result<std::string> describe_object(const store::ReadView& view, const store::Inode& inode) {
  std::string content;
  if (!inode.is_directory()) {
    content.resize(inode.size);
    LRUFS_TRY(view.read(inode, 0, {reinterpret_cast<std::byte*>(content.data()), content.size()}));
  }
  char text[200];
  std::snprintf(text, sizeof text,
                "inode %llu mode %o links %u size %llu pages %llu mtime %lld.%09u content %016llx",
                static_cast<unsigned long long>(raw(inode.ino)), inode.mode, inode.nlink,
                static_cast<unsigned long long>(inode.size), static_cast<unsigned long long>(inode.pages),
                static_cast<long long>(inode.mtime.sec), inode.mtime.nsec,
                static_cast<unsigned long long>(store::hash64(store::as_bytes(content))));
  return std::string(text);
}

inline store::Status dump_below(const store::ReadView& view, store::Ino dir, const std::string& path,
                                Tree& tree) {
  std::map<std::string, store::Ino> entries;
  LRUFS_TRY(view.list(dir, store::Cookie{0}, [&](const store::DirEntry& entry) {
    entries.emplace(std::string(entry.name), entry.ino);
    return true;
  }));
  for (const auto& [name, ino] : entries) {
    LRUFS_TRY_ASSIGN(const store::Inode inode, view.inode(ino));
    LRUFS_TRY_ASSIGN(std::string text, describe_object(view, inode));
    const std::string at = path.empty() ? name : path + "/" + name;
    tree.emplace(at, std::move(text));
    if (inode.is_directory()) LRUFS_TRY(dump_below(view, ino, at, tree));
  }
  return {};
}

// Names, attributes, content and orphans of one state.
inline store::Result<Tree> dump_tree(const store::ReadView& view) {
  Tree tree;
  LRUFS_TRY(dump_below(view, store::kRootIno, "", tree));
  LRUFS_TRY_ASSIGN(const auto orphans, view.orphans(store::kNoIno, 1'000'000));
  for (const store::Ino ino : orphans) {
    LRUFS_TRY_ASSIGN(const store::Inode inode, view.inode(ino));
    LRUFS_TRY_ASSIGN(std::string text, describe_object(view, inode));
    tree.emplace("//orphan " + std::to_string(raw(ino)), std::move(text));
  }
  return tree;
}

// What is different, in a few lines; empty if nothing is.
inline std::string difference(const Tree& expected, const Tree& found) {
  std::string text;
  const auto add = [&](const std::string& line) {
    if (text.size() < 1500) text += line + "\n";
  };
  for (const auto& [path, what] : expected) {
    const auto there = found.find(path);
    if (there == found.end())
      add("missing: " + path + ": " + what);
    else if (there->second != what)
      add("differs: " + path + ": " + there->second + " instead of " + what);
  }
  for (const auto& [path, what] : found) {
    if (!expected.contains(path)) add("too much: " + path + ": " + what);
  }
  return text;
}

}  // namespace lrufs::test

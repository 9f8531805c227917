#include "cmd/object_facts.h"

#include <sys/sysmacros.h>

#include <cstdio>
#include <optional>

#include "cmd/output.h"
#include "cmd/units.h"
#include "cmd/verbs.h"

namespace lrufs::cmd {
namespace {

using nlohmann::json;
using store::Code;
using store::fail;
using store::Result;

struct Facts {
  std::string key;
  Attributes attributes;
  std::string link_target;
  std::vector<std::pair<std::string, std::string>> xattrs;
};

Result<Facts> find_facts(const Target& target, const std::string& key_text) {
  Facts facts;
  LRUFS_TRY_ASSIGN(const Key key, target.key(key_text));
  LRUFS_TRY_ASSIGN(const auto tree, open_tree(target, Access::kRead));
  facts.key = key.path;
  auto attributes = tree->attributes(key.path);
  if (!attributes) return fail(about_key(key.path, attributes.error()));
  facts.attributes = *attributes;
  if (key.folder && !attributes->is_folder()) {
    return fail(Code::kNotDirectory, shown_key(key.path) + " is a file, not a folder: leave the slash out");
  }
  if (attributes->is_symlink()) {
    LRUFS_TRY_ASSIGN(facts.link_target, tree->link_target(key.path));
  }
  const auto names = tree->xattr_names(key.path);
  if (!names) return fail(about_key(key.path, names.error()));
  for (const std::string& name : *names) {
    if (auto value = tree->xattr(key.path, name)) facts.xattrs.emplace_back(name, *std::move(value));
  }
  LRUFS_TRY(tree->close());
  return facts;
}

json to_json(const Facts& facts) {
  json out = to_json(facts.key, facts.attributes);
  if (facts.attributes.is_symlink()) out["target"] = facts.link_target;
  out["xattrs"] = json::object();
  for (const auto& [name, value] : facts.xattrs) out["xattrs"][name] = value;
  return out;
}

void row(const char* label, const std::string& text) { std::printf("%-16s %s\n", label, text.c_str()); }

void print(const Facts& facts) {
  const Attributes& is = facts.attributes;
  const json shared = to_json(facts.key, is);
  row("Key", shown_key(facts.key));
  row("Type", shared["type"].get<std::string>());
  if (is.is_symlink()) row("Leads to", shown_key(facts.link_target));
  if (const unsigned type = is.mode & 0170000U; type == 0020000U || type == 0060000U)
    row("Device", std::to_string(major(is.rdev)) + ":" + std::to_string(minor(is.rdev)));
  row("Size", counted(is.size, "byte", "bytes") + (is.size < 1024 ? "" : " (" + format_size(is.size) + ")"));
  row("In the store", is.stored == 0 ? "no pages of its own: it lies in the tree" : format_size(is.stored));
  if (is.entries) row("Entries", format_count(*is.entries));
  row("Mode", mode_text(is.mode) + " (" + shared["mode"].get<std::string>() + ")");
  row("Owner", std::to_string(is.uid) + ":" + std::to_string(is.gid));
  row("Inode", std::to_string(is.ino) + ", " + counted(is.nlink, "link", "links"));
  row("Content changed", local_time(is.mtime, true));
  row("Changed", local_time(is.ctime, true));
  row("Access time", local_time(is.atime, true));
  if (is.made) row("Made", local_time(*is.made, true));
  if (is.sequence) {
    row("Order of use",
        std::to_string(*is.sequence) + (is.used ? "" : ": not used since it was made") +
            ((is.is_folder() && is.entries.value_or(0) != 0) ? " (stays while it is not empty)" : ""));
  }
  for (const auto& [name, value] : facts.xattrs)
    row("Attribute", shown_key(name) + " = " + shell_quoted(value));
}

}  // namespace

int show_object(const Target& target, const std::string& key, bool as_json) {
  const auto facts = find_facts(target, key);
  if (!facts) return report(facts.error());
  if (as_json) {
    std::printf("%s\n", to_text(to_json(*facts), 2).c_str());
  } else {
    print(*facts);
  }
  return kOk;
}

}  // namespace lrufs::cmd

#include "cmd/app_tree.h"

#include <algorithm>
#include <cctype>
#include <string_view>

namespace lrufs::cmd {
namespace {

// "FILE|syslog|stderr" says it: words in lower case are to be given as they are.
ValueKind kind_of(std::string_view type) {
  ValueKind kind;
  while (!type.empty()) {
    const std::string_view part = type.substr(0, type.find('|'));
    type.remove_prefix(std::min(part.size() + 1, type.size()));
    if (part == "FILE" || part == "STORE" || part == "TARGET") {
      kind.files = true;
    } else if (part == "MOUNTPOINT" || part == "FOLDER") {
      kind.folders = true;
    } else if (!part.empty() &&
               std::ranges::all_of(part, [](unsigned char c) { return std::islower(c) != 0; })) {
      kind.words.emplace_back(part);
    }
  }
  return kind;
}

OptionInfo info_of(const CLI::Option& option) {
  OptionInfo info;
  for (const std::string& name : option.get_snames()) info.names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) info.names.push_back("--" + name);
  std::string type = option.get_type_name();
  if (option.get_positional()) {
    info.names = {option.get_name(true, false)};
    if (type.empty()) type = info.names.front();
  } else if (option.get_type_size() != 0) {
    info.value = type.empty() ? "VALUE" : type;
  }
  info.kind = kind_of(type);
  info.description = option.get_description();
  info.default_value = option.get_default_str();
  info.required = option.get_required();
  info.repeated = option.get_expected_max() >= CLI::detail::expected_max_vector_size;
  return info;
}

VerbInfo info_of(const CLI::App& app) {
  VerbInfo info{.name = app.get_name(),
                .description = app.get_description(),
                .group = app.get_group(),
                .positionals = {},
                .options = {},
                .footer = app.get_footer()};
  for (const CLI::Option* option : app.get_options()) {
    if (option->get_group().empty()) continue;
    (option->get_positional() ? info.positionals : info.options).push_back(info_of(*option));
  }
  return info;
}

}  // namespace

ProgramInfo program_info(const CLI::App& program) {
  ProgramInfo info{.program = info_of(program), .verbs = {}};
  for (const CLI::App* verb : program.get_subcommands([](const CLI::App*) { return true; })) {
    if (!verb->get_group().empty()) info.verbs.push_back(info_of(*verb));
  }
  return info;
}

}  // namespace lrufs::cmd

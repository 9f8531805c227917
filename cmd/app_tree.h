// The program's verbs and options, as CLI11 knows them, in a form that the manual pages and the completion of
// shells are made from. There is no other list: what a verb says of itself for --help is all there is.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace lrufs::cmd {

// What may be given as a value: names of files or folders, some words, or what nobody can guess.
struct ValueKind {
  bool files = false;
  bool folders = false;
  std::vector<std::string> words;
};

struct OptionInfo {
  std::vector<std::string> names;  // "--size", "-l"; of a positional its name alone: "STORE"
  std::string value;               // "SIZE"; empty: a flag
  std::string description;         // with line breaks, as in --help
  std::string default_value;
  ValueKind kind;
  bool required = false;
  bool repeated = false;
};

struct VerbInfo {
  std::string name;  // of the program: "lrufs"
  std::string description;
  std::string group;
  std::vector<OptionInfo> positionals;
  std::vector<OptionInfo> options;
  std::string footer;
};

struct ProgramInfo {
  VerbInfo program;
  std::vector<VerbInfo> verbs;  // without hidden ones
};

ProgramInfo program_info(const CLI::App& program);

}  // namespace lrufs::cmd

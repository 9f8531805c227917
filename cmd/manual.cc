// lrufs manual (not shown in the help): writes the manual pages lrufs.1 and lrufs-VERB.1, made of the help
// texts.
#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>

#include "cmd/app_tree.h"
#include "cmd/os.h"
#include "cmd/verbs.h"
#include "lrufs/version.h"

namespace lrufs::cmd {
namespace {

using store::Code;
using store::fail;
using store::Status;

constexpr const char* kExitCodes = "0 done, 1 failed, 2 wrong use.";

// Text as roff(7) prints it unchanged; line by line.
std::string escaped(std::string_view text) {
  std::string out;
  bool at_begin = true;
  for (const char c : text) {
    if (at_begin && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else if (c == '\'') {
      out += "\\(aq";
    } else if (c == '`') {
      out += "\\(ga";
    } else if (c == '^') {
      out += "\\(ha";
    } else if (c == '~') {
      out += "\\(ti";
    } else {
      out += c;
    }
    at_begin = c == '\n';
  }
  return out;
}

// Calls each(line) for the lines of a text.
template <typename Each>
void for_each_line(std::string_view text, const Each& each) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    each(line);
  }
}

// "threads=N: threads that …": the explanation of one of many words.
bool explains_a_word(std::string_view line) {
  std::size_t end = 0;
  while (end < line.size() && (std::islower(static_cast<unsigned char>(line[end])) != 0 || line[end] == '_'))
    ++end;
  return end > 0 && end < line.size() && (line[end] == ':' || line[end] == '=') &&
         line.find(": ") != line.npos;
}

std::string paragraph(std::string_view text) {
  std::string out;
  for_each_line(text, [&](std::string_view line) {
    if (explains_a_word(line) && !out.empty()) out += ".br\n";
    while (line.starts_with(' ')) line.remove_prefix(1);
    out += escaped(line) + "\n";
  });
  return out;
}

std::string usage(const VerbInfo& verb, const std::string& command) {
  std::string out = ".B " + escaped(command) + "\n";
  if (!verb.options.empty()) out += "[\\fIOPTION\\fR]...\n";
  for (const OptionInfo& positional : verb.positionals) {
    const std::string name =
        "\\fI" + escaped(positional.names.front()) + "\\fR" + (positional.repeated ? "..." : "");
    out += positional.required ? name + "\n" : "[" + name + "]\n";
  }
  return out;
}

std::string list_of(const std::vector<OptionInfo>& options) {
  std::string out;
  for (const OptionInfo& option : options) {
    out += ".TP\n";
    std::string head;
    for (const std::string& name : option.names)
      head += (head.empty() ? "" : ", ") + ("\\fB" + escaped(name) + "\\fR");
    if (!option.value.empty()) head += " \\fI" + escaped(option.value) + "\\fR";
    out += head + "\n" + paragraph(option.description);
    if (!option.default_value.empty()) out += "(default: " + escaped(option.default_value) + ")\n";
  }
  return out;
}

// The parts of a footer, which verbs.h says how to write.
struct Footer {
  std::string notes;
  std::string examples;
  std::string exit_codes;
};

void add_examples(std::string& out, std::string_view text) {
  bool code = false;
  for_each_line(text, [&](std::string_view line) {
    const bool indented = line.starts_with("  ");
    if (!indented && (line == "Examples:" || line == "Example:")) return;
    if (indented != code) out += indented ? ".PP\n.EX\n" : ".EE\n.PP\n";
    code = indented;
    out += escaped(line) + "\n";
  });
  if (code) out += ".EE\n";
}

Footer split(std::string_view text) {
  Footer footer;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find("\n\n"), text.size());
    const std::string_view part = text.substr(0, end);
    text.remove_prefix(std::min(end + 2, text.size()));
    constexpr std::string_view kExit = "Exit codes: ";
    if (part.starts_with("Example")) {
      add_examples(footer.examples, part);
    } else if (part.starts_with(kExit)) {
      footer.exit_codes = paragraph(part.substr(kExit.size()));
    } else {
      footer.notes += ".PP\n" + paragraph(part);
    }
  }
  if (footer.exit_codes.empty()) footer.exit_codes = paragraph(kExitCodes);
  return footer;
}

std::string header(const std::string& page, const std::string& name, const std::string& what) {
  std::string upper = page;
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return ".\\\" Made by `lrufs manual`; do not edit.\n.TH " + escaped(upper) + " 1 \"\" \"lrufs " +
         std::string(kVersion) + "\" \"User Commands\"\n.SH NAME\n" + escaped(name) + " \\- " +
         escaped(what) + "\n";
}

std::string verb_page(const VerbInfo& verb, const ProgramInfo& program) {
  const std::string page = "lrufs-" + verb.name;
  const Footer footer = split(verb.footer);
  std::string description = verb.description;
  for (char& c : description) {
    if (c == '\n') c = ' ';
  }
  std::string out = header(page, page, description);
  out += ".SH SYNOPSIS\n" + usage(verb, "lrufs " + verb.name);
  out += ".SH DESCRIPTION\n" + paragraph(verb.description + ".") + footer.notes;
  if (!verb.positionals.empty()) out += ".SH ARGUMENTS\n" + list_of(verb.positionals);
  out += ".SH OPTIONS\n" + list_of(verb.options);
  out += ".SH EXIT STATUS\n" + footer.exit_codes;
  if (!footer.examples.empty()) out += ".SH EXAMPLES\n" + footer.examples;
  out += ".SH SEE ALSO\n.BR lrufs (1)";
  for (const VerbInfo& other : program.verbs) {
    if (other.group == verb.group && other.name != verb.name)
      out += ",\n.BR " + escaped("lrufs-" + other.name) + " (1)";
  }
  return out + "\n";
}

std::string program_page(const ProgramInfo& program) {
  const VerbInfo& all = program.program;
  const Footer footer = split(all.footer);
  std::string out = header("lrufs", "lrufs", "a directory that never fills up");
  out +=
      ".SH SYNOPSIS\n.B lrufs\n\\fIVERB\\fR\n[\\fIOPTION\\fR]...\n[\\fIARGUMENT\\fR]...\n.br\n.B lrufs\n"
      "\\fB\\-\\-help\\fR | \\fB\\-\\-version\\fR\n";
  out += ".SH DESCRIPTION\n" + paragraph(all.description) + footer.notes + ".SH VERBS\n";
  std::string group;
  for (const VerbInfo& verb : program.verbs) {
    if (verb.group != group) out += ".SS " + escaped(verb.group) + "\n";
    group = verb.group;
    out += ".TP\n.BR " + escaped("lrufs-" + verb.name) + " (1)\n" + paragraph(verb.description);
  }
  out += ".SH OPTIONS\n" + list_of(all.options) + ".SH EXIT STATUS\n" + footer.exit_codes;
  if (!footer.examples.empty()) out += ".SH EXAMPLES\n" + footer.examples;
  out += ".SH SEE ALSO\n";
  for (const VerbInfo& verb : program.verbs) out += ".BR " + escaped("lrufs-" + verb.name) + " (1),\n";
  return out + ".BR mount (8),\n.BR fuse (8)\n";
}

Status write_page(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (file) return {};
  return fail(Code::kIo, "cannot write " + shown(path) + ": " + errno_text(errno));
}

Status write_pages(const ProgramInfo& program, const std::string& folder) {
  LRUFS_TRY(write_page(folder + "/lrufs.1", program_page(program)));
  for (const VerbInfo& verb : program.verbs)
    LRUFS_TRY(write_page(folder + "/lrufs-" + verb.name + ".1", verb_page(verb, program)));
  return {};
}

}  // namespace

Verb add_manual(CLI::App& program) {
  auto folder = std::make_shared<std::string>();
  CLI::App* app = program.add_subcommand("manual", "Write the manual pages into a folder");
  app->group("");  // hidden: for the build
  app->add_option("FOLDER", *folder, "Where to")->required()->type_name("");
  return {app, [&program, folder]() -> int {
            const Status written = write_pages(program_info(program), *folder);
            return written ? kOk : report(written.error());
          }};
}

}  // namespace lrufs::cmd

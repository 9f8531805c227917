// lrufs completion: a script for bash, zsh or fish that completes verbs, options and names of files.
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "cmd/app_tree.h"
#include "cmd/verbs.h"

namespace lrufs::cmd {
namespace {

std::string shell_word(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c == '\n' ? ' ' : c;
    }
  }
  return out + "'";
}

std::string joined(const std::vector<std::string>& words, const char* separator) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : separator) + word;
  return out;
}

// The words, and "-f" or "-d" for compgen.
std::string bash_values(const ValueKind& kind) {
  std::string out = "words=" + shell_word(joined(kind.words, " "));
  if (kind.files) out += " names=-f";
  if (kind.folders) out += " names=-d";
  return out;
}

void bash_verb(std::string& out, const VerbInfo& verb) {
  std::string all;
  std::string with_value;
  std::string values;
  for (const OptionInfo& option : verb.options) {
    all += (all.empty() ? "" : " ") + joined(option.names, " ");
    if (option.value.empty()) continue;
    with_value += (with_value.empty() ? "" : "|") + joined(option.names, "|");
    values += "        " + joined(option.names, "|") + ") " + bash_values(option.kind) + " ;;\n";
  }
  out += "    " + verb.name + ")\n      options=" + shell_word(all) +
         " takes_value=" + shell_word("@(" + with_value + ")") +
         "\n      _lrufs_position \"$takes_value\"\n      case $option in\n" + values + "        '')\n";
  out += "          case $position in\n";
  for (std::size_t i = 0; i < verb.positionals.size(); ++i) {
    const OptionInfo& positional = verb.positionals[i];
    out += "            " + (positional.repeated ? std::string("*") : std::to_string(i)) + ") " +
           bash_values(positional.kind) + " ;;\n";
  }
  out += "          esac ;;\n      esac ;;\n";
}

std::string for_bash(const ProgramInfo& program) {
  std::string verbs;
  for (const VerbInfo& verb : program.verbs) verbs += verb.name + " ";
  std::string options;
  for (const OptionInfo& option : program.program.options) options += joined(option.names, " ") + " ";
  std::string out = R"(# Completion of lrufs for bash; made by: lrufs completion bash

# Sets `position`, the number of the argument that is completed, `option`, if that is an option's value, and
# `literal`, if it comes after a "--".
_lrufs_position() {
  local i word
  position=0 option= literal=
  for ((i = verb_at + 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ -n $literal ]]; then
      ((++position))
    elif [[ $word == -- ]]; then
      literal=1
    elif [[ $1 != '@()' && $word == $1 ]]; then
      if [[ ${COMP_WORDS[i + 1]} == '=' ]]; then ((++i)); fi
      if ((++i >= COMP_CWORD)); then option=$word; fi
    elif [[ $word != -?* ]]; then
      ((++position))
    fi
  done
}

_lrufs() {
  local cur=${COMP_WORDS[COMP_CWORD]} verb= verb_at=0 words= names= options= takes_value option= literal= position=0 i
  local extglob_was=$(shopt -p extglob)
  shopt -s extglob
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ ${COMP_WORDS[i]} != -* ]]; then verb=${COMP_WORDS[i]} verb_at=$i; break; fi
  done
  case $verb in
)";
  out += "    '') words=" + shell_word(verbs) + " options=" + shell_word(options) + " ;;\n";
  for (const VerbInfo& verb : program.verbs) bash_verb(out, verb);
  out += R"(  esac
  eval "$extglob_was"
  if [[ $cur == '=' ]]; then cur=; fi
  if [[ -z $option && -z $literal && $cur == -* ]]; then words=$options names=; fi
  if [[ -n $names ]]; then
    compopt -o filenames 2> /dev/null
    mapfile -t COMPREPLY < <(compgen "$names" -- "$cur")
  fi
  if [[ -n $words ]]; then
    mapfile -O ${#COMPREPLY[@]} -t COMPREPLY < <(compgen -W "$words" -- "$cur")
  fi
}
complete -F _lrufs lrufs
)";
  return out;
}

std::string zsh_escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += ' ';
      continue;
    }
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string zsh_action(const ValueKind& kind) {
  if (kind.words.empty() && !kind.files && !kind.folders) return " ";
  std::string words;
  if (!kind.words.empty()) words = "(" + joined(kind.words, " ") + ")";
  if (!kind.files && !kind.folders) return words;
  const std::string names = kind.folders ? "_files -/" : "_files";
  if (words.empty()) return names;
  return "_alternative \"words:word:" + words + "\" \"files:file:" + names + "\"";
}

std::string for_zsh(const ProgramInfo& program) {
  std::string out =
      "#compdef lrufs\n# Completion of lrufs for zsh; made by: lrufs completion zsh\n\n_lrufs() {\n"
      "  local -a verbs\n  verbs=(\n";
  for (const VerbInfo& verb : program.verbs)
    out += "    " + shell_word(verb.name + ":" + zsh_escaped(verb.description)) + "\n";
  out +=
      "  )\n  if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then\n    _describe verb verbs\n    return\n  "
      "fi\n"
      "  if (( CURRENT == 2 )); then\n    _arguments";
  for (const OptionInfo& option : program.program.options) {
    for (const std::string& name : option.names)
      out += " " + shell_word(name + "[" + zsh_escaped(option.description) + "]");
  }
  out += "\n    return\n  fi\n  local verb=$words[2]\n  shift words\n  (( CURRENT-- ))\n  case $verb in\n";
  for (const VerbInfo& verb : program.verbs) {
    out += "    " + verb.name + ")\n      _arguments -s -S";
    for (const OptionInfo& option : verb.options) {
      for (const std::string& name : option.names) {
        std::string spec = name;
        if (!option.value.empty()) spec += name.starts_with("--") ? "=" : "+";
        spec += "[" + zsh_escaped(option.description) + "]";
        if (!option.value.empty()) spec += ":" + zsh_escaped(option.value) + ":" + zsh_action(option.kind);
        out += " \\\n        " + shell_word(spec);
      }
    }
    for (std::size_t i = 0; i < verb.positionals.size(); ++i) {
      const OptionInfo& positional = verb.positionals[i];
      const std::string number = positional.repeated ? "*" : std::to_string(i + 1);
      out += " \\\n        " +
             shell_word(number + (positional.repeated || positional.required ? ":" : "::") +
                        zsh_escaped(positional.names.front()) + ":" + zsh_action(positional.kind));
    }
    out += " ;;\n";
  }
  return out +
         "  esac\n}\n\nif [[ $funcstack[1] == _lrufs ]]; then _lrufs \"$@\"; else compdef _lrufs lrufs; fi\n";
}

std::string fish_option(const OptionInfo& option) {
  std::string out;
  for (const std::string& name : option.names)
    out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
  if (!option.value.empty()) {
    out += option.kind.files || option.kind.folders ? " -r -F" : " -x";
    if (!option.kind.words.empty()) out += " -a " + shell_word(joined(option.kind.words, " "));
  }
  return out + " -d " + shell_word(option.description);
}

std::string for_fish(const ProgramInfo& program) {
  std::string out =
      "# Completion of lrufs for fish; made by: lrufs completion fish\n\ncomplete -c lrufs -f\n";
  for (const OptionInfo& option : program.program.options)
    out += "complete -c lrufs -n __fish_use_subcommand" + fish_option(option) + "\n";
  for (const VerbInfo& verb : program.verbs) {
    out += "\ncomplete -c lrufs -n __fish_use_subcommand -a " + verb.name + " -d " +
           shell_word(verb.description) + "\n";
    const std::string within = "complete -c lrufs -n '__fish_seen_subcommand_from " + verb.name + "'";
    for (const OptionInfo& option : verb.options) out += within + fish_option(option) + "\n";
    for (const OptionInfo& positional : verb.positionals) {
      if (positional.kind.files || positional.kind.folders) {
        out += within + " -F\n";
        break;
      }
      if (!positional.kind.words.empty())
        out += within + " -a " + shell_word(joined(positional.kind.words, " ")) + "\n";
    }
  }
  return out;
}

}  // namespace

Verb add_completion(CLI::App& program) {
  static const std::map<std::string, std::string (*)(const ProgramInfo&)> kShells = {
      {"bash", for_bash}, {"fish", for_fish}, {"zsh", for_zsh}};
  auto shell = std::make_shared<std::string>();
  CLI::App* app = program.add_subcommand("completion", "Print a script that lets a shell complete lrufs");
  app->group(kShellGroup);
  app->add_option("SHELL", *shell, "bash, zsh or fish")->required()->type_name("bash|zsh|fish");
  app->footer(
      "An installed lrufs brings these scripts along.\n\n"
      "Examples:\n"
      "  source <(lrufs completion bash)                      in ~/.bashrc\n"
      "  source <(lrufs completion zsh)                       in ~/.zshrc, after compinit\n"
      "  lrufs completion fish > ~/.config/fish/completions/lrufs.fish");
  return {app, [&program, shell]() -> int {
            const auto found = kShells.find(*shell);
            if (found == kShells.end()) {
              return report({store::Code::kInvalid,
                             "there is no completion for '" + *shell + "': name bash, zsh or fish"},
                            kUsage);
            }
            std::fputs(found->second(program_info(program)).c_str(), stdout);
            return kOk;
          }};
}

}  // namespace lrufs::cmd

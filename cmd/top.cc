// lrufs top: a page about a mount that follows what happens.
#define NCURSES_NOMACROS 1
#include <curses.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "cmd/live_mount.h"
#include "cmd/os.h"
#include "cmd/top_page.h"
#include "cmd/units.h"
#include "cmd/verbs.h"

namespace lrufs::cmd {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using store::Code;
using store::fail;
using store::Result;
using store::Status;

struct Arguments {
  std::string mount_point;
  std::string interval = "2s";
  bool once = false;
  bool json = false;
};

constexpr milliseconds kLeast{100};
constexpr milliseconds kMost{60'000};

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

Result<TopSample> look(const std::string& control) {
  TopSample sample;
  sample.at = std::chrono::steady_clock::now();
  const std::string text = text_of(control + "/stats");
  sample.statistics = json::parse(text, nullptr, false);
  if (!sample.statistics.is_object())
    return fail(Code::kIo, text.empty() ? "the mount does not answer any more"
                                        : shown(control) + "/stats cannot be understood by this version");
  sample.next = text_of(control + "/next");
  sample.recent = text_of(control + "/recent");
  return sample;
}

// The terminal, as long as it lives.
class Screen {
 public:
  Screen() : screen_(::newterm(nullptr, stdout, stdin)) {
    if (screen_ == nullptr) return;
    ::set_term(screen_);
    ::cbreak();
    ::noecho();
    ::keypad(stdscr, TRUE);
    ::curs_set(0);
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;
  ~Screen() {
    if (screen_ == nullptr) return;
    ::endwin();
    ::delscreen(screen_);
  }
  [[nodiscard]] bool works() const { return screen_ != nullptr; }
  static void show(const json& figures, const std::string& footer) {
    int height = 0;
    int width = 0;
    getmaxyx(stdscr, height, width);
    const auto lines = top_lines(figures, {.width = static_cast<std::size_t>(width),
                                           .height = static_cast<std::size_t>(height),
                                           .footer = footer});
    ::erase();
    for (std::size_t i = 0; i < lines.size() && static_cast<int>(i) < height; ++i)
      ::mvaddstr(static_cast<int>(i), 0, lines[i].c_str());
    ::refresh();
  }

 private:
  SCREEN* screen_;
};

std::string footer_of(milliseconds interval, TopOrder order) {
  const char* const by = order == TopOrder::kRate ? "rate" : order == TopOrder::kLatency ? "99 %" : "name";
  return "every " + format_duration(interval) + "  q quit  + - interval  s sorted by " + by;
}

Status follow(const std::string& control, milliseconds interval) {
  LRUFS_TRY_ASSIGN(TopSample before, look(control));
  TopSample now = before;
  TopOrder order = TopOrder::kRate;
  const Screen screen;
  if (!screen.works())
    return fail(Code::kUnsupported, "this is no terminal that can be drawn on (TERM): use --once or --json");
  auto due = std::chrono::steady_clock::now();  // the first figures soon
  due += std::min(interval, milliseconds(300));
  for (;;) {
    Screen::show(top_figures(before, now, order), footer_of(interval, order));
    const auto left =
        std::chrono::duration_cast<milliseconds>(due - std::chrono::steady_clock::now()).count();
    ::timeout(static_cast<int>(std::max<long>(left, 0)));
    switch (::getch()) {
      case 'q':
      case 'Q':
        return {};
      case '+':
        interval = std::min(interval * 2, kMost);
        break;
      case '-':
        interval = std::max(interval / 2, kLeast);
        break;
      case 's':
        order = static_cast<TopOrder>((static_cast<int>(order) + 1) % 3);
        break;
      case ERR:
        if (!::isatty(STDIN_FILENO)) return {};
        break;
      default:  // KEY_RESIZE among them: it is drawn anew
        break;
    }
    if (std::chrono::steady_clock::now() < due) continue;
    before = std::move(now);
    LRUFS_TRY_ASSIGN(now, look(control));
    due = std::chrono::steady_clock::now() + interval;
  }
}

Status once(const std::string& control, milliseconds interval, bool as_json) {
  LRUFS_TRY_ASSIGN(const TopSample before, look(control));
  ::poll(nullptr, 0, static_cast<int>(interval.count()));
  LRUFS_TRY_ASSIGN(const TopSample now, look(control));
  const json figures = top_figures(before, now, TopOrder::kRate);
  if (as_json) {
    std::printf("%s\n", figures.dump(2, ' ', false, json::error_handler_t::replace).c_str());
    return {};
  }
  for (const std::string& line : top_lines(figures, {.width = 100, .height = 0, .footer = ""}))
    std::printf("%s\n", line.c_str());
  return {};
}

int run(const Arguments& arguments) {
  std::setlocale(LC_ALL, "");
  const auto interval = parse_duration("--interval", arguments.interval);
  if (!interval) return report(interval.error(), kUsage);
  if (*interval < kLeast || *interval > kMost)
    return report({Code::kInvalid, "--interval '" + arguments.interval + "': give 100ms to 60s"}, kUsage);
  const auto control = control_folder_of(absolute_path(arguments.mount_point));
  if (!control) return report(control.error());
  const Status done = arguments.once || arguments.json ? once(*control, *interval, arguments.json)
                                                       : follow(*control, *interval);
  return done ? kOk : report(done.error());
}

}  // namespace

Verb add_top(CLI::App& program) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app =
      program.add_subcommand("top", "Watch a mount: rates, hits, evictions, latencies, what goes next");
  app->group(kMountsGroup);
  app->add_option("MOUNTPOINT", arguments->mount_point, "A folder of the mount")->required()->type_name("");
  app->add_option("--interval", arguments->interval, "Time between two looks (default: 2s)")
      ->type_name("TIME");
  app->add_flag("--once", arguments->once, "Print one page, of one interval, and end");
  app->add_flag("--json", arguments->json, "The same as JSON");
  app->footer(
      "Keys: q ends, + and - change the interval, s the order of the kinds of requests.\n"
      "What goes next, and what was used last, only the owner of the mount and root get to see.\n\n"
      "Examples:\n  lrufs top /mnt/cache\n  lrufs top --json --interval 10s /mnt/cache | jq .hit_ratio");
  return {app, [arguments] { return run(*arguments); }};
}

}  // namespace lrufs::cmd

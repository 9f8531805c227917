#include "cmd/os.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <system_error>
#include <thread>

namespace lrufs::cmd {
namespace {

std::string real_path(const std::string& path) {
  struct Free {
    void operator()(char* text) const { std::free(text); }
  };
  const std::unique_ptr<char, Free> resolved(::realpath(path.c_str(), nullptr));
  return resolved ? std::string(resolved.get()) : std::string();
}

}  // namespace

std::string errno_text(int error) { return std::generic_category().message(error); }

int descriptor_of(std::string_view path) {
  constexpr std::string_view kPrefix = "/dev/fd/";
  if (!path.starts_with(kPrefix)) return -1;
  path.remove_prefix(kPrefix.size());
  int fd = -1;
  const auto [end, error] = std::from_chars(path.data(), path.data() + path.size(), fd);
  return error == std::errc{} && end == path.data() + path.size() ? fd : -1;
}

std::string absolute_path(const std::string& path) {
  if (path.empty() || descriptor_of(path) >= 0) return path;
  if (std::string resolved = real_path(path); !resolved.empty()) return resolved;
  std::error_code error;
  std::filesystem::path absolute = std::filesystem::absolute(path, error).lexically_normal();
  if (error) return path;
  if (absolute.filename().empty()) absolute = absolute.parent_path();  // a trailing slash
  const std::string parent = real_path(absolute.parent_path().string());
  if (parent.empty()) return absolute.string();
  return (std::filesystem::path(parent) / absolute.filename()).string();
}

std::string parent_of(const std::string& path) { return std::filesystem::path(path).parent_path().string(); }

std::string shown(std::string_view path) {
  const bool plain = !path.empty() && std::ranges::none_of(path, [](unsigned char c) {
    return std::isspace(c) != 0 || std::iscntrl(c) != 0;
  });
  return plain ? std::string(path) : "'" + std::string(path) + "'";
}

bool wait_until(std::chrono::milliseconds timeout, const std::function<bool()>& condition) {
  using std::chrono::milliseconds;
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  milliseconds pause(1);
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, milliseconds(50));
  }
  return true;
}

}  // namespace lrufs::cmd

// Control: what the files of the control folder say, and what writing to them does.
//
// What a lookup found is kept under its inode number until the kernel forgets it; at most kMaxKept of them in
// kMaxKeptBytes, the oldest go first (who still has such a file open gets ESTALE), but never the one just
// made.
//
// Thread-safety: all functions, from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "fs/fuse/control_inode.h"
#include "fs/fuse/size_commands.h"
#include "store/error.h"
#include "store/thread_annotations.h"

namespace lrufs::fs::fuse {

struct Context;

class Control {
 public:
  static constexpr std::size_t kMaxKept = 1024;
  static constexpr std::size_t kMaxKeptBytes = 32U << 20U;
  static constexpr std::size_t kMaxCommand = 8192;  // bytes of one write

  explicit Control(Context& context);

  using Content = std::shared_ptr<const std::string>;
  struct Found {
    std::uint64_t ino = 0;
    Content content;
  };
  // One lookup: the file as it is now, under a number of its own.
  Found look_up(ControlFile file);
  // Null: replaced, or forgotten.
  [[nodiscard]] Content content(std::uint64_t ino) const;
  void forget(std::uint64_t ino);
  [[nodiscard]] std::size_t kept() const;

  // What was written to a file, in one piece. kInvalid: no such command. Returns once it is done; long work
  // asks now and then whether its caller was `interrupted`, and ends then.
  store::Status write(ControlFile file, std::string_view text, const std::function<bool()>& interrupted);

 private:
  std::string make(ControlFile file);
  store::Status evict(std::string_view command);

  Context& context_;
  SizeCommands size_;
  mutable store::Mutex mutex_;
  std::uint64_t next_ GUARDED_BY(mutex_) = 0;
  std::map<std::uint64_t, Content> kept_ GUARDED_BY(mutex_);  // by number, that is, by age
  std::size_t bytes_ GUARDED_BY(mutex_) = 0;
};

// A command of the file `evict`.
struct EvictCommand {
  enum class What : std::uint8_t { kBytes, kKey, kPrefix };
  What what = What::kBytes;
  std::uint64_t bytes = 0;
  std::string_view path;  // relative to the root, into the text
};
// "bytes 12M" (K, M, G, T: powers of 1024), "key PATH", "prefix PATH", "all"; a newline at the end belongs to
// the command, all else after the first blank to the path. kInvalid.
store::Result<EvictCommand> parse_evict_command(std::string_view text);

// A path for a line: control characters and backslashes as \ooo.
std::string escaped_path(std::string_view path);

}  // namespace lrufs::fs::fuse

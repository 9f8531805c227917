// Small helpers around the operating system that several verbs share.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

namespace lrufs::cmd {

// What errno says, for the end of a message.
std::string errno_text(int error);

// `path` absolute and without symlinks, as the table of mounts shows it. Works for a name that does not exist
// yet and for a dead mount, which cannot be looked at; where nothing can be resolved the path is made
// absolute by its text alone.
// "/dev/fd/N" stays as it is: mount(8) hands an open /dev/fuse over in this way.
std::string absolute_path(const std::string& path);
std::string parent_of(const std::string& path);

// For a message: as it is, or in quotes if a blank or a control character would confuse.
std::string shown(std::string_view path);

// Asks `condition` until it holds (true) or the time is over (false).
bool wait_until(std::chrono::milliseconds timeout, const std::function<bool()>& condition);

// The number of a "/dev/fd/N" path, or -1.
int descriptor_of(std::string_view path);

}  // namespace lrufs::cmd

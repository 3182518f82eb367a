#pragma once

#include "collector/spool/file_system.h"

namespace clusterpulse::spool {

// The machine's own file systems. Locks are flock(2). Files are opened without following a symbolic link in the last
// part of the path, and never block on a fifo. The returned object lives as long as the process; thread-safe.
FileSystem& PosixFileSystem();

}  // namespace clusterpulse::spool

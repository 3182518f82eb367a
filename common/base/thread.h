#pragma once

#include <functional>
#include <string>
#include <thread>

namespace clusterpulse::base {

// Starts a named thread (at most 15 characters are shown by the kernel). The owner keeps the jthread and joins it in
// its Stop(). `body` must not throw: an exception ends the process with its text.
std::jthread StartThread(const std::string& name, std::function<void()> body);

// The calling thread gets a tenth of the processor that others want at the same time, and all of it when none does. For
// work that may be late, beside threads that answer peers.
void LowerThreadPriority();

}  // namespace clusterpulse::base

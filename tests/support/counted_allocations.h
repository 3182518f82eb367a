#pragma once

#include <cstddef>

namespace clusterpulse::testing {

// How often operator new gave memory so far. For programs of one thread: nothing orders the count between several.
//
// The source file replaces operator new and delete of the whole program it is linked into. It is therefore in no
// library: a program that counts names it among its own sources. The sanitizers bring their own operator new; such
// programs are not built with them.
std::size_t Allocations();

}  // namespace clusterpulse::testing

#pragma once

namespace clusterpulse::app {

// Settings of the C and C++ runtime that suit a program whose large pieces of memory live for milliseconds on many
// threads (measured: docs/benchmarks.md). To be called before the first thread starts. For programs with jemalloc
// (CMake: cp_malloc) linking this is enough for what concerns memory.
void TuneRuntime();

}  // namespace clusterpulse::app

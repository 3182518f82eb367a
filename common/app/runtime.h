#pragma once

namespace clusterpulse::app {

// Settings of the C and C++ runtime that suit a program whose large pieces of memory live for milliseconds on many
// threads (measured: docs/benchmarks.md). To be called before the first thread starts. `arenas` bounds the heaps of
// malloc: fewer keep what stays in fewer places, more let threads allocate side by side.
void TuneRuntime(int arenas);

}  // namespace clusterpulse::app

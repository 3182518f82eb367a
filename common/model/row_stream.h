#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "common/model/batch.h"

namespace clusterpulse::model {

// The result of a source with so many rows that they should not be in memory at once: they are made when they are
// encoded, a few at a time.
struct RowStream {
  SourceResult head;      // all but the rows
  std::size_t count = 0;  // of rows
  // Adds those from `first` to before `last`. Called by one thread at a time, front to end.
  std::function<void(std::size_t first, std::size_t last, std::vector<SourceRow>& out)> append;
};

}  // namespace clusterpulse::model

#pragma once

#include "common/model/batch.h"

namespace clusterpulse::link {

// What of a batch becomes samples (delivery.md 1), and nothing else: the numbers of cluster, nodes and sources, how
// many namespaces there are, which operators there are and how they do. A hub makes the same samples of it as of the
// batch. Small enough to be kept: some 150 bytes a node, where the node itself has thousands. A batch without any of it
// gives one that holds nothing but its head.
model::Batch HistoryPart(const model::Batch& batch);

}  // namespace clusterpulse::link

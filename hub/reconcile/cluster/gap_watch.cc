#include "hub/reconcile/cluster/gap_watch.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "common/base/time_format.h"

namespace clusterpulse::reconcile {
namespace {

constexpr std::size_t kMostNamed = 3;

std::string Describe(const store::KnownGap& gap) {
  std::string text = fmt::format("{} from {} to {}", model::ToString(gap.cause), base::FormatSeconds(gap.from),
                                 base::FormatSeconds(gap.to.value_or(gap.from)));
  if (gap.seqs.first != 0) text += fmt::format(" (batches {} to {})", gap.seqs.first, gap.seqs.last);
  return text;
}

}  // namespace

std::vector<Announcement> GapWatch::Look(const json::Value& said, const store::GapLedger& ledger, Reader reader) {
  const bool is_pushed = reader == Reader::kCollector;
  const std::string_view back = is_pushed ? "the collector is back" : "the cluster can be read again";
  const store::KnownGap* const open = ledger.open_link();
  std::vector<store::KnownGap> over;
  for (const store::KnownGap& gap : ledger.gaps()) {
    if (gap.to.has_value()) over.push_back(gap);
  }
  const std::uint64_t total = ledger.total() - (open != nullptr ? 1 : 0);
  if (!std::exchange(looked_, true)) {
    const auto said_open = static_cast<std::uint64_t>(said["open"].IntOr());
    if (said_open > 0) open_.emplace();
    const store::GapSummary now = ledger.Summary();
    const std::uint64_t said_over = static_cast<std::uint64_t>(said["count"].IntOr()) - said_open;
    const std::uint64_t over_now = now.count - now.open;
    const std::uint64_t unsaid = over_now > said_over ? over_now - said_over : 0;
    total_ = total - std::min(total, unsaid);
    // Those that were told last are the likeliest not to be said.
    over_.assign(over.begin(), over.end() - static_cast<std::ptrdiff_t>(std::min<std::uint64_t>(unsaid, over.size())));
  }

  const auto is_said = [this](const store::KnownGap& gap) {
    return std::find(over_.begin(), over_.end(), gap) != over_.end();
  };
  std::vector<Announcement> news;
  std::vector<store::KnownGap> fresh;
  for (const store::KnownGap& gap : over) {
    if (!is_said(gap)) fresh.push_back(gap);
  }
  std::uint64_t count = total - std::min(total, total_);
  if (open_.has_value() && open == nullptr) {
    const auto link = std::find_if(fresh.begin(), fresh.end(), [this](const store::KnownGap& gap) {
      if (gap.seqs.first != 0) return false;
      if (open_->from != base::SystemTime{}) {
        return gap.cause == open_->cause && gap.from <= open_->from && open_->from <= *gap.to;
      }
      return gap.cause == model::GapCause::kLinkDown || gap.cause == model::GapCause::kListFailed;
    });
    if (link == fresh.end()) {
      news.push_back({runtime::EventType::kNormal, "GapClosed",
                      fmt::format("{}, and everything that was kept meanwhile has come", back)});
    } else {
      news.push_back({runtime::EventType::kWarning, "GapClosed",
                      fmt::format("{}; the history has a hole: {}", back, Describe(*link))});
      fresh.erase(link);
      count -= std::min<std::uint64_t>(count, 1);
    }
  }
  if (open != nullptr && !open_.has_value()) {
    news.push_back({runtime::EventType::kWarning, "GapOpened",
                    fmt::format("{}: the history has a hole since {}{}",
                                is_pushed ? "the collector is lost" : "the cluster cannot be read",
                                base::FormatSeconds(open->from),
                                open->fillable ? ", which what the collector keeps meanwhile can still fill" : "")});
  }
  open_ = open != nullptr ? std::optional(*open) : std::nullopt;
  if (count > 0) {
    std::string text;
    const std::size_t named = std::min({fresh.size(), kMostNamed, static_cast<std::size_t>(count)});
    for (std::size_t i = 0; i < named; ++i) text += (i > 0 ? "; " : "") + Describe(fresh[i]);
    if (count > named) text += fmt::format("{}{} more", named > 0 ? "; and " : "", count - named);
    news.push_back({runtime::EventType::kWarning, "GapClosed", "the history has a hole: " + text});
  }
  total_ = total;
  over_ = std::move(over);
  return news;
}

}  // namespace clusterpulse::reconcile

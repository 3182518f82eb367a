#include "common/base/circuit_breaker.h"

namespace clusterpulse::base {

bool CircuitBreaker::Allow(SteadyTime now) {
  MutexLock lock(mu_);
  switch (state_) {
    case State::kClosed:
      return true;
    case State::kOpen:
      if (now - opened_ < options_.recovery) return false;
      state_ = State::kHalfOpen;
      probing_ = true;
      return true;
    case State::kHalfOpen:
      if (probing_) return false;
      probing_ = true;
      return true;
  }
  return false;
}

void CircuitBreaker::OnSuccess() {
  MutexLock lock(mu_);
  state_ = State::kClosed;
  failures_ = 0;
  probing_ = false;
}

void CircuitBreaker::OnFailure(SteadyTime now) {
  MutexLock lock(mu_);
  if (state_ == State::kOpen) return;  // a call from before it opened: says nothing new, must not prolong the wait
  probing_ = false;
  if (state_ == State::kClosed && ++failures_ < options_.threshold) return;
  state_ = State::kOpen;
  opened_ = now;
}

void CircuitBreaker::OnAbandoned() {
  MutexLock lock(mu_);
  probing_ = false;
}

CircuitBreaker::State CircuitBreaker::state() const {
  MutexLock lock(mu_);
  return state_;
}

std::chrono::nanoseconds CircuitBreaker::RetryIn(SteadyTime now) const {
  MutexLock lock(mu_);
  if (state_ != State::kOpen) return std::chrono::nanoseconds::zero();
  const auto left = opened_ + options_.recovery - now;
  return left > left.zero() ? left : left.zero();
}

}  // namespace clusterpulse::base

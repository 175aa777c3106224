"""Minimax filters for privacy: a plugin of minimaxopt."""

from __future__ import annotations

from minimaxopt_privacy.digits import digits_privacy_filter
from minimaxopt_privacy.filters import privacy_game, privacy_risk

__all__ = ["digits_privacy_filter", "privacy_game", "privacy_risk"]

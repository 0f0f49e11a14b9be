"""Silences what the product logs where a measurement runs it in its own process."""

from __future__ import annotations

import logging

import structlog


def quiet() -> None:
    """From now on nothing is logged in this process below critical."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

"""Tries whose fix is still on its way: strict, so that each leaves this list with its fix."""

from __future__ import annotations

PENDING: dict[str, str] = {}
"""Pattern of ids of tries (`class/what/how`) -> what they wait for."""

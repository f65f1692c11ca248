# SPDX-License-Identifier: GPL-2.0-only
"""The modules of ./kseries, one concern each."""

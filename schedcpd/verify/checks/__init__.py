# SPDX-License-Identifier: Apache-2.0
"""One check per file."""

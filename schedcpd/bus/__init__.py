# SPDX-License-Identifier: Apache-2.0
"""D-Bus only translates."""

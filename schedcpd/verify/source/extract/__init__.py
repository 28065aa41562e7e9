# SPDX-License-Identifier: Apache-2.0
"""What runs inside the sandbox to read a source."""

# SPDX-License-Identifier: Apache-2.0
"""What runs inside the guest, and the image it runs in."""

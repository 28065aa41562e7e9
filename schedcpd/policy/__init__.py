# SPDX-License-Identifier: Apache-2.0
"""The Scheduler Policy Repository: schema, tunables and rules of policies.d."""
